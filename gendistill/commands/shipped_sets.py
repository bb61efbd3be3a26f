"""What ``gendistill compare`` shows where no teacher is named: the sets that come with the project."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass

from gendistill import shipped
from gendistill.commands.judge import dataset_name
from gendistill.commands.output import read_results
from gendistill.errors import UserError
from gendistill.spelling import typed
from gendistill.words import listed

SHOWING = frozenset({"dataset", "json", "output", "report", "export", "rank_at"})
"""Options of ``compare`` that say which sets and where to put the table, and nothing of how they are judged."""


@dataclass(frozen=True)
class Shown:
    """Sets of one data set.

    Attributes:
        names: Of the sets.
        references: What ``compare`` takes for them: names, which are judged, or files of what was measured.
        note: How to judge them anew, where nothing is judged; else empty.
    """

    names: Sequence[str]
    references: Sequence[str]
    note: str = ""


def shown(given: argparse.Namespace) -> list[Shown]:
    """Return the sets to show, a data set at a time.

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
        return [Shown(names, names)]
    found = [_as_measured(dataset, names) for dataset, names in sorted(chosen.items())]
    if not any(one.references for one in found):
        raise UserError(f"nothing was measured of {listed(found[0].names)}; judge it: {found[0].note}")
    return found


def _as_measured(dataset: str, names: Sequence[str]) -> Shown:
    """Return what was measured of sets, and how to measure it again."""
    files = {name: str(file) for name in names if (file := shipped.results(name)) is not None}
    protocols = [
        (one.get("learning") or {}).get("protocol")
        for file in files.values()
        for one in read_results(file)["teachers"]
        if one["teacher"].get("path") in files
    ]
    protocol = ["--protocol", str(protocols[0])] if protocols and protocols[0] else ["--protocol", "condensation-dsa"]
    again = typed("compare", *names, *protocol, "--dataset", dataset, "--data-root", "DIR")
    return Shown(names, list(files.values()), again)
