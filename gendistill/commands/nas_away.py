"""Stages of a search of architectures as units for other machines; a part of the results' file goes and comes."""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path

from gendistill.commands.cluster import Crew
from gendistill.commands.compare_away import TEACHER, file_of, is_by_name
from gendistill.commands.judge import short_name
from gendistill.commands.nas import TRUTHS, Search, opened, parser
from gendistill.commands.options import words_of
from gendistill.commands.output import to_json
from gendistill.commands.unit import PLACE, Unit
from gendistill.errors import GendistillError, UserError
from gendistill.json_file import Each, Is, Keys, read_json, text
from gendistill.nas.ledger import Ledger
from gendistill.nas.study import STAGES
from gendistill.regular import expanded

OWN = ("output", "fresh", "found", "config", "json", "budget", "truth", "data_root", "help")
JOB, LEDGER, TABLE = "job.json", "out/architectures.json", "truth.csv"
SHARES = 4
"""Units a worker, so that a slow one holds up little."""
SHAPE = Keys(
    required={
        "words": Each(Is(text, "text")),
        "stage": Is(lambda value: value in STAGES, "a stage"),
        "names": Each(Is(text, "text")),
    }
)


class StagesAway:
    """Lets a cluster do the stages of a search; see :class:`gendistill.nas.study.Away`.

    Args:
        crew: The workers.
        given: The options of ``nas``.
        search: What they describe.
    """

    def __init__(self, crew: Crew, given: argparse.Namespace, search: Search) -> None:
        self.crew, self.given, self.search = crew, given, search

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
        files, word = dict(self._sent), self.given.teacher
        if not is_by_name(word):
            word = f"{PLACE}/{short_name(word)}/{TEACHER}"
        words = [*words_of(parser(), self.given, OWN), f"--output={PLACE}/out"]
        if (root := self.crew.cluster.data_root or self.given.data_root) is not None:
            words.append(f"--data-root={root}")
        words.append(f"--truth={self.given.truth if self.given.truth in TRUTHS else f'{PLACE}/{TABLE}'}")
        files[JOB] = to_json({"words": [word, *words], "stage": stage, "names": names}).encode()
        files[LEDGER] = ledger.sent(names)
        return Unit(f"{stage} {number}", ("nas-part", PLACE), files, (LEDGER,))

    @cached_property
    def _sent(self) -> dict[str, bytes]:
        """The teacher's file, and that of a table."""
        teacher, truth = self.given.teacher, self.given.truth
        files = {}
        if not is_by_name(teacher):
            files[f"{short_name(teacher)}/{TEACHER}"] = file_of(teacher, self.search.teacher)
        if truth not in TRUTHS:
            files[TABLE] = expanded(truth).read_bytes()
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


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill nas-part FOLDER``: a stage of a search that another machine asks for."""
    if len(argv) != 1:
        raise UserError("gendistill nas-part takes a folder with job.json")
    folder = Path(argv[0])
    job = read_json(folder / JOB, SHAPE)
    given = parser().parse([word.replace(PLACE, str(folder)) for word in job["words"]])
    with opened(given) as search:
        study, names = search.study, job["names"]
        study.prepare()
        if job["stage"] == "score":
            # The first training of a process pays for what is loaded then, and seconds are compared.
            study.proxies[0].score(names[0], {})
            study.score(names)
            if given.baselines:
                # Here, for one of them trains for as long as the score took on this machine.
                study.baselines(names)
        elif job["stage"] == "baselines":
            study.baselines(names)
        elif job["stage"] == "truth":
            study.train(names, search.truth)
    return 0
