"""``gendistill verify``: does a published set give the published number, and if not, why?"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from gendistill.commands.import_teacher import LABELS, OF_THE_FILE, add_reading
from gendistill.commands.judge import add_data, add_learning, load_data, named_learning, running
from gendistill.commands.keeping import keeping
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import hand_over, result_only
from gendistill.errors import UserError

BUDGETS = ("auto", "none", "quick", "all")
"""Those of gendistill.evaluation.verify, named here so that --help need not wait for torch."""
KEPT = ("seeds", "split", "device")
"""Options of learning that are no protocol's."""


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill verify",
        description="Judge a published set of images by its own protocol with several learners, say whether it agrees "
        "with what is claimed, and try the usual suspects where it does not: what the labels and the images' numbers "
        "are, the learned rate, augmentation, the learner. Reads what gendistill import reads, or any teacher.",
    )
    options.add_argument("source", metavar="FILE", help="the file, a folder that holds one result, or a teacher")
    add_data(options)
    options.reword("--whitening", OF_THE_FILE)
    claim = options.add_argument_group("the claim")
    claim.add_argument("--claim", metavar="PERCENT", help="the published accuracy, such as 66.8 or 66.8±0.4; None: "
                       "nothing is claimed")  # fmt: skip
    claim.add_argument("--claim-std", type=float, metavar="POINTS", help="its ±, where --claim has none")
    claim.add_argument("--claim-runs", type=int, metavar="N", help="results behind its ±; None: not known, so that "
                       "the one at hand may lie that far from it")  # fmt: skip
    claim.add_argument("--margin", type=float, default=1.0, metavar="POINTS", help="accuracies this near are the same")
    claim.add_argument("--suspects", choices=BUDGETS, default="auto", help="none; quick: what most often is the "
                       "reason; all: everything known here, and once more from the best; auto: quick where the result "
                       "does not agree with the claim")  # fmt: skip
    add_reading(options.add_argument_group("how the file is read"), (*LABELS, "hard"))
    group = add_learning(options, labels=False)
    group.title = "learning: what is left out is the protocol's; without --protocol that of the file's form"
    options.set_defaults(**{action.dest: None for action in group._group_actions if action.dest not in KEPT})
    options.add_argument("--output", metavar="FILE", help="write the result to this JSON file")
    add_json(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill verify``."""
    given = parser().parse(argv)
    from gendistill.data.whitening import EPSILON
    from gendistill.evaluation.reading import Reading
    from gendistill.evaluation.verification import Claim
    from gendistill.evaluation.verify import verify

    # Of the file's values, as with import; learners are shown what the file is made for.
    epsilon, given.whitening = None if given.whitening == "none" else given.whitening, None
    hard = given.labels == "hard"
    learning = {name: value for name, value in named_learning(given).items() if name in (given.explicit | {*KEPT})}
    learning |= running(given) | {"labels": "hard" if hard else "given"}
    if given.claim is None and (given.claim_std is not None or given.claim_runs is not None):
        raise UserError("--claim-std and --claim-runs belong to a claim; give --claim, too")
    claim = None if given.claim is None else Claim.parse(given.claim, given.claim_std, given.claim_runs)
    with result_only(given.json), keeping(given.output):
        result = verify(
            given.source,
            load_data(given, given.source, without=("whitening",)),
            protocol=given.protocol,
            learning=learning,
            reading=Reading(
                given.format,
                given.values,
                "auto" if hard else given.labels,
                EPSILON if epsilon is None else epsilon,
                given.experiment,
                given.learning_rate,
                factor=given.factor,
            ),
            claim=claim,
            margin=given.margin / 100,
            suspects=given.suspects,
            tell=partial(print, file=sys.stderr, flush=True),
        )
    return hand_over(result, text, as_json=given.json, output=given.output)


def text(result: Mapping[str, Any]) -> str:
    """Return the result as words and a table of the suspects."""
    from gendistill.evaluation.verification import signed
    from gendistill.report.terminal import aligned

    protocol = result["protocol"]
    lines = [f"read       {word}" for word in result["understood"]]
    lines += [f"protocol   {protocol['name'] or 'none'}: {protocol['words']}", result["sentence"]]
    tried = [one for one in result["suspects"] if one["skipped"] is None]
    if tried:
        rows = [["suspect", "accuracy %", "points", "95 % interval", "learners"]]
        aim, whole = (result["claim"] or {"accuracy": 1.0})["accuracy"], len(result["learning"]["seeds"])
        for one in sorted(tried, key=lambda one: (one["round"], abs(one["mean"] - aim))):
            after = "" if one["round"] == 1 else "then "
            interval = f"{signed(one['low'])} to {signed(one['high'])}" if len(one["runs"]) == whole else "–"
            cells = [f"{100 * one['mean']:.1f}", signed(one["move"]), interval, str(len(one["runs"]))]
            rows.append([after + one["words"], *cells])
        lines += ["", *aligned(rows)]
    left_out = len(result["suspects"]) - len(tried)
    if left_out:
        lines.append(f"{left_out} more cannot be of this file, or would be the same as one above")
    return "\n".join([*lines, *([""] if tried else []), *filter(None, (result["finding"], result["note"]))])
