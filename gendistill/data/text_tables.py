"""Tables of texts: which rows a file has, which of its columns are the text and the class, and what is no example.

Columns are found by their names. Where they have none, label and text stand in this order unless the values say that it
is the other way round; what stays unclear is asked for.
"""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from gendistill import budget
from gendistill.errors import UserError, did_you_mean
from gendistill.regular import regular
from gendistill.spelling import option

SUFFIXES = (".tsv", ".csv", ".jsonl", ".ndjson")
TEXT_NAMES = (
    *("text", "sentence", "review", "content", "comment", "tweet", "message", "document", "body", "sms", "post"),
    *("phrase", "question", "utterance", "article", "description", "headline", "title", "reviewtext", "sentence1"),
    *("sentence2", "premise", "hypothesis", "question1", "question2", "txt", "texts", "sentences"),
)
LABEL_NAMES = (
    *("label", "sentiment", "class", "category", "target", "polarity", "labels", "topic", "intent", "emotion"),
    *("classindex", "classname", "labeltext", "labelname", "rating", "stars", "score", "y", "classes", "sentiments"),
)
"""What columns are called, without marks and in lower case. The first of each is taken where others stand beside it."""
DELIMITERS = (",", ";", "\t", "|")
LOOKED_AT = 50
"""Rows from which the delimiter is told."""
MANY = 20
"""Rows from which on a class in every second one is no class."""


def how() -> str:
    """Return how the columns are said, as it is written where a person is."""
    return f"{option('text_column')} and {option('label_column')}"


@dataclass(frozen=True)
class Columns:
    """Which columns of a table are text and class: a name, or a number from 1; None: found out."""

    text: str | int | None = None
    label: str | int | None = None


@dataclass(frozen=True)
class Table:
    """What a file holds.

    Attributes:
        rows: Number of the row in the file, from 1, and its cells.
        named: Whether every row names its columns, so that the first one here is a heading for sure.
        delimiter: What stands between cells.
    """

    rows: list[tuple[int, list[str]]]
    named: bool
    delimiter: str


@dataclass(frozen=True)
class Choice:
    """Which columns are meant.

    Attributes:
        text: Place of the text, from 0.
        label: Place of the class.
        heading: Names of all columns; None: the file has none.
    """

    text: int
    label: int
    heading: tuple[str, ...] | None

    def fit(self, cells: Sequence[str], delimiter: str) -> tuple[str, str] | None:
        """Return text and class of a row, None where it has not both.

        What a text that is the last column has of delimiters belongs to it, as where it is not quoted.
        """
        width = 1 + max(self.text, self.label) if self.heading is None else len(self.heading)
        if len(cells) > width:
            cells = without_empty_end(cells)
        if len(cells) > width:
            if self.text != width - 1:
                return None
            cells = [*cells[: self.text], delimiter.join(cells[self.text :])]
        if len(cells) <= max(self.text, self.label) or not cells[self.label].strip():
            return None
        return cells[self.text], cells[self.label].strip()

    @property
    def names(self) -> tuple[str, str]:
        """What the two columns are called: their names, or their numbers from 1."""
        if self.heading is None:
            return f"column {self.text + 1}", f"column {self.label + 1}"
        return f"'{self.heading[self.text]}'", f"'{self.heading[self.label]}'"


def without_empty_end(cells: Sequence[str]) -> list[str]:
    """Return cells without the empty ones that spreadsheets leave behind the last column."""
    kept = list(cells)
    while kept and not kept[-1].strip():
        kept.pop()
    return kept


def read_rows(path: Path) -> Table:
    """Read a table's rows: .csv (comma, semicolon, tab or bar; quoted), .tsv (not quoted), .jsonl (an object a line).

    Raises:
        UserError: The file is of another kind, cannot be read, or a row does not fit the others.
    """
    suffix = path.suffix.lower()
    if suffix not in SUFFIXES:
        raise UserError(f"'{path}' is none of {', '.join(SUFFIXES)}")
    budget.check_file(regular(path), budget.TEXT)
    meter = budget.Meter(f"the table {budget.quoted(path)}", budget.size_of(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            if suffix in (".jsonl", ".ndjson"):
                return Table(list(_counted(_objects(path, file), meter)), True, "")
            delimiter = "\t" if suffix == ".tsv" else _delimiter(file)
            rows = _tsv(file) if suffix == ".tsv" else _csv(file, delimiter)
            return Table(list(_counted(rows, meter)), False, delimiter)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"'{path}' cannot be read as text in UTF-8 ({error}); convert or replace it") from error


def choose(path: Path, table: Table, wanted: Columns) -> Choice:
    """Find the columns of text and class.

    Args:
        path: The file, for sentences.
        table: Its rows, at least one.
        wanted: What the user says.

    Raises:
        UserError: A column is not there, or it stays unclear which are meant, or whether the first row is a heading.
    """
    first = without_empty_end(table.rows[0][1])
    rest = [cells for _, cells in table.rows[1:]]
    names = [plain_name(name) for name in first]
    asked = {
        part: _place(path, value, first)
        for part, value in (("text", wanted.text), ("label", wanted.label))
        if value is not None
    }
    by_name = any(not _is_number(value) for value in (wanted.text, wanted.label) if value is not None)
    texts, labels = (
        [place for place, name in enumerate(names) if name in known] for known in (TEXT_NAMES, LABEL_NAMES)
    )
    heading = table.named or by_name or bool(texts and labels)
    if not heading and (texts or labels):
        # A single known name may be a class that is called so.
        heading = not any(names[place] in {plain_name(cells[place]) for cells in rest if len(cells) > place}
                          for place in (texts or labels))  # fmt: skip
    if not heading:
        return _without_heading(path, table, first, rest, asked)
    twice = sorted(name for name, count in Counter(filter(None, names)).items() if count > 1 and name in known_names())
    if twice and len(asked) < 2:
        raise UserError(
            f"the heading of '{path}' has '{twice[0]}' more than once: {_list(first)}; say which columns are meant, by "
            f"number from 1, with {how()}"
        )
    text, label = asked.get("text"), asked.get("label")
    if text is None:
        text = _named(path, "text", texts, names, first, label)
    if label is None:
        label = _named(path, "label", labels, names, first, text)
    if len(first) == 2 and text is None and label is not None:
        text = 1 - label
    if len(first) == 2 and label is None and text is not None:
        label = 1 - text
    if text is None or label is None:
        lacking = "text" if text is None else "class"
        raise UserError(
            f"it is not clear which column of '{path}' holds the {lacking}: its heading is {_list(first)}; name them "
            f"with {how()}"
        )
    return _checked(path, Choice(text, label, tuple(name.strip() for name in first)), rest, "label" in asked)


def known_names() -> frozenset[str]:
    """Return all that columns of texts and classes are called."""
    return frozenset((*TEXT_NAMES, *LABEL_NAMES))


def _without_heading(
    path: Path, table: Table, first: Sequence[str], rest: Sequence[Sequence[str]], asked: dict[str, int]
) -> Choice:
    if len(asked) == 2:
        return Choice(asked["text"], asked["label"], None)
    widths = Counter(len(cells) for cells in rest)
    if len(first) > 2 and set(widths) <= {len(first)} and not asked:
        raise UserError(
            f"'{path}' has {len(first)} columns without known names, the first row is {_list(first)}; say which hold "
            f"text and class with {how()}: names, or numbers from 1"
        )
    label = asked.get("label", 1 - asked["text"] if asked.get("text") in (0, 1) else 0)
    text = asked.get("text", 1 - label if label in (0, 1) else 0)
    if not asked and _swapped(rest):
        text, label = 0, 1
    classes = Counter(cells[label].strip() for cells in rest if len(cells) > label)
    given = first[label].strip() if len(first) > label else ""
    if classes and given not in classes and not asked:
        if all(_is_float(name) for name in classes) and not _is_float(given):
            return _checked(path, Choice(text, label, tuple(name.strip() for name in first)), rest, False)
        if min(classes.values()) > 1 and len(rest) >= 4:
            raise UserError(
                f"the first row of '{path}', {_list(first)}, may be a heading or an example: say which columns hold "
                f"text and class with {how()}: by name where it is a heading, by number from 1 where it is none"
            )
    return _checked(path, Choice(text, label, None), [first, *rest], bool(asked))


def _swapped(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the second of two columns plainly holds the class: fewer words, and values that come again."""
    pairs = [cells for cells in rows if len(cells) == 2]
    if len(pairs) < 4 or len(pairs) < len(rows):
        return False
    distinct = [len({cells[place].strip() for cells in pairs}) for place in (0, 1)]
    words = [sum(len(cells[place].split()) for cells in pairs) for place in (0, 1)]
    return distinct[1] < distinct[0] and words[1] < words[0] and 2 * distinct[1] <= len(pairs)


def _checked(path: Path, choice: Choice, rows: Sequence[Sequence[str]], asked: bool) -> Choice:
    """Refuse a column of classes in which nearly every row is a class of its own."""
    if choice.text == choice.label:
        raise UserError(
            f"text and class of '{path}' cannot be the same column, {choice.names[0]}; choose two with {how()}"
        )
    classes = {cells[choice.label].strip() for cells in rows if len(cells) > choice.label}
    if len(rows) >= MANY and 2 * len(classes) > len(rows) and not asked:
        raise UserError(
            f"{choice.names[1]} of '{path}' has {len(classes)} different values in {len(rows)} rows, too many for "
            f"classes; say which columns hold text and class with {how()}"
        )
    return choice


def _named(
    path: Path, part: str, found: Sequence[int], names: Sequence[str], first: Sequence[str], other: int | None
) -> int | None:
    """Return the one column with a known name, the usual one where there are several, None where there is none."""
    found = [place for place in found if place != other]
    if len(found) < 2:
        return found[0] if found else None
    usual = TEXT_NAMES[0] if part == "text" else LABEL_NAMES[0]
    if usual in names:
        return names.index(usual)
    raise UserError(
        f"'{path}' has several columns that may hold the {'text' if part == 'text' else 'class'}: "
        f"{_list([first[place] for place in found])}; choose one with --{part}-column (in a config data.{part}_column)"
    )


def _place(path: Path, value: str | int, first: Sequence[str]) -> int:
    """Return the place of a column that is asked for by name or number."""
    plain = [plain_name(name) for name in first]
    exact = [name.strip() for name in first]
    text = str(value).strip()
    if text in exact:
        return exact.index(text)
    if plain_name(text) in plain and not _is_number(text):
        return plain.index(plain_name(text))
    if _is_number(text) and 1 <= int(text) <= len(first):
        return int(text) - 1
    raise UserError(
        f"'{path}' has no column '{text}'; {did_you_mean(text, exact)}its columns are {_list(first)}, or 1 to "
        f"{len(first)}"
    )


def _delimiter(file: TextIO) -> str:
    """Tell what stands between the cells of a .csv file, and go back to its start."""
    head = list(islice(file, LOOKED_AT))
    file.seek(0)
    even = []
    for delimiter in DELIMITERS:
        rows = [row for row in csv.reader(head, delimiter=delimiter) if row]
        names = [plain_name(name) for name in rows[0]] if rows else []
        if any(name in TEXT_NAMES for name in names) and any(name in LABEL_NAMES for name in names):
            return delimiter
        # The last row may be cut off in the middle of a quoted text.
        counts = {len(row) for row in rows[: max(1, len(rows) - 1)]}
        if len(counts) == 1 and counts != {1}:
            even.append(delimiter)
    return even[0] if even else DELIMITERS[0]


def _csv(file: TextIO, delimiter: str) -> Iterator[tuple[int, list[str]]]:
    for number, row in enumerate(csv.reader(file, delimiter=delimiter), 1):
        if any(cell.strip() for cell in row):
            yield number, row


def _tsv(file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the cells of each line, with no marks to be undone."""
    for number, line in enumerate(file, 1):
        line = line.rstrip("\r\n")
        if line.strip():
            yield number, line.split("\t")


def _counted(rows: Iterable[tuple[int, list[str]]], meter: budget.Meter) -> Iterator[tuple[int, list[str]]]:
    """Yield rows and count their cells: every row has one for each name of the first, however short it is itself."""
    for number, cells in rows:
        for counted in budget.counted_rows([cells], meter):
            yield number, counted


def _objects(path: Path, file: TextIO) -> Iterator[tuple[int, list[str]]]:
    """Yield the values of JSON lines below their names."""
    names: list[str] = []
    for number, line in enumerate(file, 1):
        if not line.strip():
            continue
        try:
            values: Any = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"row {number} of '{path}' is no JSON ({error}); write one object a line") from error
        if not isinstance(values, dict) or not values:
            raise UserError(f'row {number} of \'{path}\' is no object such as {{"text": "...", "label": "..."}}')
        if not names:
            names = list(values)
            yield number, names
        yield number, [_text(values.get(name)) for name in names]


def _text(value: Any) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


def plain_name(name: str) -> str:
    """Return a name in lower case without marks: ``Class Index`` and ``class_index`` are the same."""
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _is_number(value: Any) -> bool:
    return str(value).strip().isdecimal()


def _is_float(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _list(names: Sequence[str]) -> str:
    """Return names as a list for a sentence, long ones cut off."""
    return ", ".join(f"'{name.strip()[:30]}'" for name in names[:8])
