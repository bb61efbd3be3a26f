"""A teacher that is a set of images with labels: distilled pixels, exported samples, a folder of pictures."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.finite import check_finite
from gendistill.teacher.base import Batch, Teacher, check_labels, reordered_labels
from gendistill.teacher.draw import draw, fixed_order, shuffled_order, stratified_order

Order = Literal["stratified", "shuffled", "fixed"]


class StoredImages(Teacher):
    """Images with hard or soft labels, shown in random epochs or in the stored order.

    Args:
        images: (N, C, H, W) float32, normalised by ``description.normalisation``; not copied.
        labels: (N,) class indices, or (N, K) soft labels.
        description: The data set that the images stand for.
        order: ``"stratified"``: epochs drawn from the generator, no image dropped, classes spread evenly, so that every
            batch has them in nearly equal shares. ``"shuffled"``: the same without regard to classes. ``"fixed"``: as
            stored, cyclic. In all, a batch size above N makes every batch all N images.
        batch_size: Images a batch, whatever :meth:`batches` is asked for: distilled images belong to the step that they
            were made for. None: as many as are asked for.
        learning_rates: See :class:`Teacher`.
        momenta: See :class:`Teacher`.
        metadata: See :class:`Teacher`.

    Raises:
        UserError: No images, or shapes, types or values that do not fit the description.
    """

    kind: ClassVar[str] = "stored-images"

    def __init__(
        self,
        images: Tensor,
        labels: Tensor,
        description: Description,
        *,
        order: Order = "stratified",
        batch_size: int | None = None,
        learning_rates: Tensor | None = None,
        momenta: Tensor | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(description, learning_rates=learning_rates, momenta=momenta, metadata=metadata)
        if order not in get_args(Order):
            raise UserError(f"order must be one of {', '.join(get_args(Order))}, got {order!r}")
        if batch_size is not None and (not isinstance(batch_size, int) or batch_size < 1):
            raise UserError(f"a teacher's own batch_size must be a whole number from 1, or None, got {batch_size!r}")
        shape, dtype = self.stored_as(description)
        if images.ndim != 4 or tuple(images.shape[1:]) != tuple(shape):
            raise UserError(
                f"images of '{description.name}' must have shape (N, {', '.join(map(str, shape))}), "
                f"got {tuple(images.shape)}"
            )
        if not len(images):
            raise UserError("a teacher needs at least one image, got none")
        if images.dtype != dtype:
            raise UserError(f"images of a '{self.kind}' teacher must be {dtype}, got {images.dtype}")
        self.images = check_finite("images", images.detach())
        self.labels = check_labels(labels, (len(images),), description).to(images.device)
        self.order: Order = order
        self.batch_size = batch_size
        self._move_schedules(images.device)

    @classmethod
    def stored_as(cls, description: Description) -> tuple[tuple[int, int, int], torch.dtype]:
        """Return shape and type of one stored image."""
        return description.image_shape, torch.float32

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def images_stored(self) -> int:
        """Number of images N."""
        return len(self.images)

    @property
    def distinct_images(self) -> int:
        """Number of images that differ in at least one value."""
        return distinct_rows(self.images)

    @property
    def labels_are_soft(self) -> bool:
        """Whether labels are (N, K)."""
        return self.labels.ndim == 2

    @property
    def classes(self) -> Tensor:
        """(N,) class indices: the labels themselves, or the most likely class of soft ones."""
        return self.labels.argmax(dim=1) if self.labels_are_soft else self.labels

    @property
    def label_counts(self) -> list[int]:
        """Images of each class."""
        return torch.bincount(self.classes.cpu(), minlength=self.description.num_classes).tolist()

    def pick(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised images (B, C, H, W) and labels at ``index`` (B,)."""
        index = index.to(self.device)
        return self.images[index], self.labels[index]

    def batches(self, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield random or cyclic batches; see :meth:`Teacher.batches` and ``order``."""
        size, batch_size = self.images_stored, self.batch_size or batch_size
        if self.order == "fixed":
            indices = fixed_order(size, step_count, batch_size)
        elif self.order == "stratified":
            indices = stratified_order(self.classes, step_count, batch_size, generator)
        else:
            indices = shuffled_order(size, step_count, batch_size, generator)
        for step, index in enumerate(indices):
            images, labels = self.pick(index)
            yield images, labels, self.rate(step)

    def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        """Draw stored images without replacement while they last; see :meth:`Teacher.sample`."""
        return self.pick(draw(self.classes, self.description.num_classes, count, generator, balanced))

    def everything(self) -> tuple[Tensor, Tensor]:
        """Return all images and labels in stored order."""
        return self.pick(torch.arange(self.images_stored))

    def reordered(self, order: Order) -> Self:
        """Return a teacher of the same images and rates that shows them in another order, in batches of the same size.

        Args:
            order: See :class:`StoredImages`. ``"stratified"`` tells what distilled images are worth to somebody who
                shuffles them.

        Raises:
            UserError: The order is unknown.
        """
        if order not in get_args(Order):
            raise UserError(f"order must be one of {', '.join(get_args(Order))}, got {order!r}")
        other = copy.copy(self)
        other.order = order
        return other

    def in_order(self, order: Tensor, description: Description) -> Self:
        """Return the same images with their labels mapped; see :meth:`Teacher.in_order`."""
        other = copy.copy(self)
        other.description, other.labels = description, reordered_labels(self.labels, order)
        return other

    def to(self, device: torch.device | str) -> Self:
        """Move images, labels and schedules to a device."""
        self.images, self.labels = self.images.to(device), self.labels.to(device)
        self._move_schedules(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return ``images``, ``labels`` and the schedules that were learned."""
        return {"images": self.images, "labels": self.labels} | self._schedules()

    def header(self) -> dict[str, Any]:
        """Return the order, and the teacher's own batch size if it has one."""
        return {"order": self.order} | ({} if self.batch_size is None else {"batch_size": self.batch_size})

    @classmethod
    def restore(
        cls,
        tensors: dict[str, Tensor],
        header: Mapping[str, Any],
        description: Description,
        metadata: Mapping[str, Any],
    ) -> Self:
        """Build from a file's content; see :meth:`Teacher.restore`."""
        expect(tensors, needed=("images", "labels"), optional=("learning_rates", "momenta"))
        return cls(
            description=description,
            metadata=metadata,
            order=header.get("order", "shuffled"),
            batch_size=header.get("batch_size"),
            **tensors,
        )


def expect(tensors: Mapping[str, Tensor], needed: tuple[str, ...], optional: tuple[str, ...]) -> None:
    """Raise a :class:`UserError` when a tensor is missing or is not one of those that a teacher holds."""
    missing = [name for name in needed if name not in tensors]
    if missing:
        raise UserError(f"the file lacks the tensor '{missing[0]}'; it needs {', '.join(needed)}")
    left_over = sorted(set(tensors) - {*needed, *optional})
    if left_over:
        raise UserError(f"the file holds an unknown tensor '{left_over[0]}'; known are {', '.join(needed + optional)}")


def distinct_rows(*tensors: Tensor) -> int:
    """Return how many rows differ, taking the tensors (N, ...) side by side as one row an item."""
    seen = set()
    blocks = [tensor.detach().cpu().contiguous().flatten(1).view(torch.uint8).numpy() for tensor in tensors]
    for rows in zip(*blocks, strict=True):
        seen.add(hashlib.blake2b(b"".join(row.tobytes() for row in rows), digest_size=16).digest())
    return len(seen)
