"""``gendistill compare``: judge several teachers alike and rank them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.baselines import OF_CONDENSED_SETS, baselines
from gendistill.commands.judge import (
    REFERENCES,
    add_data,
    add_judging,
    dataset_name,
    judge,
    learning_options,
    load_data,
    short_name,
)
from gendistill.commands.options import Options, add_json
from gendistill.commands.output import hand_over, read_results, result_only
from gendistill.commands.report import pictures_of
from gendistill.errors import UserError

if TYPE_CHECKING:
    from gendistill.data.real import RealData


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill compare",
        description="Judge several teachers with the same learners, seeds and budgets, and rank them by test accuracy.",
    )
    options.add_argument(
        "teachers", metavar="TEACHER", nargs="+",
        help=f"{REFERENCES}, a results.json of an earlier evaluation; NAME=TEACHER gives it a name",
    )  # fmt: skip
    add_data(options)
    options.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=None, help="also judge as many "
                         "real images of each class as the teachers store: random ones, herding and k-center; None: "
                         f"with a protocol of condensed sets ({', '.join(OF_CONDENSED_SETS)})")  # fmt: skip
    options.add_argument("--ablate-rates", action="store_true", help="beside each teacher that learned learning rates "
                         "also judge its images at grid rates, and real images at its rates")  # fmt: skip
    options.add_argument("--rank-at", type=int, metavar="N", help="updates to rank at; None: the largest number")
    options.add_argument("--output", metavar="FILE", help='write {"teachers": [...]} to this JSON file')
    options.add_argument("--report", metavar="FILE", help="write a self-contained HTML report to this file")
    add_json(options)
    add_judging(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill compare``."""
    given = parser().parse(argv)
    from gendistill.report.terminal import text_table

    with result_only(given.json):
        found, data = judge_all(given)
        results = {"teachers": rank(found, given.rank_at)}
    return hand_over(
        results,
        text_table,
        as_json=given.json,
        output=given.output,
        report=given.report,
        pictures=lambda: pictures_of(results, given.data_root, data),
    )


def judge_all(given: argparse.Namespace) -> tuple[list[dict[str, Any]], RealData | None]:
    """Judge or read every teacher, in the order given.

    Returns:
        The results, and the real data unless all results were read.

    Raises:
        UserError: A teacher cannot be opened, or earlier results are of another data set.
    """
    from gendistill.evaluation.ablation import judge_ablations
    from gendistill.teacher.reference import open_teacher

    named = [named_reference(word) for word in given.teachers]
    data = None
    opened: list[Any] = []
    # Everything is opened before anything is trained: a misspelt last teacher shall not cost an hour.
    for name, reference in named:
        if reference.endswith(".json"):
            opened.append(_earlier(name, reference, dataset_name(given.dataset)))
            continue
        data = data or load_data(given)
        opened.append(open_teacher(reference, data, seed=given.seed))
    if given.baselines or (given.baselines is None and given.protocol in OF_CONDENSED_SETS):
        known = [reference for _, reference in named]
        # All real images are no choice of some, and earlier results are no teachers any more.
        pairs = zip(known, opened, strict=True)
        stored = [one for word, one in pairs if word != "real" and not isinstance(one, list)]
        wanted = baselines(stored, data) if data is not None else []
        if given.baselines and not wanted:
            raise UserError(
                "--baselines needs a teacher with as many stored images of every class, and no more than there are "
                "real ones; none of these has them"
            )
        for reference in wanted:
            if reference not in known:
                assert data is not None
                named.append((None, reference))
                opened.append(open_teacher(reference, data, seed=given.seed))
    if given.ablate_rates and all(isinstance(one, list) or one.learning_rates is None for one in opened):
        raise UserError("--ablate-rates needs a teacher that learned learning rates with its images; none of these did")
    found: list[dict[str, Any]] = []
    for (name, reference), teacher in zip(named, opened, strict=True):
        if isinstance(teacher, list):
            found += teacher
            continue
        assert data is not None
        print(f"judging {reference}", file=sys.stderr)
        name = name or short_name(reference)
        found.append(judge(teacher, data, given, reference, name))
        if given.ablate_rates:
            found += judge_ablations(name, teacher, data, learning_options(given), path=reference)
    _tell_apart(found)
    return found, data


def named_reference(word: str) -> tuple[str | None, str]:
    """Take ``NAME=TEACHER`` apart; ``real:subset=100`` and paths with ``=`` have no name."""
    match = re.match(r"^([\w-]+)=(.+)$", word)
    return (match[1], match[2]) if match else (None, word)


def rank(results: list[dict[str, Any]], updates: int | None) -> list[dict[str, Any]]:
    """Sort results by mean accuracy after a number of updates, the best first.

    Args:
        results: Evaluations.
        updates: The number of updates; ``None`` takes the largest that each was measured at.

    Raises:
        UserError: Nothing was measured at that number.
    """
    from gendistill.report.rows import row

    table = [row(result) for result in results]
    if updates is not None and not any(updates in one.scores for one in table):
        measured = sorted({count for one in table for count in one.scores})
        raise UserError(f"--rank-at is {updates}, but accuracy was measured at {', '.join(map(str, measured))} updates")

    def score(place: int) -> float:
        scores = table[place].scores
        at = updates if updates is not None else max(scores, default=0)
        return -scores[at].mean if at in scores else 1.0

    return [results[place] for place in sorted(range(len(results)), key=score)]


def _earlier(name: str | None, reference: str, dataset: str) -> list[dict[str, Any]]:
    found = read_results(reference)["teachers"]
    for one in found:
        if one.get("dataset") not in (None, dataset):
            raise UserError(f"{reference} was measured on '{one['dataset']}', the comparison is on '{dataset}'")
    if name is not None:
        found = [{**one, "name": name} for one in found]
    return [{"name": short_name(str(one["teacher"].get("path", Path(reference).stem))), **one} for one in found]


def _tell_apart(results: list[dict[str, Any]]) -> None:
    """Number the names that occur more than once."""
    seen: dict[str, int] = {}
    for one in results:
        name = str(one["name"])
        seen[name] = seen.get(name, 0) + 1
        if seen[name] > 1:
            one["name"] = f"{name} ({seen[name]})"
