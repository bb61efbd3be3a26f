"""Labels of pictures in a table beside them: Hugging Face's ``imagefolder`` with ``metadata.csv`` or ``.jsonl``."""

from __future__ import annotations

import csv
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from gendistill import budget
from gendistill.data.layout import (
    PARTS,
    Layout,
    Part,
    Survey,
    class_order,
    column_named,
    counted,
    listed,
    one_name_each,
    part_of,
)
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.regular import regular
from gendistill.spelling import option

TABLES = ("metadata.csv", "metadata.jsonl")
FILE = "file_name"
LABELS = ("label", "labels", "class", "class_name", "category")
NAME = "class_name"


@dataclass(frozen=True)
class Table:
    """What a table says.

    Attributes:
        path: The file.
        files: The pictures, below the table's folder.
        labels: The label of each, as text.
        names: What the table calls each label, where it does.
    """

    path: Path
    files: list[Path]
    labels: list[str]
    names: dict[str, str]


def find_tables(top: Survey, label_column: str | int | None = None) -> Layout | None:
    """Return the layout of pictures whose labels are in a table; None where there is no table, or folders say the same.

    A table lies in the folder itself, or one in the folder of each part. One in the folder itself may list files of
    folders that are called after the parts.

    Args:
        top: The folder.
        label_column: The column of labels, or its number from 1. None: the one that is called so; a table without such
            a column says nothing.

    Raises:
        UserError: A table is damaged, lacks a column, or lists files that are not there or not below it.
    """
    if (path := _table_in(top.path)) is not None:
        table = _read(path, label_column)
        if table is None and not top.has_classes:
            raise _without_labels(path)
        if table is None or (label_column is None and _folders_agree(table, top)):
            return None
        parts = _by_part(table, top)
        where = path.name
    else:
        found = _tables_of_parts(top, label_column)
        if found is None:
            return None
        parts = found
        where = ", ".join(f"{table.path.parent.name}/{table.path.name}" for table in parts.values())
    order = class_order(parts["train"].labels)
    names = {label: name for table in parts.values() for label, name in table.names.items()}
    places = {label: place for place, label in enumerate(order)}
    made = {part: _part(table, places) for part, table in parts.items()}
    return Layout(made, tuple(names.get(label, label) for label in order), f"labels of {where}", _left(parts, top))


def _tables_of_parts(top: Survey, label_column: str | int | None) -> dict[str, Table] | None:
    """Return the tables in the folders of parts; None where class folders say it in place of one of them."""
    tables: dict[str, Table] = {}
    names = []
    for one in top.below:
        part = part_of(one.path.name)
        path = None if part is None else _table_in(one.path)
        table = None if path is None else _read(path, label_column)
        if path is not None and table is None and not one.has_classes:
            raise _without_labels(path)
        if part is not None and table is not None:
            tables[part] = table
            names.append((part, one.name))
        elif part is not None and one.has_classes:
            return None
    if "train" not in tables:
        return None
    one_name_each(top, names)
    return {part: tables[part] for part in PARTS if part in tables}


def _without_labels(path: Path) -> UserError:
    """Return the refusal of pictures without class folders whose table does not say which column the classes are."""
    columns = listed([readable(str(name)) for name in _rows(path)[0] if name != FILE])
    return UserError(
        f"no column of '{readable(str(path))}' is called {', '.join(LABELS[:-1])} or {LABELS[-1]}, and there are no "
        f"class folders; say which of its columns ({columns}) holds the classes with {option('label_column')}"
    )


def _table_in(folder: Path) -> Path | None:
    return next((folder / name for name in TABLES if (folder / name).is_file()), None)


def _read(path: Path, label_column: str | int | None) -> Table | None:
    """Read a table; None if it has no labels, but says other things of the pictures."""
    rows = _rows(path)
    shown = readable(str(path))
    if not rows:
        raise UserError(f"'{shown}' lists no pictures; fill or delete it")
    if FILE not in rows[0]:
        raise UserError(
            f"'{shown}' has no column '{FILE}', but {listed(list(map(str, rows[0])))}; name it so or delete it"
        )
    there = list(rows[0])
    if label_column is None:
        column = next((name for name in LABELS if rows[0].get(name) not in (None, "")), None)
    else:
        column = column_named(label_column, there, path)
    if column is None:
        return None
    files: list[Path] = []
    labels, names = [], {}
    for number, row in enumerate(rows, 1):
        name, label = row.get(FILE), row.get(column)
        if isinstance(label, bool) or not isinstance(label, str | int) or label == "":
            raise UserError(f"row {number} of '{shown}' has no single label in '{column}'; give each picture one class")
        if (
            not isinstance(name, str)
            or not name
            or PurePosixPath(name).is_absolute()
            or ".." in PurePosixPath(name).parts
        ):
            raise UserError(f"row {number} of '{shown}' names no file below its folder; write the path from there")
        files.append(path.parent / name)
        labels.append(str(label))
        if isinstance(row.get(NAME), str) and row[NAME]:
            names[str(label)] = str(row[NAME])
    if len(set(files)) < len(files):
        twice = next(file for file, count in Counter(files).items() if count > 1)
        raise UserError(f"'{shown}' lists '{readable(twice.name)}' twice; give each picture one row")
    return Table(path, files, labels, names if len(set(names.values())) == len(set(labels)) else {})


def _rows(path: Path) -> list[Mapping[str, Any]]:
    budget.check_file(regular(path), budget.TEXT)
    meter = budget.Meter(f"the table {budget.quoted(path)}", budget.size_of(path))
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = (
                list(budget.counted_rows(csv.DictReader(file), meter))
                if path.suffix == ".csv"
                else [json.loads(line) for line in file if line.strip()]
            )
    except (OSError, ValueError, RecursionError, csv.Error) as error:
        raise UserError(f"'{readable(str(path))}' cannot be read ({error}); mend or delete it") from error
    if not all(isinstance(row, dict) for row in rows):
        raise UserError(f"'{readable(str(path))}' holds a row that is not an object with '{FILE}' and a label; mend it")
    return rows


def _folders_agree(table: Table, top: Survey) -> bool:
    """Return whether all listed files lie in class folders that say what the table says, one folder a label."""
    folders = [file.relative_to(top.path).parts[:-1] for file in table.files]
    if any(len(inner) != 1 for inner in folders) or top.pictures:
        return False
    pairs = {(inner[0], label) for inner, label in zip(folders, table.labels, strict=True)}
    used, labels = {name for name, _ in pairs}, {label for _, label in pairs}
    if any(part_of(name) for name in used):
        return False
    one_each = len(pairs) == len(used) == len(labels)
    if one_each and (used != labels or all(name == label for name, label in pairs)):
        return True
    if used <= labels:
        raise UserError(
            f"'{readable(str(table.path))}' gives pictures other labels than the folders that they lie in, which are "
            "called as classes are; move the pictures, or delete the table"
        )
    return False


def _by_part(table: Table, top: Survey) -> dict[str, Table]:
    """Divide a table by the first folder of its files, if those are all called after parts."""
    first = [file.relative_to(top.path).parts for file in table.files]
    named = [part_of(parts[0]) if len(parts) > 1 else None for parts in first]
    if "train" not in named or None in named:
        return {"train": table}
    divided = {}
    one_name_each(top, [(str(part), readable(parts[0])) for part, parts in zip(named, first, strict=True)])
    for part in (part for part in PARTS if part in named):
        mine = [place for place, one in enumerate(named) if one == part]
        files, labels = [table.files[place] for place in mine], [table.labels[place] for place in mine]
        divided[part] = Table(table.path, files, labels, table.names)
    return divided


def _part(table: Table, places: Mapping[str, int]) -> Part:
    unknown = sorted(set(table.labels) - set(places))
    if unknown:
        raise UserError(
            f"'{readable(str(table.path))}' has the label {listed(unknown)}, which the training part has not"
        )
    missing = [file for file in table.files if not file.is_file()]
    if missing:
        raise UserError(
            f"'{readable(str(table.path))}' lists {counted(len(missing), 'file')} that cannot be found, such as "
            f"'{readable(str(missing[0]))}'; fetch what is missing or take out the rows"
        )
    return Part(table.files, [places[label] for label in table.labels])


def _left(parts: Mapping[str, Table], top: Survey) -> tuple[str, ...]:
    """Return what no table lists."""
    known = {file for table in parts.values() for file in table.files}
    folders = {file.parent for file in known} | {table.path.parent for table in parts.values()}
    loose = sum(file not in known for folder in sorted(folders) for file in Survey.of(folder).pictures)
    used = {table.path for table in parts.values()}
    unused = [file for file in top.folders if not any(folder.is_relative_to(file) for folder in folders)]
    left = [f"{counted(loose, 'picture')} that no row lists"] if loose else []
    return (*left, *(readable(file.name) for file in (*unused, *top.others) if file not in used))
