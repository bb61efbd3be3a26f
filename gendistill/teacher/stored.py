"""A teacher that is a set of images with labels: distilled pixels, exported samples, a folder of pictures."""

from __future__ import annotations

import copy
import hashlib
import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.decodes import Decode, EightBit, Formation, Identity
from gendistill.decodes.choice import decode_from_file
from gendistill.errors import UserError
from gendistill.finite import check_finite, is_finite
from gendistill.teacher.base import Batch, Teacher, check_labels, reordered_labels
from gendistill.teacher.draw import draw, fixed_order, shuffled_order, stratified_order

Order = Literal["stratified", "shuffled", "fixed"]
HELD = 2**26
"""Values of images that are made once and held while a learner trains on them: 256 MiB."""
CHUNK = 256
"""Stored images that are decoded at a time."""
DECODE = "decode."
"""What the names of a decode's own tensors begin with."""


class StoredImages(Teacher):
    """Images with hard or soft labels, shown in random epochs or in the stored order.

    Args:
        images: (N, C, H, W) float32, normalised by ``description.normalisation``; not copied. With a decode what that
            stores.
        labels: (N,) class indices, or (N, K) soft labels. Where a stored image shows c of them, also (N * c, K): a soft
            label of each that is shown, those of one stored image in succession.
        description: The data set that the images stand for.
        decode: How a stored image becomes those that learners see, which have its label unless they have labels of
            their own; None: it is what they see.
        order: ``"stratified"``: epochs drawn from the generator, no image dropped, classes spread evenly, so that every
            batch has them in nearly equal shares. ``"shuffled"``: the same without regard to classes. ``"fixed"``: as
            stored, cyclic. In all, a batch size above N makes every batch all N images.
        batch_size: Images a batch, decoded ones, whatever :meth:`batches` is asked for: distilled images belong to the
            step that they were made for. None: as many as are asked for.
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
        decode: Decode | None = None,
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
        self.decode = None if decode is None or isinstance(decode, Identity) else copy.copy(decode).prepare(description)
        shape, dtype = self._stored_as(description)
        if tuple(images.shape[1:]) != tuple(shape):
            raise UserError(
                f"images of '{description.name}' must have shape (N, {', '.join(map(str, shape))}), "
                f"got {tuple(images.shape)}"
            )
        if not len(images):
            raise UserError("a teacher needs at least one image, got none")
        if images.dtype != dtype:
            raise UserError(f"images of a '{self.kind}' teacher must be {dtype}, got {images.dtype}")
        self.images = check_finite("images", images.detach())
        shown = len(images) * (1 if self.decode is None else self.decode.cells)
        each = labels.ndim == 2 and len(labels) == shown
        self.labels = check_labels(labels, (shown if each else len(images),), description).to(images.device)
        if self.decode is not None:
            self.decode.to(images.device)
        self.order: Order = order
        self.batch_size = batch_size
        self._move_schedules(images.device)
        if self.decode is not None:
            self._check_decode()

    def _check_decode(self) -> None:
        """Decode one image, so that what does not fit is refused here and not in the middle of a training."""
        shown, wanted = self.pick(torch.zeros(1, dtype=torch.int64))[0], (1, *self.description.image_shape)
        if tuple(shown.shape) != wanted or not is_finite(shown):
            raise UserError(
                f"{type(self.decode).__name__} must give finite images of shape {wanted[1:]}, it gives "
                f"{tuple(shown.shape[1:])}"
            )

    @classmethod
    def stored_as(cls, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        """Return shape and type of one stored image that is not decoded."""
        return description.image_shape, torch.float32

    def _stored_as(self, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        return self.stored_as(description) if self.decode is None else self.decode.stored_as(description)

    @property
    def device(self) -> torch.device:
        """Where the images are."""
        return self.images.device

    @property
    def images_stored(self) -> int:
        """Number of images N."""
        return len(self.images)

    @property
    def decoded_images(self) -> int:
        """Number of images that learners see."""
        return self.images_stored if self.decode is None else self.images_stored * self.decode.cells

    @property
    def distinct_images(self) -> int:
        """Number of stored images that differ in at least one value."""
        return distinct_rows(self.images)

    @property
    def labels_are_soft(self) -> bool:
        """Whether labels are (N, K)."""
        return self.labels.ndim == 2

    @property
    def shown_have_labels(self) -> bool:
        """Whether each of several images that a stored one shows has a label of its own."""
        return len(self.labels) != len(self.images)

    @property
    def labels_of_stored(self) -> Tensor:
        """(N,) or (N, K), one label of each stored image: where those that it shows have their own, the mean."""
        return self.labels.unflatten(0, (len(self.images), -1)).mean(1) if self.shown_have_labels else self.labels

    def labels_at(self, index: Tensor) -> Tensor:
        """Return the labels of the stored images at ``index`` (M,), in the form in which all are kept."""
        if not self.shown_have_labels:
            return self.labels[index]
        return self.labels.unflatten(0, (len(self.images), -1))[index].flatten(0, 1)

    @property
    def classes(self) -> Tensor:
        """(N,) class indices of stored images: the labels themselves, or the most likely class of soft ones."""
        return self.labels_of_stored.argmax(dim=1) if self.labels_are_soft else self.labels

    @property
    def decoded_classes(self) -> Tensor:
        """The same of the images that learners see."""
        return self.classes if self.decode is None else self.decode.labels(self.classes)

    @property
    def label_counts(self) -> list[int]:
        """Stored images of each class."""
        return torch.bincount(self.classes.cpu(), minlength=self.description.num_classes).tolist()

    def pick(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return normalised images (B, C, H, W) and labels of the decoded ones at ``index`` (B,)."""
        index = index.to(self.device)
        if self.decode is None:
            return self.values(index), self.labels[index]
        place, which = self.decode.split(index)
        labels = self.labels[index if self.shown_have_labels else place]
        return self.decode.cell(self.values(place), which, labels), labels

    def values(self, index: Tensor) -> Tensor:
        """Return stored images (B, ...) at ``index`` (B,) as a decode takes them, normalised."""
        stored = self.images[index]
        return stored if self.decode is None else self.decode.unpacked(stored)

    def batches(self, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield random or cyclic batches; see :meth:`Teacher.batches` and ``order``."""
        size, batch_size = self.decoded_images, self.batch_size or batch_size
        if self.order == "fixed":
            indices = fixed_order(size, step_count, batch_size)
        elif self.order == "stratified":
            indices = stratified_order(self.decoded_classes, step_count, batch_size, generator)
        else:
            indices = shuffled_order(size, step_count, batch_size, generator)
        # Decoded once where they are shown several times and can be held.
        made = self.everything() if self._hold(step_count * batch_size) else None
        for step, index in enumerate(indices):
            if made is None:
                images, labels = self.pick(index)
            else:
                place = index.to(self.device)
                images, labels = made[0][place], made[1][place]
            yield images, labels, self.rate(step)

    def _hold(self, wanted: int) -> bool:
        values = self.decoded_images * math.prod(self.description.image_shape)
        return self.decode is not None and wanted > self.decoded_images and values <= HELD

    def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        """Draw decoded images without replacement while they last; see :meth:`Teacher.sample`."""
        return self.pick(draw(self.decoded_classes, self.description.num_classes, count, generator, balanced))

    def everything(self) -> tuple[Tensor, Tensor]:
        """Return all decoded images and their labels, those of a stored one in succession, in stored order."""
        every = torch.arange(self.images_stored, device=self.device)
        if self.decode is None:
            return self.pick(every)
        told = self.labels_of_stored
        images = torch.cat([self.decode(self.values(some), told[some]) for some in every.split(CHUNK)])
        return images, self.labels if self.shown_have_labels else self.decode.labels(self.labels)

    def relabelled(self, labels: Tensor) -> Self:
        """Return the same images with a soft label of each that is shown; see :meth:`Teacher.relabelled`."""
        other = copy.copy(self)
        other.labels = check_labels(labels, (self.decoded_images,), self.description).to(self.device)
        return other

    def decoded(self) -> StoredImages:
        """Return a teacher that stores what this one shows: itself where nothing is decoded."""
        if self.decode is None:
            return self
        return self._with(*self.everything(), None)

    def unrounded(self) -> StoredImages:
        """Return a teacher that stores the values as they are decoded: itself where they are not packed."""
        if self.decode is None or (decode := self.decode.unrounded()) is self.decode:
            return self
        every = torch.arange(self.images_stored, device=self.device)
        return self._with(self.values(every), self.labels, decode)

    def in_eight_bits(self) -> StoredImages:
        """Return a teacher of the same images that keeps a byte a value, see :class:`~gendistill.decodes.EightBit`.

        Raises:
            UserError: The images are decoded by something else than a formation.
        """
        if isinstance(self.decode, EightBit) or (self.decode is None and self.images.dtype == torch.uint8):
            return self
        if self.decode is not None and not isinstance(self.decode, Formation):
            raise UserError(
                f"a byte a value is for images and for sheets of them; the values of this teacher are not "
                f"({self.decode.words()})"
            )
        factor = 1 if self.decode is None else self.decode.factor
        decode = EightBit(factor).prepare(self.description).fitted(self.images)
        return self._with(decode.packed(self.images), self.labels, decode)

    def _with(self, images: Tensor, labels: Tensor, decode: Decode | None) -> StoredImages:
        """Return a teacher of other stored values that is shown as this one is."""
        other = StoredImages(
            images,
            labels,
            self.description,
            decode=decode,
            order=self.order,
            batch_size=self.batch_size,
            learning_rates=self.learning_rates,
            momenta=self.momenta,
            metadata=self.metadata,
        )
        other.labeller = self.labeller
        return other

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
        self.decode = None if self.decode is None else copy.copy(self.decode).to(device)
        self._move_schedules(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return ``images``, ``labels``, the learned schedules, and as ``decode.*`` what decodes the images."""
        own = {} if self.decode is None else self.decode.tensors()
        decode = {f"{DECODE}{name}": tensor for name, tensor in own.items()}
        return {"images": self.images, "labels": self.labels} | self._schedules() | decode

    def header(self) -> dict[str, Any]:
        """Return the order, and the teacher's own batch size and decode if it has any."""
        size = {} if self.batch_size is None else {"batch_size": self.batch_size}
        decode = (
            {} if self.decode is None else {"decode": self.decode.built_by(), "decoded_images": self.decoded_images}
        )
        return {"order": self.order} | size | decode

    @classmethod
    def restore(
        cls,
        tensors: dict[str, Tensor],
        header: Mapping[str, Any],
        description: Description,
        metadata: Mapping[str, Any],
    ) -> Self:
        """Build from a file's content; see :meth:`Teacher.restore`."""
        own = {name.removeprefix(DECODE): value for name, value in tensors.items() if name.startswith(DECODE)}
        others = {name: value for name, value in tensors.items() if not name.startswith(DECODE)}
        expect(others, needed=("images", "labels"), optional=("learning_rates", "momenta"))
        if "decode" not in header and own:
            raise UserError("the file holds tensors of a decode and does not name it")
        return cls(
            description=description,
            metadata=metadata,
            decode=decode_from_file(header["decode"]).load(own) if "decode" in header else None,
            order=header.get("order", "shuffled"),
            batch_size=header.get("batch_size"),
            **others,
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
