"""``gendistill practise``: a generator that is asked, while a learner trains, for what that learner finds hard."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.judge import REFERENCES, add_data, learner_specs, load_data, short_name
from gendistill.commands.keeping import keeping
from gendistill.commands.options import Options, add_json, positive, rate_list
from gendistill.commands.output import hand_over, result_only
from gendistill.errors import UserError

OF_PLAN = (
    "updates", "batch_size", "first", "added", "patience", "look_every", "omega", "ascents", "candidates", "decay",
    "augment",
)  # fmt: skip


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill practise",
        description="Teach learners by deliberate practice: each begins with few images of a generator, and whenever "
        "it no longer gets better on the validation split, the generator makes more, where this learner is unsure. "
        "Beside it, at equal updates: as many random images, all of them from the start, new ones in every batch, and "
        "the teachers that are named further.",
    )
    add = options.add_argument
    add("generator", metavar="GENERATOR", help="a generator's file or run, such as digits-gan")
    add("others", metavar="TEACHER", nargs="*", help=f"what else to teach with: {REFERENCES}")
    add_data(options)
    practice = options.add_argument_group("practice")
    add = practice.add_argument
    add("--updates", type=positive, default=1000, metavar="N", help="of a learner, in all")
    add("--batch-size", type=positive, default=64, metavar="N", help="images an update")
    add("--first", type=positive, default=100, metavar="N", help="images that a learner begins with")
    add("--added", type=positive, default=100, metavar="N", help="images that are added at a time")
    add("--patience", type=positive, default=2, metavar="N", help="looks at the validation split without a better "
        "accuracy after which images are added")  # fmt: skip
    add("--look-every", type=positive, default=20, metavar="N", help="updates between two looks")
    add("--omega", type=float, default=0.1, metavar="X", help="length of a step along the entropy's gradient, as a "
        "part of the radius of the latents' sphere; 0: no guidance")  # fmt: skip
    add("--ascents", type=positive, default=5, metavar="N", help="steps of guidance")
    add("--candidates", type=positive, default=1, metavar="N", help="latents that are looked at for each image, of "
        "which the one of largest entropy is taken and guided")  # fmt: skip
    add("--decay", type=float, default=0.2, metavar="X", help="share of the updates at the end, in which the rate "
        "falls to 0 and nothing is added")  # fmt: skip
    add(
        "--augment",
        metavar="OPS",
        help="augmentation of all that is shown, such as dsa or crop_scale_rotate; None: none",
    )
    add("--lr", type=rate_list, default="0.03", metavar="LR,LR", help="learning rates, of which the validation split "
        "chooses, for each way of teaching; a teacher with learned ones is taught at those")  # fmt: skip
    add("--learner", metavar="SPEC", help="as for evaluate; None: the data set's own")
    add("--seeds", type=positive, default=5, metavar="N", help="number of learners of each way, one seed each")
    add("--seed", type=int, default=0, metavar="N", help="seed of random real images among the teachers")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    add("--output", metavar="FILE", help="write the result as JSON; learners that are done are kept beside it")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill practise``."""
    given = parser().parse(argv)
    names = [short_name(other) for other in given.others]
    from gendistill.counter import Counter
    from gendistill.evaluation.practice import WAYS, PracticePlan, practise
    from gendistill.nets.learners import learner_for
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    if twice := sorted({name for name in names if names.count(name) > 1 or name in WAYS}):
        raise UserError(f"two ways of teaching would be called '{twice[0]}'; name each teacher once, and none like "
                        f"{', '.join(WAYS)}")  # fmt: skip
    if any(isinstance(rate, str) for rate in given.lr):
        raise UserError("--lr takes numbers here, such as 0.01,0.03; a teacher with learned rates is taught at those")
    specs = learner_specs(given.learner)
    if len(specs) > 1:
        raise UserError("--learner takes one learner here; give the command once for each")
    with result_only(given.json), keeping(given.output):
        data = load_data(given, given.generator)
        device = choose_device(given.device)
        plan = PracticePlan(**{name: getattr(given, name) for name in OF_PLAN}, lr=given.lr[0])
        result = {"dataset": data.description.name, "generator": short_name(given.generator)} | practise(
            open_teacher(given.generator, data, seed=given.seed),
            data,
            plan,
            others={
                name: open_teacher(other, data, seed=given.seed)
                for name, other in zip(names, given.others, strict=True)
            },
            rates=given.lr,
            learner=learner_for(specs[0], data.description),
            seeds=given.seeds,
            device=device,
            progress=Counter("practice", "learners"),
        )
    return hand_over(result, text, as_json=given.json, output=given.output)


def text(result: Mapping[str, Any]) -> str:
    """Return the result as a table."""
    from gendistill.report.terminal import aligned

    rows = [["taught by", "images", "accuracy, %", "practice is ahead by", "rate", "CPU s"]]
    for name, way in result["ways"].items():
        accuracy, images = way["accuracy"], [count for count in way["images"] if count is not None]
        spread = "" if accuracy["std"] is None else f" ± {100 * accuracy['std']:.1f}"
        rows.append(
            [
                name,
                f"{sum(images) / len(images):,.0f}" if images else "new ones",
                f"{100 * accuracy['mean']:.1f}{spread}",
                _ahead(way.get("behind")),
                "its own" if way["rate"] is None else f"{way['rate']:g}",
                f"{way['cpu_seconds']:.1f}",
            ]
        )
    plan, seeds = result["plan"], result["seeds"]
    lines = [
        *aligned(rows),
        "",
        f"test accuracy after {plan['updates']:,} updates of {plan['batch_size']} images; ± is the standard deviation "
        f"of {len(seeds)} learners",
        "in brackets: 95 % intervals over all ways together, learners paired by seed; * where it leaves out 0",
        "random: as many images as practice took, at the same moments; at once: as many from the start",
    ]
    return "\n".join(lines)


def _ahead(behind: Mapping[str, Any] | None) -> str:
    if behind is None:
        return ""
    interval = "" if behind["low"] is None else f" ({100 * behind['low']:+.1f} to {100 * behind['high']:+.1f})"
    return f"{100 * behind['mean']:+.1f}{interval}{' *' if behind['decided'] else ''}"
