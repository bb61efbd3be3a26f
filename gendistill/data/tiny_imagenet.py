"""Tiny-ImageNet as it is given out: ``train/n0.../images``, and ``val/images`` with ``val_annotations.txt``."""

from __future__ import annotations

from pathlib import Path

from gendistill.data.layout import Layout, Part, Survey
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import read_text

CLASSES, WORDS, ANNOTATIONS = "wnids.txt", "words.txt", "val_annotations.txt"


def is_tiny_imagenet(path: Path) -> bool:
    """Return whether a folder has the official layout."""
    validation = path / "val"
    return (path / CLASSES).is_file() and (validation / ANNOTATIONS).is_file() and (validation / "images").is_dir()


def find_tiny_imagenet(path: Path) -> Layout:
    """Return its training images, and its validation images as the test part, on which results are published.

    Classes are numbered in the order of their WordNet numbers, as readers of class folders number them, and are called
    by the first word that ``words.txt`` has for them.

    Raises:
        UserError: A file of the official set is missing or damaged.
    """
    wnids = sorted(set(_lines(path / CLASSES)))
    for wnid in wnids:
        if Path(wnid).name != wnid or not wnid.isprintable():
            raise UserError(
                f"'{readable(str(path / CLASSES))}' has the line {readable(wnid)[:80]!r}, which names no folder of a "
                "class; unpack the set again"
            )
    places = {wnid: label for label, wnid in enumerate(wnids)}
    sources: list[Path] = []
    labels: list[int] = []
    for wnid, label in places.items():
        found = Survey.of(path / "train" / wnid / "images").pictures
        if not found:
            raise UserError(
                f"'{readable(str(path / 'train' / wnid / 'images'))}' holds no images; unpack the set again"
            )
        sources += found
        labels += [label] * len(found)
    test = _annotated(path / "val", places)
    passed_over = ("test/, which has no labels",) if (path / "test").is_dir() else ()
    taken = "the layout of Tiny-ImageNet: train/, and as the test part val/, on which results are published"
    parts = {"train": Part(sources, labels), "test": test}
    return Layout(parts, _names(path / WORDS, wnids), taken, passed_over, channels=3)


def _annotated(folder: Path, places: dict[str, int]) -> Part:
    sources, labels = [], []
    for line in _lines(folder / ANNOTATIONS):
        name, *more = line.split("\t")
        if not more or more[0] not in places or Path(name).name != name:
            raise UserError(
                f"'{readable(str(folder / ANNOTATIONS))}' has the line '{readable(line)[:80]}', which is no file and "
                f"one of the classes of {CLASSES}; unpack the set again"
            )
        file = folder / "images" / name
        sources.append(file)
        labels.append(places[more[0]])
    there = {file.name for file in Survey.of(folder / "images").pictures}
    missing = [file.name for file in sources if file.name not in there]
    if missing or not sources:
        raise UserError(
            f"{len(missing)} of the {len(sources)} files of '{readable(str(folder / ANNOTATIONS))}' are not in "
            f"'{readable(str(folder / 'images'))}'; unpack the set again"
        )
    order = sorted(range(len(sources)), key=lambda place: (labels[place], sources[place].name))
    return Part([sources[place] for place in order], [labels[place] for place in order])


def _names(words: Path, wnids: list[str]) -> tuple[str, ...]:
    """Return a name a class: the first word, with the number behind it where two classes share it."""
    pairs = (line.split("\t", 1) for line in _lines(words)) if words.is_file() else ()
    first = {pair[0]: pair[1].split(",")[0].strip() for pair in pairs if len(pair) == 2}
    names = [first.get(wnid) or wnid for wnid in wnids]
    return tuple(f"{name} {wnid}" if names.count(name) > 1 else name for name, wnid in zip(names, wnids, strict=True))


def _lines(path: Path) -> list[str]:
    try:
        return [line for line in read_text(path).splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"'{readable(str(path))}' cannot be read ({error}); unpack the set again") from error
