"""Pictures in Parquet files, as Hugging Face's ``datasets`` writes them: a column of images, a column of labels."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
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
from gendistill.data.parquet_file import column_values, open_parquet
from gendistill.data.pictures import Blob
from gendistill.errors import UserError
from gendistill.plain import readable
from gendistill.spelling import option

SUFFIX = ".parquet"
SHARD = re.compile(r"-(\d{5})-of-(\d{5})$")
IMAGES, LABELS = ("image", "img", "picture"), ("label", "labels", "class")
UNLABELLED = -1
"""What stands for the label of a picture that has none."""


def find_parquet(top: Survey, label_column: str | int | None = None) -> Layout | None:
    """Return the layout of a folder of Parquet files; None where it holds none, or class folders of pictures.

    Files lie in the folder, in ``data/``, or in a folder for each part. Their name (``train-00000-of-00001.parquet``)
    or their folder's says which part they are; all files without such a name are for training.

    Args:
        top: The folder.
        label_column: The column of labels, or its number from 1. None: the one that ``datasets`` notes as such, or
            that is called so.

    Raises:
        UserError: pyarrow is missing, a file is damaged, or columns of images and labels are not found.
    """
    folders = [one for one in top.below if one.path.name == "data" or part_of(one.path.name)]
    files = [file for one in (top, *folders) for file in one.others if file.suffix.lower() == SUFFIX]
    if not files or top.has_classes:
        return None
    words = {file: _word(file, top) for file in files}
    one_name_each(top, [(str(part_of(word)), word) for word in words.values() if word])
    by_part = {part: [file for file in files if (word := words[file]) and part_of(word) == part] for part in PARTS}
    by_part = {part: mine for part, mine in by_part.items() if mine}
    unnamed = [file for file in files if not words[file]]
    if not by_part:
        by_part, unnamed = {"train": unnamed}, []
    if "train" not in by_part:
        raise UserError(
            f"'{readable(str(top.path))}' holds Parquet files of {', '.join(by_part)} but none of train; name them "
            "train-00000-of-00001.parquet"
        )
    read = {file for mine in by_part.values() for file in mine}
    left = [readable(str(file.relative_to(top.path))) for file in unnamed]
    left += [readable(path.name) for path in (*top.folders, *top.others) if path not in read and path not in unnamed
             and not any(file.is_relative_to(path) for file in (*read, *unnamed))]  # fmt: skip
    left += [f"{counted(len(top.pictures), 'picture')} beside"] if top.pictures else []
    return _layout({part: sorted(mine) for part, mine in by_part.items()}, left, label_column)


def _word(file: Path, top: Survey) -> str | None:
    """Return the word in a file's name, or else its folder's, that says which part it is of."""
    folder = file.parent.name if file.parent != top.path else ""
    return next((word for word in (re.split(r"[-_.]", file.stem)[0], folder) if part_of(word)), None)


def find_file(path: Path, label_column: str | int | None = None) -> Layout:
    """Return the layout of one Parquet file, all of it for training; see :func:`find_parquet`."""
    return _layout({"train": [path]}, (), label_column)


def _layout(files: Mapping[str, Sequence[Path]], left: Sequence[str], label_column: str | int | None) -> Layout:
    for mine in files.values():
        _refuse_missing_shards(mine)
    columns = _columns(files["train"][0], label_column)
    values = {part: [value for file in mine for value in _labels(file, columns)] for part, mine in files.items()}
    names, left = columns.names, [*left, *(f"column '{name}'" for name in columns.left)]
    for part in [part for part, found in values.items() if part != "train" and set(found) == {UNLABELLED}]:
        del values[part]
        left.append(f"{part}, which has no labels")
    if names is None:
        order = class_order(map(str, values["train"]))
        places: Mapping[Any, int] = {name: place for place, name in enumerate(order)}
        values = {part: [str(value) for value in found] for part, found in values.items()}
    else:
        order, places = names, {place: place for place in range(len(names))}
    for part, found in values.items():
        unknown = sorted({str(value) for value in found if value not in places})
        if unknown:
            raise UserError(
                f"'{readable(str(files[part][0]))}' has the label {listed(unknown)}, which is none of the {len(order)} "
                "classes of the training part; mend it"
            )
        if not found:
            raise UserError(f"'{readable(str(files[part][0]))}' holds no rows; delete it or write it again")
    parts = {
        part: Part(_Pictures(files[part], columns), [places[value] for value in found])
        for part, found in values.items()
    }
    count = sum(len(files[part]) for part in parts)
    words = f"{count} Parquet file{'s' if count > 1 else ''} of {', '.join(parts)}, column '{columns.image}' with the "
    return Layout(parts, order, f"{words}labels of '{columns.label}'", tuple(left))


def _refuse_missing_shards(files: Sequence[Path]) -> None:
    shards = [(file, found) for file in files if (found := SHARD.search(file.stem))]
    if shards:
        count = int(shards[0][1][2])
        missing = sorted(set(range(count)) - {int(found[1]) for _, found in shards})
        if missing:
            raise UserError(
                f"'{readable(str(shards[0][0]))}' is one of {count} files, and {missing[0]:05d} is missing; fetch all "
                "of them"
            )


@dataclass(frozen=True)
class _Columns:
    """Which columns are read.

    Attributes:
        image: The column of images.
        label: The column of labels.
        names: The classes in label order, where the file says so.
        left: The other columns.
    """

    image: str
    label: str
    names: tuple[str, ...] | None
    left: tuple[str, ...]


def _columns(path: Path, label_column: str | int | None) -> _Columns:
    with open_parquet(path) as file:
        schema = file.schema_arrow
        features = _features(schema.metadata, path)
        shown, there = readable(str(path)), listed([readable(name) for name in schema.names])
        images = [name for name in schema.names if _kind(features, name) == "Image"]
        images = images or [name for name in IMAGES if name in schema.names and _holds_bytes(schema.field(name).type)]
        image = IMAGES[0] if IMAGES[0] in images else images[0] if len(images) == 1 else None
        if image is None:
            raise UserError(f"'{shown}' has no one column of images, but {there}; call the one that is meant 'image'")
        if label_column is not None:
            label: str | None = column_named(label_column, schema.names, path)
        else:
            noted = [name for name in schema.names if _kind(features, name) == "ClassLabel"]
            called = noted or [name for name in LABELS if name in schema.names][:1]
            label = LABELS[0] if LABELS[0] in called else called[0] if len(called) == 1 else None
        if label is None:
            raise UserError(
                f"'{shown}' has no one column of labels, but {there}; say which one is meant with "
                f"{option('label_column')}"
            )
        left = tuple(readable(name) for name in schema.names if name not in (image, label))
        return _Columns(image, label, _class_names(features, label, path), left)


def _features(metadata: Mapping[bytes, bytes] | None, path: Path) -> Mapping[str, Any]:
    """Return what ``datasets`` noted of the columns; nothing where something else wrote the file."""
    note = (metadata or {}).get(b"huggingface")
    if note is None:
        return {}
    try:
        return dict(json.loads(note)["info"]["features"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise UserError(
            f"'{readable(str(path))}' notes its columns in a way that cannot be read ({error!r})"
        ) from error


def _kind(features: Mapping[str, Any], name: str) -> object:
    feature = features.get(name)
    return feature.get("_type") if isinstance(feature, dict) else None


def _class_names(features: Mapping[str, Any], name: str, path: Path) -> tuple[str, ...] | None:
    feature = features.get(name)
    names = feature.get("names") if isinstance(feature, dict) else None
    if names is None:
        return None
    # Early versions of datasets wrote {"0": name, ...}.
    names = list(names.values()) if isinstance(names, dict) else names
    if not isinstance(names, list) or not names or not all(isinstance(one, str) for one in names):
        raise UserError(f"'{readable(str(path))}' notes no list of names for the classes of '{name}'; write it again")
    return tuple(map(readable, names))


def _holds_bytes(kind: Any) -> bool:
    import pyarrow.types as types

    inner = kind.field("bytes").type if types.is_struct(kind) and kind.get_field_index("bytes") >= 0 else kind
    return bool(types.is_binary(inner) or types.is_large_binary(inner))


def _labels(path: Path, columns: _Columns) -> Iterator[int | str]:
    for number, value in enumerate(column_values(path, columns.label)):
        if isinstance(value, bool) or not isinstance(value, int | str):
            raise UserError(
                f"row {number} of '{readable(str(path))}' has no single label in '{columns.label}'; give each picture "
                "one class"
            )
        yield value


@dataclass(frozen=True)
class _Pictures:
    """The pictures of some files, read as they are asked for."""

    files: Sequence[Path]
    columns: _Columns

    @property
    def size(self) -> int:
        """Bytes of the files."""
        return sum(map(budget.size_of, self.files))

    def __iter__(self) -> Iterator[Blob]:
        for path in self.files:
            for number, value in enumerate(column_values(path, self.columns.image)):
                content = value.get("bytes") if isinstance(value, dict) else value
                name = f"row {number} of {readable(str(path))}"
                if not isinstance(content, bytes):
                    raise UserError(
                        f"'{name}' holds no image in '{self.columns.image}' but at most the path of a file elsewhere; "
                        "write the Parquet file with the images in it"
                    )
                yield Blob(name, content)
