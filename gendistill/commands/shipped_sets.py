"""What ``gendistill compare`` shows where no teacher is named: the sets that come with the project."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gendistill import shipped
from gendistill.commands.judge import dataset_name
from gendistill.commands.output import read_results
from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.spelling import typed
from gendistill.words import listed

SHOWING = frozenset({"dataset", "json", "output", "report", "export", "rank_at"})
"""Options of ``compare`` that say which sets and where to put the table, and nothing of how they are judged."""


@dataclass(frozen=True)
class Shown:
    """Sets of one data set that one table can show.

    Attributes:
        names: Of the sets.
        references: What ``compare`` takes for them: names, which are judged, or files of what was measured.
        note: How to judge them anew, where nothing is judged; else empty.
    """

    names: Sequence[str]
    references: Sequence[str]
    note: str = ""


def shown(given: argparse.Namespace) -> list[Shown]:
    """Return the sets to show, a data set at a time, curricula apart.

    Without an option that says how to judge they are shown as they were measured, which takes no data; with one they
    are judged, beside real images.

    Args:
        given: Options of ``compare``, without a teacher; of sets that are judged ``dataset`` and ``baselines`` are set.

    Raises:
        UserError: There are none, or none of the data set, or it is not said which data set is meant.
    """
    of_data: dict[str, list[str]] = {}
    for name, dataset in shipped.sets().items():
        of_data.setdefault(dataset, []).append(name)
    how = "name teachers, such as gendistill compare real:ipc=10 real:herding=10"
    if not of_data:
        raise UserError(f"no set comes with this copy of the project; {how}")
    asked = None if given.dataset is None else dataset_name(given.dataset)
    if asked is not None and asked not in of_data:
        raise UserError(f"no set of '{asked}' comes with the project, only of {listed(sorted(of_data))}; {how}")
    chosen = of_data if asked is None else {asked: of_data[asked]}
    judging = set(given.explicit) - SHOWING - {"teachers"}
    into_one = judging or given.json or given.output or given.report or given.export or given.rank_at is not None
    if len(chosen) > 1 and into_one:
        raise UserError(
            f"sets of {listed(sorted(chosen))} come with the project, and a comparison is on one data set; say which: "
            f"--dataset {min(chosen)}"
        )
    if judging:
        ((given.dataset, names),) = chosen.items()
        given.baselines = True if given.baselines is None else given.baselines
        alike, others = _by_length(names)
        for name in others if alike else ():
            how = _again([name], given.dataset)
            note(f"'{name}' brings a number of updates of its own; name it to judge it, too: {how}")
        return [Shown(alike or others, alike or others)]
    groups = [
        (dataset, group)
        for dataset, names in sorted(chosen.items())
        for group in ([names] if into_one else _by_length(names))
        if group
    ]
    found = [_as_measured(dataset, group) for dataset, group in groups]
    if not any(one.references for one in found):
        raise UserError(f"nothing was measured of {listed(found[0].names)}; judge it: {found[0].note}")
    return found


def _by_length(names: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return the sets that are for as many epochs as a protocol has, and those with updates of their own.

    The latter, such as a curriculum, were measured after these, and stand in no table with the others.
    """
    curricula = [name for name in names if (own := _own(name)) is not None and own.get("protocol") is None]
    return [name for name in names if name not in curricula], curricula


def _own(name: str) -> Mapping[str, Any] | None:
    """Return how learners of a set were measured; None where nothing was."""
    if (file := shipped.results(name)) is None:
        return None
    found = [one for one in read_results(file)["teachers"] if one["teacher"].get("path") == name]
    return (found[0].get("learning") or None) if found else None


def _again(names: Sequence[str], dataset: str) -> str:
    """Return the command that judges sets anew as they were judged."""
    from gendistill.evaluation.protocols import protocol
    from gendistill.evaluation.settings import differing
    from gendistill.teacher.files import load

    own = next((own for name in names if (own := _own(name)) is not None), {})
    named = str(own.get("protocol") or "condensation-dsa")
    # Where the protocol was shortened or another learner judged, that is said, too.
    usual = protocol(named, load(shipped.folder(shipped.CHECKPOINTS) / f"{names[0]}.safetensors").description)
    how = ["--protocol", named]
    if own.get("epochs") not in (None, usual.epochs):
        how += ["--epochs", str(own["epochs"])]
    if own and differing([{"learning": {"learner": one}} for one in (own["learner"], usual.learner)]):
        how += ["--learner", json.dumps(own["learner"])]
    if own and own.get("protocol") is None:
        updates = ",".join(map(str, own["updates"]))
        how = ["--updates", updates, "--batch-size", str(own["batch_size"]), "--learner", json.dumps(own["learner"])]
    return typed("compare", *names, *how, "--dataset", dataset, "--data-root", "DIR")


def _as_measured(dataset: str, names: Sequence[str]) -> Shown:
    """Return what was measured of sets, and how to measure it again."""
    files = [str(file) for name in names if (file := shipped.results(name)) is not None]
    return Shown(names, files, _again(names, dataset))
