"""Stages of a search of architectures as units for other machines; a part of the results' file goes and comes."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from gendistill.commands.cluster import Crew
from gendistill.commands.compare_away import TEACHER, data_there, file_of, is_by_name
from gendistill.commands.judge import OF_DATA, short_name
from gendistill.commands.output import to_json
from gendistill.commands.unit import PLACE, Unit
from gendistill.data.real import RealData
from gendistill.errors import GendistillError, UserError
from gendistill.nas.ledger import Ledger
from gendistill.teacher import Teacher

OWN = ("output", "fresh", "found", "config", "json", "budget", "help", "dataset", "data_root", *OF_DATA)
JOB, LEDGER, TABLE = "job.json", "out/architectures.json", "truth.csv"
SHARES = 4
"""Units a worker, so that a slow one holds up little."""


class StagesAway:
    """Lets a cluster do the stages of a search; see :class:`gendistill.nas.study.Away`.

    Args:
        crew: The workers.
        words: The options of ``nas`` but for :data:`OWN`.
        named: How the teacher was named.
        teacher: It.
        data: The real data.
        table: File of true accuracies; None: they are trained.
    """

    def __init__(
        self, crew: Crew, words: Sequence[str], named: str, teacher: Teacher, data: RealData, table: Path | None
    ) -> None:
        self.crew, self.words, self.named, self.teacher, self.table = crew, words, named, teacher, table
        self.data = data

    @cached_property
    def slots(self) -> int:
        """How many architectures are looked at at once."""
        return self.crew.slots()

    def __call__(self, stage: str, names: Sequence[str], ledger: Ledger) -> None:
        """Do a stage for architectures, and put into the ledger what came of it."""
        count = max(1, min(len(names), SHARES * self.slots))
        shares = [list(names[place::count]) for place in range(count)]
        units = [self._unit(stage, share, number, ledger) for number, share in enumerate(shares, 1)]
        known = {unit.digest: share for unit, share in zip(units, shares, strict=True)}
        self.crew.run(units, lambda unit, files: self._take(unit, files, known[unit.digest], ledger))

    def _unit(self, stage: str, names: list[str], number: int, ledger: Ledger) -> Unit:
        files, word = dict(self._sent), self.named
        if not is_by_name(word):
            word = f"{PLACE}/{short_name(word)}/{TEACHER}"
        words = [*self.words, f"--output={PLACE}/out"]
        words += [] if self.table is None else [f"--truth={PLACE}/{TABLE}"]
        words += data_there(self.data, self.crew.cluster.data_root)
        files[JOB] = to_json({"words": [word, *words], "stage": stage, "names": names}).encode()
        files[LEDGER] = ledger.sent(names)
        return Unit(f"{stage} {number}", ("nas-part", PLACE), files, (LEDGER,))

    @cached_property
    def _sent(self) -> dict[str, bytes]:
        """The teacher's file, and that of a table."""
        files = {} if self.table is None else {TABLE: self.table.read_bytes()}
        if not is_by_name(self.named):
            files[f"{short_name(self.named)}/{TEACHER}"] = file_of(self.named, self.teacher)
        return files

    def _take(self, unit: Unit, files: Mapping[str, bytes], names: Sequence[str], ledger: Ledger) -> None:
        with tempfile.TemporaryDirectory(prefix="gendistill-arrived-") as scratch:
            path = Path(scratch) / "architectures.json"
            path.write_bytes(files.get(LEDGER, b""))
            try:
                found = Ledger(path, ledger.content["settings"], data=ledger.content["data"])
            except UserError as error:
                raise GendistillError(f"what came back of {unit.name} is of another search: {error}") from error
        ledger.take(found, names)
