"""A generator network as a teacher: fresh noise, a stored pool of latents, or an ordered curriculum."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, ClassVar, Literal, Self, get_args

import torch
from torch import Tensor, nn

from gendistill.data.description import Description
from gendistill.errors import UserError
from gendistill.finite import check_finite, is_finite
from gendistill.nets.reordered import ReorderedGenerator
from gendistill.teacher.base import Batch, Teacher, check_labels, first_line, reordered_labels
from gendistill.teacher.draw import Shuffle, balanced_labels, draw, lesson_order, stratified_order
from gendistill.teacher.network import BatchNorm, build_network, mode, snapshot
from gendistill.teacher.stored import HELD, distinct_rows, expect

Prior = Literal["normal", "sphere"]
CHUNK = 256
BATCH_OF_ONE = "Expected more than 1 value per channel"
"""What torch says of a batch norm that has one image to normalise by."""
LARGEST_BATCH = 2**27
"""Values of a batch of images that a file's latents may ask for at once: 512 MiB."""


class GeneratorTeacher(Teacher):
    """Images made by ``network(z, y)`` when they are needed.

    The network is copied, so that training may go on while the teacher stays what it was.

    Args:
        network: ``network(z (B, nz), y (B,) or (B, K)) -> (B, C, H, W)`` in ``description.normalisation``, with an
            attribute ``nz``; for saving also ``spec``, which :func:`gendistill.objects.build` sets.
        description: The data set that the images stand for, in the normalisation of the network's output.
        latents: ``None``: fresh noise each batch. (M, nz): a stored pool, shown in stratified epochs. (T, B, nz): an
            ordered curriculum, step ``t`` shows batch ``t % T``.
        labels: What the learner is told: class indices (M,) or (T, B), or soft labels with a last dimension K. Left
            out: class ``i % K`` for item ``i`` of the pool or batch.
        conditions: Class indices (M,) or (T, B), or soft ones with a last dimension K, that the network is given where
            they differ from the labels, such as hard ones for a network that cannot take soft labels.
        learning_rates: See :class:`Teacher`; a curriculum has one a batch, or one for all.
        momenta: See :class:`Teacher`.
        shuffle: How a curriculum's batches come: ``none``, ``batches`` or ``all``; see
            :func:`gendistill.teacher.draw.lesson_order`.
        prior: Distribution of fresh noise: standard normal, or uniform on the sphere of radius sqrt(nz).
        batch_norm: ``"eval"`` uses running statistics, ``"batch"`` those of the batch at hand, as in training. Neither
            changes the stored statistics.
        classes: Those that fresh images are of, in any order, where the network has learned no others; None: all.
        metadata: See :class:`Teacher`.

    Raises:
        UserError: Latents, labels or options do not fit the network or each other.
    """

    kind: ClassVar[str] = "generator"

    def __init__(
        self,
        network: nn.Module,
        description: Description,
        *,
        latents: Tensor | None = None,
        labels: Tensor | None = None,
        conditions: Tensor | None = None,
        learning_rates: Tensor | None = None,
        momenta: Tensor | None = None,
        shuffle: Shuffle = "none",
        prior: Prior = "normal",
        batch_norm: BatchNorm = "eval",
        classes: Sequence[int] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(description, learning_rates=learning_rates, momenta=momenta, metadata=metadata)
        for name, value, allowed in (
            ("shuffle", shuffle, get_args(Shuffle)),
            ("prior", prior, get_args(Prior)),
            ("batch_norm", batch_norm, get_args(BatchNorm)),
        ):
            if value not in allowed:
                raise UserError(f"{name} must be one of {', '.join(allowed)}, got {value!r}")
        self.network = snapshot(network)
        nz = getattr(self.network, "nz", None)
        if not isinstance(nz, int) or nz < 1:
            name = type(self.network).__name__
            raise UserError(f"a generator needs a latent size 'nz' of at least 1, {name} has {nz}")
        self.nz: int = nz
        self.shuffle: Shuffle = shuffle
        self.prior: Prior = prior
        self.batch_norm: BatchNorm = batch_norm
        self.latents, self.labels, self.conditions = self._check_latents(latents, labels, conditions)
        self._own_conditions = conditions is not None
        self.classes = None if classes is None else self._check_classes(classes)
        self._checked = False
        self.to(self.device)

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next((parameter.device for parameter in self.network.parameters()), torch.device("cpu"))

    @property
    def curriculum(self) -> bool:
        """Whether latents come as ordered batches (T, B, nz)."""
        return self.latents is not None and self.latents.ndim == 3

    @property
    def images_stored(self) -> int | None:
        """Number of latents M or T*B; ``None`` for fresh noise."""
        return None if self.latents is None else self.latents.shape[:-1].numel()

    @property
    def distinct_images(self) -> int | None:
        """Number of different pairs of latent and condition; ``None`` for fresh noise."""
        if self.latents is None or self.conditions is None:
            return None
        return distinct_rows(self.latents.flatten(0, -2), self.conditions.reshape(self.latents.shape[:-1].numel(), -1))

    @property
    def labels_are_soft(self) -> bool:
        """Whether labels have a last dimension K."""
        return self.labels is not None and self.labels.is_floating_point()

    @property
    def label_counts(self) -> list[int] | None:
        """Images of each class, by the most likely class of soft labels; ``None`` for fresh noise."""
        if self.labels is None:
            return None
        return torch.bincount(_hard(self.labels).flatten().cpu(), minlength=self.description.num_classes).tolist()

    def fresh(self, count: int, generator: torch.Generator) -> Tensor:
        """Draw latents (count, nz) from the prior."""
        noise = torch.randn(count, self.nz, generator=generator, device=generator.device).to(self.device)
        if self.prior == "sphere":
            noise = noise * (self.nz**0.5 / noise.norm(dim=1, keepdim=True))
        return noise

    def fresh_labels(self, count: int, generator: torch.Generator, balanced: bool = True) -> Tensor:
        """Draw class indices (count,) of fresh images, on the generator's device, among the classes that it knows."""
        known = self.description.num_classes if self.classes is None else len(self.classes)
        if balanced:
            labels = balanced_labels(count, known, generator)
        else:
            labels = torch.randint(known, (count,), generator=generator, device=generator.device)
        return labels if self.classes is None else torch.tensor(self.classes, device=labels.device)[labels]

    @torch.no_grad()
    def generate(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """Return the images (B, C, H, W) float32 of latents (B, nz) and conditions (B,) or (B, K), without a graph."""
        return self.render(latents, conditions)

    def render(self, latents: Tensor, conditions: Tensor) -> Tensor:
        """Return what :meth:`generate` returns, differentiable with respect to the latents."""
        try:
            with mode(self.network, self.batch_norm):
                images: Tensor = self.network(latents, conditions)
        except ValueError as error:
            if not (len(latents) == 1 and BATCH_OF_ONE in str(error)):
                raise
            raise UserError(
                f"the generator {type(self.network).__name__} normalises images by those beside them and cannot make a "
                "single one; ask for two or more, or batches of two or more"
            ) from error
        if not self._checked:
            self._check_images(images)
        return images.to(torch.float32)

    def _check_images(self, images: Tensor) -> None:
        """Look at the first images once: their shape, and whether the network makes numbers at all."""
        if tuple(images.shape[1:]) != tuple(self.description.image_shape):
            raise UserError(
                f"the generator makes images of shape {tuple(images.shape[1:])}, but '{self.description.name}' has "
                f"{tuple(self.description.image_shape)}; build it with the image_shape of the data set"
            )
        if not is_finite(images.detach()):
            raise UserError(
                f"the generator {type(self.network).__name__} makes images that are NaN or infinite; give an earlier "
                "state of it"
            )
        self._checked = True

    def batches(self, step_count: int, batch_size: int, generator: torch.Generator) -> Iterator[Batch]:
        """Yield fresh, pooled or curriculum batches; see :meth:`Teacher.batches` and ``latents``."""
        if self.latents is None or self.labels is None or self.conditions is None:
            for step in range(step_count):
                yield *self._fresh_images(batch_size, generator), self.rate(step)
        elif self.curriculum:
            every = [self.latents, self.conditions, self.labels]
            if self.shuffle == "all":
                every = [items.flatten(0, 1) for items in every]
            for step, order in enumerate(lesson_order(self.shuffle, _hard(self.labels), step_count, generator)):
                turn = order if isinstance(order, int) else order.to(self.device)
                latents, conditions, labels = (items[turn] for items in every)
                yield self.generate(latents, conditions), labels, self.rate(step)
        else:
            made = self._made_once(step_count * batch_size)
            for step, order in enumerate(stratified_order(_hard(self.labels), step_count, batch_size, generator)):
                index = order.to(self.device)
                images = self.generate(self.latents[index], self.conditions[index]) if made is None else made[index]
                yield images, self.labels[index], self.rate(step)

    def _made_once(self, wanted: int) -> Tensor | None:
        """Return the images of all pooled latents where that is less work than making ``wanted`` as they come.

        None where an image depends on the batch that it is in, or where there are too many to hold.
        """
        assert self.latents is not None and self.conditions is not None
        count = len(self.latents)
        if self.batch_norm != "eval" or wanted <= count or count * math.prod(self.description.image_shape) > HELD:
            return None
        return self._generate_in_chunks(self.latents, self.conditions)

    def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        """Draw fresh images, or stored ones without replacement while they last; see :meth:`Teacher.sample`."""
        if self.latents is None or self.labels is None or self.conditions is None:
            parts = [self._fresh_images(len(part), generator, balanced) for part in _chunks(torch.empty(count))]
            return torch.cat([images for images, _ in parts]), torch.cat([labels for _, labels in parts])
        hard = _hard(self.labels).flatten()
        index = draw(hard, self.description.num_classes, count, generator, balanced).to(self.device)
        labels = self.labels.flatten(0, self.latents.ndim - 2)[index]
        if not self.curriculum:
            return self._generate_in_chunks(self.latents[index], self.conditions[index]), labels
        # A curriculum's images may depend on their batch (batch statistics), so whole batches are made.
        width = self.latents.shape[1]
        made = torch.empty(count, *self.description.image_shape, device=self.device)
        for turn in (index // width).unique().tolist():
            wanted = index // width == turn
            made[wanted] = self.generate(self.latents[turn], self.conditions[turn])[index[wanted] % width]
        return made, labels

    def everything(self) -> tuple[Tensor, Tensor]:
        """Return the images of all stored latents, in order, and their labels."""
        if self.latents is None or self.labels is None or self.conditions is None:
            raise UserError("this generator makes fresh images without end; say how many images you want (count)")
        if self.curriculum:
            batches = zip(self.latents, self.conditions, strict=True)
            images = torch.cat([self.generate(latents, conditions) for latents, conditions in batches])
            return images, self.labels.flatten(0, 1)
        return self._generate_in_chunks(self.latents, self.conditions), self.labels

    def relabelled(self, labels: Tensor) -> Self:
        """Return the same latents with other labels for learners; see :meth:`Teacher.relabelled`."""
        self.check_relabelled()
        assert self.latents is not None
        other = copy.copy(self)
        # A network of its own, see :meth:`in_order`.
        other.network, other._own_conditions = snapshot(self.network), True
        other.labels = check_labels(
            labels.unflatten(0, self.latents.shape[:-1]), self.latents.shape[:-1], self.description
        ).to(self.device)
        return other

    def in_order(self, order: Tensor, description: Description) -> Self:
        """Return the generator, told the classes in another order, with its labels mapped."""
        other = copy.copy(self)
        other.description = description
        # A network of its own, as teachers have: one may be moved to a device where the other does not follow.
        other.network = snapshot(self.network)
        if not torch.equal(order, torch.arange(len(order))):
            other.network = ReorderedGenerator(other.network, order.tolist()).to(self.device).requires_grad_(False)
        other.classes = None if self.classes is None else sorted(order[self.classes].tolist())
        if self.labels is not None and self.conditions is not None:
            other.labels, other.conditions = (reordered_labels(one, order) for one in (self.labels, self.conditions))
        return other

    def to(self, device: torch.device | str) -> Self:
        """Move network, latents, labels and schedules to a device."""
        self.network.to(device)
        self.latents = None if self.latents is None else self.latents.to(device)
        self.labels = None if self.labels is None else self.labels.to(device)
        self.conditions = None if self.conditions is None else self.conditions.to(device)
        self._move_schedules(device)
        return self

    def tensors(self) -> dict[str, Tensor]:
        """Return the network's state as ``network.*``, and what is stored of latents, labels and schedules."""
        stored = {"latents": self.latents, "labels": self.labels}
        if self._own_conditions:
            stored["conditions"] = self.conditions
        state = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        return state | {name: tensor for name, tensor in stored.items() if tensor is not None} | self._schedules()

    def header(self) -> dict[str, Any]:
        """Return the network's spec, prior, batch norm mode, a curriculum's order and the classes of fresh images."""
        spec = getattr(self.network, "spec", None)
        if spec is None:
            raise UserError(
                f"{type(self.network).__name__} cannot be saved without its spec; make it with gendistill.objects.build"
            )
        known = {} if self.classes is None else {"classes": self.classes}
        return {"network": spec, "prior": self.prior, "batch_norm": self.batch_norm, "shuffle": self.shuffle} | known

    @classmethod
    def restore(
        cls,
        tensors: dict[str, Tensor],
        header: Mapping[str, Any],
        description: Description,
        metadata: Mapping[str, Any],
    ) -> Self:
        """Build from a file's content; see :meth:`Teacher.restore`."""
        state = {name.removeprefix("network."): value for name, value in tensors.items() if name.startswith("network.")}
        others = {name: value for name, value in tensors.items() if not name.startswith("network.")}
        expect(others, needed=(), optional=("latents", "labels", "conditions", "learning_rates", "momenta"))
        latents = others.get("latents")
        if latents is not None and latents.ndim == 3:
            batch = latents.shape[1]
            if batch * math.prod(description.image_shape) > LARGEST_BATCH:
                raise UserError(
                    f"its curriculum has batches of {batch:,} images of shape {tuple(description.image_shape)}, which "
                    f"are made at once; a file may ask for {LARGEST_BATCH:,} values a batch"
                )
        teacher = cls(
            build_network(header.get("network"), state, description),
            description,
            metadata=metadata,
            shuffle=header.get("shuffle", "none"),
            prior=header.get("prior", "normal"),
            batch_norm=header.get("batch_norm", "eval"),
            classes=header.get("classes"),
            **others,
        )
        try:
            next(teacher.batches(1, 2, torch.Generator()))
        except UserError:
            raise
        except Exception as error:  # whatever a network does with latents and conditions that do not suit it
            raise UserError(
                f"its generator makes no images from its latents and labels: {first_line(error)}"
            ) from error
        return teacher

    def _fresh_images(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        labels = self.fresh_labels(count, generator, balanced).to(self.device)
        return self.generate(self.fresh(count, generator), labels), labels

    def _check_classes(self, classes: Sequence[int]) -> list[int] | None:
        count = self.description.num_classes
        whole = isinstance(classes, Sequence) and all(type(one) is int and 0 <= one < count for one in classes)
        if not (whole and classes and len(set(classes)) == len(classes)):
            raise UserError(
                f"classes says of which classes fresh images are: different numbers from 0 to {count - 1}, at least "
                f"one; it is {str(classes)[:100]}"
            )
        if self.latents is not None:
            raise UserError("classes are those of fresh images, and stored latents have labels of their own; give one")
        found = sorted(classes)
        return None if len(found) == count else found

    def _generate_in_chunks(self, latents: Tensor, conditions: Tensor) -> Tensor:
        pairs = zip(_chunks(latents), _chunks(conditions), strict=True)
        return torch.cat([self.generate(some_latents, some_conditions) for some_latents, some_conditions in pairs])

    def _check_latents(
        self, latents: Tensor | None, labels: Tensor | None, conditions: Tensor | None
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None]:
        if latents is None:
            if labels is not None or conditions is not None:
                raise UserError(
                    "labels of a generator belong to stored latents; give latents (M, nz) or (T, B, nz) too"
                )
            return None, None, None
        if latents.ndim not in (2, 3) or latents.shape[-1] != self.nz or not latents.numel():
            raise UserError(
                f"latents must have shape (M, {self.nz}) or (T, B, {self.nz}) with at least one item, "
                f"got {tuple(latents.shape)}"
            )
        if latents.is_complex():
            raise UserError(f"latents must be real numbers, got {str(latents.dtype).removeprefix('torch.')}")
        latents = check_finite("latents", latents.detach().to(torch.float32, copy=True))
        leading = tuple(latents.shape[:-1])
        rates = self.learning_rates
        if latents.ndim == 3 and rates is not None and len(rates) != 1 and len(rates) % len(latents):
            raise UserError(
                f"a curriculum of {len(latents)} batches needs as many learning rates, or those of whole epochs, got "
                f"{len(rates)}"
            )
        if labels is None:
            labels = (torch.arange(leading[-1]) % self.description.num_classes).expand(leading).clone()
        labels = check_labels(labels, leading, self.description)
        conditions = labels if conditions is None else check_labels(conditions, leading, self.description)
        return latents, labels, conditions


def _hard(labels: Tensor) -> Tensor:
    return labels.argmax(dim=-1) if labels.is_floating_point() else labels


def _chunks(items: Tensor) -> tuple[Tensor, ...]:
    # Even parts: a rest of one item would have no batch statistics.
    return torch.tensor_split(items, -(-len(items) // CHUNK))
