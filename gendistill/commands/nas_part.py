"""``gendistill nas-part FOLDER``: a stage of a search that another machine asks for; no command for a person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gendistill.commands.nas import opened, parser
from gendistill.commands.nas_away import JOB
from gendistill.commands.unit import PLACE
from gendistill.errors import UserError
from gendistill.json_file import Each, Is, Keys, read_json, text
from gendistill.nas.study import STAGES

SHAPE = Keys(
    required={
        "words": Each(Is(text, "text")),
        "stage": Is(lambda value: value in STAGES, "a stage"),
        "names": Each(Is(text, "text")),
    }
)


def main(argv: Sequence[str]) -> int:
    """Do what ``job.json`` of a folder says; what comes of it is in the search's file there."""
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
