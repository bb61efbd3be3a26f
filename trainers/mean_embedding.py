"""DP-MERF: a generator whose images have the noisy mean embedding of private ones, released once.

Harder, Adamczewski, Park 2021, "DP-MERF: Differentially Private Mean Embeddings with Random Features for Practical
Privacy-preserving Data Generation". docs/methods/private-teachers.md tells the rest.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.losses.matching import feature_matching
from gendistill.nets.gtn import GTNGenerator
from gendistill.objects import build
from gendistill.runs.watch import Watched
from gendistill.seeds import stream
from gendistill.teacher import GeneratorTeacher, Teacher
from gendistill.untrusted import Spec
from trainers.checks import check_counts
from trainers.image_optimisers import fall
from trainers.private import PrivateTrainer, check_class_size, check_spare, sum_name

BANDWIDTH = 105 / 784
"""Squared width of the kernel over the number of pixels: that of the public code for 28x28 digits in [0, 1]."""


class MeanEmbeddingTrainer(PrivateTrainer):
    """Train a generator until random Fourier features of its images have the noisy class means of private ones.

    Args:
        class_size: About how many images a class has: a public number, by which sums are divided.
        frequencies: Random frequencies, each a cosine and a sine; the published 5,000.
        bandwidths: Squared widths of Gaussian kernels over pixels in [0, 1], as multiples of the number of pixels; each
            gets an equal share of the frequencies, and the kernel is their mean.
        generator: From latents and classes to images; None: a small :class:`~gendistill.nets.gtn.GTNGenerator`.
        batch_size: Generated images a step; a multiple of the number of classes.
        lr: Adam's rate of the generator; it falls to zero along a cosine.
        spare: See :class:`~trainers.private_matching.PrivateDistributionMatchingTrainer`.
        epsilon: See :class:`~trainers.private.PrivateTrainer`, as for the others.
        delta: See there.
        adjacency: See there.
        unit: See there.

    Raises:
        UserError: An option is out of range.
    """

    public: ClassVar[tuple[str, ...]] = ("about how many images a class has (class_size)", "the random frequencies")

    def __init__(
        self,
        *,
        class_size: int | None = None,
        frequencies: int = 5000,
        bandwidths: Sequence[float] = (BANDWIDTH,),
        generator: Spec | None = None,
        batch_size: int = 500,
        lr: float = 0.01,
        spare: int = 0,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        adjacency: str = "add-remove",
        unit: str = "one image",
    ) -> None:
        super().__init__(batch_size=batch_size, epsilon=epsilon, delta=delta, adjacency=adjacency, unit=unit)
        check_counts(frequencies=frequencies)
        if not bandwidths or not all(0 < one < math.inf for one in bandwidths) or not 0 < lr < math.inf:
            raise UserError(f"bandwidths and lr must be positive numbers, got {list(bandwidths)} and {lr}")
        self.class_size, self.frequency_count, self.spare = (
            check_class_size(class_size),
            frequencies,
            check_spare(spare),
        )
        self.bandwidths, self.lr = [float(one) for one in bandwidths], lr
        self.generator_spec: Spec = generator or {
            "class_path": "gendistill.nets.gtn.GTNGenerator",
            "init_args": {"nz": 16, "hidden": 256, "channels": 32, "output_scale": 1.0, "weight_norm": False},
        }

    def build(self) -> None:
        """Make the generator and draw the frequencies; then read the noisy means, or release them."""
        description = self.data.description
        classes, pixels = description.num_classes, math.prod(description.image_shape)
        if self.batch_size % classes:
            raise UserError(
                f"batch_size {self.batch_size} is no multiple of the {classes} classes, of which a step makes equally "
                f"many images; choose one, such as {classes * -(-self.batch_size // classes)} (--trainer.batch_size)"
            )
        sizes: dict[str, Any] = {"num_classes": classes, "image_shape": description.image_shape}
        with self.initialised("generator"):
            self.generator = build(self.generator_spec, GTNGenerator, **sizes)
        self.optimizer = torch.optim.Adam(self.generator.parameters(), lr=self.lr)
        draw = stream(self.run.options.seed, "frequencies")
        shares = torch.arange(self.frequency_count) % len(self.bandwidths)
        widths = torch.tensor(self.bandwidths)[shares] * pixels
        drawn = torch.randn(self.frequency_count, pixels, generator=draw) / widths.sqrt()[:, None]
        self.frequencies = drawn.to(self.device)
        self.labels = torch.arange(classes, device=self.device).repeat_interleave(self.batch_size // classes)
        noise = self.ledger.noise_for(1 + self.spare)
        name = sum_name(
            "embedding", seed=self.run.options.seed, frequencies=self.frequency_count, bandwidths=self.bandwidths,
            noise=noise,
        )  # fmt: skip
        total = self.sums.release(
            name,
            lambda images, _: self.embedded(images),
            purpose="mean embedding in random Fourier features",
            bound=1.0,
            noise=noise,
            by_class=True,
        )
        self.means = (total / self.class_size).to(self.device)

    def embedded(self, images: Tensor) -> Tensor:
        """Return random Fourier features (N, 2 F) of norm 1 for images (N, C, H, W) in [-1, 1].

        Eq. (5), Harder et al. 2021: ``z(x) = (cos(w x), sin(w x)) / sqrt(F)`` for pixels x in [0, 1].
        """
        angles = self.normalisation.invert(images).flatten(1) @ self.frequencies.T
        return torch.cat([angles.cos(), angles.sin()], 1) / math.sqrt(self.frequency_count)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move the generator by one step.

        Args:
            batch: Of the stand-in; not looked at.

        Returns:
            ``loss/embedding``: the squared distance of mean embeddings, summed over classes.
        """
        fall(self.optimizer, self.lr, self.step, self.steps)
        images = self.generator(self.noise(self.batch_size, self.generator.nz), self.labels)
        found = self.embedded(images).unflatten(0, (len(self.means), -1))
        loss = feature_matching(self.means[:, None], found)
        self.update(loss, self.optimizer)
        return {"loss/embedding": loss.detach()}

    def watched(self) -> Watched:
        """Return the generator's weights, which are to move."""
        weights = list(self.generator.parameters())
        return Watched(moved={"the generator's weights": weights}, moved_option="--trainer.lr")

    def teacher(self) -> Teacher:
        """Return the generator with fresh noise, with what it promises."""
        return GeneratorTeacher(
            self.generator,
            self.data.description.with_normalisation(self.normalisation),
            metadata={"source": f"{type(self).__name__}, step {self.step}", "seed": self.run.options.seed}
            | self.promised(),
        )
