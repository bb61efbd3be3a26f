"""Real data and teachers, by the names that the commands take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

import torch

import gendistill.data
from gendistill.data.real import RealData
from gendistill.data.recorded import load_recorded
from gendistill.errors import UserError
from gendistill.teacher.base import Teacher
from gendistill.teacher.reference import open_teacher, recorded_data


class InDirectory(Protocol):
    """A run: what lies in a directory."""

    directory: Path


DataLike = RealData | str | Path | Mapping[str, Any]
"""Real data, the name or path of some, or the options of :func:`load_data` with ``name``."""
TeacherLike = Teacher | InDirectory | str | Path
"""A teacher, a run, whose teacher is meant, or what names one: see :func:`load`."""


def load_data(
    name: DataLike = "digits",
    root: str | Path | None = None,
    *,
    device: torch.device | str = "cpu",
    seed: int = 0,
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
    """Load real data with its fixed splits.

    Args:
        name: A data set's name (``digits``, ``mnist``, ``cifar10``, ...), the path of a folder of images or of a
            Parquet file, or the options of this function as a mapping. Real data is returned as it is.
        root: Where the official files lie or are downloaded to; of ``text`` the file or folder itself. None: the
            environment variable GENDISTILL_DATA, else ``~/.cache/gendistill``.
        device: Where the images go.
        seed: Seed of the split of an image folder or a text; every other set is always split the same way.
        image_size: Of images of one's own: height and width in pixels that they are brought to. None: as they are.
        channels: Of images of one's own: 1 (grey) or 3 (colour). None: as they are.
        background: Of images of one's own: the colour that transparent pixels let through. None: white.
        whitening: Epsilon of ZCA whitening, such as 0.1. None: mean and standard deviation.
        length: Of texts: words of a sentence. None: what most have.
        vocabulary: Of texts: words that are kept, the most frequent. None: 5000.
        embedding: Of texts: numbers of a word's vector, or a file of vectors in GloVe's form.
        text_column: Of tables of texts: the column that holds them, by name or number from 1. None: found out.
        label_column: Of tables: the column of their classes. None: found out.

    Returns:
        The data: ``train``, ``validation`` and ``test``, and a ``description``.

    Raises:
        UserError: Unknown name; files missing or damaged; a folder without two classes of equal images.
    """
    options: dict[str, Any] = {
        "image_size": image_size, "channels": channels, "background": background, "whitening": whitening,
        "length": length, "vocabulary": vocabulary, "embedding": embedding, "text_column": text_column,
        "label_column": label_column,
    }  # fmt: skip
    given = {key: value for key, value in options.items() if value is not None}
    if isinstance(name, RealData):
        if given or root is not None:
            first = next(iter(given), "root")
            raise UserError(f"{first} is for data that is still to be loaded; give it where this data was loaded")
        return name.to(device)
    if isinstance(name, Mapping):
        return load_data(**({"root": root, "device": device, "seed": seed, **given} | dict(name)))
    if not isinstance(name, str | Path):
        raise UserError(f"data is {name!r}; give a name such as 'digits', a path, or what load_data returned")
    return gendistill.data.load(str(name), root, device, seed, **given)


def load(path: TeacherLike, data: DataLike | None = None, *, seed: int = 0, device: str = "cpu") -> Teacher:
    """Open a teacher: a file, a run, an export, a folder of images, or real images.

    Args:
        path: A ``.safetensors`` file, a run or its directory, an export, a folder of images, ``real``,
            ``real:subset=K``, ``real:ipc=K``, a coreset such as ``real:herding=K``, or a generator's ``.pth`` of
            torch-mimicry; ``X,labels=Y`` gives X the labeller of Y, ``X,labels=Y@stored`` the labels that it gives the
            images once. A teacher is returned as it is.
        data: The real data, which ``real...`` needs and every other teacher is held against; None: no data.
        seed: Chooses the images of a random subset.
        device: Where its tensors go.

    Returns:
        The teacher. ``batches`` yields what learners are shown; ``as_dataset`` its images in pixels, for other loops.

    Raises:
        UserError: There is none, its file is damaged, or it does not fit the data.
    """
    if isinstance(path, Teacher):
        return path.to(device)
    loaded = None if data is None else load_data(data)
    return open_teacher(reference_of(path), loaded, seed=seed, device=device)


def reference_of(teacher: Any) -> str:
    """Return how a run, or what names a teacher, is written on a command line.

    Raises:
        UserError: It is neither.
    """
    directory = getattr(teacher, "directory", teacher)
    if not isinstance(directory, str | Path):
        raise UserError(f"{teacher!r} is no teacher; give one, a run, or the path of either")
    return str(directory)


def data_of(teacher: Any, data: DataLike | None, device: torch.device | str = "cpu") -> RealData:
    """Return the real data that a teacher is judged on: what is given, else what it was made from.

    Args:
        teacher: A teacher, a run or what names a teacher.
        data: What is given; None: nothing.
        device: Where the images go.

    Raises:
        UserError: Nothing is given, and the teacher does not say what it was made from.
    """
    if data is not None:
        return load_data(data, device=device)
    if isinstance(known := getattr(teacher, "data", None), RealData):
        return known.to(device)
    if isinstance(teacher, Teacher):
        from gendistill.data.recorded import Recorded

        noted = Recorded.read(teacher.metadata.get("data"), f"a teacher of '{teacher.description.name}'")
        who = "this teacher does"
    else:
        noted, who = recorded_data(reference_of(teacher)), f"'{reference_of(teacher)}' does"
    if noted is None:
        raise UserError(f"{who} not say how its data was loaded; give data, such as data='digits'")
    return load_recorded(noted, device=device)
