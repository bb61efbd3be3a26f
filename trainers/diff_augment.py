"""Differentiable augmentation of all that the discriminator sees, Zhao et al. 2020 ("DiffAugment")."""

from __future__ import annotations

from torch import Tensor

from gendistill.data.augment import Parameters, apply, draw_parameters
from trainers.trainer import Trainer

STREAM = "diff_augment"


def diff_augment(trainer: Trainer, images: Tensor, strategy: str | None) -> Tensor:
    """Return images augmented each in its own way, differentiable with respect to the images.

    All operations that the strategy names are done, in its order. Parameters are drawn for the whole batch from a
    stream that nothing else draws from. What comes from outside the picture is 0, the grey between black and white, as
    in the paper.

    Args:
        trainer: Whose random stream and processes to use.
        images: (B, C, H, W) in [-1, 1], this process's part.
        strategy: Such as ``color_shift_cutout``, the paper's; see :func:`gendistill.data.augment.parse`. With ``None``
            the images themselves are returned and nothing is drawn.
    """
    if strategy is None:
        return images
    count, channels, height, width = images.shape
    processes, stream = trainer.run.processes, trainer.run.streams[STREAM]
    drawn = draw_parameters(strategy, count * processes.world, (channels, height, width), stream, mode="all")
    return apply(images, Parameters(tuple((name, processes.shard(value)) for name, value in drawn.steps)))
