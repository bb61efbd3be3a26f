"""One call for every data set: ``load("cifar10")``, ``load("folder:/pictures", image_size=64)``."""

from __future__ import annotations

import os
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from gendistill.data import sources, text
from gendistill.data.description import Description
from gendistill.data.digits import load_digits
from gendistill.data.folder import load_folder
from gendistill.data.mhist import load_mhist
from gendistill.data.points import CLOUDS, load_points
from gendistill.data.readers import Arrays
from gendistill.data.real import RealData, Split
from gendistill.data.split import stratified, validation_size
from gendistill.data.stacked import BASES, stack
from gendistill.data.text_tables import SUFFIXES as TABLES
from gendistill.data.text_tables import Columns
from gendistill.errors import UserError, did_you_mean
from gendistill.notes import note
from gendistill.plain import readable
from gendistill.regular import expanded
from gendistill.spelling import option
from gendistill.visible import visible

NAMES = ("digits", *sources.SOURCES, "mhist", *text.NAMES, *CLOUDS, *BASES)
"""The data sets that have a name; any other is a folder of images."""

TEXTS = ("length", "vocabulary", "embedding")
COLUMNS = ("text_column", "label_column")
"""The options that are for texts."""

ROOT_VARIABLE = "GENDISTILL_DATA"
FOLDER_PREFIX = "folder:"


class Pictures(NamedTuple):
    """The options that are for pictures of one's own; see :func:`load`."""

    image_size: int | None = None
    channels: int | None = None
    background: str | None = None


def default_root() -> Path:
    """Return where data sets are kept: the environment variable GENDISTILL_DATA, else ``~/.cache/gendistill``."""
    given = os.environ.get(ROOT_VARIABLE)
    return expanded(given) if given else Path.home() / ".cache" / "gendistill"


def load(
    name: str,
    root: str | Path | None = None,
    device: torch.device | str = "cpu",
    seed: int = 0,
    *,
    image_size: int | None = None,
    channels: int | None = None,
    background: str | None = None,
    whitening: float | None = None,
    length: int | None = None,
    vocabulary: int | None = None,
    embedding: int | str | None = None,
    text_column: str | int | None = None,
    label_column: str | int | None = None,
) -> RealData:
    """Load a data set with its fixed splits, as uint8 (sentences: tokens, points: int32) on the device.

    The validation part is held out of the training images, stratified, by a constant seed: a tenth, at most 5,000
    (digits: 200). The test part is the official one (digits: 400, held out the same way). Points are embedded, too.

    Args:
        name: One of :data:`NAMES`, however it is spelt (``CIFAR-10``), or ``folder:PATH``, or the path of a folder of
            images or of a Parquet file (:data:`gendistill.data.folder.LAYOUTS`).
        root: Where the official files lie or are downloaded to; of ``text`` the file or folder itself. None:
            :func:`default_root`.
        device: Where the images go.
        seed: Seed of the split of an image folder or a text; every other set is always split the same way.
        image_size: For an image folder and ``mhist``: height and width in pixels that images are brought to. None: as
            they are.
        channels: For an image folder and ``mhist``: 1 (grey) or 3 (colour) to convert to. None: as they are.
        background: For an image folder and ``mhist``: the colour that transparent pixels let through, a name or
            ``#rrggbb``. None: white.
        whitening: Fit ZCA whitening with this epsilon to the training images and describe the data so: networks then
            see whitened images, and teachers are made of such. None: mean and standard deviation.
        length: For texts: words of a sentence; see :func:`gendistill.data.text.load_text`.
        vocabulary: For texts: the most frequent words that are kept.
        embedding: For texts: numbers of a word's vector, or a file of vectors in GloVe's form.
        text_column: For tables of texts: name of the column that holds them, or its number from 1; None: found out.
        label_column: For tables of texts, and of pictures (``metadata.csv``, Parquet): that of their classes.

    Returns:
        The data. What its notes say is printed on stderr, too.

    Raises:
        UserError: Unknown name; files missing or damaged; a folder without two classes of equal images; images too
            large to be whitened.
    """
    name = known_name(name)
    given: dict[str, Any] = {
        "name": name, "root": None if root is None else str(root), "seed": seed or None, "image_size": image_size,
        "channels": channels, "background": background, "whitening": whitening, "length": length,
        "vocabulary": vocabulary, "embedding": embedding, "text_column": text_column, "label_column": label_column,
    }  # fmt: skip
    of_text, columns = text.TextOptions(length, vocabulary, embedding), Columns(text_column, label_column)
    of_pictures = Pictures(image_size, channels, background)
    if name in text.NAMES:
        if of_pictures != Pictures():
            raise UserError(f"{_options(Pictures._fields)} are for pictures; '{name}' holds sentences, leave them out")
        local = name == "text"
        if not local and columns != Columns():
            raise UserError(f"{_options(COLUMNS)} are for tables of texts; '{name}' is none, leave them out")
        loaded = text.load_text(_root(root), of_text, columns, seed=seed) if local else text.load_toytext(of_text)
    elif name not in NAMES and Path(name).suffix.lower() in TABLES and Path(name).is_file():
        raise UserError(
            f"'{readable(name)}' is a table of texts; load it as {option('name')} text with {option('root')} "
            f"{shlex.quote(readable(name))}"
        )
    elif (of_text, text_column) != (text.TextOptions(), None):
        words = _options((*TEXTS, COLUMNS[0]))
        raise UserError(f"{words} are for texts; '{readable(name)}' holds pictures, leave them out")
    else:
        loaded = replace(_load(name, root, seed, of_pictures, label_column), background=background)
    options = {key: value for key, value in given.items() if value is not None}
    data = replace(loaded, options=options).to(device)
    for sentence in data.notes:
        note(sentence)
    return data if whitening is None else data.with_normalisation(data.whitening(whitening))


def known_name(name: str) -> str:
    """Return the name of a data set however it is spelt: ``CIFAR-10``, ``cifar_10`` and ``Cifar10`` are ``cifar10``.

    A folder of that name is a folder of pictures, unless it is where the official files lie (``MNIST/raw``).

    Args:
        name: A data set, or a folder or file of one's own, which is returned as it is.
    """
    if name in NAMES:
        return name
    found = _SPELT.get(_bare(name))
    if found is None:
        return name
    base = BASES.get(found, found)
    official = base in sources.SOURCES and Path(sources.SOURCES[base].folder).exists()
    return found if official or not expanded(name).exists() else name


def _bare(name: str) -> str:
    return name.lower().translate(str.maketrans("", "", "-_ ."))


_SPELT = {_bare(name): name for name in NAMES}


def check_named_by_file(name: str, root: str | Path | None, way_out: str) -> None:
    """Refuse a data set that a file names unless it is a public one that is there: a file chooses no place of a disk.

    Args:
        name: What the file names.
        root: Where the user says that data sets are; None: :func:`default_root`.
        way_out: How the user names it himself.

    Raises:
        UserError: It is a folder or a file, or would have to be downloaded.
    """
    public = [one for one in NAMES if one not in ("mhist", "text")]
    if name not in (*public, "mhist"):
        raise UserError(
            f"the file names the data set '{visible(name, 60)}', which is none of {', '.join((*public, 'mhist'))}; a "
            f"file chooses no folders: {way_out}"
        )
    base = BASES.get(name, name)
    if base in sources.SOURCES and not sources.is_there(base, _root(root)):
        where = f"which is not in '{_root(root)}'"
        raise UserError(f"the file names the data set '{name}', {where}; a file starts no download: {way_out}")


def _load(
    name: str, root: str | Path | None, seed: int, of_pictures: Pictures, label_column: str | int | None
) -> RealData:
    if name not in NAMES:
        path = expanded(name.removeprefix(FOLDER_PREFIX))
        if name.startswith(FOLDER_PREFIX) or path.exists() or len(path.parts) > 1:
            return load_folder(path, seed=seed, label_column=label_column, **of_pictures._asdict())
        raise UserError(
            f"there is no data set '{readable(name)}'; {did_you_mean(name.lower(), NAMES)}choose one of "
            f"{', '.join(NAMES)} or the path of a folder of images"
        )
    folder = _root(root)
    if label_column is not None:
        raise UserError(
            f"{option('label_column')} is for tables of texts and of pictures of one's own; '{name}' has its labels, "
            "leave it out"
        )
    if name == "mhist":
        return load_mhist(folder, **of_pictures._asdict())
    if of_pictures != Pictures():
        raise UserError(f"{_options(Pictures._fields)} are for folders of images; '{name}' has its own, leave them out")
    if name == "digits":
        return load_digits()
    if name in CLOUDS:
        return load_points(name)
    if name in BASES:
        return stack(_load(BASES[name], root, seed, of_pictures, label_column), name)
    train, test, class_names = sources.read(name, folder)
    full, test_split = to_split(train), to_split(test)
    _, *shape = full.images.shape
    description = Description(name, class_names, (shape[0], shape[1], shape[2]), sources.SOURCES[name].normalisation)
    held_count = validation_size(len(full))
    rest, held = stratified(full.labels, (len(full) - held_count, held_count))
    training, validation = (Split(full.images[index], full.labels[index]) for index in (rest, held))
    return RealData(description, training, validation, test_split)


def _options(names: tuple[str, ...]) -> str:
    """Return options as a person writes them here: ``--length, --vocabulary and --embedding``."""
    words = [option(name) for name in names]
    return f"{', '.join(words[:-1])} and {words[-1]}"


def _root(root: str | Path | None) -> Path:
    return expanded(root) if root is not None else default_root()


def to_split(arrays: Arrays) -> Split:
    """Return arrays (N, C, H, W) uint8 and (N,) as a split that owns its memory."""
    images, labels = arrays
    return Split(torch.tensor(np.ascontiguousarray(images)), torch.tensor(np.asarray(labels, dtype=np.int64)))
