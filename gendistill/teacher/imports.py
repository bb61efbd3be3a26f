"""Reads results of public code into teachers: DC, DSA and DM (``res_*.pt``), MTT, Dataset Distillation.

The forms are described in :mod:`gendistill.teacher.public_formats`. Nothing in a file is run: tensors and plain numbers
are read, anything else is refused.
"""

from __future__ import annotations

import json
import pickle
import struct
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.whitening import EPSILON, Whitening
from gendistill.errors import UserError, did_you_mean
from gendistill.teacher import public_formats
from gendistill.teacher.base import first_line
from gendistill.teacher.folder import NOTES
from gendistill.teacher.public_formats import DD_FILE, MTT_FILES, WHITENING_FILE
from gendistill.teacher.stored import StoredImages

FORMS = ("auto", "dc", "mtt", "dd", "pt")
VALUES = ("auto", "normalised", "pixels", "whitened")
ZCA_PIXELS = "images_zca"
"""How MTT calls images whose whitening it has inverted."""
WHITENING_KEYS = ("mean", "matrix", "pixel_mean", "pixel_std")


def import_teacher(
    path: str | Path,
    data: RealData,
    *,
    form: str = "auto",
    values: str = "auto",
    epsilon: float = EPSILON,
    experiment: int = 0,
    learning_rate: float | None = None,
) -> StoredImages:
    """Read what public code of dataset distillation saved.

    Args:
        path: The file, or a folder that holds one result.
        data: The data set that the images stand for.
        form: ``dc``, ``mtt``, ``dd``, ``pt`` (``images.pt`` and ``labels.pt``, as :func:`gendistill.teacher.export`
            writes them), or ``auto``: by names and content.
        values: What the numbers are: ``normalised`` by the mean and deviation of that code for this data set (by the
            data's own where the code does not know it); ``pixels`` in [0, 1]; ``whitened``, as MTT's ``images_*.pt``
            are where it ran with ``--zca``. ``auto``: by the files of an export of this project (``whitening.pt``,
            ``teacher.json``), ``pixels`` for MTT's ``images_zca_*.pt``, else ``normalised``.
        epsilon: Of the whitening, which is fitted to the real training images again.
        experiment: Which of a ``dc`` file's experiments, from 0.
        learning_rate: That of the learner where the file has none, as MTT prints it; None: none.

    Returns:
        The images. Those of ``dd`` are shown in their own batches and order with their learned rates.

    Raises:
        UserError: The file is missing, holds something else, or does not fit the data or the options.
    """
    path = Path(path).expanduser()
    for name, word, allowed in (("format", form, FORMS), ("values", values, VALUES)):
        if word not in allowed:
            raise UserError(f"{name} is '{word}'; {did_you_mean(word, allowed)}choose one of {', '.join(allowed)}")
    file = _find(path)
    content = read(file)
    found = _recognise(file, content) if form == "auto" else form
    rates: Tensor | None = None
    momenta: Tensor | None = None
    options: dict[str, Any] = {}
    if found == "dc":
        images, labels = _experiment(file, content, experiment)
    elif found == "dd":
        images, labels, rates, size = _steps(file, content)
        options = {"order": "fixed", "batch_size": size}
    else:
        images, labels = _pair(file, content)
        rates, momenta = (_beside(file, f"{name}.pt") for name in ("learning_rates", "momenta"))
    if learning_rate is not None:
        if rates is not None:
            raise UserError(f"'{file}' has learned rates of its own; leave the learning rate out")
        if not 0 < learning_rate < float("inf"):
            raise UserError(f"the learning rate is {learning_rate}; it must be positive")
        rates = torch.tensor([learning_rate])
    description = data.description.with_normalisation(_normalisation(file, found, values, epsilon, data))
    try:
        return StoredImages(
            _floats(images),
            labels if labels.is_floating_point() and labels.ndim == 2 else _indices(labels),
            description,
            learning_rates=rates,
            momenta=momenta,
            metadata={"source": {"file": file.name, "format": found, "values": values}},
            **options,
        )
    except UserError as error:
        raise UserError(f"'{file}' cannot be used: {error}") from error


def read(path: Path) -> Any:
    """Read a ``torch.save`` file of tensors, containers and numbers.

    Raises:
        UserError: It is missing, damaged or holds anything else, which might run code.
    """
    allowed = [
        (_Type, "numpy.dtype"),
        (_number, "numpy.core.multiarray.scalar"),
        (_number, "numpy._core.multiarray.scalar"),
    ]
    try:
        with torch.serialization.safe_globals(allowed), warnings.catch_warnings():  # type: ignore[arg-type]
            warnings.simplefilter("ignore")  # of other pickle protocols, which are read or refused below
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise UserError(f"there is no file '{path}'; give the result of public code, or a folder with one") from error
    except pickle.UnpicklingError as error:
        raise UserError(
            f"'{path}' is no torch.save file of tensors and numbers alone, and what else it holds might run code when "
            "it is opened; load it in the program that made it and save the tensors"
        ) from error
    except (OSError, EOFError, RuntimeError, ValueError, TypeError, LookupError, AttributeError, struct.error) as error:
        raise UserError(f"'{path}' is damaged or no torch.save file: {first_line(error)}") from error


class _Type:
    """Stands for a numpy type in a file, of which only the name is looked at."""

    def __init__(self, name: str = "", *_: Any) -> None:
        self.name = name

    def __setstate__(self, state: Any) -> None:
        pass  # byte order and alignment


def _number(kind: _Type, content: Any) -> float:
    """Read one of the accuracies that the condensation papers' code stores as numpy numbers."""
    code = {"f8": "<d", "f4": "<f", "i8": "<q", "i4": "<i"}.get(kind.name)
    if code is None or not isinstance(content, bytes):
        raise pickle.UnpicklingError(f"a numpy number of type {kind.name!r}")
    return float(struct.unpack(code, content)[0])


def _find(path: Path) -> Path:
    """Return the file that is meant by a file or a folder."""
    if not path.is_dir():
        return path
    for name in (MTT_FILES[0], DD_FILE, "images.pt"):
        if (path / name).is_file():
            return path / name
    results = sorted(path.glob("res*.pt"))
    if len(results) == 1:
        return results[0]
    found = f"{len(results)} files res*.pt" if results else "none of them"
    raise UserError(
        f"'{path}' should hold one result ({MTT_FILES[0]}, {DD_FILE}, images.pt or one res_*.pt), there are {found}; "
        "name the file"
    )


def _recognise(file: Path, content: Any) -> str:
    if isinstance(content, dict) and "data" in content:
        return "dc"
    if isinstance(content, list | tuple):
        return "dd"
    if isinstance(content, Tensor):
        return "pt" if file.name == "images.pt" else "mtt"
    raise UserError(
        f"'{file}' is no result that is known: neither a dictionary with 'data' (DC, DSA, DM), nor a tensor of images "
        "with labels beside it (MTT), nor a list of steps (Dataset Distillation)"
    )


def _experiment(file: Path, content: Any, experiment: int) -> tuple[Tensor, Tensor]:
    pairs = content.get("data") if isinstance(content, dict) else None
    if not isinstance(pairs, list | tuple) or not pairs or not all(_tensors(pair, 2) for pair in pairs):
        raise UserError(f"'{file}' is not of format dc: its 'data' must be a list of [images, labels]")
    if not 0 <= experiment < len(pairs):
        raise UserError(f"experiment is {experiment}; '{file}' has 0..{len(pairs) - 1}")
    images, labels = pairs[experiment]
    return images, labels


def _steps(file: Path, content: Any) -> tuple[Tensor, Tensor, Tensor | None, int]:
    """Return images, labels and rates of all steps, and the size of a batch; epochs that repeat images are folded."""
    whole = isinstance(content, list | tuple) and content
    if not whole or not all(_tensors(step, 3, last_may_lack=True) for step in content):
        raise UserError(f"'{file}' is not of format dd: it must be a list of (images, labels, learning rate)")
    images, labels = [step[0] for step in content], [step[1] for step in content]
    if any(part.shape != images[0].shape for part in images) or any(part.shape != labels[0].shape for part in labels):
        raise UserError(f"the steps in '{file}' are of unequal sizes; teachers have batches of one size")
    given = [step[2] for step in content if step[2] is not None]
    if len(given) not in (0, len(content)) or any(rate.numel() != 1 for rate in given):
        raise UserError(f"'{file}' must have one learning rate for every step, or none")
    rates = torch.stack([rate.detach().to(torch.float32).reshape(()) for rate in given]) if given else None
    period = next(size for size in range(1, len(images) + 1) if _repeats(images, size) and _repeats(labels, size))
    return torch.cat(images[:period]), torch.cat(labels[:period]), rates, len(images[0])


def _repeats(parts: Sequence[Tensor], period: int) -> bool:
    if len(parts) % period:
        return False
    return all(torch.equal(part, parts[place % period]) for place, part in enumerate(parts))


def _pair(file: Path, content: Any) -> tuple[Tensor, Tensor]:
    """Return the images and the labels that lie beside them."""
    if not isinstance(content, Tensor):
        raise UserError(f"'{file}' must hold one tensor of images, it holds {type(content).__name__}")
    names = [file.name.replace("images", "labels", 1), file.name.replace(ZCA_PIXELS, "labels", 1)]
    for name in names:
        if name != file.name and (labels := _beside(file, name)) is not None:
            return content, labels
    raise UserError(f"'{file}' has no labels beside it; put them there (images_X.pt and labels_X.pt)")


def _beside(file: Path, name: str) -> Tensor | None:
    """Return the tensor in another file of the same folder, None where there is no such file."""
    path = file.with_name(name)
    if not path.is_file():
        return None
    content = read(path)
    if not isinstance(content, Tensor):
        raise UserError(f"'{path}' must hold one tensor, it holds {type(content).__name__}")
    return content


def _normalisation(file: Path, form: str, values: str, epsilon: float, data: RealData) -> Normalisation:
    channels = data.description.image_shape[0]
    pixels = Normalisation((0.0,) * channels, (1.0,) * channels)
    if values == "auto":
        if form == "mtt" and file.name.startswith(ZCA_PIXELS):
            return pixels
        noted = _noted(file) if form in ("mtt", "pt") else None
        if noted is not None:
            return noted
    if values == "pixels":
        return pixels
    if values == "whitened":
        return data.whitening(epsilon)
    return public_formats.normalisation(form, data.description.name) or data.description.normalisation.plain()


def _noted(file: Path) -> Normalisation | None:
    """Return the normalisation that an export of this project notes beside its tensors."""
    beside, notes = file.with_name(WHITENING_FILE), file.with_name(NOTES)
    if beside.is_file():
        content = read(beside)
        parts: list[Any] = [content.get(key) for key in WHITENING_KEYS] if isinstance(content, dict) else []
        if not _tensors(parts, len(WHITENING_KEYS)):
            raise UserError(f"'{beside}' must hold a dictionary with the tensors {', '.join(WHITENING_KEYS)}")
        mean, matrix, pixel_mean, pixel_std = parts
        return Normalisation(tuple(pixel_mean.tolist()), tuple(pixel_std.tolist()), Whitening(mean, matrix))
    if not notes.is_file():
        return None
    try:
        return Normalisation.from_dict(json.loads(notes.read_text(encoding="utf-8"))["export"]["normalisation"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"'{notes}' does not say how the images are normalised ({error!r}); give values") from error


def _tensors(items: Any, count: int, *, last_may_lack: bool = False) -> bool:
    if not isinstance(items, list | tuple) or len(items) != count:
        return False
    needed = items[:-1] if last_may_lack and items[-1] is None else items
    return all(isinstance(item, Tensor) for item in needed)


def _floats(images: Tensor) -> Tensor:
    """Return images as float32, if they are numbers of that kind, else as they are, to be refused."""
    return images.detach().to(torch.float32).contiguous() if images.is_floating_point() else images


def _indices(labels: Tensor) -> Tensor:
    """Return whole numbers that were stored as floats, as some code does, as class indices."""
    if labels.is_floating_point() and bool((labels == labels.round()).all()):
        return labels.to(torch.int64)
    return labels
