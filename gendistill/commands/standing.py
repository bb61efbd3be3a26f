"""Where each replication stands: what its source says, what lies measured below a root, what is missing to run it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from gendistill.commands.measured import WITHIN, Results, below, by_id, changed
from gendistill.commands.replication import Replications
from gendistill.config.base import read_config
from gendistill.config.merge import at_scale
from gendistill.config.plan import Reported, is_real
from gendistill.evaluation.agreement import Agreement, agreements

AGREES, DISAGREES, UNDECIDED = "agrees", "disagrees", "too few runs"
SHOWN, OTHER, NOT, CANNOT = "nothing to compare", "runs on other data", "not measured", "cannot be run here"
TRIED, BEGUN = "runs at the scale smoke", "begun"
STATUSES = (AGREES, DISAGREES, UNDECIDED, OTHER, SHOWN, TRIED, BEGUN, NOT, CANNOT)
SCALES = ("paper", "two-cores", "mnist", "reduced", "smoke")
"""The nearest to a source first; of a replication that was run at several, the first is shown."""
NO_SOURCE = "runs that others show"


@dataclass(frozen=True)
class Standing:
    """Where one replication stands.

    Attributes:
        name: Its id.
        path: Its config.
        source: Such as ``Bradley 2020``.
        table: Such as ``Table 4.1``.
        said: What the source says; None: it is a run that others show.
        data: The data set of the source.
        results: What was measured nearest to the source; None: nothing.
        found: What of it can be held against the source.
        missing: What a run as published lacks on this machine, one sentence each.
        status: One of :data:`STATUSES`.
    """

    name: str
    path: str
    source: str
    table: str
    said: Reported | None
    data: str
    results: Results | None = None
    found: tuple[Agreement, ...] = ()
    missing: tuple[str, ...] = field(default=())
    status: str = NOT


def standings(known: Replications, roots: Sequence[Path] = (), recorded: Sequence[Results] = ()) -> list[Standing]:
    """Return all replications by source, table and id, those of one table in the order of their names.

    Args:
        known: Where they are; under its root results are looked for, whatever the scale.
        roots: Look under these instead; of equally near results that of the first is shown.
        recorded: Results of other machines, which come after them.
    """
    places = roots or [known.root]
    measured, begun = by_id([*below(places), *recorded]), _begun(places)
    found = [_standing(known, name, measured.get(name, []), name in begun) for name in known.ids()]
    return sorted(found, key=lambda one: (one.source == NO_SOURCE, one.source, natural(one.table), natural(one.name)))


def natural(name: str) -> tuple[tuple[bool, float, str], ...]:
    """Return a key by which ``Table 10`` comes after ``Table 9``."""
    parts: list[str] = []
    for letter in name:
        if parts and letter.isdigit() == parts[-1][-1].isdigit():
            parts[-1] += letter
        else:
            parts.append(letter)
    return tuple((part.isdigit(), float(part) if part.isdigit() and part.isascii() else 0.0, part) for part in parts)


def missing(config: Mapping[str, Any], said: Reported | None, root: str | None) -> tuple[str, ...]:
    """Return what a run as published lacks on this machine.

    Args:
        config: Of the published scale.
        said: What the source says.
        root: Where files of data sets are; None: the default place.
    """
    sentences = [] if said is None or said.lacks is None else [f"it lacks {said.lacks}"]
    trainer = (config.get("trainer") or {}).get("init_args") or {}
    for options, word in (
        (config.get("data"), "--data.root DIR"),
        (trainer.get("source"), "--trainer.source.root DIR"),
    ):
        given: Mapping[str, Any] = options if isinstance(options, Mapping) else {}
        name = given.get("name")
        if isinstance(name, str) and not _is_there(name, root or given.get("root")):
            how = word.replace("root DIR", "name folder:DIR") if name.startswith("folder:") else word
            sentences.append(f"the files of '{name}' are not there ({how})")
    if said is not None and said.gpu and not _gpu():
        sentences.append("the published settings take a GPU")
    return tuple(sentences)


def _standing(known: Replications, name: str, results: list[Results], begun: bool) -> Standing:
    replication = replace(known, scale=None).open(name)
    config = read_config(replication.path, known.read)
    scale = "paper" if "paper" in (config.get("scales") or {}) else None
    config = at_scale(config, scale, replication.path)
    said = replication.reported
    if said is not None and said.ahead:
        results = [one for one in results if WITHIN not in one]  # an order needs the rows that it is of
    source, _, table = said.source.partition(", ") if said else (NO_SOURCE, "", "")
    data = str((config.get("data") or {}).get("name") or "digits")
    root = next((value for option, value in reversed(known.overrides) if option == "--data.root"), None)
    # Judging real data needs no trainer, and so no source of networks.
    judged = config if not is_real(replication.plan.teacher) else {"data": config.get("data")}
    lacking = missing(judged, said, root)
    # The source's data first, then the nearest scale; of the same, what its config says before what was changed, and
    # more runs before fewer. That a row runs at all comes last, whatever the data.
    nearest = min(
        results,
        key=lambda one: (
            one["scale"] == "smoke",
            one["dataset"] != data,
            _rank(one["scale"]),
            bool(changed(one)),
            -len(one["seeds"]),
        ),
        default=None,
    )
    one = Standing(name, replication.path, source, table, said, data, nearest, (), lacking)
    if nearest is None:
        return replace(one, status=BEGUN if begun else CANNOT if lacking else NOT)
    if nearest["scale"] == "smoke":
        return replace(one, status=TRIED)
    if nearest["dataset"] != data or changed(nearest):
        return replace(one, status=OTHER)
    # What is said today, should the config have been mended since.
    rows = [dict(row) for row in nearest["replicated"]]
    rows[0]["reported"] = None if said is None else vars(said)
    found = tuple(agreements({**nearest, "replicated": rows}))
    return replace(one, found=found, status=status(found))


def status(found: tuple[Agreement, ...]) -> str:
    """Return the status of what was measured on the source's data."""
    if not found:
        return SHOWN
    told = [one.agrees for one in found]
    return DISAGREES if False in told else UNDECIDED if None in told else AGREES


def _begun(roots: Sequence[Path]) -> set[str]:
    """Return the ids of which a run lies below a root, at a scale that is not there for a try alone."""
    runs = (run for root in roots for run in (root / "replication").glob("*/*/*/seed-*/config.yaml"))
    return {run.parts[-3] for run in runs if run.parts[-5] != "smoke"}


def _rank(scale: str | None) -> int:
    return SCALES.index(scale) if scale in SCALES else len(SCALES) - 1


def _is_there(name: str, root: Any) -> bool:
    """Return whether the files of a data set are on this machine; nothing is downloaded."""
    from gendistill.data import sources, text
    from gendistill.data.load import FOLDER_PREFIX, default_root, known_name
    from gendistill.data.stacked import BASES

    name = known_name(name)
    place = Path(str(root)) if root else default_root()
    name = BASES.get(name, name)
    if name in sources.SOURCES:
        return sources.is_there(name, place)
    if name == "mhist":
        return any((one / "annotations.csv").is_file() for one in (place, place / "mhist", place / "MHIST"))
    if name in text.NAMES:
        return name != "text" or root is not None
    return not name.startswith(FOLDER_PREFIX) or Path(name.removeprefix(FOLDER_PREFIX)).is_dir()


def _gpu() -> bool:
    import torch

    return torch.cuda.is_available()
