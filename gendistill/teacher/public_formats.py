"""The files of the public code of DC, DSA and DM (``dc``), of MTT (``mtt``) and of Dataset Distillation (``dd``).

- ``dc``: ``res.pt``, ``{"data": [[images, labels], ...], "accs_all_exps": {...}}``, one pair an experiment.
- ``mtt``: ``images_best.pt`` and ``labels_best.pt``; the learning rate is only in the logs, whitening nowhere.
- ``dd``: ``results.pth``, a list of (images, labels, learning rate), one a step; later epochs repeat the images.

Images are (N, C, H, W) float32, normalised by the numbers of each code. :mod:`gendistill.teacher.imports` reads them.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data import sources
from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.teacher.stored import StoredImages

PUBLIC = ("dc", "mtt", "dd")

CIFAR10 = sources.SOURCES["cifar10"].normalisation
NORMALISATIONS = {
    ("mtt", "cifar100"): CIFAR10,
    ("dd", "cifar10"): Normalisation(CIFAR10.mean, (0.247, 0.243, 0.261)),
    ("dd", "svhn"): Normalisation((0.43791, 0.44398, 0.47293), (0.19803, 0.20102, 0.19704)),
    ("dd", "usps"): Normalisation((0.159727,), (0.257267,)),
}
"""Where a code has other numbers than :data:`gendistill.data.sources.SOURCES`, by format and data set."""

DC_FILE, DD_FILE = "res.pt", "results.pth"
MTT_FILES = ("images_best.pt", "labels_best.pt")
WHITENING_FILE = "whitening.pt"
"""Beside an export for MTT: ``mean``, ``matrix`` and what comes before, ``pixel_mean`` and ``pixel_std`` a channel."""


def normalisation(form: str, dataset: str) -> Normalisation | None:
    """Return what a format's images of a data set are normalised by; None for other than the public data sets."""
    source = sources.SOURCES.get(dataset)
    return NORMALISATIONS.get((form, dataset), None if source is None else source.normalisation)


def write_dc(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``res.pt`` with one experiment.

    Raises:
        UserError: Labels are soft, which that code does not know.
    """
    if images.labels_are_soft:
        raise UserError("format 'dc' has class indices only, this teacher's labels are soft; choose mtt or pt")
    values, labels = images.everything()
    write(folder / DC_FILE, {"data": [[_own(values), _own(labels)]], "accs_all_exps": {}})
    return {"files": [DC_FILE]}


def write_mtt(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``images_best.pt``, ``labels_best.pt``, and beside them learned rates and the whitening, if any."""
    values, labels = images.everything()
    files: dict[str, Any] = dict(zip(MTT_FILES, (_own(values), _own(labels)), strict=True))
    if images.learning_rates is not None:
        files["learning_rates.pt"] = _own(images.learning_rates)
    own = images.description.normalisation
    if own.whitening is not None:
        channels = {"pixel_mean": torch.tensor(own.mean), "pixel_std": torch.tensor(own.std)}
        files[WHITENING_FILE] = {"mean": own.whitening.mean, "matrix": own.whitening.matrix} | channels
    for name, content in files.items():
        write(folder / name, content)
    return {"files": sorted(files)}


def write_dd(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``results.pth``: one (images, labels, rate (1,)) a step.

    Raises:
        UserError: There are no learned rates, or batches that are not shown in a fixed order, or momentum.
    """
    if images.learning_rates is None:
        raise UserError("format 'dd' has a learning rate for every step, this teacher has learned none; choose pt")
    if images.momenta is not None and bool(images.momenta.any()):
        raise UserError("format 'dd' knows no momentum, this teacher has learned one; choose pt")
    size = images.batch_size or images.images_stored
    if images.images_stored % size or (size < images.images_stored and images.order != "fixed"):
        raise UserError(
            f"format 'dd' has whole batches in a fixed order, this teacher's {images.images_stored} images are shown "
            f"in batches of {size}, order {images.order}; choose pt"
        )
    values, labels = images.everything()
    batches = list(zip(values.split(size), labels.split(size), strict=True))
    # A single rate is for all steps (Teacher.rate), and every batch is shown at least once.
    count = max(len(images.learning_rates), len(batches))
    rates = images.learning_rates if len(images.learning_rates) > 1 else images.learning_rates.repeat(count)
    if len(rates) % len(batches):
        raise UserError(
            f"format 'dd' has whole epochs, {len(rates)} rates do not fit {len(batches)} batches; choose pt"
        )
    stored = [(_own(value), _own(label)) for value, label in batches]
    steps = [(*stored[step % len(stored)], _own(rate.view(1))) for step, rate in enumerate(rates)]
    write(folder / DD_FILE, steps)
    return {"files": [DD_FILE]}


def write(path: Path, content: Any) -> None:
    """Write with ``torch.save``."""
    buffer = io.BytesIO()  # torch.save to a full disk raises no OSError; a plain write does
    torch.save(content, buffer)
    path.write_bytes(buffer.getvalue())


def _own(tensor: Tensor) -> Tensor:
    return tensor.detach().cpu().contiguous().clone()
