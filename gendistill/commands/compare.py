"""``gendistill compare``: judge several teachers alike and rank them."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gendistill.commands.baselines import OF_CONDENSED_SETS, baselines
from gendistill.commands.cluster import add_cluster, cluster_of_namespace, crew
from gendistill.commands.judge import (
    REFERENCES,
    add_data,
    add_judging,
    data_given,
    dataset_name,
    judge,
    learning_options,
    load_data,
    running,
    short_name,
)
from gendistill.commands.keeping import keeping
from gendistill.commands.options import Options, add_json, positive, words_of
from gendistill.commands.output import hand_over, read_results, result_only
from gendistill.commands.report import pictures_of
from gendistill.commands.shipped_sets import shown
from gendistill.errors import UserError
from gendistill.words import counted

if TYPE_CHECKING:
    from gendistill.commands.cluster import Cluster, Crew
    from gendistill.data.real import RealData
    from gendistill.report.rows import Score


def parser() -> Options:
    """Return the command's options."""
    options = Options(
        prog="gendistill compare",
        description="Judge several teachers with the same learners, seeds and budgets, rank them by accuracy, and say "
        "which are ahead of all real data. docs/evaluation-comparing.md has the rule. Without a teacher: the sets that "
        "come with the project, as they were measured, or judged anew where an option says how.",
    )
    options.add_argument(
        "teachers", metavar="TEACHER", nargs="*",
        help=f"{REFERENCES}, a results.json of an earlier evaluation; NAME=TEACHER gives it a name; none: the sets "
        "that come with the project",
    )  # fmt: skip
    add_data(options)
    options.add_argument("--baselines", action=argparse.BooleanOptionalAction, default=None, help="also judge as many "
                         "real images of each class as the teachers store: random ones, herding and k-center, of a "
                         "teacher with a labeller also with its labels; None: "
                         f"with a protocol of condensed sets ({', '.join(OF_CONDENSED_SETS)})")  # fmt: skip
    options.add_argument("--ablate-rates", action="store_true", help="beside each teacher that learned learning rates "
                         "also judge its images at grid rates, and real images at its rates")  # fmt: skip
    options.add_argument("--rank-at", type=positive, metavar="N", help="the one number of updates that counts, chosen "
                         "before anything is measured: teachers are ranked and held against real data there alone, "
                         "which takes fewer comparisons; None: rank at the largest that all share, and compare at "
                         "every one")  # fmt: skip
    options.add_argument("--output", metavar="FILE", help='write {"teachers": [...]} to this JSON file')
    options.add_argument("--report", metavar="FILE", help="write a self-contained HTML report to this file")
    options.add_argument("--export", metavar="DIR", help="write the report's figures as SVG and PDF and its tables as "
                         "CSV and LaTeX into this folder, for a paper")  # fmt: skip
    add_json(options)
    add_judging(options)
    add_cluster(options)
    return options


def main(argv: Sequence[str]) -> int:
    """Run ``gendistill compare``."""
    given = parser().parse(argv)
    cluster = cluster_of_namespace(given)
    if given.teachers:
        return _compare(given, cluster)
    code = 0
    for place, one in enumerate(shown(given)):
        if place:
            print()
        given.teachers = list(one.references)
        if one.references:
            code = _compare(given, cluster, named=one.names) or code
        if one.note:
            sys.stdout.flush()  # the note belongs below what was printed, also where both go to one pipe
            print(f"judge anew: {one.note}", file=sys.stderr)
    return code


def _compare(given: argparse.Namespace, cluster: Cluster | None, *, named: Sequence[str] = ()) -> int:
    """Judge the teachers given and hand over what was found.

    Args:
        given: The command's options.
        cluster: Other machines that do it; None: it is done here.
        named: Teachers of files that a person has named beside those given.
    """
    from gendistill.report.terminal import text_table

    with result_only(given.json), keeping(given.output or given.report), crew(cluster) as workers:
        found, data = judge_all(given, workers)
        results: dict[str, Any] = {"teachers": rank(found, given.rank_at), "notes": rank_notes(found, given.rank_at)}
        if given.rank_at is not None:
            results["rank_at"] = given.rank_at
    typed = [*named, *(reference for _, reference in map(named_reference, given.teachers))]
    return hand_over(
        results,
        text_table,
        as_json=given.json,
        output=given.output,
        report=given.report,
        export=given.export,
        pictures=lambda: pictures_of(results, "the results", data_given(given), data, named=typed),
    )


def judge_all(given: argparse.Namespace, workers: Crew | None = None) -> tuple[list[dict[str, Any]], RealData | None]:
    """Judge or read every teacher, in the order given.

    Args:
        given: The command's options.
        workers: Those of a cluster, who do it; None: it is done here.

    Returns:
        The results, and the real data unless all results were read.

    Raises:
        UserError: A teacher cannot be opened, earlier results are of another data set, or nothing is measured at
            ``--rank-at``.
    """
    from gendistill.evaluation.ablation import judge_ablations
    from gendistill.evaluation.fidelity import common_count
    from gendistill.report.rows import told_apart
    from gendistill.teacher.reference import open_teacher
    from gendistill.teacher.subset import is_everything

    named = [named_reference(word) for word in given.teachers]
    _require_different([name for name, _ in named if name is not None])
    data: RealData | None = None
    opened: list[Any] = []
    # Everything is opened before anything is trained: a misspelt last teacher shall not cost an hour.
    for name, reference in named:
        opened.append(_earlier(name, reference) if reference.endswith(".json") else reference)
    teachers = [one for one in opened if isinstance(one, str)]
    earlier = [
        (reference, one) for (_, reference), found in zip(named, opened, strict=True) if isinstance(found, list)
        for one in found
    ]  # fmt: skip
    if teachers:
        data = load_data(given, *teachers, results=earlier)
        opened = [open_teacher(one, data, seed=given.seed) if isinstance(one, str) else one for one in opened]
    _check_same_data(given, earlier, data)
    if given.baselines or (given.baselines is None and given.protocol in OF_CONDENSED_SETS):
        known = [reference for _, reference in named]
        # All real images are no choice of some, and earlier results are no teachers any more.
        stored = [
            (reference, one) for (_, reference), one in zip(named, opened, strict=True) if not isinstance(one, list)
        ]
        wanted = (
            [] if data is None else baselines([(a, b) for a, b in stored if not is_everything(b, data.train)], data)
        )
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
    _check_rank_at(given, opened)
    if data is not None:
        _warn(opened, [reference for _, reference in named], given, data)
    count = given.count
    if count is None and given.fidelity and data is not None:
        # Distances of different numbers of images cannot be compared.
        count = common_count([one for one in opened if not isinstance(one, list)], data)
    found: list[dict[str, Any]] = []
    away: list[list[dict[str, Any]]] = []
    if workers is not None and data is not None:
        from gendistill.commands.compare_away import OWN, judge_away

        asked = [
            (name or short_name(reference), reference, one)
            for (name, reference), one in zip(named, opened, strict=True)
            if not isinstance(one, list)
        ]
        words = words_of(parser(), given, OWN)
        away = judge_away(workers, words, given.ablate_rates, asked, data, count)
    for (name, reference), teacher in zip(named, opened, strict=True):
        if isinstance(teacher, list):
            found += teacher
            continue
        if away:
            found += [one | {"command": given.command} for one in away.pop(0)]
            continue
        assert data is not None
        print(f"judging {reference}", file=sys.stderr)
        name = name or short_name(reference)
        ours = [judge(teacher, data, given, reference, name, count=count)]
        if given.ablate_rates:
            learning = learning_options(given) | running(given)
            ours += judge_ablations(name, teacher, data, learning, path=reference)
        # Earlier results keep the command that measured them.
        found += [one | {"command": given.command} for one in ours]
    for one, distinct in zip(found, told_apart([str(one["name"]) for one in found]), strict=True):
        one["name"] = distinct
    return found, data


def named_reference(word: str) -> tuple[str | None, str]:
    """Take ``NAME=TEACHER`` apart; ``real:subset=100`` and paths with ``=`` have no name."""
    match = re.match(r"^([\w-]+)=(.+)$", word)
    return (match[1], match[2]) if match else (None, word)


def _require_different(names: Sequence[str]) -> None:
    """Refuse one name for two teachers, which nobody could tell apart in a table."""
    if twice := [name for place, name in enumerate(names) if name in names[:place]]:
        raise UserError(f"two teachers are called '{twice[0]}'; give each NAME=TEACHER a name of its own")


def rank(results: list[dict[str, Any]], updates: int | None) -> list[dict[str, Any]]:
    """Sort results by mean accuracy after one number of updates, the same for all, the best first.

    Args:
        results: Evaluations.
        updates: The number of updates; ``None`` takes the largest that all were measured at.

    Returns:
        The results; in the order given where there is no such number, and where they were measured under different
        settings. Those that were not measured at the number come last.

    Raises:
        UserError: Nothing was measured at that number, or something has not the form of results.
    """
    from gendistill.report.rows import row

    at, _ = _ranked_at(results, updates)
    if at is None:
        return results
    scores = [row(result).scores for result in results]
    return [results[place] for place in sorted(range(len(results)), key=lambda place: _rank(scores[place], at))]


def _rank(scores: Mapping[int, Score], at: int) -> float:
    return -scores[at].mean if at in scores else 1.0


def rank_notes(results: list[dict[str, Any]], updates: int | None) -> list[str]:
    """Return :func:`rank_words` where there is anything to put in order."""
    return [rank_words(results, updates)] if len(results) > 1 else []


def rank_words(results: list[dict[str, Any]], updates: int | None) -> str:
    """Say how :func:`rank` has put results in order."""
    at, why = _ranked_at(results, updates)
    if at is None:
        return f"In the order given: {why}."
    beforehand = ", the number named by --rank-at" if updates is not None else ", the largest number that all share"
    return f"Ranked by accuracy after {counted(at, 'update')}{beforehand}."


def _ranked_at(results: list[dict[str, Any]], updates: int | None) -> tuple[int | None, str]:
    """Return the number of updates at which results are ranked, or None and why they are not."""
    from gendistill.evaluation.settings import differing
    from gendistill.report.rows import row

    measured = [set(one.scores) for one in map(row, results) if one.scores]
    if updates is not None and not any(updates in counts for counts in measured):
        known = ", ".join(map(str, sorted(set[int]().union(*measured)))) or "no"
        raise UserError(f"--rank-at is {updates}, but accuracy was measured at {known} updates")
    if differing(results):
        return None, "results of different settings are not ranked"
    common = set.intersection(*measured) if measured else set()
    if updates is None and not common:
        return None, "no number of updates was measured for all"
    return (max(common), "") if updates is None else (updates, "")


def _warn(opened: Sequence[Any], references: Sequence[str], given: argparse.Namespace, data: RealData) -> None:
    """Say before anything is trained that earlier results were measured under other settings than those given."""
    from gendistill.evaluation.protocols import expand
    from gendistill.evaluation.settings import differing
    from gendistill.plain import plain

    options = learning_options(given)
    ours = {"protocol": options.get("protocol")} | plain(expand(options, data.description))
    # The teacher has a say in these.
    own = ("normalisation", "lr", *(["learner"] if ours.get("learner") is None else []))
    ours = {key: value for key, value in ours.items() if key not in own}
    for reference, earlier in zip(references, opened, strict=True):
        for one in earlier if isinstance(earlier, list) else []:
            theirs = {key: (one["learning"] or {}).get(key, value) for key, value in ours.items()}
            found = differing([{"learning": ours}, {"learning": theirs}])
            if found and one["learning"]:
                said = ", ".join(f"{setting.name} {setting.values[1]}, not {setting.values[0]}" for setting in found)
                print(
                    f"{reference}: measured under other settings ({said}); nothing will be concluded", file=sys.stderr
                )


def _earlier(name: str | None, reference: str) -> list[dict[str, Any]]:
    found = read_results(reference)["teachers"]
    if name is not None:
        found = [{**one, "name": name} for one in found]
    return [{"name": short_name(str(one["teacher"].get("path") or Path(reference).stem)), **one} for one in found]


def _check_same_data(
    given: argparse.Namespace, earlier: Sequence[tuple[str, Mapping[str, Any]]], data: RealData | None
) -> None:
    """Refuse earlier results that were measured on another data set than that of the comparison."""
    dataset: str | None
    if data is not None or given.dataset is not None:
        dataset = dataset_name(given.dataset) if data is None else data.description.name
    else:
        dataset = next((one["dataset"] for _, one in earlier if one.get("dataset") is not None), None)
    for reference, one in earlier:
        if one.get("dataset") not in (None, dataset):
            raise UserError(f"{reference} was measured on '{one['dataset']}', the comparison is on '{dataset}'")


def _check_rank_at(given: argparse.Namespace, opened: Sequence[Any]) -> None:
    """Refuse, before anything is trained, a number to rank at that will not be measured."""
    planned = given.protocol is None and given.epochs is None and not all(isinstance(one, list) for one in opened)
    if given.rank_at is not None and planned and given.rank_at not in given.updates:
        measured = ", ".join(map(str, given.updates))
        raise UserError(
            f"--rank-at is {given.rank_at}, but accuracy was measured at {measured} updates; add {given.rank_at} to "
            "--updates"
        )
