"""The page of all results of replications below a root, each number with the config that made it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from gendistill import __version__
from gendistill.commands.measured import WITHIN, changed
from gendistill.commands.register import cells, counts, measured_words
from gendistill.commands.replicated import sentence
from gendistill.commands.standing import (
    AGREES,
    BEGUN,
    CANNOT,
    DISAGREES,
    NO_SOURCE,
    NOT,
    OTHER,
    SHOWN,
    TRIED,
    UNDECIDED,
    Standing,
)
from gendistill.escapes import markdown
from gendistill.evaluation.agreement import Agreement
from gendistill.words import counted

MEANING = {
    AGREES: "what is reported lies in the 95 % interval of one more run, and orders are decided as the source says",
    DISAGREES: "a reported number lies outside of that interval, or an order is not confirmed",
    UNDECIDED: "on the source's data, with too few runs, or with runs too far apart, to tell",
    OTHER: "measured on other data than the source's, or with options that change the config: shown, not compared",
    SHOWN: "on the source's data; the source gives no number and no order",
    TRIED: "its whole way was gone in a few updates, whose numbers mean nothing: named below the tables of its source",
    BEGUN: "a run of it lies below the root and no result yet: the same command goes on",
    NOT: "nothing lies below the root, and nothing is missing to run it",
    CANNOT: "nothing lies below the root, and something is missing on this machine to run it as published",
}


NAMED = 20
"""Rows that lack one thing are named up to so many."""


def page(found: Sequence[Standing]) -> str:
    """Return the page in Markdown.

    Args:
        found: Where each replication stands, those of one table behind each other.
    """
    lines = [
        "# Results of the replications",
        "",
        f"Made by `gendistill replicate` (`--summary`, version {__version__}) from what was measured; every word "
        "follows from the numbers. [Replication](replication.md) says how a row is run.",
        "",
        "| status | replications | meaning |",
        "|---|---|---|",
        *(f"| {status} | {number} | {MEANING[status]} |" for status, number in counts(found).items()),
        "",
        f"{counted(len(found), 'replication')} in all. ± is the standard deviation over runs. The interval is "
        "Student's t over the runs, for one run more, as a source runs each row once; orders are decided by "
        "[the rule of comparisons](evaluation-comparing.md). CPU time is of making and judging the row's runs, in "
        "brackets with those of all that is shown beside it (runs that several rows show are counted in each).",
    ]
    for source in dict.fromkeys(one.source for one in found):
        lines += ["", f"## {markdown(source)}", *_source([one for one in found if one.source == source])]
    measured = [one for one in found if one.results is not None and one.status != TRIED]
    if measured:
        lines += ["", "## How each number was made", ""]
        for one in measured:
            lines += _how(one)
    lacking = [one for one in found if one.missing and one.source != NO_SOURCE]
    if lacking:
        lines += ["", "## What is missing on this machine to run rows as published", "", "| what | rows |", "|---|---|"]
        reasons = dict.fromkeys(part for one in lacking for part in one.missing)
        for reason in reasons:
            rows = [one.name for one in lacking if reason in one.missing]
            named = f": {', '.join(map(markdown, rows))}" if len(rows) <= NAMED else ", which `--list` names"
            lines.append(f"| {markdown(reason)} | {len(rows)}{named} |")
    return "\n".join(lines) + "\n"


def words(one: Agreement) -> str:
    """Return what an agreement is in words: the value, the interval and what follows from them."""
    if one.said is None:
        return _order(one)
    if one.mean is None:
        return f"{one.what}: not measured"
    factor, unit = (100, " %") if one.what == "accuracy" else (1, "")
    digits = 2 if unit or abs(one.said) >= 10 else 3
    said, mean = (f"{factor * value:.{digits}f}{unit}" for value in (one.said, one.mean))
    if one.low is None or one.high is None:
        return f"{one.what}: {said} reported, {mean} measured in one run, which has no interval"
    reach = f"[{factor * one.low:.{digits}f}, {factor * one.high:.{digits}f}]"
    if one.agrees:
        return f"{one.what}: {said} reported lies in {reach}"
    side = "above" if one.said > one.high else "below"
    return f"{one.what}: {said} reported lies {side} {reach}"


def _order(one: Agreement) -> str:
    if one.mean is None:
        return f"{one.what}: too few runs to tell"
    reach = "" if one.low is None or one.high is None else f" [{100 * one.low:.1f}, {100 * one.high:.1f}]"
    points = f"{100 * one.mean:+.1f} points{reach}"
    told = {True: "confirmed", False: "the other way round", None: "not decided"}[one.agrees]
    return f"{one.what}: {told}, {points}"


def _source(found: Sequence[Standing]) -> Iterator[str]:
    """Yield the tables of a source; of rows that were only tried there is a name alone, as there is nothing to read."""
    tried = [one for one in found if one.status == TRIED]
    table: str | None = None
    for one in found:
        if one.status == TRIED:
            continue
        if one.table != table:
            table = one.table
            head = "| id | reported | measured | scale, data, runs | CPU time, s | status |"
            yield from ("", *([f"### {markdown(table)}", ""] if table else []), head, "|---|---|---|---|---|---|")
        yield _row(one)
    if tried:
        names = ", ".join(f"`{one.name}`" for one in tried)
        yield from ("", f"{TRIED[0].upper()}{TRIED[1:]}, {counted(len(tried), 'row')}: {names}.")


def _row(one: Standing) -> str:
    measured, of, cpu = cells(one)
    status = one.status
    if one.found:
        status += ": " + "; ".join(markdown(words(part)) for part in one.found)
    elif one.results is None and one.missing:
        status += ": " + "; ".join(map(markdown, one.missing))
    said = sentence(one.said) if one.said else ""
    row = [f"`{one.name}`", *map(markdown, (said or "–", measured or "–", of or "–", cpu or "–")), status]
    return f"| {' | '.join(row)} |"


def _how(one: Standing) -> Iterator[str]:
    """Yield the lines that say how a measured row was made: its command, its seeds, and what stands beside it."""
    assert one.results is not None
    results = one.results
    seeds = ", ".join(map(str, results["seeds"]))
    config = Path(one.path).name
    yield f"- `{one.name}`: `configs/replication/{config}`, scale {markdown(str(results['scale']))},"
    table = f", a row of `{results[WITHIN]['id']}`" if WITHIN in results else ""
    yield f"  data {markdown(results['dataset'])}, seeds {seeds}{table}."
    if typed := changed(results):
        yield f"  Not as the config says, but with {markdown(' '.join(typed))}."
    beside = [f"{row['name']} {measured_words(row)}" for row in results["replicated"][1:] if measured_words(row)]
    if beside:
        yield f"  Beside it: {'; '.join(map(markdown, beside))}."
