"""``gendistill poison``: measure a poisoned teacher, beside an honest one and real data, and try to find it out."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.commands.judge import REFERENCES, add_data, learner_spec, load_data, short_name
from gendistill.commands.options import Options, add_json, positive, rate_list, update_list
from gendistill.commands.output import hand_over, result_only
from gendistill.errors import UserError
from gendistill.words import counted


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill poison",
        description="For research on defence: let victims learn from a poisoned teacher made here, measure what they "
        "mistake for what, and run the detectors. A config with `poison:` makes such a teacher; see "
        "docs/methods/poisoning.md.",
    )
    options.add_argument("teacher", metavar="TEACHER", help=REFERENCES)
    add = options.add_argument
    add("--attack", metavar="S:T", help="which class is to be taken for which, such as 7:1; None: what the teacher's "
        "metadata say")  # fmt: skip
    add("--control", metavar="TEACHER", help="the same teacher made without poison, measured beside it")
    add_data(options)
    add(
        "--learner",
        metavar="SPEC",
        help="name, dotted path or {class_path: ..., init_args: ...}; None: the teacher's own",
    )
    add("--updates", type=update_list, default="1,10,100", metavar="N,N", help="updates to measure after")
    add("--seeds", type=positive, default=5, metavar="N", help="number of victims, one seed each")
    add("--batch-size", type=positive, default=64, metavar="N", help="images an update; distilled ones have their own")
    add("--lr", type=rate_list, metavar="LR,LR", help="learning rates, 'grid' or 'teacher', the validation split "
        "chooses; None: the teacher's own where it learned some, else a grid")  # fmt: skip
    add("--victim", default="fresh", metavar="HOW", help="fresh learners, or trained: on the real data first")
    add("--victim-updates", type=positive, default=300, metavar="N", help="updates of that training")
    add("--split", default="test", metavar="NAME", help="real images to measure on: test, validation or train")
    add("--detect", action=argparse.BooleanOptionalAction, default=True, help="run the detectors")
    add("--clean-per-class", type=positive, default=10, metavar="N", help="clean images of each class for them")
    add("--device", default="auto", metavar="NAME", help="auto (a GPU if there is one), cpu, cuda or cuda:1")
    add("--seed", type=int, default=0, metavar="N", help="seed of random subsets and of the clean images")
    add("--output", metavar="FILE", help="write the result as JSON, too")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill poison``."""
    given = parser().parse(argv)
    with result_only(given.json):
        result = run(given)
    return hand_over(result, text, as_json=given.json, output=given.output)


def run(given: argparse.Namespace) -> dict[str, Any]:
    """Measure the teacher, its control and real data.

    Returns:
        ``attack`` and ``teachers``: by name, the result of :func:`gendistill.evaluation.poisoning.attack_report` and,
        under ``detectors``, that of :func:`gendistill.evaluation.detection.detect`.

    Raises:
        UserError: A teacher that was not made here, or one of whose poison nothing is known.
    """
    from gendistill.evaluation.detection import detect
    from gendistill.evaluation.poisoning import attack_report
    from gendistill.poison import Poison, require_made_here
    from gendistill.report.rows import REAL
    from gendistill.runs.device import choose_device
    from gendistill.teacher.reference import open_teacher

    data = load_data(given, given.teacher, *filter(None, [given.control])).to(choose_device(given.device))
    references = [given.teacher] + ([given.control] if given.control else [])
    teachers = {short_name(ref): require_made_here(open_teacher(ref, data, seed=given.seed), ref) for ref in references}
    if REAL in teachers:
        raise UserError(f"'{REAL}' is what the real images are called that stand beside; rename the teacher's file")
    if len(teachers) < len(references):
        raise UserError(f"teacher and control are both called '{short_name(given.control)}'; give different ones")
    first = teachers[short_name(given.teacher)]
    poison = Poison.of(given.attack, data.description) or Poison.noted(first, data.description)
    if poison is None:
        raise UserError(f"'{given.teacher}' is not said to be poisoned; name what to measure, such as --attack 7:1")
    teachers[REAL] = open_teacher(REAL, data)
    # The control and real data teach the learner that the poisoned teacher was made for, too.
    learner = learner_spec(given.learner) or first.noted_spec("learner")
    rates = given.lr
    options: dict[str, Any] = {
        "learner": learner,
        "updates": given.updates,
        "seeds": given.seeds,
        "batch_size": given.batch_size,
        "victim": given.victim,
        "victim_updates": given.victim_updates,
    }
    results = {}
    for name, teacher in teachers.items():
        lr = "grid" if teacher.learning_rates is None and rates == ["teacher"] else rates
        one = options | {"lr": lr[0] if isinstance(lr, list) and len(lr) == 1 else lr}
        results[name] = attack_report(teacher, data, poison, split=given.split, **one)
        if given.detect:
            found = detect(teacher, data, clean_per_class=given.clean_per_class, seed=given.seed, **one)
            results[name]["detectors"] = found
    return {"attack": f"{poison.source}:{poison.target}", "teachers": results}


def text(result: Mapping[str, Any]) -> str:
    """Return the result as tables."""
    from gendistill.evaluation.poisoning import SCORES
    from gendistill.report.terminal import aligned

    lines = [["teacher", "updates", *(name.replace("_", " ") for name in SCORES)]]
    found = [["teacher", "label check", "neighbour check", "least class", "taken for", "flagged"]]
    for name, one in result["teachers"].items():
        for place, count in enumerate(one["updates"]):
            cells = [_percent(one[score]["mean"][place], one[score]["std"][place]) for score in SCORES]
            lines.append([name if not place else "", f"{count:,}", *cells])
        if "detectors" in one:
            checks = one["detectors"]
            damage, suspect = checks["damage"], checks["damage"]["suspect"]
            found.append(
                [
                    name,
                    *(f"{100 * checks[check]['agreement']:.1f}" for check in ("label_check", "neighbour_check")),
                    f"{suspect['class']} ({100 * damage['accuracy'][suspect['class']]:.1f})",
                    f"{suspect['taken_for']} ({100 * suspect['share']:.1f})",
                    "yes" if damage["flagged"] else "no",
                ]
            )
    first = next(iter(result["teachers"].values()))
    victims = counted(len(first["seeds"]), f"{first['victim']} victim")
    seeds = victims if len(first["seeds"]) == 1 else f"mean ± std over {victims}"
    said = [f"attack {result['attack']}: in % of the {first['split']} images, {seeds}", "", *aligned(lines)]
    if first["initialisation"]:
        said += ["", f"first weights: {first['initialisation']}"]
    if len(found) > 1:
        images = first["detectors"]["damage"]["images"]
        clean = counted(images, "clean image")
        note = f"detectors in %: agreement of labels; accuracy of the least class on {clean} of each"
        said += ["", note, "", *aligned(found)]
    return "\n".join(said)


def _percent(mean: float, std: float | None) -> str:
    return f"{100 * mean:.1f}" + ("" if std is None else f" ± {100 * std:.1f}")
