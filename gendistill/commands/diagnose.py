"""``gendistill diagnose``: has a generator collapsed, and how?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.judge import REFERENCES, add_data, load_data, short_name
from gendistill.commands.options import Options, add_json, positive
from gendistill.commands.output import hand_over, result_only


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill diagnose",
        description="Look for what goes wrong with generators: collapse, missing classes, images that repeat each "
        "other or training images. Every number stands beside that of as many real images that it never saw.",
    )
    options.add_argument("teacher", metavar="GENERATOR", help=f"a generator, or any teacher: {REFERENCES}")
    add_data(options)
    options.add_argument("--count", type=positive, metavar="N", help="images that are looked at; None: as many as "
                         "there are test images, at most 2,000")  # fmt: skip
    options.add_argument("--seed", type=int, default=0, help="seed of the draws")
    options.add_argument("--device", help="where networks run; None: a GPU if there is one")
    options.add_argument("--output", metavar="FILE", help="write the result to this JSON file")
    options.add_argument("--page", metavar="FILE", help="write a page with the pictures to this HTML file")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill diagnose``."""
    given = parser().parse(argv)
    from gendistill.evaluation.diagnosis import diagnose
    from gendistill.evaluation.private_teachers import notes
    from gendistill.report.diagnosis import write_page
    from gendistill.runs.device import choose_device
    from gendistill.runs.discriminators import discriminators
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given, given.teacher)
        teacher = open_teacher(given.teacher, data, seed=given.seed)
        device = choose_device(given.device or "auto")
        judges = discriminators(given.teacher, data.description, device)
        result, pictures = diagnose(teacher, data, count=given.count, seed=given.seed, device=device, judges=judges)
        result = {"name": short_name(given.teacher), "dataset": data.description.name} | result
        result["notes"] = notes(teacher)
        if given.page:
            write_page(result, pictures, given.page)
    return hand_over(result, lambda found: text(found, given.page), as_json=given.json, output=given.output)


def text(result: Mapping[str, Any], page: str | None = None) -> str:
    """Return the result as sentences and a table of the classes."""
    from gendistill.report.diagnosis import class_cells
    from gendistill.report.terminal import aligned

    lines = [f"{result['name']}: {result['verdict']}", ""]
    for finding in result["findings"]:
        lines.append(f"{'!' if finding['wrong'] else ' '} {finding['sentence']}")
        if finding["wrong"]:
            lines.append(f"  what to try: {finding['advice']}")
    lines += ["", *aligned(class_cells(result)), *(f"note: {sentence}" for sentence in result["notes"])]
    return "\n".join([*lines, *([f"page     {page}"] if page else [])])
