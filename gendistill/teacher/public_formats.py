"""Writes images as the public code of dataset distillation does, so that its evaluation reads them.

- ``dc`` (DC, DSA, DM): ``res.pt``, ``{"data": [[images, labels], ...], "accs_all_exps": {...}}``, one pair an
  experiment.
- ``mtt`` (MTT, TESLA): ``images_best.pt`` and ``labels_best.pt``, and ``images_zca_best.pt`` where it whitens.
- ``datm`` (DATM, PAD): the same, with logits for labels and the learned rate in ``lr_best.pt``.
- ``dd`` (Dataset Distillation): ``results.pth``, a list of (images, labels, learning rate), one a step; later epochs
  repeat the images.
- ``idc`` (IDC, DREAM, NCFM): ``data.pt``, ``[images, labels]``, pixels as they are stored: the sheets of a formation.

Images are (N, C, H, W) float32, normalised by the numbers of each code. :mod:`gendistill.teacher.result_files` reads
what that code writes, :mod:`gendistill.teacher.own_exports` what is written here.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data import sources
from gendistill.data.description import Normalisation
from gendistill.errors import UserError
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.torch_files import own, write

PUBLIC = ("dc", "mtt", "datm", "dd", "idc")

CIFAR10 = sources.SOURCES["cifar10"].normalisation
NORMALISATIONS = {
    ("mtt", "cifar100"): CIFAR10,
    ("datm", "cifar100"): CIFAR10,
    ("dd", "cifar10"): Normalisation(CIFAR10.mean, (0.247, 0.243, 0.261)),
    ("dd", "svhn"): Normalisation((0.43791, 0.44398, 0.47293), (0.19803, 0.20102, 0.19704)),
    ("dd", "usps"): Normalisation((0.159727,), (0.257267,)),
}
"""Where a code has other numbers than :data:`gendistill.data.sources.SOURCES`, by format and data set."""

DC_FILE, DD_FILE, IDC_FILE = "res.pt", "results.pth", "data.pt"
MTT_FILES = ("images_best.pt", "labels_best.pt")
RATE_FILE, ZCA_FILE = "lr_best.pt", "images_zca_best.pt"
WHITENING_FILE = "whitening.pt"
"""Beside an export for MTT: ``mean``, ``matrix`` and what comes before, ``pixel_mean`` and ``pixel_std`` a channel."""
WHITENING_KEYS = ("mean", "matrix", "pixel_mean", "pixel_std")
LEAST = 1e-12
"""The least probability whose logarithm is written."""


def normalisation(form: str, dataset: str) -> Normalisation | None:
    """Return what a format's images of a data set are normalised by; None for other than the public data sets."""
    source = sources.SOURCES.get(dataset)
    return NORMALISATIONS.get((form, dataset), None if source is None else source.normalisation)


def unseen(images: StoredImages, form: str) -> list[str]:
    """Return what readers of a public format do not see of a teacher, one sentence each; ``teacher.json`` has it."""
    sentences = []
    if form == "idc" and images.decode is not None:
        sentences.append(f"the file does not say the factor, give it to that code: --factor {images.decode.factor}")  # type: ignore[attr-defined]
    if form in ("dc", "idc") and images.learning_rates is not None:
        sentences.append("that code knows no learned rate")
    if form in ("mtt", "datm") and images.learning_rates is not None and len(images.learning_rates) > 1:
        sentences.append(f"that code knows one learned rate, not {len(images.learning_rates)}")
    if images.momenta is not None and form != "dd":
        sentences.append("that code knows no learned momentum")
    if images.order == "fixed" and form != "dd":
        sentences.append("that code shuffles images, which were made for a fixed order")
    return sentences


def write_dc(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``res.pt`` with one experiment.

    Raises:
        UserError: Labels are soft, which that code does not know.
    """
    if images.labels_are_soft:
        raise UserError("format 'dc' has class indices only, this teacher's labels are soft; choose mtt or pt")
    values, labels = images.everything()
    write(folder / DC_FILE, {"data": [[own(values), own(labels)]], "accs_all_exps": {}})
    return {"files": [DC_FILE]}


def write_mtt(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``images_best.pt``, ``labels_best.pt``, and beside them the learned rate and the whitening, if any.

    One rate for all steps is a number in ``lr_best.pt``; a rate for each step, which that code does not know, is a
    vector in ``learning_rates.pt``. Of whitened images ``images_zca_best.pt`` has the pixels.
    """
    return _write_trajectory(images, images.labels, folder)


def write_datm(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write what :func:`write_mtt` does, with labels of which that code takes the softmax.

    Raises:
        UserError: Labels are hard, or no probabilities.
    """
    labels = images.labels
    if not images.labels_are_soft or bool((labels < 0).any()) or bool(((labels.sum(1) - 1).abs() > 1e-3).any()):
        raise UserError(
            "format 'datm' has the logarithms of probabilities for labels, this teacher's labels are "
            f"{'other numbers' if images.labels_are_soft else 'class indices'}; choose mtt or pt"
        )
    return _write_trajectory(images, labels.clamp(min=LEAST).log(), folder) | {"labels": "logits"}


def _write_trajectory(images: StoredImages, labels: Tensor, folder: Path) -> dict[str, Any]:
    values = images.everything()[0]
    files: dict[str, Any] = dict(zip(MTT_FILES, (own(values), own(labels)), strict=True))
    if images.learning_rates is not None:
        single = len(images.learning_rates) == 1
        rates = images.learning_rates
        files[RATE_FILE if single else "learning_rates.pt"] = own(rates.reshape(()) if single else rates)
    normalisation = images.description.normalisation
    if normalisation.whitening is not None:
        whitening = normalisation.whitening
        parts = (whitening.mean, whitening.matrix, torch.tensor(normalisation.mean), torch.tensor(normalisation.std))
        files[WHITENING_FILE] = dict(zip(WHITENING_KEYS, parts, strict=True))
        files[ZCA_FILE] = own(normalisation.invert(values))
    for name, content in files.items():
        write(folder / name, content)
    return {"files": sorted(files)}


def write_idc(images: StoredImages, folder: Path) -> dict[str, Any]:
    """Write ``data.pt``: a list of the stored images, pixels, and their labels.

    Raises:
        UserError: Images are sentences, or have labels that a stored one does not.
    """
    if images.description.embedding is not None:
        raise UserError("format 'idc' has pixels, sentences have none; choose pt")
    if images.shown_have_labels:
        raise UserError(
            "format 'idc' has one label a stored image, here each that it shows has its own; choose safetensors, or pt"
        )
    stored = images.values(torch.arange(images.images_stored, device=images.device))
    write(folder / IDC_FILE, [own(stored), own(images.labels)])
    return {"files": [IDC_FILE]}


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
    stored = [(own(value), own(label)) for value, label in batches]
    steps = [(*stored[step % len(stored)], own(rate.view(1))) for step, rate in enumerate(rates)]
    write(folder / DD_FILE, steps)
    return {"files": [DD_FILE]}
