"""``gendistill condensation``: condensed batches beside their controls and the real batches, by three measures."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.judge import add_data, learner_spec, load_data
from gendistill.commands.keeping import keeping
from gendistill.commands.options import Options, add_json, positive, update_list
from gendistill.commands.output import hand_over, result_only
from gendistill.words import counted


def numbers(text: str) -> list[float]:
    """Read ``0,0.9``: numbers of at least 0."""
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or not all(0 <= number < float("inf") for number in found):
        raise argparse.ArgumentTypeError(f"'{text}' is not a list of numbers from 0 such as 0.01,0.1")
    return found


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill condensation",
        description="Measure condensed batches: do they give networks the gradients of the real batches, what do "
        "learners reach on them, and do hyper-parameters rank as they do on the real batches; beside a random half and "
        "other halves that cost nothing. docs/methods/batch-condensation.md tells how the numbers are to be read.",
    )
    options.add_argument("teacher", metavar="TEACHER", help="a run of BatchCondensationTrainer, or its teacher file")
    add_data(options)
    add = options.add_argument
    add("--controls", default="random,loss,herding,kcenter,mixup", metavar="A,B", help="halves to measure beside it")
    add("--features", default="pixels", metavar="NAME", help="where herding and k-center measure: pixels, classifier, "
        "inception or a dotted path")  # fmt: skip
    add(
        "--learner",
        metavar="SPEC",
        help="name, dotted path or {class_path: ..., init_args: ...}; None: the data set's own",
    )
    add("--ages", type=update_list, default="0,20,200", metavar="N,N", help="updates on real data of the networks in "
        "which gradients are compared")  # fmt: skip
    add("--networks", type=positive, default=2, metavar="N", help="networks of each age")
    add("--updates", type=positive, default=200, metavar="N", help="length of each training")
    add("--seeds", type=positive, default=3, metavar="N", help="learners of each training")
    add("--lr", type=numbers, default="0.01,0.03,0.1,0.3", metavar="X,X", help="learning rates to rank")
    add("--momentum", type=numbers, default="0,0.9", metavar="X,X", help="momenta to rank, every one with every rate")
    add("--weight-decay", type=numbers, default="0,0.005", metavar="X,X", help="weight decays to rank, likewise")
    add("--split", default="test", metavar="NAME", help="real images to measure on: test, validation or train")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    add("--seed", type=int, default=0, metavar="N", help="seed of the networks in which gradients are compared")
    add("--output", metavar="FILE", help="write the result as JSON, too")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill condensation``."""
    given = parser().parse(argv)
    with result_only(given.json), keeping(given.output):
        result = run(given)
    return hand_over(result, text, as_json=given.json, output=given.output)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Return the result of :func:`gendistill.evaluation.condensation_metrics.condensation_report`.

    Raises:
        UserError: A teacher that was not made by batch condensation, or an option out of range.
    """
    from gendistill.evaluation.condensation_metrics import condensation_report
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    data = load_data(given, given.teacher).to(choose_device(given.device))
    return condensation_report(
        open_teacher(given.teacher, data, seed=given.seed),
        data,
        learner=learner_spec(given.learner),
        controls=[name for name in given.controls.split(",") if name],
        features=given.features,
        ages=given.ages,
        networks=given.networks,
        updates=given.updates,
        seeds=given.seeds,
        grid={"lr": given.lr, "momentum": given.momentum, "weight_decay": given.weight_decay},
        split=given.split,
        seed=given.seed,
    )


def text(result: Mapping[str, Any]) -> str:
    """Return the result as a table."""
    from gendistill.report.terminal import aligned

    ages = list(result["teachers"]["condensed"]["gradient"])
    lines = [["batches", "images", *(f"cosine at {age}" for age in ages), "best accuracy", "Spearman", "its choice"]]
    for name, one in result["teachers"].items():
        gradient, ranked = one["gradient"], one["ranking"]
        correlation = None if ranked is None else ranked["all"]["spearman"]["value"]
        lines.append(
            [
                name,
                f"{one['images']:,}",
                *("-" if gradient is None else f"{gradient[age]['cosine']['mean']:.3f}" for age in ages),
                f"{100 * one['best']:.1f}",
                "-" if correlation is None else f"{correlation:.2f}",
                "-" if ranked is None else f"{100 * ranked['best']['top_1']:.1f}",
            ]
        )
    sizes, cost = " -> ".join(map(str, result["sizes"])), result["cost"]
    said = [
        f"{counted(result['batches'], 'batch', 'batches')}, {sizes} images; {counted(result['updates'], 'update')}, "
        f"{counted(result['seeds'], 'learner')}, {counted(len(result['settings']), 'way')} to train, "
        f"accuracy in % of the {result['split']} images",
        "",
        *aligned(lines),
        "",
        "cosine at N: of gradients with those of the real batch, in networks after N updates on real data",
        "its choice: accuracy on the real batches of the way to train that looks best on the smaller ones",
        f"made for {counted(cost['image_gradients'], 'gradient')} of one image, {cost['epochs_of_the_original']:,.0f} "
        f"epochs of the real batches; saved again after {cost['break_even_epochs']:,.0f} epochs of the condensed ones",
    ]
    return "\n".join(said)
