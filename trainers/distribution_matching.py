"""Distribution matching: synthetic images whose mean features in many networks are those of the real ones.

Zhao & Bilen 2023, "Dataset Condensation with Distribution Matching" (arXiv 2110.04181), Algorithm 1. There is no inner
training: a step costs a forward pass of real images and a forward and backward pass of synthetic ones.
docs/methods/distribution-matching.md tells the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.losses.matching import feature_matching
from gendistill.nets.compiled import compiled
from trainers.chunks import class_means
from trainers.matching import MatchingTrainer

Features = Callable[[Any, Tensor], Tensor]


def _features(network: Any, images: Tensor) -> Tensor:
    found: Tensor = network.features(images)
    return found


class DistributionMatchingTrainer(MatchingTrainer):
    """Match each class's mean features in a network, another one at every step.

    Args:
        lr_images: SGD's learning rate of the images; the published 1.0 belongs to the ConvNet of width 128. The loss is
            a sum over features, so a narrower network calls for a larger rate.
        compile: As ``run.compile``: compile the forward and backward pass, which needs a C++ compiler and some seconds
            at the start.
        **kwargs: See :class:`~trainers.matching.MatchingTrainer`.

    Raises:
        UserError: An option is out of range, or the network has no ``features``.
    """

    compiles: ClassVar[bool] = True

    def __init__(self, *, lr_images: float = 1.0, compile: bool = False, **kwargs: Any) -> None:
        super().__init__(lr_images=lr_images, **kwargs)
        self.compile_asked = compile

    def build(self) -> None:
        """Make the images and the network, whose weights want no gradient."""
        super().build()
        self.compile = self.compile_asked or self.run.options.compile
        if not hasattr(self.network, "features"):
            raise UserError(
                f"distribution matching compares features, and {type(self.network).__name__} has no 'features'; name a "
                "learner of gendistill.nets.learners, or give yours a method features(x)"
            )
        self.network.requires_grad_(False)
        # Shapes are few and known: those of a chunk, of a last smaller one, and of the synthetic images.
        self.features: Features = compiled(_features) if self.compile else _features

    @property
    def classes_together(self) -> int:
        """As many classes as one chunk has room for, by their synthetic and by their real images; at least one."""
        return max(1, self.chunk // max(self.shown_per_class, self.real_batch))

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        """Move all images by one step, in a network of its own.

        Args:
            batch: What :meth:`~trainers.matching.MatchingTrainer.next_batch` returns.

        Returns:
            ``loss/distribution``: the squared distance of mean features, summed over classes.
        """
        return {"loss/distribution": self.match(self.new_network(), batch[0])}

    def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        """Return the squared distances between the mean features of each class; see the base class.

        The graph of at most a chunk is kept; of a class with more images each part's is made anew on the way back.
        """

        def features(part: Tensor) -> list[Tensor]:
            with self.autocast():
                return [self.features(network, self.in_memory_format(part)).to(part.dtype)]

        with torch.no_grad():
            (wanted,) = class_means(features, real, at_once=self.chunk)
        # A compiled network is called as it is: it would be compiled anew for buffers that are exchanged.
        drawing = None if self.compile else network
        (found,) = class_means(features, synthetic, network=drawing, at_once=self.chunk, keep=self.chunk)
        return feature_matching(wanted[:, None], found[:, None])
