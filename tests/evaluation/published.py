"""Results as public code of dataset distillation saves them, made here from real digits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data.load import load
from gendistill.data.real import RealData
from gendistill.seeds import stream

SMALL = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8, "depth": 1}}
SHORT: dict[str, Any] = {"learner": SMALL, "epochs": 40, "seeds": 3}


def digits() -> RealData:
    """Return the embedded digits."""
    return load("digits")


def some(data: RealData, count: int = 5) -> tuple[Tensor, Tensor]:
    """Return the first images of every class, normalised, and their labels, class by class."""
    classes = range(data.description.num_classes)
    index = torch.cat([(data.train.labels == label).nonzero().flatten()[:count] for label in classes])
    return data.train.batch(index, data.description.normalisation)


def logits(labels: Tensor, classes: int = 10) -> Tensor:
    """Return what a network that is right says: sums and signs are those of logits, and of no probabilities."""
    clear = 6.0 * torch.nn.functional.one_hot(labels, classes).float()
    return clear + torch.randn(len(labels), classes, generator=stream(0, "logits")) - 1.0


def pair(folder: Path, images: Tensor, labels: Tensor, rate: float | None = None) -> Path:
    """Write ``images_best.pt`` and ``labels_best.pt``, and ``lr_best.pt`` as DATM does: MTT, TESLA, DATM."""
    folder.mkdir(parents=True)
    torch.save(images.clone(), folder / "images_best.pt")
    torch.save(labels.clone(), folder / "labels_best.pt")
    if rate is not None:
        torch.save(torch.tensor(rate), folder / "lr_best.pt")
    return folder


def sets(file: Path, *pairs: tuple[Tensor, Tensor]) -> Path:
    """Write ``{"data": [[images, labels], ...], "accs_all_exps": {...}}``: DC, DSA, DM, DataDAM."""
    content = {"data": [[images.clone(), labels.clone()] for images, labels in pairs], "accs_all_exps": {"ConvNet": []}}
    torch.save(content, file)
    return file
