"""Which of a teacher's images fidelity looks at: a pool, whose features are computed once, and balanced draws."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from gendistill.budget import check_memory
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.shared import digests
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.draw import draw_once
from gendistill.teacher.stored import StoredImages

LIMIT = 10_000
"""Images of a teacher that are looked at when nobody asks for more."""

SEEN = 400
"""Bytes that are kept of an image at least: a hundred features, its class and its digest."""
CHUNK = 1000
"""Fresh images made at a time."""


@dataclass(frozen=True)
class Pool:
    """Images of a teacher as an extractor sees them.

    Attributes:
        features: (N, D) float32.
        classes: (N,) int64: the labels, or the likeliest class of soft ones.
        digests: What tells each image from every other, see :func:`gendistill.evaluation.shared.digests`.
        draws: Places (n,) of each draw; the same number of every class as far as there are enough.
    """

    features: Tensor
    classes: Tensor
    digests: list[bytes]
    draws: list[Tensor]

    @property
    def count(self) -> int:
        """Images in each draw n."""
        return len(self.draws[0])


def default_count(data: RealData) -> int:
    """Return how many images of a teacher are compared by default: as many as there are real ones, at most 10,000."""
    return min(len(data.train), LIMIT)


def common_count(teachers: Sequence[Teacher], data: RealData) -> int:
    """Return the number of images at which the Fréchet distances of several teachers can be compared.

    The distance is biased by the number of images, so that teachers that stand in one column must show equally many.

    Args:
        teachers: Those that are compared.
        data: The real data.

    Returns:
        The smallest number of stored images, at most that of real training images and 10,000, and at least 2. Teachers
        that make images without end set no limit.
    """
    stored = [count for teacher in teachers if (count := teacher.decoded_images) is not None]
    return max(2, min([default_count(data), *stored]))


def pool(teacher: Teacher, extractor: Extractor, count: int, draws: int, seed: int) -> Pool:
    """Return a teacher's images and the draws from them.

    A teacher with at most ``count`` stored images shows all of them, once. One with more stored images shows up to
    10,000 of them, from which the draws are taken. One without end makes new images for each draw, at most 10,000 in
    all, so that there are fewer draws of many images.

    Args:
        teacher: The teacher.
        extractor: The network.
        count: Images of a draw n.
        draws: Draws wanted.
        seed: Of the draws; each has a stream of its own, so that more of them leave the first as they are.

    Raises:
        UserError: No draw or no image was asked for.
    """
    if count < 1 or draws < 1:
        raise UserError(f"count must be at least 1 image and draws at least 1, got {count} and {draws}")
    most, stored = max(count, LIMIT), teacher.decoded_images
    if stored is None:
        check_memory(SEEN * count, f"what is kept of {count:,} drawn images", "give a smaller count")
        number = max(1, min(draws, most // count))
        parts = [
            _seen(extractor, teacher, *teacher.sample(part, generator))
            for generator in (stream(seed, f"fidelity/draw {turn}") for turn in range(number))
            for part in _parts(count)
        ]
        features, classes = torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])
        names = [name for part in parts for name in part[2]]
        return Pool(features, classes, names, list(torch.arange(len(classes)).split(count)))
    if stored <= most:
        images, labels = teacher.everything()
    else:
        images, labels = _some(teacher, most, stream(seed, "fidelity/pool"))
    features, classes, names = _seen(extractor, teacher, images, labels)
    if len(classes) <= count:
        return Pool(features, classes, names, [torch.arange(len(classes))])
    kinds = teacher.description.num_classes
    streams = [stream(seed, f"fidelity/draw {turn}") for turn in range(draws)]
    return Pool(features, classes, names, [draw_once(classes, kinds, count, generator) for generator in streams])


def _some(teacher: Teacher, count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    if isinstance(teacher, StoredImages):
        return teacher.pick(draw_once(teacher.decoded_classes.cpu(), teacher.description.num_classes, count, generator))
    return teacher.sample(count, generator)


def _parts(count: int) -> list[int]:
    return [min(CHUNK, count - start) for start in range(0, count, CHUNK)]


def _seen(extractor: Extractor, teacher: Teacher, images: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, list[bytes]]:
    normalisation, kept = teacher.description.normalisation, teacher.description.stored[1]
    classes = labels.argmax(1) if labels.is_floating_point() else labels
    return extract(extractor, images, normalisation), classes.cpu(), digests(images, normalisation, kept)
