"""What passes between a trainer and its losses."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from gendistill.errors import UserError


class Batch(NamedTuple):
    """Real or generated images with their labels.

    Attributes:
        images: (B, C, H, W) float32 in [-1, 1].
        labels: (B,) int64 class indices; ``None`` for images of a generator without labels.
    """

    images: Tensor
    labels: Tensor | None = None


class Made(NamedTuple):
    """What a step has made, with the graph that leads to what is trained: what every method hands to a loss.

    Attributes:
        images: (N, C, H, W) float32, normalised as the trainer's real images are, before any augmentation.
        labels: (N,) int64, the classes that the images are made for; None: of a GAN without labels.
        told: What learners are told, where that is something else: (N, K) probabilities or, where a method learns
            labels freely, real numbers; with their graph where they are trained. None: the classes.
        latents: (N, ...) what the images were generated from; None: they are stored.
    """

    images: Tensor
    labels: Tensor | None
    told: Tensor | None = None
    latents: Tensor | None = None

    @property
    def classes(self) -> Tensor:
        """The classes (N,).

        Raises:
            UserError: The images have none.
        """
        if self.labels is None:
            raise UserError("this loss needs the classes of generated images; use ConditionalGANTrainer")
        return self.labels
