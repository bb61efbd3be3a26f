"""Texts from local files: a file with a label and a text on each line, or a folder of text files for each class."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from gendistill.data.tokens import tokenise
from gendistill.errors import UserError

PARTS = {"train": ("train",), "test": ("test",), "validation": ("validation", "val", "dev")}
SUFFIXES = (".tsv", ".csv")
UNLABELLED = "unsup"
"""The folder of the IMDB reviews that have no label; passed over."""
LABEL, TEXT = "label", "text"
FORMS = (
    "a .tsv file (label, tab, text), a .csv file (with the columns label and text, or in this order), a folder with "
    "train and test as such files, or with a folder of .txt files for each class, below train and test or not"
)


@dataclass(frozen=True)
class Corpus:
    """Sentences with their classes.

    Attributes:
        sentences: Words of each.
        classes: Name of the class of each.
    """

    sentences: list[list[str]]
    classes: list[str]


def read_corpora(path: Path) -> dict[str, Corpus]:
    """Read the parts of a text: ``train`` and, where they are given, ``test`` and ``validation``.

    Args:
        path: One of :data:`FORMS`.

    Raises:
        UserError: Nothing is there, a file cannot be read, a line has no label or no words.
    """
    if not path.exists():
        raise UserError(f"there is no text at '{path}'; give {FORMS}")
    if path.is_file():
        return {"train": _read_table(path)}
    parts = {part: found for part, names in PARTS.items() if (found := _part(path, names)) is not None}
    if not parts:
        return {"train": _read_folder(path)}
    if "train" not in parts:
        raise UserError(f"'{path}' holds {next(iter(parts.values())).name} but no train; give {FORMS}")
    return {part: _read_folder(found) if found.is_dir() else _read_table(found) for part, found in parts.items()}


def _part(path: Path, names: tuple[str, ...]) -> Path | None:
    places = [path / f"{name}{suffix}" for name in names for suffix in ("", *SUFFIXES)]
    return next((place for place in places if place.exists()), None)


def _read_table(path: Path) -> Corpus:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{path}' is neither .tsv nor .csv; give {FORMS}")
    corpus = Corpus([], [])
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _tsv(file) if path.suffix.lower() == ".tsv" else csv.reader(file)
            places = (0, 1)
            for number, row in enumerate(rows, 1):
                names = [cell.strip().lower() for cell in row]
                if number == 1 and LABEL in names and TEXT in names:
                    places = (names.index(LABEL), names.index(TEXT))
                    continue
                if not row:
                    continue
                if len(row) <= max(places) or not row[places[0]].strip():
                    raise UserError(f"row {number} of '{path}' is not a label and a text; write {FORMS}")
                _add(corpus, row[places[0]].strip(), row[places[1]], f"row {number} of '{path}'")
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read as text in UTF-8 ({error}); convert or replace it") from error
    if not corpus.classes:
        raise UserError(f"'{path}' holds no texts; write {FORMS}")
    return corpus


def _tsv(lines: Iterator[str]) -> Iterator[list[str]]:
    """Yield label and text of each line: the text is all after the first tab, with no marks to be undone."""
    for line in lines:
        line = line.rstrip("\r\n")
        yield line.split("\t", 1) if line else []


def _read_folder(path: Path) -> Corpus:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    folders = [folder for folder in folders if folder.name != UNLABELLED]
    if not folders:
        raise UserError(f"'{path}' holds no folders of texts; give {FORMS}")
    corpus = Corpus([], [])
    for folder in folders:
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise UserError(f"class folder '{folder}' holds no .txt files; fill or delete it")
        for file in files:
            try:
                text = file.read_text(encoding="utf-8-sig")
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"'{file}' cannot be read as text in UTF-8 ({error}); convert it") from error
            _add(corpus, folder.name, text, f"'{file}'")
    return corpus


def _add(corpus: Corpus, label: str, text: str, where: str) -> None:
    words = tokenise(text)
    if not words:
        raise UserError(f"{where} holds no words; delete it")
    corpus.sentences.append(words)
    corpus.classes.append(label)
