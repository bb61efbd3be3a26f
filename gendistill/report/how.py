"""The end of the page: under which settings everything was measured, and by which rule it was concluded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gendistill.evaluation.settings import NOT_SAID, SETTINGS
from gendistill.report.cells import per_update
from gendistill.report.facts import (
    chosen_anew,
    fidelity_sentences,
    has_spread,
    note_sentences,
    over_words,
    rate_sentences,
    split_sentence,
)
from gendistill.report.markup import attribute, escaped
from gendistill.report.rows import Row
from gendistill.report.verdict import Verdict
from gendistill.words import counted, listed

SILENT = ("none", NOT_SAID)
"""What need not be said where every teacher says it."""
ALWAYS = ("protocol",)
"""Settings of which also that there is none is said."""
COMMAND = "command"


def how_measured(results: Mapping[str, Any], found: Verdict) -> str:
    """Return a list of settings, and notes on what the marks of the page mean.

    Args:
        results: ``{"teachers": [...]}``, perhaps with ``notes``.
        found: What was concluded.
    """
    lines = "".join(
        f"<dt>{escaped(name)}</dt><dd>{f'<code>{attribute(words)}</code>' if name == COMMAND else escaped(words)}</dd>"
        for name, words in settings(results, found.table)
    )
    notes = [
        *(results.get("notes") or ()),
        *rate_sentences([row for row in found.table if row not in chosen_anew(found.table)]),
        *fidelity_sentences(found.table),
        *note_sentences(found.table),
        " ".join(rules(found)),
    ]
    return f"<dl>{lines}</dl>" + "".join(f'<p class="note">{escaped(note)}</p>' for note in notes if note)


def settings(results: Mapping[str, Any], table: Sequence[Row]) -> list[tuple[str, str]]:
    """Return every setting that was named, with the teachers that it holds for where it does not hold for all."""
    found: dict[str, list[str | None]] = {}
    learnings = [one.get("learning") for one in results["teachers"]]
    for name, read in SETTINGS.items():
        found[name] = [
            None if learning is None else read(one, learning)
            for one, learning in zip(results["teachers"], learnings, strict=True)
        ]
    found["images an update"] = [per_update(row.images_per_update) if row.images_per_update else None for row in table]
    found["seeds"] = [_seeds(row) for row in table]
    found["first weights"] = [(learning or {}).get("initialisation") for learning in learnings]
    found["updates measured"] = [", ".join(f"{count:,}" for count in sorted(row.scores)) or None for row in table]
    found["images compared"] = [_compared(one.get("fidelity")) for one in results["teachers"]]
    found["software"] = [_software(one.get("software")) for one in results["teachers"]]
    found[COMMAND] = [one.get("command") for one in results["teachers"]]
    said = []
    for name, values in found.items():
        groups: dict[str, list[str]] = {}
        for row, value in zip(table, values, strict=True):
            if value is not None:
                groups.setdefault(value, []).append(row.name)
        silent = len(groups) == 1 and next(iter(groups)) in SILENT
        if not groups or (silent and (name not in ALWAYS or NOT_SAID in groups)):
            continue
        whole = len(groups) == 1 and None not in values
        parts = [value if whole else f"{value} ({listed(names)})" for value, names in groups.items()]
        said.append((name, "; ".join(parts)))
    return said


def rules(found: Verdict) -> list[str]:
    """Say what ±, shading and bold mean, as far as the page has them."""
    said = [sentence] if (sentence := split_sentence(found.table)) else []
    spread = [row for row in found.table if has_spread(row)]
    if spread:
        over = over_words(spread)
        said.append(f"± is the sample standard deviation{f' over {over}' if over else ''}.")
    if found.against and found.reference is not None:
        number = len(found.against)
        teachers = counted(len({name for name, _ in found.against}), "teacher")
        corrected = (
            f"corrected by Holm over all {number:,} comparisons with it ({teachers}, every number of updates measured "
            "for both)"
            if number > 1
            else "in the one comparison that there is"
        )
        if found.chosen is not None:
            corrected += f", since n = {found.chosen:,} alone was named beforehand"
        said.append(
            f"A score is shaded where it exceeds that of {found.reference.name} at the same number of updates by more "
            f"than chance explains: a two-sided t-test at 5 %, {corrected}. Where no teacher differs, at most one "
            "report in twenty has such a score."
        )
    if found.pairs:
        said.append(
            "The highest score of a column is bold where the same test sets it apart from every other one there, "
            f"corrected over {counted(found.pairs, 'pair')} of scores."
        )
    counts = "Images and bytes count what the teacher stores."
    if any(row.decoded not in (None, row.images) for row in found.table):
        counts += " Where a stored image shows several, an epoch is of all that are shown."
    if any(row.parts is not None and row.parts[2] for row in found.table):
        counts += " A labeller is a network that is handed over with the images and labels them after augmentation."
    return [*said, counts]


def _seeds(row: Row) -> str | None:
    if row.seeds is None or not row.scores:
        return None
    flat = [seed for seed in row.seeds if isinstance(seed, int)]
    if len(flat) < len(row.seeds):
        return counted(len(row.seeds), row.over)
    consecutive = len(flat) > 2 and flat == list(range(flat[0], flat[0] + len(flat)))
    return f"{flat[0]} to {flat[-1]}" if consecutive else listed([str(seed) for seed in flat])


def _compared(fidelity: Mapping[str, Any] | None) -> str | None:
    """Say in which features images were compared, how many, and with which."""
    if not fidelity or not fidelity.get("extractor"):
        return None
    draws = f" in each of {counted(fidelity['draws'], 'draw')}" if fidelity.get("draws") else ""
    number = f"{fidelity['n']:,}{draws}" if fidelity.get("n") else ""
    against = f"with {fidelity['reference_n']:,} {fidelity.get('reference') or 'real'} images" if fidelity.get(
        "reference_n") else ""  # fmt: skip
    return ", ".join(filter(None, [f"features of {fidelity['extractor']}", number, against]))


def _software(versions: Mapping[str, Any] | None) -> str | None:
    return ", ".join(f"{name} {version}" for name, version in versions.items() if version) if versions else None
