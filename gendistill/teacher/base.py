"""The one thing that every method makes: something that yields labelled batches for a learner to train on."""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from typing import Any, ClassVar, Protocol, Self, TypeVar

import torch
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.errors import UserError
from gendistill.finite import check_finite
from gendistill.seeds import stream
from gendistill.teacher.dataset import TeacherDataset, in_pixels, labels_as
from gendistill.teacher.words import in_words
from gendistill.untrusted import UntrustedSpec

T = TypeVar("T")
Batch = tuple[Tensor, Tensor, Tensor | None]

# Learned rates are made for fresh weights. Shown to a learner that has taken its T steps they undo what it has learned;
# a tenth of the last one refines it. docs/methods/gtn.md has the measurement.
LATER = 0.1
SMALLEST_RATE = 1e-8
"""A learning rate below this moves no float32 weight of a learner."""
LARGEST_RATE = 100.0
"""A learning rate above this is none that learners could use."""


class Labels(Protocol):
    """A network that labels what learners are shown, see :class:`gendistill.teacher.labeller.Labeller`."""

    temperature: float
    normalisation: Normalisation

    def __call__(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        """Return labels (N, K) of images (N, C, H, W)."""

    def to(self, device: torch.device | str) -> Any:
        """Return one on a device."""

    def in_order(self, order: Any) -> Any:
        """Return one whose class k is number ``order[k]``."""

    def of_classes(self, classes: Any) -> Any:
        """Return one that knows some classes alone."""

    def tensors(self) -> dict[str, Tensor]:
        """Return what a file keeps of it."""

    def header(self, description: Description) -> dict[str, Any]:
        """Return the plain values that a file keeps of it."""

    @property
    def bytes_stored(self) -> int:
        """Bytes of its weights."""


class Teacher(ABC):
    """A source of labelled synthetic batches that knows what it was made from.

    Args:
        description: Shape, classes and normalisation of the images that :meth:`batches` yields.
        learning_rates: (T,) learned rates; step ``t`` of a learner uses entry ``t % T``.
        momenta: (T,) learned momenta, used in the same way.
        metadata: Plain values that JSON can hold. Known keys: ``learner``, ``augmentation``, ``config``, ``seed``,
            ``source``, ``notes``, ``making`` (:mod:`gendistill.making`).

    Raises:
        UserError: The learned rates or momenta are not finite vectors or out of range, or the metadata is not plain.
    """

    kind: ClassVar[str]
    labeller: Labels | None = None
    """A network that labels what learners are shown after it was augmented; None: labels are those that
    :meth:`batches` yields. :func:`gendistill.teacher.labeller.labelled` sets it."""
    fitted_from: str | None = None
    """The :func:`gendistill.teacher.identity.checksum` of the teacher whose classes were brought into another order;
    None: this is none of those."""

    def __init__(
        self,
        description: Description,
        *,
        learning_rates: Tensor | None = None,
        momenta: Tensor | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        if description.num_classes < 1 or min(description.image_shape) < 1:
            raise UserError(
                f"data set '{description.name}' needs at least one class and one pixel, it has "
                f"{description.num_classes} classes and shape {tuple(description.image_shape)}"
            )
        self.description = description
        self.learning_rates = _schedule("learning_rates", learning_rates)
        self.momenta = _schedule("momenta", momenta)
        self.metadata = dict(metadata or {})
        try:
            json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError, RecursionError) as error:
            raise UserError(f"a teacher's metadata must be plain values that JSON can hold: {error}") from error

    @property
    @abstractmethod
    def device(self) -> torch.device:
        """Where the batches are made."""

    @property
    @abstractmethod
    def images_stored(self) -> int | None:
        """Number of images that the teacher keeps; ``None`` when it makes fresh ones without end."""

    @property
    def decoded_images(self) -> int | None:
        """Number of images that learners see of those stored: more where a stored one shows several."""
        return self.images_stored

    @property
    @abstractmethod
    def distinct_images(self) -> int | None:
        """Number of different images among them; ``None`` when unbounded."""

    @property
    def bytes_stored(self) -> int:
        """Bytes of all tensors that the teacher's file holds, a labeller's among them."""
        labeller = 0 if self.labeller is None else self.labeller.bytes_stored
        return _bytes(self.tensors()) + labeller

    @property
    @abstractmethod
    def label_counts(self) -> list[int] | None:
        """Images of each class, in class order; ``None`` when unbounded."""

    @property
    @abstractmethod
    def labels_are_soft(self) -> bool:
        """Whether labels are distributions (N, C) and not class indices (N,)."""

    @abstractmethod
    def batches(self, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield one training batch a step.

        Args:
            step_count: Number of batches, at least 0.
            batch_size: Images a batch. A fixed curriculum has batches of its own and ignores it.
            generator: Draws order and noise; may live on another device than the teacher.

        Returns:
            An iterator over images (B, C, H, W) float32 normalised by ``description.normalisation``, labels (B,) int64
            or (B, K) float32, and the learned rate of the step (scalar tensor) or ``None``.
        """

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        """Draw images for looking at and for fidelity.

        Args:
            count: Number of images, at least 1.
            generator: Draws which ones.
            balanced: The same number of every class where the stored labels allow it. Without replacement as long as
                there are enough images.

        Returns:
            Images (count, C, H, W) float32 and their labels (count,) or (count, K).
        """

    @abstractmethod
    def everything(self) -> tuple[Tensor, Tensor]:
        """Return all images (N, C, H, W) and labels that the teacher can show, in stored order.

        Raises:
            UserError: The teacher makes fresh images without end.
        """

    @torch.no_grad()
    def as_dataset(
        self,
        count: int | None = None,
        *,
        labels: str = "given",
        clip: bool = True,
        transform: Callable[[Tensor], Any] | None = None,
        seed: int = 0,
    ) -> TeacherDataset:
        """Return the images as a torch ``Dataset`` in pixels, ready for a loop of one's own.

        What is stored in another form is decoded. Images are in stored order; a ``DataLoader`` shuffles them.

        Args:
            count: Images to draw, balanced over classes; None: all. A generator makes fresh images without end and
                needs a number.
            labels: ``given``: hard or soft as the teacher has them, where it has a labeller what that says of each
                image; ``stored``: without its labeller; ``hard``: the likeliest class (N,) int64; ``soft``: one number
                a class (N, K) float32.
            clip: Bring pixels into [0, 1]; distilled images may go beyond it.
            transform: Called with each image (C, H, W) when it is asked for, such as an augmentation.
            seed: Of what is drawn.

        Returns:
            The data set; its ``tensors`` are images (N, C, H, W) float32 and labels, on the CPU.

        Raises:
            UserError: Fresh images without a count, or there is no such way to give labels.
        """
        labels_as(torch.zeros(0, dtype=torch.int64), labels, self.description)  # before hours of drawing
        if count is not None and count < 1:
            raise UserError(f"count is {count}; give the number of images, at least 1, or leave it out for all")
        if count is None and self.images_stored is None:
            raise UserError(
                "this teacher makes fresh images without end; say how many you want, such as as_dataset(1000)"
            )
        images, given = self.everything() if count is None else self.sample(count, stream(seed, "dataset", self.device))
        if self.labeller is not None and labels != "stored":
            given = self.labeller(images, self.description.normalisation)
        pixels = in_pixels(images, self.description, clip=clip).cpu()
        return TeacherDataset(pixels, labels_as(given.cpu(), labels, self.description), self.description, transform)

    @abstractmethod
    def to(self, device: torch.device | str) -> Self:
        """Move the teacher's tensors to a device and return the teacher."""

    @abstractmethod
    def tensors(self) -> dict[str, Tensor]:
        """Return the named tensors that its file holds."""

    def in_order(self, order: Tensor, description: Description) -> Self:
        """Return a teacher of the same images whose labels count the classes in another order.

        Args:
            order: (K,) int64, for each class its new number.
            description: What the other teacher is described by, the class names in the new order.

        Raises:
            UserError: This kind of teacher cannot.
        """
        if torch.equal(order, torch.arange(len(order))):
            other = copy.copy(self)
            other.description = description
            return other
        raise UserError(
            f"the classes of a '{self.kind}' teacher come in another order than those of '{description.name}'; bring "
            "the real data's classes into that order"
        )

    def noted(self, key: str, kind: type[T]) -> T | None:
        """Return an entry of the metadata, which nobody vouches for, where it is of a kind; None where it is not.

        Args:
            key: Name of the entry.
            kind: ``dict``, ``list``, ``str``, ``int`` (no boolean) or ``float``.
        """
        value = self.metadata.get(key)
        return value if isinstance(value, kind) and not (isinstance(value, bool) and kind is not bool) else None

    def noted_spec(self, key: str) -> UntrustedSpec | None:
        """Return a spec that the metadata name, which is not trusted; of several the first, None where there is none.

        Raises:
            UserError: It is damaged, or asks for more than a file may.
        """
        value = self.metadata.get(key)
        if isinstance(value, list):  # a method that trains learners of several kinds notes all of them
            value = value[0] if value else None
        return None if value is None else UntrustedSpec(value, f"the teacher's '{key}'")

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {'; '.join(in_words(self))}>"

    def header(self) -> dict[str, Any]:
        """Return the plain values, besides description and metadata, that :meth:`restore` needs."""
        return {}

    @classmethod
    @abstractmethod
    def restore(
        cls,
        tensors: dict[str, Tensor],
        header: Mapping[str, Any],
        description: Description,
        metadata: Mapping[str, Any],
    ) -> Self:
        """Build the teacher from what :meth:`tensors` and :meth:`header` gave.

        Raises:
            UserError: A tensor or value is missing, left over or of the wrong kind.
        """

    def check_relabelled(self) -> None:
        """Refuse what :meth:`relabelled` cannot do.

        Raises:
            UserError: Images are made without end, so that no file can hold a label of each.
        """
        if self.images_stored is None:
            raise UserError(
                "labels are stored of images that are, and this teacher makes fresh ones without end; export a number "
                "of them first, or give it a labeller"
            )

    def relabelled(self, labels: Tensor) -> Self:
        """Return a teacher of the same images with other labels; this one stays what it is.

        Args:
            labels: (N, K) float32, one a shown image, in the order of :meth:`everything`.

        Raises:
            UserError: Labels do not fit, see :meth:`check_relabelled`, or a kind of teacher has no way to do it.
        """
        raise UserError(f"a teacher of the kind '{self.kind}' takes no other labels than its own")

    def budget(self) -> dict[str, Any]:
        """Return what the teacher costs, as it is stored.

        Returns:
            ``images``, ``distinct_images`` and ``decoded_images``, which learners see (``None``: unbounded); ``bytes``,
            the sum of ``image_bytes`` (images, or network and latents, with what decodes them and learned rates),
            ``label_bytes`` and ``labeller_bytes``.
        """
        labels = _bytes({name: tensor for name, tensor in self.tensors().items() if name == "labels"})
        labeller = 0 if self.labeller is None else self.labeller.bytes_stored
        return {
            "images": self.images_stored,
            "distinct_images": self.distinct_images,
            "decoded_images": self.decoded_images,
            "bytes": self.bytes_stored,
            "image_bytes": self.bytes_stored - labels - labeller,
            "label_bytes": labels,
            "labeller_bytes": labeller,
        }

    def rate(self, step: int) -> Tensor | None:
        """Return the rate of a learner's step (scalar), ``None`` when none was learned.

        Step t < T takes entry t. A learner that goes on takes a tenth of the last entry; a single entry (T = 1) is a
        rate for all steps.
        """
        if self.learning_rates is None:
            return None
        last = len(self.learning_rates) - 1
        return self.learning_rates[step] if step <= last else self.learning_rates[last] * (LATER if last else 1.0)

    def schedules(self, total: int) -> tuple[list[float], list[float]] | None:
        """Return rates and momenta (0 when none were learned) of a learner's first ``total`` steps, or ``None``."""
        if self.learning_rates is None:
            return None
        rates = [float(rate) for rate in self.learning_rates.double().cpu()]
        later = rates[-1] * (LATER if len(rates) > 1 else 1.0)
        momenta = [0.0] if self.momenta is None else [float(momentum) for momentum in self.momenta.double().cpu()]
        return _extended(rates, later, total), _extended(momenta, momenta[-1], total)

    def rates_at_fault(self) -> str | None:
        """Return what is wrong with the learned rates, None where there are none or nothing is."""
        if self.learning_rates is None:
            return None
        return rates_at_fault(float(self.learning_rates.min()), float(self.learning_rates.max()))

    def _schedules(self) -> dict[str, Tensor]:
        named = {"learning_rates": self.learning_rates, "momenta": self.momenta}
        return {name: tensor for name, tensor in named.items() if tensor is not None}

    def _move_schedules(self, device: torch.device | str) -> None:
        self.learning_rates = None if self.learning_rates is None else self.learning_rates.to(device)
        self.momenta = None if self.momenta is None else self.momenta.to(device)
        self.labeller = None if self.labeller is None else self.labeller.to(device)


def check_labels(labels: Tensor, leading: tuple[int, ...], description: Description) -> Tensor:
    """Return labels detached and in their stored type, or say what is wrong with them.

    Args:
        labels: Class indices of shape ``leading``, or soft labels ``(*leading, K)``.
        leading: The shape of the images' batch dimensions.
        description: Gives the number of classes K.

    Returns:
        int64 indices or float32 soft labels.

    Raises:
        UserError: Wrong shape, an index outside 0..K-1, or a value that is not finite.
    """
    classes = description.num_classes
    labels = labels.detach()
    if labels.shape == leading and not labels.is_floating_point() and labels.dtype != torch.bool:
        labels = labels.to(torch.int64)
        if labels.numel() and (int(labels.min()) < 0 or int(labels.max()) >= classes):
            raise UserError(
                f"labels must lie in 0..{classes - 1} for '{description.name}' with {classes} classes, "
                f"got {int(labels.min())}..{int(labels.max())}"
            )
        return labels
    if labels.shape == (*leading, classes) and labels.is_floating_point():
        return check_finite("labels", labels.to(torch.float32))
    raise UserError(
        f"labels must be integers of shape {leading} or soft labels of shape {(*leading, classes)}, "
        f"got {str(labels.dtype).removeprefix('torch.')} of shape {tuple(labels.shape)}"
    )


def reordered_labels(labels: Tensor, order: Tensor) -> Tensor:
    """Return class indices (...), or soft labels (..., K), by the new numbers ``order`` (K,) of the classes."""
    order = order.to(labels.device)
    return labels[..., order.argsort()] if labels.is_floating_point() else order[labels]


def rates_at_fault(smallest: float, largest: float) -> str | None:
    """Return what is wrong with learned learning rates as a clause, None where nothing is.

    Args:
        smallest: Of the rates.
        largest: Of the rates; below :data:`SMALLEST_RATE` the teacher teaches nothing.
    """
    if largest < SMALLEST_RATE:
        return f"the learned learning rate is {largest:.3g}, so that learners that use it do not move"
    if smallest < SMALLEST_RATE:
        return f"a learned learning rate is {smallest:.3g}, so that learners do not move in its step"
    if largest > LARGEST_RATE:
        return f"a learned learning rate is {largest:.3g}, so that learners that use it diverge"
    return None


def first_line(error: BaseException) -> str:
    """Return an error's message without the stack frames that some libraries add below it."""
    return (str(error) or type(error).__name__).strip().split("\n", 1)[0][:500]


def _bytes(tensors: Mapping[str, Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())


def _extended(values: list[float], later: float, total: int) -> list[float]:
    return values[:total] + [later] * (total - len(values))


def _schedule(name: str, values: Tensor | None) -> Tensor | None:
    if values is None:
        return None
    if values.ndim != 1 or not len(values) or not values.is_floating_point():
        raise UserError(f"'{name}' must be a float vector (T,) with one entry a step, got shape {tuple(values.shape)}")
    values = check_finite(name, values.detach().to(torch.float32))
    # Learned as logarithms and logits, they round to these ends and go no further.
    limit = float("inf") if name == "learning_rates" else 1.0
    if not bool(((values >= 0) & (values <= limit)).all()):
        allowed = "0 or more" if name == "learning_rates" else "from 0 to 1"
        raise UserError(
            f"'{name}' must be {allowed}, they go from {float(values.min()):.4g} to {float(values.max()):.4g}"
        )
    return values
