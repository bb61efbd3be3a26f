"""Gradient matching: synthetic images that give a network, while it learns from them, the gradients of the real ones.

DC: Zhao, Mopuri & Bilen 2021, "Dataset Condensation with Gradient Matching" (arXiv 2006.05929), Algorithm 1. DSA:
Zhao & Bilen 2021, "Dataset Condensation with Differentiable Siamese Augmentation" (arXiv 2102.08259): the same with
both sides augmented alike. docs/methods/gradient-matching.md tells the rest.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import unroll
from gendistill.data.augment import augment
from gendistill.errors import UserError, did_you_mean
from gendistill.losses.class_gradients import class_gradient_distance, class_gradients
from gendistill.losses.matching import DISTANCES
from gendistill.nets.compiled import compilable
from gendistill.seeds import stream
from trainers.chunks import rows_apart
from trainers.compiled_gradients import CompiledGradients
from trainers.matching import MatchingTrainer

LOOPS = {1: (1, 1), 10: (10, 50), 20: (20, 25), 30: (30, 20), 40: (40, 15), 50: (50, 10)}
"""Matches for each network, and epochs of the network on the synthetic images after each, by images per class."""


class GradientMatchingTrainer(MatchingTrainer):
    """Match each class's gradients in a network that is trained on the synthetic images meanwhile.

    A step of the run is one match. After ``outer_loops`` of them the network is replaced by a new one, so an iteration
    of the papers is ``outer_loops`` steps.

    Args:
        outer_loops: Matches for each network; None: by images per class, as published (:data:`LOOPS`).
        inner_loops: Epochs that the network is trained on the synthetic images after each match but its last; None: as
            published; 0: the network stays as it was drawn, which is sensible with ``probe: {state: pool}``.
        distance: ``cosine_layerwise`` (the papers'), ``l2`` or ``mse``; see
            :func:`gendistill.losses.matching.gradient_distance`.
        lr_network: Learning rate of the network's plain SGD; positive.
        inner_batch: Synthetic images in a batch of that training; 1 or more.
        classes_at_once: Classes whose second-order graphs are in memory at the same time; with more than one they go
            through the network in one vectorised pass, which pays on a GPU only.
        **kwargs: See :class:`~trainers.matching.MatchingTrainer`. ``lr_images`` is 0.1, for an MLP 0.01.

    Raises:
        UserError: An option is out of range, or there are no published loops for so many images.
    """

    compiles: ClassVar[bool] = True

    def __init__(
        self,
        *,
        outer_loops: int | None = None,
        inner_loops: int | None = None,
        distance: str = "cosine_layerwise",
        lr_network: float = 0.01,
        inner_batch: int = 256,
        classes_at_once: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if None in (outer_loops, inner_loops) and self.images_per_class not in LOOPS:
            raise UserError(
                f"there are no published loops for {self.images_per_class} images per class, only for "
                f"{', '.join(map(str, LOOPS))}; give outer_loops and inner_loops"
            )
        published = LOOPS.get(self.images_per_class, (1, 1))
        self.outer_loops = published[0] if outer_loops is None else outer_loops
        self.inner_loops = published[1] if inner_loops is None else inner_loops
        counts = {"outer_loops": self.outer_loops, "inner_batch": inner_batch, "classes_at_once": classes_at_once}
        for name, value in counts.items():
            if value < 1:
                raise UserError(f"{name} is {value}; give a whole number from 1")
        if self.inner_loops < 0 or not lr_network > 0:
            raise UserError(
                f"inner_loops must be 0 or more and lr_network positive, got {self.inner_loops} and {lr_network}"
            )
        if distance not in DISTANCES:
            hint = did_you_mean(distance, DISTANCES)
            raise UserError(f"distance is '{distance}'; {hint}choose one of {', '.join(DISTANCES)}")
        self.distance_name = distance
        self.lr_network, self.inner_batch, self.classes_at_once = lr_network, inner_batch, classes_at_once

    @property
    def classes_together(self) -> int:
        """Number of classes whose graphs are in memory at the same time."""
        return self.classes_at_once

    def build(self) -> None:
        """Make the images and the network; compile its gradients where the run asks for it and that can be."""
        super().build()
        asked = self.run.options.compile and compilable(self.network)
        self.quick = CompiledGradients(self.network, self.distance_name) if asked else None

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Make one match, then train the network on the images as they are now.

        Args:
            batch: What :meth:`~trainers.matching.MatchingTrainer.next_batch` returns.

        Returns:
            ``loss/gradient``: the distance of gradients, summed over classes; ``loss/network``, where the network was
            trained: its loss on the synthetic images in the last epoch.
        """
        place = self.step % self.outer_loops
        if place == 0:
            self.new_network()
        else:
            self.take_statistics(self.network)
        metrics = {"loss/gradient": self.match(self.network.eval(), batch[0])}
        if place < self.outer_loops - 1 and self.inner_loops:
            metrics["loss/network"] = self.train_network()
        return metrics

    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Return the distances between the gradients of each class; see the base class."""
        # The real side needs no second derivative, so its images come in parts and in the run's precision. It comes
        # first, so that the other side's graph is not there meanwhile.
        parts = real.split(max(1, self.chunk // len(real)), dim=1)
        wanted: list[Tensor] = []
        for part in parts:
            with self.autocast():
                if self.quick is not None:
                    found = self.quick.of_classes(part, first_class)
                else:
                    found = self._gradients(network, part, first_class, create_graph=False)
            share = part.shape[1] / real.shape[1]
            wanted = (
                [a + share * b for a, b in zip(wanted, found, strict=True)] if wanted else [share * b for b in found]
            )
        if self.quick is not None:
            return self.quick.distance(wanted, synthetic, first_class)
        given = self._gradients(network, synthetic, first_class, create_graph=True)
        return class_gradient_distance(wanted, given, self.distance_name)

    def _gradients(self, network: nn.Module, images: Tensor, first_class: int, create_graph: bool) -> list[Tensor]:
        def logits(parameters: Any, some: Tensor) -> Tensor:
            return unroll.call(network, parameters, self.in_memory_format(some))

        return class_gradients(
            logits,
            dict(network.named_parameters()),
            images,
            create_graph=create_graph,
            at_once=len(images) > 1,
            first_class=first_class,
        )

    def train_network(self) -> Tensor:
        """Train the network on all synthetic images, the same in every process; return its loss in the last epoch."""
        values, labels = self.images.detach().flatten(0, 1), self.decode.labels(self.labels)
        generator = stream(self.run.options.seed, f"inner/{self.step}")
        optimizer = torch.optim.SGD(self.network.parameters(), lr=self.lr_network)
        self.network.train()
        at_once = self.chunk if rows_apart(self.network) else self.inner_batch
        loss = torch.zeros((), device=self.device)
        for _ in range(self.inner_loops):
            order = torch.randperm(len(labels), generator=generator).to(self.device, non_blocking=True)
            total = torch.zeros((), device=self.device)
            for index in order.split(self.inner_batch):
                images = self.decode.pick(values, self.labels, index)
                shown = augment(images, self.strategy, generator, mode=self.augment_mode, strength=self.strength)
                optimizer.zero_grad(set_to_none=True)
                total = total + self._add_gradients(shown, labels[index], at_once) * len(index)
                optimizer.step()
            loss = total / len(labels)
        optimizer.zero_grad(set_to_none=True)
        self.network.eval()
        return loss

    def _add_gradients(self, images: Tensor, labels: Tensor, at_once: int) -> Tensor:
        """Add the gradient of a batch's mean loss to the network's; return the loss.

        Args:
            images: (N, C, H, W).
            labels: (N,).
            at_once: Images whose graph is in memory at a time.
        """
        total = torch.zeros((), device=self.device)
        size = math.ceil(len(images) / math.ceil(len(images) / at_once))  # parts alike, for which one form is compiled
        for some, classes in zip(images.split(size), labels.split(size), strict=True):
            share = len(some) / len(images)
            with self.autocast():
                if self.quick is None:
                    loss = F.cross_entropy(self.network(self.in_memory_format(some)), classes)
                    (loss if share == 1 else share * loss).backward()
                else:
                    loss, gradients = self.quick.of_batch(some, classes)
                    for parameter, gradient in zip(self.network.parameters(), gradients, strict=True):
                        own = gradient if share == 1 else share * gradient
                        parameter.grad = own if parameter.grad is None else parameter.grad + own
            total = total + (loss.detach() if share == 1 else share * loss.detach())
        return total
