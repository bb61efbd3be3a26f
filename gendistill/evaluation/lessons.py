"""What each learner is shown: a teacher's batches for several seeds, in the data set's normalisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import islice

import torch
from torch import Tensor

from gendistill.data.augment import MODES
from gendistill.data.augment import augment as augment_batch
from gendistill.data.cutmix import cutmix
from gendistill.data.description import Description
from gendistill.data.operations import Strength
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import fitted

VALUES = 2**23
"""Image values (32 MiB) of a chunk at most; two chunks are in memory at a time."""
LONGEST = 16
"""Batches in a chunk at most, so that the next chunk can be made while learners train on this one."""
LABELS = ("given", "hard", "stored")
NORMALISATIONS = ("auto", "data", "teacher")
Chunk = list[list[tuple[Tensor, Tensor]]]


def whose_normalisation(choice: str, teacher: Teacher, data: RealData) -> str:
    """Return whose normalisation learners see images in: ``data`` or ``teacher``.

    Args:
        choice: ``data``, ``teacher``, or ``auto``: the teacher's where it is whitened and the data is not. A learner
            that met such images unwhitened would be shown something else than what they were made as. Also where its
            words have other vectors than the data's, as an embedding learned on another machine may.
        teacher: The teacher.
        data: The real data.

    Raises:
        UserError: Another choice.
    """
    if choice not in NORMALISATIONS:
        raise UserError(f"normalisation is '{choice}'; choose one of: {', '.join(NORMALISATIONS)}")
    if choice != "auto":
        return choice
    own, real = teacher.description.normalisation, data.description.normalisation
    if own.embedding != real.embedding:
        return "teacher"
    return "teacher" if own.whitening is not None and real.whitening is None else "data"


class Lessons:
    """The batches of every seed, drawn chunk by chunk.

    Every seed has a stream of its own, the same for every teacher. Where the teacher draws nothing at random (a
    curriculum, or all its images in every batch), one stream serves all seeds and images are made only once.

    Args:
        teacher: The teacher.
        description: The data set; gives the normalisation.
        seeds: One a stream.
        steps: Batches in all.
        batch_size: Images a batch, as far as the teacher heeds it.
        augment: Strategy of :func:`gendistill.data.augment.augment`, or None. Each seed augments for itself.
        augment_mode: ``single``: one name of the strategy a batch. ``each``: one an image. ``all``: every name, in
            order. ``idc``: see :func:`gendistill.data.augment.draw_parameters`.
        augment_strength: See :class:`gendistill.data.operations.Strength`; None: DSA's.
        cutmix: Probability with which a batch is mixed after it is augmented, 0..1; see
            :func:`gendistill.data.cutmix.cutmix`. A labeller is asked about the mixed images. Each seed mixes for
            itself.
        labels: ``given``: the teacher's; where it has a labeller what that says of the image as it is shown. ``hard``:
            the most likely class of a soft label. ``stored``: the labels that it stores, whatever labeller it has.

    Raises:
        UserError: The teacher's images or classes do not fit the data set, or an option is unknown.
    """

    def __init__(
        self,
        teacher: Teacher,
        description: Description,
        seeds: Sequence[int],
        steps: int,
        batch_size: int,
        *,
        augment: str | None = None,
        augment_mode: str = "single",
        augment_strength: Mapping[str, float] | None = None,
        cutmix: float = 0.0,
        labels: str = "given",
    ) -> None:
        teacher = fitted(teacher, description)
        if batch_size < 1:
            raise UserError(f"batch_size is {batch_size}; it must be at least 1")
        if labels not in LABELS:
            raise UserError(f"labels is '{labels}'; choose one of: {', '.join(LABELS)}")
        if augment_mode not in MODES:
            raise UserError(f"augment_mode is '{augment_mode}'; choose among: {', '.join(MODES)}")
        self.teacher, self.description, self.hard = teacher, description, labels == "hard"
        self.augment = None if augment in (None, "", "none") else augment
        if self.augment is not None and description.kind != "pictures":
            raise UserError(
                f"augment is '{augment}', which is for pictures; '{description.name}' holds {description.kind}, set "
                "it to none"
            )
        if not 0.0 <= cutmix <= 1.0:
            raise UserError(f"cutmix is {cutmix}; it is a probability, give a number from 0 to 1")
        if cutmix and description.kind != "pictures":
            raise UserError(
                f"cutmix is {cutmix:g}, which is for pictures; '{description.name}' holds {description.kind}, set it "
                "to 0"
            )
        self.augment_mode, self.strength, self.cutmix = augment_mode, Strength.of(augment_strength), cutmix
        self.labeller = None if labels == "stored" else teacher.labeller
        device = teacher.device
        self.generators = [stream(seed, "evaluation/batches", device) for seed in seeds]
        self.augmenters = [stream(seed, "evaluation/augment", device) for seed in seeds]
        self.streams = [teacher.batches(steps, batch_size, generator) for generator in self.generators]
        self.random = False
        self.drawn = 0
        self._length = 1  # batches of a chunk, until the size of a batch is known
        self.images_seen = [0]
        """Images that a learner has seen after each number of updates."""

    @property
    def temperature(self) -> float:
        """What learners' logits are divided by, so that they are asked as the labeller was; 1 for labels of any other
        kind."""
        return 1.0 if self.labeller is None or self.hard else self.labeller.temperature

    def chunks(self, counts: Sequence[int]) -> Iterator[Chunk]:
        """Yield all batches in chunks that fit in memory and of which none crosses a number of updates in ``counts``.

        Args:
            counts: Numbers of updates, ascending, up to ``steps``.

        Returns:
            An iterator over chunks: for each seed a list of (images, labels). Seeds that see the same share one list.
        """
        for count in counts:
            while self.drawn < count:
                chunk = self._draw(min(self._length, count - self.drawn))
                values = len({id(batches) for batches in chunk}) * max(images.numel() for images, _ in chunk[0])
                self._length = max(1, min(LONGEST, VALUES // max(values, 1)))
                yield chunk

    def skip(self, count: int, augmenters: Sequence[Tensor]) -> None:
        """Go on after the first ``count`` batches, which an interrupted training has seen.

        Args:
            count: How many.
            augmenters: Of each seed the state of its augmenting generator at that place.
        """
        kept = self.augment, self.cutmix, self.labeller
        self.augment, self.cutmix, self.labeller = None, 0.0, None
        while self.drawn < count:
            self._draw(min(LONGEST, count - self.drawn))
        self.augment, self.cutmix, self.labeller = kept
        for generator, state in zip(self.augmenters, augmenters, strict=True):
            generator.set_state(state.cpu())

    @torch.no_grad()
    def _draw(self, length: int) -> Chunk:
        before = self.generators[0].get_state()
        first = list(islice(self.streams[0], length))
        if not self.random and not torch.equal(self.generators[0].get_state(), before):
            self.random = True
            for other in self.streams[1:]:
                # Until now they would have been the same; bring them to the same place.
                next(islice(other, self.drawn, self.drawn), None)
        self.drawn += length
        raw = [first]
        if self.random:
            raw += [list(islice(other, length)) for other in self.streams[1:]]
        for images, _, _ in first:
            self.images_seen.append(self.images_seen[-1] + len(images))
        if self.augment is None and not self.cutmix:
            ready = [[self._convert(images, labels) for images, labels, _ in batches] for batches in raw]
            return ready if self.random else ready * len(self.streams)
        raw = raw if self.random else raw * len(self.streams)
        return [
            [self._convert(images, labels, generator) for images, labels, _ in batches]
            for batches, generator in zip(raw, self.augmenters, strict=True)
        ]

    def _convert(
        self, images: Tensor, labels: Tensor, augmenter: torch.Generator | None = None
    ) -> tuple[Tensor, Tensor]:
        images = self.teacher.description.normalisation.convert(images, self.description.normalisation)
        if augmenter is not None and self.augment is not None:
            images = augment_batch(images, self.augment, augmenter, mode=self.augment_mode, strength=self.strength)
        if self.hard and self.labeller is None and labels.is_floating_point():
            labels = labels.argmax(-1)
        if augmenter is not None and self.cutmix:
            images, labels = cutmix(images, labels, self.description.num_classes, augmenter, probability=self.cutmix)
        if self.labeller is not None:
            labels = self.labeller(images, self.description.normalisation)
            labels = labels.argmax(-1) if self.hard else labels
        return images, labels
