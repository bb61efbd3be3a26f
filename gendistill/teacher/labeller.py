"""A network that labels what a learner is shown, after it was augmented: soft labels of images as they are seen.

RDED (Sun et al. 2024) and SRe2L (Yin et al. 2023) give learners the answers of a trained network at every update, so
that a label belongs to an image and its augmentation and not to the image. The network is then part of what is handed
over, and its bytes are part of the budget.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from typing import Any, Self, TypeVar

import torch
from torch import Tensor, nn

from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.finite import is_finite
from gendistill.teacher.base import Labels, Teacher, first_line
from gendistill.teacher.network import build_network, snapshot

Kind = TypeVar("Kind", bound=Teacher)
PREFIX = "labeller."
"""What the names of its tensors in a teacher's file begin with."""
AT_ONCE = 256
"""Images that are labelled together, at most."""


class Labeller:
    """Gives images the probabilities softmax(network(image) / temperature), in evaluation mode, without a gradient.

    The network is copied, so that training may go on while the labels stay what they were.

    Args:
        network: ``network(images (N, C, H, W)) -> logits (N, K)``; for saving also ``spec``, which
            :func:`gendistill.objects.build` sets.
        normalisation: That of the images which the network has learned from.
        temperature: Of the softmax; positive. Learners are asked at the same one: their logits are divided by it, too
            (RDED and SRe2L have 20).
        columns: The places of the network's answers that stand for the classes 0, 1, ...; None: all in their order.

    Raises:
        UserError: The temperature is out of range.
    """

    def __init__(
        self,
        network: nn.Module,
        normalisation: Normalisation,
        *,
        temperature: float = 1.0,
        columns: Sequence[int] | None = None,
    ) -> None:
        check_temperature(temperature)
        self.network = snapshot(network).eval()
        self.normalisation = normalisation
        self.temperature = float(temperature)
        self.columns = None if columns is None else [int(column) for column in columns]

    @torch.no_grad()
    def __call__(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return labels (N, K) float32 of images (N, C, H, W) that are normalised in the given way."""
        return (self.logits(images, normalisation) / self.temperature).softmax(1)

    @torch.no_grad()
    def logits(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return the network's answers (N, K) float32 to images (N, C, H, W) that are normalised in the given way."""
        images = normalisation.convert(images, self.normalisation)
        logits = torch.cat([self.network(part).float() for part in images.split(AT_ONCE)])
        return logits if self.columns is None else logits[:, self.columns]

    def of_classes(self, classes: Sequence[int]) -> Self:
        """Return one whose classes 0, 1, ... are ``classes`` of this one's, and which knows no others."""
        other = copy.copy(self)
        other.columns = [int(one) if self.columns is None else self.columns[one] for one in classes]
        return other

    def in_order(self, order: Sequence[int]) -> Self:
        """Return one whose class k is number ``order[k]``."""
        return self.of_classes(torch.tensor(list(order)).argsort().tolist())

    def to(self, device: torch.device | str) -> Self:
        """Return one on a device, itself where it is there."""
        here = next((weight.device for weight in self.network.parameters()), None)
        if here is None or here == torch.device(device):
            return self
        other = copy.copy(self)
        other.network = snapshot(self.network).eval().to(device)
        return other

    @property
    def bytes_stored(self) -> int:
        """Bytes of the network's weights and buffers."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.network.state_dict().values())

    def check(self, description: Description) -> Self:
        """Ask it about two images of a data set, and return it.

        Raises:
            UserError: It cannot look at them, or does not answer with one finite number a class.
        """
        name, classes = type(self.network).__name__, description.num_classes
        device = next((weight.device for weight in self.network.parameters()), torch.device("cpu"))
        blank = torch.zeros(2, *description.image_shape, device=device)
        channels = len(self.normalisation.mean)
        if channels != description.image_shape[0]:  # one would be shown in several without a word
            raise UserError(
                f"the labeller {name} cannot look at images of '{description.name}', which have "
                f"{description.image_shape[0]} channels: it sees {channels}"
            )
        try:
            labels = self(blank, description.normalisation)
        except UserError:
            raise
        except Exception as error:  # whatever a network does with images that do not suit it
            raise UserError(
                f"the labeller {name} cannot look at images of '{description.name}': {first_line(error)}"
            ) from error
        if tuple(labels.shape) != (2, classes) or not is_finite(labels):
            raise UserError(
                f"the labeller {name} must give {classes} finite numbers an image of '{description.name}', it gives "
                f"{tuple(labels.shape)}; give a network that was trained on this data set"
            )
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's state, by the names of a teacher's file."""
        return {f"{PREFIX}{name}": tensor for name, tensor in self.network.state_dict().items()}

    def header(self, description: Description) -> dict[str, Any]:
        """Return plain values: ``network`` (spec), ``temperature``, ``normalisation`` and, if it maps any, ``columns``.

        Raises:
            UserError: The network has no spec, or sees whitened images where the teacher holds others.
        """
        spec = getattr(self.network, "spec", None)
        if spec is None:
            raise UserError(
                f"the labeller {type(self.network).__name__} cannot be saved without its spec; make it with "
                "gendistill.objects.build"
            )
        own = self.normalisation
        if own.whitening is not None and own.whitening != description.normalisation.whitening:
            raise UserError(
                "the labeller sees whitened images, and the teacher's are not whitened alike; whiten both in the "
                "same way, or neither"
            )
        columns = {} if self.columns is None else {"columns": self.columns}
        return {"network": spec, "temperature": self.temperature, "normalisation": own.to_dict()} | columns

    @classmethod
    def restore(cls, tensors: Mapping[str, Tensor], header: Any, description: Description) -> Self:
        """Build it from a file's content; the network's class is not trusted.

        Args:
            tensors: What :meth:`tensors` gave.
            header: What :meth:`header` gave.
            description: The teacher's.

        Raises:
            UserError: Something is missing or does not fit.
        """
        if not isinstance(header, Mapping) or not isinstance(header.get("normalisation"), Mapping):
            raise UserError("the file does not say how its labeller is built and what it sees")
        whitening = description.normalisation.whitening if "whitening" in header["normalisation"] else None
        embedding = description.normalisation.embedding if "embedding" in header["normalisation"] else None
        state = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items()}
        columns = header.get("columns")
        if columns is not None and not (
            isinstance(columns, list)
            and len(columns) == description.num_classes
            and all(isinstance(one, int) and not isinstance(one, bool) and one >= 0 for one in columns)
        ):
            raise UserError(f"the file's labeller must name one answer for each of {description.num_classes} classes")
        network = build_network(header.get("network"), state, description, what="labeller")
        normalisation = Normalisation.from_dict(header["normalisation"], whitening, embedding)
        return cls(network, normalisation, temperature=header.get("temperature", 1.0), columns=columns).check(
            description
        )


def check_temperature(temperature: Any) -> None:
    """Refuse a temperature of a softmax that is no positive number.

    Raises:
        UserError: It is none.
    """
    if isinstance(temperature, bool) or not isinstance(temperature, int | float) or not 0 < temperature < math.inf:
        raise UserError(f"a labeller's temperature is {temperature!r}; give a positive number, such as 1 or 20")


def labelled(teacher: Kind, labeller: Labels | None) -> Kind:
    """Return a teacher of the same images whose labels a network gives after augmentation.

    Args:
        teacher: Any teacher; it stays what it is.
        labeller: The network; None takes one away.

    Raises:
        UserError: The network does not suit the teacher's images.
    """
    other = copy.copy(teacher)
    other.labeller = None if labeller is None else labeller.to(teacher.device)
    other.fitted_from = None
    if isinstance(other.labeller, Labeller):
        other.labeller.check(teacher.description)
    return other
