"""Real images for losses, from random streams that nothing else draws from."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.data.sampling import ClassSampler
from gendistill.runs.context import RunContext
from trainers.batch import Batch


class RealHost(Protocol):
    """What is used of a trainer, which is attached to its run and data."""

    @property
    def run(self) -> RunContext:
        """The run."""

    @property
    def data(self) -> RealData:
        """The data set, on the run's device."""

    @property
    def normalisation(self) -> Normalisation:
        """How real images are normalised."""

    @property
    def shares_batch(self) -> bool:
        """Whether each process has made a part of the batch only; otherwise all have the same images."""


def images_at(host: RealHost, index: Tensor) -> Batch:
    """Return training images (B, C, H, W) at ``index`` (B,) as the trainer normalises them, and their labels."""
    images, labels = host.data.train.batch(index, host.normalisation)
    if host.run.options.channels_last:
        images = images.contiguous(memory_format=torch.channels_last)
    return Batch(images, labels)


def any_images(host: RealHost, count: int, generator: torch.Generator) -> Batch:
    """Draw ``count`` training images with repetition, each as likely as any other, the same in every process."""
    index = torch.randint(len(host.data.train), (count,), generator=generator, device=generator.device)
    return images_at(host, index)


def class_sampler(host: RealHost) -> ClassSampler:
    """Return balanced draws from the training data, which have no state."""
    description = host.data.description
    return ClassSampler(host.data.train.labels, description.num_classes, description.class_names)


def images_alike(
    host: RealHost, sampler: ClassSampler, labels: Tensor, generator: torch.Generator, times: int = 1
) -> Batch:
    """Draw for each label (B,) real images of that class, with repetition.

    Args:
        host: The trainer.
        sampler: See :func:`class_sampler`.
        labels: This process's part where the batch is shared out; together the processes draw what one would.
        generator: Where the draw comes from.
        times: How many for each label; images ``i``, ``B + i``, ``2 B + i``, ... are for label ``i``.
    """
    processes = host.run.processes
    count = len(labels) * (processes.world if host.shares_batch else 1)
    chances = torch.rand(times, count, generator=generator, device=generator.device, dtype=torch.float64)
    if host.shares_batch:
        chances = processes.shard(chances.T).T
    return images_at(host, sampler.alike(labels.repeat(times), chances.flatten()))
