"""Updates of a discriminator by DP-SGD: noisy sums of clipped gradients of pairs of a record and a generated image.

Xie et al. 2018, "Differentially Private Generative Adversarial Network". All that is learned from such a discriminator
is made from private sums alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import grad

from gendistill.errors import UserError
from gendistill.losses.adversarial import RELATIVISTIC
from gendistill.privacy.mechanism import PrivateSums
from gendistill.privacy.noise import system_uniform
from trainers.batch import Batch
from trainers.private import require_no_statistics, sum_name
from trainers.record_gradients import in_shapes, record_gradients

AT_ONCE = 64
"""Records whose gradients are in memory together: they fit the cache, which halves the time of 250."""
Loss = Callable[..., Tensor]
"""``compute_gan_loss`` of a discriminator."""


def check_divisible(loss_type: str) -> None:
    """Refuse a loss by which the generator's update sees real images.

    Raises:
        UserError: It is relativistic.
    """
    if loss_type == RELATIVISTIC:
        raise UserError(
            "loss_type relativistic shows real images to the generator's update; choose gan, ns, hinge or wasserstein"
        )


@dataclass
class PairUpdates:
    """Updates of one discriminator, numbered, each a private sum that is released once.

    A record's gradient is that of its own loss and that of a generated image, which is drawn for it alone, clipped as
    one.

    Args:
        sums: The mechanism.
        updates: How many there will be; the noise is what the budget allows for so many, and ``spare``.
        rate: Chance of a record to be in a sample.
        size: Records that a sample has on average, by which its sum is divided.
        clip: Norm to which a pair's gradient is clipped.
        seed: Of the run, a part of the sums' names.
        keep: Updates between two saved states: sums of the last two such parts are kept for a run that is continued.
        spare: Sums that the noise leaves room for beyond; a crash in an update may cost one.
        penalty: Weight of the WGAN-GP penalty between a record and the generated image of its pair.
        labelled: Whether the discriminator is told labels.
    """

    sums: PrivateSums
    updates: int
    rate: float
    size: int
    clip: float
    seed: int
    keep: int
    spare: int = 2
    penalty: float = 0.0
    labelled: bool = True

    def __post_init__(self) -> None:
        if not 0 < self.clip < float("inf"):
            raise UserError(f"clip is {self.clip}; give a positive norm")
        self.noise = self.sums.ledger.noise_for(self.updates + self.spare, self.rate)
        self.sums.at_once = AT_ONCE

    def make(self, number: int, network: nn.Module, optimizer: torch.optim.Optimizer, fake: Batch) -> None:
        """Make an update.

        Args:
            number: Of the update, from 0; one that was released before costs nothing.
            network: The discriminator, which has no statistics of batches.
            optimizer: Of its parameters.
            fake: Generated images, and their labels where it is told labels.

        Raises:
            UserError: The budget is spent; nothing is changed.
        """
        require_no_statistics(network)
        total = self.sums.release(
            sum_name(f"update-{number:08d}", noise=self.noise, rate=self.rate, clip=self.clip, seed=self.seed),
            self.contribution(network.eval(), fake),
            purpose="gradient of a discriminator",
            bound=self.clip,
            noise=self.noise,
            rate=self.rate,
        )
        self.sums.releases.forget_before("update-", (number // self.keep - 1) * self.keep)
        device = fake.images.device
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        for parameter, gradient in zip(trained, in_shapes(total.to(device) / self.size, network), strict=True):
            parameter.grad = gradient
        optimizer.step()
        network.train()

    def contribution(self, network: Any, fake: Batch) -> Callable[[Tensor, Tensor], Tensor]:
        """Return what gives the gradient (B, P) of each record's pair."""
        fake_images = fake.images
        fake_labels = torch.zeros(len(fake_images), dtype=torch.int64) if fake.labels is None else fake.labels

        def told(label: Tensor) -> tuple[Tensor, ...]:
            return (label[None],) if self.labelled else ()

        def pair(applied: Any, image: Tensor, label: Tensor, other: Tensor, others: Tensor, place: Tensor) -> Tensor:
            output_real, output_fake = applied(image[None], *told(label)), applied(other[None], *told(others))
            loss: Tensor = network.compute_gan_loss(output_real=output_real, output_fake=output_fake)
            if self.penalty:
                between = place * image + (1 - place) * other
                slope = grad(lambda at: applied(at[None], *told(label)).sum())(between)
                loss = loss + self.penalty * (slope.square().sum().add(1e-12).sqrt() - 1).square()
            return loss

        def found(images: Tensor, labels: Tensor) -> Tensor:
            # Which generated image a record meets is drawn for it alone: who else is in the sample has no say.
            draws = torch.from_numpy(system_uniform(2 * len(images))).to(images)
            chosen = (draws[: len(images)] * len(fake_images)).long().clamp(max=len(fake_images) - 1)
            rows = (images, labels, fake_images[chosen], fake_labels.to(images.device)[chosen], draws[len(images) :])
            return record_gradients(network, pair, *rows)

        return found
