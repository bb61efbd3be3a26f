"""What private methods share that release one sum of each of K random networks, and match these ever after."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.siamese import Siamese, draw_siamese
from gendistill.nets.learners import build_learner, default_learner
from gendistill.seeds import stream
from gendistill.teacher import Teacher
from trainers.image_optimisers import fall
from trainers.matching import MatchingTrainer
from trainers.private import PrivateTrainer, require_no_statistics, sum_name


def changed(change: Siamese, images: Tensor, labels: Tensor) -> Tensor:
    """Return images (N, C, H, W), each augmented as its class is: what a row becomes depends on no other row."""
    found = images.clone()
    for label in labels.unique().tolist():
        rows = labels == label
        found[rows] = change(images[rows][None], label)[0]
    return found


class ReleasedTrainer(PrivateTrainer, MatchingTrainer):
    """Move images in networks whose weights and augmentation are public, of which each has one noisy sum.

    A subclass sets ``networks``, their number, and ``noise_multiplier``, and makes the sums.
    """

    networks: int
    noise_multiplier: float

    def build(self) -> None:
        """Make the images."""
        super().build()
        require_no_statistics(self.network)
        self.spec = self.learner_spec or default_learner(self.data.description)
        self.chosen = 0
        """The network of this step."""

    def network_of(self, place: int) -> nn.Module:
        """Return the network of a sum, in evaluation mode; its weights come from the run's seed and are public."""
        description = self.data.description
        sizes: dict[str, Any] = {"num_classes": description.num_classes, "image_shape": description.image_shape}
        with self.initialised(f"release/{place}"):
            network = build_learner(self.spec, **sizes)
        return self.place(network).eval().requires_grad_(False)

    def change_of(self, place: int) -> Siamese:
        """Return the augmentation of a sum."""
        description = self.data.description
        generator = stream(self.run.options.seed, f"siamese/release/{place}")
        return draw_siamese(self.strategy, description.num_classes, description.image_shape, generator, self.strength)

    def sum_name_of(self, place: int, **more: Any) -> str:
        """Return the name of a sum, which says all that it is made with."""
        return sum_name(
            f"network-{place:05d}",
            seed=self.run.options.seed,
            learner=self.spec,
            augment=[self.strategy, self.strength_given],
            noise=self.noise_multiplier,
            **more,
        )

    def choose_network(self) -> None:
        """Draw the network of this step, and lower the rate of the images along a cosine."""
        generator = self.run.streams.on_host("releases")
        self.chosen = int(torch.randint(self.networks, (1,), generator=generator, device=generator.device))
        fall(self.optimizer, self.lr_images, self.step, self.steps)

    def siamese(self) -> Siamese:
        """Return the augmentation of the network that was chosen."""
        return self.change_of(self.chosen)

    def teacher(self) -> Teacher:
        """Return the averaged images, with what they promise."""
        made = super().teacher()
        made.metadata |= self.promised()
        return made
