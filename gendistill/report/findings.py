"""Sentences that say where a teacher beats training on all real data, by how much, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence

from gendistill.evaluation.comparison import FEW, Difference, lead_needed
from gendistill.report.cells import percent, points
from gendistill.report.verdict import Verdict, shared_counts
from gendistill.words import counted, listed, several

TOO_FEW = 2 * FEW
"""Standard deviations of the differences that a lead must be for seeds to be too few, and not only few."""
ALWAYS_FEW = 3
"""So many seeds are too few even for one comparison: their standard deviation is hardly known."""


def findings(found: Verdict) -> list[str]:
    """Write one sentence for each teacher that beats all real data at an equal number of updates.

    Returns:
        Sentences; one that says so when no lead is decided, or why nothing can be concluded; none when there is no real
        data to compare with. Then one on those that fall behind it, and one on the number of seeds where it is small
        for so many comparisons.
    """
    if found.differing:
        return [withheld(found)] if len(found.table) > 1 else []
    if found.reference is None or not found.others:
        return []
    if not found.against:
        return [_nothing(found)]
    sentences = [_lead(found, row.name) for row in found.others if found.ahead(row.name)]
    if not sentences:
        counts = sorted({count for _, count in found.against})
        where = "at any number of updates measured" if len(counts) > 1 else f"after {counted(counts[0], 'update')}"
        sentences = [f"No lead over training on all real data is decided {where} ({_how(found)})."]
    return [*sentences, *_behind(found), *_few(found)]


def withheld(found: Verdict) -> str:
    """Say in which settings the results differ, and that nothing is concluded from them."""
    parts = []
    for one in found.differing:
        groups = one.groups(found.names)
        parts.append(f"{one.name} ({'; '.join(f'{value}: {listed(names)}' for value, names in groups.items())})")
    return (
        "Nothing is concluded here, because the results were measured under different settings: "
        f"{', '.join(parts)}. Judge the teachers again with the same options to hold them against one another."
    )


def interval(difference: Difference) -> str:
    """Write ``+7.3 points, 95 % CI 6.3 to 8.2``, as far as the error is known."""
    said = f"{points(difference.mean)} points"
    if difference.low is None or difference.high is None:
        return said
    low, high = (f"{100 * end:.1f}".replace("-", "−") for end in (difference.low, difference.high))
    return f"{said}, 95 % CI {low} to {high}"


def runs_of(difference: Difference, over: str) -> str:
    """Write ``10 seeds``, or ``5 against 10 seeds, Welch`` where they are not the same ones."""
    if difference.paired:
        return counted(difference.runs[0], over)
    return f"{difference.runs[0]} against {counted(difference.runs[1], over)}, Welch"


def comparisons(found: Verdict) -> str:
    """Write what the correction is over: ``Holm over 32 comparisons``; a single one needs none."""
    number = len(found.against)
    return f"Holm over {counted(number, 'comparison')}" if number > 1 else "one comparison"


def _lead(found: Verdict, name: str) -> str:
    assert found.reference is not None
    ahead = found.ahead(name)
    # The clearest is named, not the largest: its interval holds for all comparisons at once.
    best = max(ahead, key=lambda count: abs(found.against[name, count].mean) / found.against[name, count].error)
    difference = found.against[name, best]
    row = next(one for one in found.table if one.name == name)
    where = "" if len(ahead) == 1 else f" after {counted(best, 'update')}"
    return (
        f"{name} beats training on all real data {_span(ahead, found.counts(name))}:{where} {interval(difference)}, "
        f"{runs_of(difference, row.over)}, {comparisons(found)} "
        f"({percent(row.scores[best])} % against {percent(found.reference.scores[best])} %)."
    )


def _behind(found: Verdict) -> list[str]:
    """Say where all real data is ahead, by the same rule."""
    behind = {row.name: found.behind(row.name) for row in found.others}
    parts = [f"of {name} {_span(counts, found.counts(name))}" for name, counts in behind.items() if counts]
    return [f"Training on all real data is ahead {listed(parts)}."] if parts else []


def _nothing(found: Verdict) -> str:
    """Say why no comparison could be made."""
    assert found.reference is not None
    common = [
        (row.scores[count], found.reference.scores[count])
        for row in found.others
        for count in shared_counts(row, found.reference, found.chosen)
    ]
    over = found.others[0].over
    if not common:
        what = f"n = {found.chosen:,} was not" if found.chosen else "no number of updates above 0 was"
        return f"Nothing is held against all real data: {what} measured for both in trainings that were planned alike."
    if all(not score.runs or not real.runs for score, real in common):
        return (
            f"No lead is decided: the results lack the accuracies of single {over}s, which tell how far to trust means."
        )
    return f"No lead is decided: one {over} says nothing of the spread between {over}s; --seeds 10 trains ten."


def _how(found: Verdict) -> str:
    """Say by which test, over how many seeds and comparisons."""
    all_paired = all(one.paired for one in found.against.values())
    kind = "paired t" if all_paired else "t, paired where the seeds are the same, else Welch"
    if not any(one.paired for one in found.against.values()):
        kind = "Welch's t"
    over = found.others[0].over
    seeds = several([number for one in found.against.values() for number in one.runs], over)
    return f"{kind} over {seeds}, {comparisons(found)}"


def _few(found: Verdict) -> list[str]:
    return few_words(list(found.against.values()), found.others[0].over)


def few_words(compared: Sequence[Difference], over: str) -> list[str]:
    """Say it where the seeds are few for so many comparisons.

    Args:
        compared: A family, at least one.
        over: What accuracies are spread over: ``seed`` or ``run``.
    """
    seeds, number = max(min(one.runs) for one in compared), len(compared)
    needed = lead_needed(seeds, number)
    if needed <= FEW and seeds > ALWAYS_FEW:
        return []
    much = "too few to decide any but enormous leads" if needed > TOO_FEW or seeds <= ALWAYS_FEW else "few"
    fewer = ""
    if number > 1:
        fewer = ", and compare --rank-at N, chosen beforehand, needs fewer comparisons"
    return [
        f"{counted(seeds, over).capitalize()} are {much} for {counted(number, 'comparison')}: to count, a lead must "
        f"be {needed:.1f} times the standard deviation of its differences; --seeds 10 trains ten{fewer}."
    ]


def _span(ahead: Sequence[int], measured: Sequence[int]) -> str:
    """Say at which numbers of updates: a run from the first one on is ``up to``."""
    if len(ahead) == 1:
        return f"after {counted(ahead[0], 'update')}"
    if list(ahead) == list(measured):
        return "at every number of updates measured"
    if list(ahead) == list(measured[: len(ahead)]):
        return f"up to {counted(ahead[-1], 'update')}"
    return f"after {listed([f'{count:,}' for count in ahead])} updates"
