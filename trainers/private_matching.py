"""Private distribution matching: noisy mean features of many networks are released once, and matched ever after.

Zheng and Li 2023, "Differentially Private Dataset Condensation" (NDPDC), matches noisy sums of clipped features, of a
small sample and a new network at each step. Here each of K networks gives one sum of all images: its noise is then an
exact Gaussian, K networks cost what one costs with sqrt(K) times the noise, and what was released is matched as long as
one likes. docs/methods/private-teachers.md tells the rest.
"""

from __future__ import annotations

from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.siamese import Siamese
from gendistill.decodes.choice import Choice
from gendistill.errors import UserError
from gendistill.losses.matching import feature_matching
from gendistill.runs.counter import counter_of
from trainers.checks import check_counts
from trainers.chunks import class_means
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.private import (
    check_class_size,
    check_spare,
)
from trainers.private_released import ReleasedTrainer, changed
from trainers.private_start import check_public_start, count_start

BOUND = 1.0
"""Norm of the features that a record adds; they are scaled to it, so that clipping takes nothing away."""


def unit_features(network: Any, images: Tensor) -> Tensor:
    """Return features (N, F) scaled to norm 1."""
    return F.normalize(network.features(images), dim=1)


class PrivateDistributionMatchingTrainer(ReleasedTrainer, DistributionMatchingTrainer):
    """Match the noisy class means of features in K random networks, each released once.

    Args:
        class_size: About how many images a class has: a public number, by which sums are divided.
        networks: K. The noise of each mean grows with sqrt(K), what all tell together does not; each costs a forward
            pass of all images, once.
        spare: Sums that the noise leaves room for beyond K. A crash in the moment between counting a sum and keeping
            it costs one.
        images_per_class: See :class:`~trainers.matching.MatchingTrainer`.
        decode: See there; ``{factor: 2}`` shows four images for each stored one.
        images: What images start from: ``noise``; a private teacher, whose sums count here, too; or a public one.
        public_start: Declares that no private image has gone into what the run starts from, images or the generator of
            a ``decode``; what is declared goes into the teacher's file.
        lr_images: Adam's learning rate of the images, in normalised units; it falls to zero along a cosine.
        average: Decay of the moving average of the images, which is the teacher; 0: the images themselves.
        learner: The network whose features are matched, with random weights; without batch norm.
        augment: What is done to images before the network sees them, drawn once for each network and class, the same
            for real and synthetic images. A record still adds one vector to each sum.
        strength: See :class:`~trainers.matching.MatchingTrainer`.
        chunk: See there.
        epsilon: See :class:`~trainers.private.PrivateTrainer`.
        delta: See there.
        adjacency: See there.
        unit: See there.

    Raises:
        UserError: An option is out of range.
    """

    takes_terms = False
    public: ClassVar[tuple[str, ...]] = ("about how many images a class has (class_size)", "the random networks")

    def __init__(
        self,
        *,
        class_size: int | None = None,
        networks: int = 100,
        spare: int = 1,
        images_per_class: int = 10,
        decode: Choice = None,
        images: str = "noise",
        public_start: bool = False,
        lr_images: float = 0.1,
        average: float = 0.99,
        learner: dict[str, Any] | None = None,
        augment: str | None = "dsa",
        strength: dict[str, float] | None = None,
        chunk: int | None = None,
        epsilon: float = 1.0,
        delta: float = 1e-5,
        adjacency: str = "add-remove",
        unit: str = "one image",
    ) -> None:
        check_counts(networks=networks)
        if not 0 <= average < 1:
            raise UserError(f"average is {average}; give a number in [0, 1)")
        check_public_start(images)
        super().__init__(
            epsilon=epsilon,
            delta=delta,
            adjacency=adjacency,
            unit=unit,
            images_per_class=images_per_class,
            decode=decode,
            images=images,
            lr_images=lr_images,
            ema_decay=average,
            real_batch=1,
            learner=learner,
            augment=augment,
            strength=strength,
            chunk=chunk,
        )
        self.public_start = public_start
        self.class_size, self.networks, self.spare = check_class_size(class_size), networks, check_spare(spare)

    # -- what a run holds ---------------------------------------------------------------------------------------------

    def build(self) -> None:
        """Make the images, then the noisy means: those that are on the disk are read, the others released."""
        super().build()
        self.features = unit_features
        count_start(self)
        self.noise_multiplier = self.ledger.noise_for(self.networks + self.spare)
        self.sums.at_once = max(1, self.chunk // 4) * self.data.description.num_classes
        counter = counter_of(self.run, "private means", "networks")
        found = []
        for place in range(self.networks):
            found.append(self._released(place))
            counter(place + 1, self.networks)
        self.means = torch.stack(found).to(self.device)

    def new_optimizer(self, images: nn.Parameter) -> torch.optim.Optimizer:
        """Return Adam: features of norm 1 give gradients of any size."""
        return torch.optim.Adam([images], lr=self.lr_images, betas=(0.9, 0.99))

    def _released(self, place: int) -> Tensor:
        """Return the noisy mean features (K, F) of each class in one network."""
        network, change = self.network_of(place), self.change_of(place)
        at_once = max(1, self.chunk // 4)  # fits the cache: twice as fast as a chunk

        def contribution(images: Tensor, labels: Tensor) -> Tensor:
            seen = self.in_memory_format(changed(change, images, labels))
            return torch.cat([unit_features(network, part) for part in seen.split(at_once)])

        total = self.sums.release(
            self.sum_name_of(place),
            contribution,
            purpose="mean features of a random network",
            bound=BOUND,
            noise=self.noise_multiplier,
            by_class=True,
        )
        return total / self.class_size

    # -- one step -----------------------------------------------------------------------------------------------------

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all images by one step, in one of the networks.

        Args:
            batch: Of the stand-in; not looked at.

        Returns:
            ``loss/distribution``: the squared distance to the noisy means, summed over classes.
        """
        self.choose_network()
        return {"loss/distribution": self.match(self.network_of(self.chosen), batch[0])}

    def group_distance(self, network: Any, index: Tensor, change: Siamese, shown: Tensor, first_class: int) -> Tensor:
        """Return the squared distances to the noisy means of some classes; see the base class."""

        def features(part: Tensor) -> list[Tensor]:
            return [self.features(network, self.in_memory_format(part))]

        wanted = self.means[self.chosen, first_class : first_class + len(shown)]
        images = change(shown, first_class)
        (found,) = class_means(features, images, network=network, at_once=self.chunk, keep=self.chunk)
        return feature_matching(wanted[:, None], found[:, None])
