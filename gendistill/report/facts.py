"""How results were measured, in words that are made from the results."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from gendistill.evaluation.settings import LEARNED, OWN
from gendistill.report.cells import byte_size, number, per_update
from gendistill.report.rows import Fidelity, Row
from gendistill.words import counted, listed, several


def split_of(table: Sequence[Row]) -> str | None:
    """Return the split that all learners were tested on, None where they differ or do not say it."""
    splits = {row.split for row in table if row.scores}
    return next(iter(splits)) if len(splits) == 1 else None


def accuracy_words(table: Sequence[Row]) -> str:
    """Return ``test accuracy``, or ``accuracy`` where it is not one split's."""
    split = split_of(table)
    return f"{split} accuracy" if split else "accuracy"


def seed_numbers(table: Sequence[Row]) -> list[int]:
    """Return the different numbers of seeds behind the scores, ascending; those that are not known left out."""
    return sorted({score.runs for row in table for score in row.scores.values() if score.runs})


def over_words(table: Sequence[Row]) -> str:
    """Return ``10 seeds``, ``2 to 3 seeds`` or ``3 runs``; nothing where no number is known."""
    numbers, over = seed_numbers(table), {row.over for row in table if row.scores}
    return several(numbers, over.pop() if len(over) == 1 else "seed") if numbers else ""


def spread_words(table: Sequence[Row]) -> str:
    """Return what stands behind a ±, nothing where no score has one."""
    spread = [row for row in table if has_spread(row)]
    if not spread:
        return over_words(table)
    over, single = over_words(spread), {row.over for row in table if row not in spread and 1 in seed_numbers([row])}
    rest = f", of 1 {single.pop()} where there is no ±" if single else ""
    return (f"mean ± std over {over}" if over else "mean ± std") + rest


def has_spread(row: Row) -> bool:
    """Return whether a teacher's scores are shown with a spread."""
    return any(score.std is not None and score.runs != 1 for score in row.scores.values())


def learners_of(table: Sequence[Row]) -> list[str]:
    """Return the learners' names, each once."""
    return list(dict.fromkeys(row.learner for row in table if row.learner))


PARTS = ("images", "labels", "labeller")
"""What bytes are of."""


def byte_words(row: Row) -> str:
    """Return what a teacher stores in words: ``23.0 kB (20.5 kB of images, 2.6 kB of labels)``."""
    parts = [f"{byte_size(size)} of {part}" for part, size in zip(PARTS, row.parts or (), strict=False) if size]
    return byte_size(row.bytes) + (f" ({', '.join(parts)})" if len(parts) > 1 else "")


def byte_columns(table: Sequence[Row], heading: str = "bytes") -> list[tuple[str, list[str]]]:
    """Return the columns that say what teachers store: all bytes, and those of images, labels and a labeller.

    Args:
        table: The rows.
        heading: That of the first column.
    """
    columns = [(heading, [byte_size(row.bytes) for row in table])]
    held = [part for place, part in enumerate(PARTS) if place and any(row.parts and row.parts[place] for row in table)]
    if held:
        for place, part in enumerate(PARTS):
            if place and part not in held:
                continue
            cells = [byte_size(None if row.parts is None else row.parts[place]) for row in table]
            columns.append((f"of {part}", cells))
    return columns


def same_per_update(table: Sequence[Row]) -> str | None:
    """Return how many images every learner saw in an update, None where that differs or is not known."""
    found = {per_update(row.images_per_update) for row in table if row.scores}
    return next(iter(found)) if len(found) == 1 and "–" not in found else None


def split_sentence(table: Sequence[Row]) -> str | None:
    """Say what accuracy was measured on, and whether the same images chose the learning rates."""
    splits = {row.split for row in table if row.scores}
    if not splits or splits == {None}:
        return None
    if len(splits) > 1:
        named = {split: [row.name for row in table if row.scores and row.split == split] for split in splits}
        parts = (f"{split or 'a split that is not said'} ({listed(named[split])})" for split in sorted(named, key=str))
        return f"Accuracy is measured on different splits: {listed(list(parts))}."
    split = split_of(table)
    sizes = {row.tested_on for row in table if row.tested_on}
    images = f", {counted(sizes.pop(), 'image')}" if len(sizes) == 1 else ""
    said = f"Accuracy is measured on the {split} split{images}"
    chosen = [row.name for row in table if len(row.candidates) > 1]
    if not chosen:
        return f"{said}."
    if split == "validation":
        return f"{said}; the same images chose the learning rates of {listed(chosen)}, so that theirs is too high."
    return f"{said}, which had no say in the choice of a learning rate."


def rate_sentences(table: Sequence[Row]) -> list[str]:
    """Say how the learning rate behind each point was found, teacher by teacher."""
    groups: dict[tuple[object, ...], list[Row]] = {}
    for row in table:
        if row.rates:
            groups.setdefault((row.select, row.candidates, row.validation_images, _taken(row)), []).append(row)
    return [_rate_sentence(group) for group in groups.values()]


def _taken(row: Row) -> str | None:
    """Return the one rate of a teacher that had no choice."""
    return None if len(row.candidates) > 1 else ", ".join(dict.fromkeys(row.rates.values()))


def _rate_sentence(group: Sequence[Row]) -> str:
    first, names = group[0], listed([row.name for row in group])
    if len(first.candidates) < 2:
        rates = list(dict.fromkeys(first.rates.values()))
        if first.own_rates:
            return f"Learners of {names} take the teacher's learned rates."
        if rates == [LEARNED]:
            return f"Learners of {names} take the teacher's one learned rate as a number."
        return f"Learners of {names} take {'the rate' if len(rates) == 1 else 'the rates'} {listed(rates)}."
    among = listed(["its own" if rate == OWN else number_of(rate) for rate in first.candidates])
    images = (
        f"{counted(first.validation_images, 'validation image')}" if first.validation_images else "validation split"
    )
    if first.select == "last" or all(len(row.scores) < 2 for row in group):
        return f"The learning rate of {names} is the best of {among} at the last number of updates on the {images}."
    return (
        f"The learning rate of {names} is chosen anew at every number of updates, the best of {among} on the {images}: "
        "such a curve is no single training run (--select last takes one rate for a whole curve)."
    )


def number_of(rate: float | str) -> str:
    """Write a learning rate."""
    return rate if isinstance(rate, str) else f"{rate:g}"


def chosen_anew(table: Sequence[Row]) -> list[Row]:
    """Return the rows whose rate was chosen anew at every one of several numbers of updates."""
    return [row for row in table if len(row.candidates) > 1 and row.select != "last" and len(row.scores) > 1]


def fidelity_columns(table: Sequence[Row], measure: str = "fidelity") -> list[tuple[str, list[Fidelity | None]]]:
    """Return the columns of a distance: a heading, and what each row has there.

    Values of other features, another reference or another number of images never share a column.

    Args:
        table: The rows.
        measure: ``fidelity`` or ``kernel``.
    """
    found: list[Fidelity | None] = [getattr(row, measure) for row in table]
    measured = [one for one in found if one is not None]
    columns = []
    for column in dict.fromkeys(one.column for one in measured):
        first = next(one for one in measured if one.column == column)
        cells = [one if one is not None and one.column == column else None for one in found]
        columns.append((heading(first, measured), cells))
    return columns


def heading(one: Fidelity, measured: Iterable[Fidelity]) -> str:
    """Return a column's heading: what was measured, of how many images and, where they differ, against which."""
    several_extractors = len({other.extractor for other in measured if other.name == one.name}) > 1
    extractor = f" by {one.extractor}" if several_extractors and one.extractor else ""
    against = f" to {one.reference}" if one.reference not in (None, "train") else ""
    datasets = list(dict.fromkeys(other.dataset for other in measured))
    if len(datasets) > 1:
        dataset, mark = one.dataset
        # Two data sets may have one name.
        named_twice = sum(dataset == other for other, _ in datasets) > 1
        whose = dataset or "a data set that is not said"
        against += f" of {whose}{f' ({mark[:8]})' if named_twice and mark else ''}"
    images = "" if one.n is None else f" n={one.n:,}"
    return f"{one.name}{extractor}{against}{images}"


def fidelity_sentences(table: Sequence[Row]) -> list[str]:
    """Say what the distances are of, how they spread, and what they are with all images."""
    measured = [row.fidelity for row in table if row.fidelity is not None]
    if not measured:
        return []
    sentences = []
    for name, reference in dict.fromkeys((one.name, one.reference) for one in measured):
        group = [one for one in measured if (one.name, one.reference) == (name, reference)]
        against = f" from the {reference} images" if reference else ""
        spread = [one for one in group if one.std is not None and one.draws]
        over = f"; ± is the std over {several([one.draws or 0 for one in spread], spread[0].over)}" if spread else ""
        numbers = {one.n for one in group}
        few = "" if len(numbers) < 2 else "; columns of different numbers of images cannot be compared"
        sentences.append(f"{name} is the distance{against}, lower is better{over}{few}.")
    whole = [(row.name, row.whole) for row in table if row.whole is not None]
    if whole:
        listing = listed([f"{name} {number(one.value)} (n={one.n:,})" if one.n else name for name, one in whole])
        unequal = len({one.n for _, one in whole}) > 1
        alone = "; distances of different numbers of images cannot be compared" if unequal else ""
        sentences.append(f"With all images: {listing}{alone}.")
    return sentences


def note_sentences(table: Sequence[Row]) -> list[str]:
    """Say what is not to be trusted in single results: each note once, with the teachers that it is on."""
    found: dict[str, list[str]] = {}
    for row in table:
        for note in dict.fromkeys(row.notes):
            found.setdefault(note, []).append(row.name)
    return [f"{listed(names)}: {note.rstrip('.')}." for note, names in found.items()]
