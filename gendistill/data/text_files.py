"""Texts from local files: a table with a class and a text in each row, or a folder of text files for each class."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gendistill.data.text_tables import SUFFIXES, Choice, Columns, Table, choose, plain_name, read_rows
from gendistill.data.tokens import tokenise
from gendistill.errors import UserError
from gendistill.regular import read_text, regular

PARTS = {"train": ("train",), "test": ("test",), "validation": ("validation", "val", "valid", "dev")}
UNLABELLED = "unsup"
"""The folder of the IMDB reviews that have no label; passed over."""
FORMS = (
    "a .csv, .tsv or .jsonl file with a column of texts and one of classes, a folder with train and test as such "
    "files, or with a folder of .txt files for each class, below train and test or not"
)


@dataclass(frozen=True)
class Corpus:
    """Sentences with their classes.

    Attributes:
        sentences: Words of each.
        classes: Name of the class of each.
        empty: Texts without words, which were left out.
        source: Where they come from, for a person.
    """

    sentences: list[list[str]]
    classes: list[str]
    empty: int = 0
    source: str = ""


def read_corpora(path: Path, columns: Columns | None = None) -> dict[str, Corpus]:
    """Read the parts of a text: ``train`` and, where they are given, ``test`` and ``validation``.

    Args:
        path: One of :data:`FORMS`.
        columns: Which columns of tables hold text and class; None: found out.

    Raises:
        UserError: Nothing is there, a file cannot be read, a row has no class, or columns stay unclear or differ.
    """
    if not path.exists():
        raise UserError(f"there is no text at '{path}'; give {FORMS}")
    places = _parts(path) if path.is_dir() else {"train": regular(path)}
    if not places:
        return {"train": _read_folder(path)}
    if "train" not in places:
        raise UserError(f"'{path}' holds {next(iter(places.values())).name} but no train; give {FORMS}")
    columns = columns or Columns()
    corpora: dict[str, Corpus] = {}
    known: tuple[Path, Choice] | None = None
    for part, place in sorted(places.items(), key=lambda item: item[0] != "train"):
        if place.is_dir():
            corpora[part] = _read_folder(place)
            continue
        table = _table(place)
        choice = choose(place, table, columns) if known is None else _like(known, place, table, columns)
        known = known or (place, choice)
        corpora[part] = _read_table(place, table, choice)
    return corpora


def understood(corpora: Mapping[str, Corpus], class_names: tuple[str, ...]) -> str:
    """Return what was understood of a text as one line for a person."""
    names = ", ".join(class_names[:6]) + (", ..." if len(class_names) > 6 else "")
    parts = "; ".join(f"{part} {corpus.source}" for part, corpus in corpora.items())
    empty = sum(corpus.empty for corpus in corpora.values())
    left_out = f"; {empty} without words left out" if empty else ""
    several = "class" if len(class_names) == 1 else "classes"
    return f"texts: {parts}; {len(class_names)} {several} ({names}){left_out}"


def in_order(classes: set[str]) -> list[str]:
    """Return class names in the order in which they are numbered: by value where all are numbers, else by the alphabet.

    Args:
        classes: The names.
    """
    try:
        return sorted(classes, key=lambda name: (float(name), name))
    except ValueError:
        return sorted(classes)


def _parts(path: Path) -> dict[str, Path]:
    """Return the files or folders of each part, by names in whatever case."""
    there: dict[str, list[Path]] = {}
    for entry in sorted(path.iterdir()):
        stem = entry.name if entry.is_dir() else entry.stem if entry.suffix.lower() in SUFFIXES else ""
        part = next((part for part, names in PARTS.items() if stem.lower() in names), None)
        if part is not None:
            there.setdefault(part, []).append(entry)
    for part, entries in there.items():
        if len(entries) > 1:
            raise UserError(
                f"'{path}' has {', '.join(entry.name for entry in entries)} for {part}; leave one of them there"
            )
    return {part: entries[0] for part, entries in there.items()}


def _table(path: Path) -> Table:
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"'{path}' is none of {', '.join(SUFFIXES)}; give {FORMS}")
    table = read_rows(path)
    if not table.rows:
        raise UserError(f"'{path}' holds no texts; write {FORMS}")
    return table


def _like(known: tuple[Path, Choice], path: Path, table: Table, columns: Columns) -> Choice:
    """Return the columns of another part, which must be those of the training texts."""
    other, first = known
    if first.heading is not None:
        names = [name.strip() for name in table.rows[0][1]]
        wanted = [first.heading[place] for place in (first.text, first.label)]
        places = [_place(name, names) for name in wanted]
        if places[0] is not None and places[1] is not None:
            return Choice(places[0], places[1], tuple(names))
        lacking = wanted[places.index(None)]
        if any(place is not None for place in places):
            raise UserError(
                f"'{path}' has no column '{lacking}' as '{other.name}' has, its columns are {', '.join(names[:8])}; "
                "give it one, or take the file away"
            )
    choice = choose(path, table, columns)
    if (first.heading is None) != (choice.heading is None) or first.names != choice.names:
        here, there = (" and ".join(one.names) for one in (choice, first))
        raise UserError(
            f"'{path}' has text and class in {here}, '{other.name}' in {there}; give all parts the same columns"
        )
    return choice


def _place(name: str, names: list[str]) -> int | None:
    """Return the place of a column, found whatever its capitals and marks if only one is called so; None: none."""
    if name in names:
        return names.index(name)
    alike = [place for place, other in enumerate(names) if plain_name(other) == plain_name(name)]
    return alike[0] if len(alike) == 1 else None


def _read_table(path: Path, table: Table, choice: Choice) -> Corpus:
    sentences: list[list[str]] = []
    classes: list[str] = []
    empty = 0
    for number, cells in table.rows[choice.heading is not None :]:
        found = choice.fit(cells, table.delimiter)
        if found is None:
            raise UserError(
                f"row {number} of '{path}' is not a label and a text: it has {len(cells)} cells, text is in "
                f"{choice.names[0]}, class in {choice.names[1]}; mend it, and put texts with delimiters in quotes"
            )
        text, label = found
        words = tokenise(text)
        if not words:
            empty += 1
            continue
        sentences.append(words)
        classes.append(label)
    if not classes:
        raise UserError(f"'{path}' holds no texts; write {FORMS}")
    return Corpus(sentences, classes, empty, f"'{path.name}' (text in {choice.names[0]}, class in {choice.names[1]})")


def _read_folder(path: Path) -> Corpus:
    folders = sorted(entry for entry in path.iterdir() if entry.is_dir() and not entry.name.startswith("."))
    folders = [folder for folder in folders if folder.name != UNLABELLED]
    if not folders:
        raise UserError(f"'{path}' holds no folders of texts; give {FORMS}")
    sentences: list[list[str]] = []
    classes: list[str] = []
    empty = 0
    for folder in folders:
        files = sorted(folder.glob("*.txt"))
        if not files:
            raise UserError(f"class folder '{folder}' holds no .txt files; fill or delete it")
        for file in files:
            try:
                words = tokenise(read_text(file, "utf-8-sig"))
            except (OSError, UnicodeDecodeError) as error:
                raise UserError(f"'{file}' cannot be read as text in UTF-8 ({error}); convert it") from error
            if not words:
                empty += 1
                continue
            sentences.append(words)
            classes.append(folder.name)
    if not classes:
        raise UserError(f"'{path}' holds no texts with words; give {FORMS}")
    return Corpus(sentences, classes, empty, f"'{path.name}' (a folder of .txt files for each class)")
