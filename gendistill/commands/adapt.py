"""``gendistill adapt``: measure how distilled images adapt networks that were trained on another data set."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.judge import add_data, load_data
from gendistill.commands.options import Options, add_json, positive
from gendistill.commands.output import hand_over, result_only
from gendistill.words import counted


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill adapt",
        description="Train networks on the data set that a teacher was made to adapt from, let them take its steps, "
        "and test them on the data set that it was made for: before, after, and after as many steps on random real "
        "images. A config with `source:` makes such a teacher; see docs/methods/dataset-distillation.md.",
    )
    options.add_argument("teacher", metavar="TEACHER", help="a run directory, or its teacher file")
    add_data(options)
    add = options.add_argument
    add("--source", metavar="NAME", help="the data set that networks are trained on: a public one, or a folder of "
        "images; None: the public one that the teacher names, if its files are there")  # fmt: skip
    add("--source-root", metavar="DIR", help="where the files of the data set that networks are trained on are; None: "
        "where --data-root says")  # fmt: skip
    add("--networks", type=positive, default=10, metavar="N", help="networks that distillation did not meet; a teacher "
        "for one known network is measured with that one")  # fmt: skip
    add("--split", default="test", metavar="NAME", help="real images to measure on: test, validation or train")
    add("--seed", type=int, default=0, metavar="N", help="draws the random real images")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    add("--output", metavar="FILE", help="write the result as JSON, too")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill adapt``."""
    given = parser().parse(argv)
    from gendistill.counter import Counter
    from gendistill.evaluation.adaptation import adaptation_report
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    with result_only(given.json):
        data = load_data(given, given.teacher).to(choose_device(given.device))
        result = adaptation_report(
            open_teacher(given.teacher, data),
            data,
            source=None if given.source is None else {"name": given.source},
            source_root=given.source_root or given.data_root,
            networks=given.networks,
            split=given.split,
            seed=given.seed,
            progress=Counter("networks on the source", "updates"),
        )
    return hand_over(result, text, as_json=given.json, output=given.output)


def text(result: Mapping[str, Any]) -> str:
    """Return the result as a table."""
    from gendistill.report.terminal import aligned

    steps, images = counted(result["updates"], "step"), counted(result["images"], "image")
    shown = {
        "before": (f"as trained on {result['source']}", "–"),
        "distilled": (f"{images}, {steps}", "its own"),
        "random real": (f"{images}, {steps}", f"{result['lr']:g}"),
    }
    lines = [["", "shown", "rate", "accuracy %"]]
    for name, measured in result["accuracy"].items():
        spread = "" if measured["std"] is None else f" ± {100 * measured['std']:.2f}"
        lines.append([name, *shown[name], f"{100 * measured['mean']:.2f}{spread}"])
    which = "the one known network" if result["known"] else counted(len(result["networks"]), "held-out network")
    head = f"{result['source']} -> {result['target']}, {result['split']} images, {which}"
    return "\n".join([head, "", *aligned(lines)])
