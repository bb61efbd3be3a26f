"""How distilled images, the students' learning rate and learned labels are moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gendistill.errors import UserError
from trainers.checks import check_words

Kind = Literal["sgd", "adam"]


def image_optimiser(kind: Kind, images: Tensor, lr: float, momentum: float) -> torch.optim.Optimizer:
    """Return what moves images.

    Args:
        kind: ``sgd`` (with momentum) or ``adam``.
        images: A leaf.
        lr: Learning rate, positive.
        momentum: Of SGD, in [0, 1); Adam's first one is torch's 0.9.
    """
    if kind == "adam":
        return torch.optim.Adam([images], lr=lr)
    return torch.optim.SGD([images], lr=lr, momentum=momentum)


def fall(optimizer: torch.optim.Optimizer, lr: float, done: int, total: int) -> None:
    """Set a rate that falls from ``lr`` to zero along half a cosine, ``done`` of ``total`` steps being made."""
    factor = 0.5 * (1 + math.cos(math.pi * done / total))
    for group in optimizer.param_groups:
        group["lr"] = lr * factor


@dataclass(frozen=True)
class ImageOptimisers:
    """Optimisers of trajectory matching.

    Attributes:
        kind: ``sgd`` (with momentum) or ``adam``, for the images.
        lr_images: Its learning rate; positive.
        lr_rate: SGD's learning rate of the logarithm of the students' rate; positive.
        lr_labels: SGD's learning rate of learned labels, whose momentum is 0.9; positive.
        momentum: Of SGD for images and rate, in [0, 1).

    Raises:
        UserError: An unknown optimiser, or a number out of range.
    """

    kind: Kind
    lr_images: float
    lr_rate: float
    lr_labels: float
    momentum: float

    def __post_init__(self) -> None:
        check_words(optimizer=(self.kind, get_args(Kind)))
        rates = (self.lr_images, self.lr_rate, self.lr_labels)
        if not all(0 < rate < math.inf for rate in rates) or not 0 <= self.momentum < 1:
            raise UserError(
                "lr_images, lr_rate and lr_labels must be positive and momentum lie in [0, 1); got "
                f"{', '.join(map(str, rates))} and {self.momentum}"
            )

    def of_images(self, images: Tensor) -> torch.optim.Optimizer:
        """Return the optimiser of the images."""
        return image_optimiser(self.kind, images, self.lr_images, self.momentum)

    def of_others(self, raw_rate: Tensor, labels: Tensor | None) -> torch.optim.Optimizer:
        """Return the optimiser of the students' rate and, if there are any, learned labels."""
        groups: list[dict[str, Any]] = [{"params": [raw_rate], "lr": self.lr_rate, "momentum": self.momentum}]
        if labels is not None:
            groups.append({"params": [labels], "lr": self.lr_labels, "momentum": 0.9})
        return torch.optim.SGD(groups, lr=self.lr_rate)
