"""A teacher's images as a torch data set in pixels, for anybody's own training loop."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from gendistill.data.description import Description
from gendistill.errors import UserError, did_you_mean
from gendistill.notes import note
from gendistill.visible import visible

LABELS = ("given", "hard", "soft", "stored")
CLIPPED = 0.5 / 255
"""What clipping may change of a pixel without a word: half a level of 8 bits."""


class TeacherDataset(Dataset[tuple[Any, Any]]):
    """Images in pixels and their labels, in memory.

    Args:
        images: (N, C, H, W) float32, in [0, 1]; of sentences vectors (N, 1, L, D).
        labels: (N,) int64, or one number a class (N, K) float32.
        description: What the images are described by.
        transform: Called with each image (C, H, W); None: images as they are.
    """

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        description: Description,
        transform: Callable[[Tensor], Any] | None = None,
    ) -> None:
        self.images, self.labels, self.transform = images, labels, transform
        self.name = description.name
        self.classes = list(description.class_names)
        """The classes' names, in label order."""
        self.mean, self.std = description.normalisation.mean, description.normalisation.std
        """Of the real data's pixels, one number a channel: what networks usually see is (pixel - mean) / std."""

    @property
    def tensors(self) -> tuple[Tensor, Tensor]:
        """Images and labels, as ``torch.utils.data.TensorDataset`` has them."""
        return self.images, self.labels

    @property
    def targets(self) -> Tensor:
        """The likeliest class of each image (N,) int64, as torchvision's data sets call it."""
        return self.labels.argmax(1) if self.labels.is_floating_point() else self.labels

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        image, label = self.images[index], self.labels[index]
        shown = image if self.transform is None else self.transform(image)
        return shown, label if self.labels.is_floating_point() else int(label)

    def __repr__(self) -> str:
        kind = "soft" if self.labels.is_floating_point() else "hard"
        shape, classes = tuple(self.images.shape[1:]), len(self.classes)
        return f"<{len(self):,} images {shape} of '{visible(self.name, 60)}' with {kind} labels of {classes} classes>"


def in_pixels(images: Tensor, description: Description, *, clip: bool = True) -> Tensor:
    """Return normalised images (N, C, H, W) in pixels; vectors of sentences as they are.

    Args:
        images: Normalised as the description says.
        description: The data set's.
        clip: Bring every pixel into [0, 1]. Distilled images may go beyond it; how far is noted.
    """
    if description.embedding is not None:
        return images
    pixels = description.normalisation.invert(images)
    if not clip:
        return pixels
    clipped = pixels.clamp(0, 1)
    changed = float((clipped - pixels).abs().max()) if pixels.numel() else 0.0
    if changed > CLIPPED:
        beyond = 100 * float((clipped != pixels).float().mean())
        note(
            f"{beyond:.1f} % of the values lie outside [0, 1] and were clipped, by up to {changed:.2g}; "
            "as_dataset(clip=False) leaves them as learners here see them"
        )
    return clipped


def labels_as(labels: Tensor, how: str, description: Description) -> Tensor:
    """Return labels, of which each is a class or one number a class, as they are asked for.

    Args:
        labels: (N,) class indices or (N, K) numbers.
        how: One of :data:`LABELS`.
        description: Gives the number of classes K.

    Raises:
        UserError: There is no such way.
    """
    if how not in LABELS:
        raise UserError(f"labels is '{how}'; {did_you_mean(str(how), LABELS)}choose among: {', '.join(LABELS)}")
    soft = labels.is_floating_point()
    if how == "hard":
        return labels.argmax(1) if soft else labels
    if how == "soft" and not soft:
        return torch.nn.functional.one_hot(labels, description.num_classes).to(torch.float32)
    return labels
