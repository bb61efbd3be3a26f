"""``gendistill trainers``: how teachers can be made, one line a trainer, with the page that tells the rest."""

from __future__ import annotations

from collections.abc import Sequence

from gendistill.commands.options import Options, add_json
from gendistill.commands.output import to_json
from gendistill.sources import trainers


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill trainers",
        description="List the trainers of the project: the dotted path that --trainer and a config's class_path take "
        "(the name alone does, too), what it does, and its page in the docs. gendistill train --trainer NAME --help "
        "shows a trainer's options.",
    )
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill trainers``."""
    given = parser().parse(argv)
    found = trainers()
    if given.json:
        print(to_json({"trainers": {one.path: {"does": one.summary, "page": one.page} for one in found}}))
        return 0
    width, pages = max(len(one.path) for one in found), max(len(one.page or "") for one in found)
    for one in found:
        print(f"{one.path:<{width}}  {one.page or '':<{pages}}  {one.summary}")
    return 0
