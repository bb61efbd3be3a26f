"""What every decode is: stored values -> images, before augmentation and with a gradient."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, Self

import torch
from torch import Tensor

from gendistill.data.description import Description
from gendistill.data.real import RealData
from gendistill.declared import accepted_arguments
from gendistill.errors import UserError


class Decode(ABC):
    """A rule by which a stored value becomes one or several images, which are its *cells*.

    A subclass writes :meth:`cell` and :meth:`encode`, sets :attr:`cells` if there is more than one, and keeps what its
    constructor was given as attributes of the same names: a teacher's file names the class with these arguments.
    """

    cells: int = 1
    """Images that one stored value shows."""
    description: Description
    device = torch.device("cpu")

    # To be written by a decode.

    @abstractmethod
    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Return one image of each value, differentiable in the values.

        Args:
            values: (N, *stored_shape) float.
            places: (N,) int64, which of its cells, 0 to ``cells - 1``.
            labels: (N,) class indices or (N, K) soft labels of the values.

        Returns:
            (N, C, H, W), normalised as the data set is.
        """

    @abstractmethod
    def encode(self, images: Tensor) -> Tensor:
        """Return values that show images, as well as they can: what distillation starts from.

        Args:
            images: (N * cells, C, H, W), normalised; those of one value in succession.

        Returns:
            (N, *stored_shape).

        Raises:
            UserError: Images cannot be brought into this form.
        """

    @property
    def stored_shape(self) -> tuple[int, ...]:
        """Shape of one value in training; by default that of an image."""
        return self.description.image_shape

    # What a decode may change.

    def prepare(self, description: Description) -> Self:
        """Take the shape and the normalisation of the images, before anything is decoded.

        Raises:
            UserError: The decode does not suit them.
        """
        self.description = description
        return self

    def attach(self, data: RealData, device: torch.device) -> Self:
        """Prepare for a run: as :meth:`prepare`, with the real data at hand.

        Args:
            data: The data set.
            device: Where values will be.

        Raises:
            UserError: See :meth:`prepare`.
        """
        return self.prepare(data.description).to(device)

    def noise(self, labels: Tensor, generator: torch.Generator) -> Tensor:
        """Return values (N, *stored_shape) of standard normal noise for labels (N,), on the generator's device."""
        return torch.randn((len(labels), *self.stored_shape), generator=generator, device=generator.device)

    def kept(self, optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
        """Return an optimiser of values that keeps them where they may be; by default the one that is given."""
        return optimizer

    def allowed(self, values: Tensor) -> Tensor:
        """Return values (*, *stored_shape), such as a mean of some, brought to where they may be; here as they are."""
        return values

    def fitted(self, values: Tensor) -> Self:
        """Return the decode by which values (N, *stored_shape) are packed; by default this one."""
        return self

    def packed(self, values: Tensor) -> Tensor:
        """Return what a file keeps of values (N, *stored_shape): (N, ...) of any type; by default they themselves."""
        return values

    def unpacked(self, stored: Tensor) -> Tensor:
        """Return the values (N, *stored_shape) of what :meth:`packed` gave."""
        return stored

    def stored_as(self, description: Description) -> tuple[tuple[int, ...], torch.dtype]:
        """Return shape and type of what :meth:`packed` gives for one value."""
        return self.stored_shape, torch.float32

    def unrounded(self) -> Decode:
        """Return what decodes values that are stored as they are, where :meth:`packed` changes them; else this one."""
        return self

    def takes(self, other: Decode) -> bool:
        """Return whether the values that another one decodes are values of this one."""
        return self.built_by() == other.built_by()

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file keeps of the decode itself, by name; its bytes count with the images'."""
        return {}

    def load(self, tensors: dict[str, Tensor]) -> Self:
        """Take what :meth:`tensors` gave; called before :meth:`prepare`.

        Raises:
            UserError: A tensor is missing, left over or damaged.
        """
        if tensors:
            raise UserError(f"{type(self).__name__} keeps no tensors, the file has {', '.join(sorted(tensors))}")
        return self

    def to(self, device: torch.device | str) -> Self:
        """Move what :meth:`tensors` returns."""
        self.device = torch.device(device)
        return self

    def words(self) -> str:
        """Return what it does as part of a sentence."""
        return f"decoded by {type(self).__name__}"

    # What others call.

    def __call__(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return all images of all values, those of one value in succession.

        Args:
            values: (N, *stored_shape) float.
            labels: (N,) or (N, K).

        Returns:
            (N * cells, C, H, W), normalised, differentiable in the values.
        """
        places = torch.arange(self.cells, device=values.device).repeat(len(values))
        return self.cell(values.repeat_interleave(self.cells, 0), places, self.labels(labels))

    @property
    def apart(self) -> bool:
        """Whether an image depends on its own value alone, and not on those that are decoded beside it."""
        return True

    def rows(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the images (k, M * cells, C, H, W) of values (k, M, *stored_shape) with labels (k, M) or (k, M, K)."""
        return self(values.flatten(0, 1), labels.flatten(0, 1)).unflatten(0, (len(values), -1))

    def pick(self, values: Tensor, labels: Tensor, index: Tensor) -> Tensor:
        """Return those images (B, C, H, W) of all values (N, ...) whose numbers among the N * cells are ``index``."""
        place, which = self.split(index)
        return self.cell(values.index_select(0, place), which, labels.index_select(0, place))

    def split(self, index: Tensor) -> tuple[Tensor, Tensor]:
        """Return which value, and which of its cells, images (B,) are."""
        return index // self.cells, index % self.cells

    def labels(self, labels: Tensor) -> Tensor:
        """Return the labels (N * cells, ...) of the images of values with labels (N, ...)."""
        return labels if self.cells == 1 else labels.repeat_interleave(self.cells, 0)

    def built_by(self) -> dict[str, Any]:
        """What builds it again: ``class_path`` and ``init_args``.

        Raises:
            UserError: The constructor's arguments are not kept as attributes.
        """
        kind = type(self)
        missing = [name for name in accepted_arguments(kind) if not hasattr(self, name)]
        if missing:
            raise UserError(
                f"{kind.__name__} cannot be saved: it must keep its argument '{missing[0]}' as an attribute of that "
                "name"
            )
        path = f"{kind.__module__}.{kind.__qualname__}"
        return {"class_path": path, "init_args": {name: getattr(self, name) for name in accepted_arguments(kind)}}


class Identity(Decode):
    """Stored values are the images."""

    def cell(self, values: Tensor, places: Tensor, labels: Tensor) -> Tensor:
        """Return the values; see :meth:`Decode.cell`."""
        return values

    def encode(self, images: Tensor) -> Tensor:
        """Return the images; see :meth:`Decode.encode`."""
        return images

    def __call__(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the values themselves."""
        return values

    def rows(self, values: Tensor, labels: Tensor) -> Tensor:
        """Return the values themselves."""
        return values
