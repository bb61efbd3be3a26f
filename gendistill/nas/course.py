"""One architecture's short training, and its accuracy afterwards."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData, Split
from gendistill.evaluation.ensemble import LENDING, Separate, build_learner
from gendistill.evaluation.lessons import VALUES, Lessons
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.workers import Workers
from gendistill.nets.modes import running_layers
from gendistill.nets.statistics import set_statistics
from gendistill.teacher.base import Teacher

STATISTICS_IMAGES = 512
"""Real training images from which running statistics are taken anew."""

Batch = tuple[Tensor, Tensor]


class Course:
    """What every architecture is shown: the same batches in the same order for the same seed.

    Batches that are few are made once and kept; otherwise they are made anew for each architecture.

    Args:
        teacher: What teaches.
        data: The data set, whose normalisation the batches are brought to.
        updates: Batches at most.
        batch_size: Images a batch, as far as the teacher heeds it.
    """

    def __init__(self, teacher: Teacher, data: RealData, updates: int, batch_size: int) -> None:
        self.teacher, self.data, self.updates, self.batch_size = teacher, data, updates, batch_size
        self._kept: dict[int, list[Batch]] = {}
        self._lock = threading.Lock()

    @property
    def temperature(self) -> float:
        """See :attr:`gendistill.evaluation.lessons.Lessons.temperature`."""
        return 1.0 if self.teacher.labeller is None else self.teacher.labeller.temperature

    def batches(self, seed: int) -> Iterator[Batch]:
        """Yield the batches of one seed: images (B, C, H, W), normalised as the data set is, and labels."""
        with self._lock:
            if seed in self._kept:
                return iter(self._kept[seed])
            lessons = Lessons(self.teacher, self.data.description, [seed], self.updates, self.batch_size)
            chunks = lessons.chunks([self.updates])
            first = next(chunks)[0]
            if self.updates * max(images.numel() for images, _ in first) <= VALUES:
                self._kept[seed] = [*first, *(batch for chunk in chunks for batch in chunk[0])]
                return iter(self._kept[seed])
        return self._stream(first, chunks)

    def _stream(self, first: list[Batch], chunks: Iterator[list[list[Batch]]]) -> Iterator[Batch]:
        yield from first
        while True:
            # A generator's network is in training mode while it makes images; two threads would confuse it.
            with self._lock:
                chunk = next(chunks, None)
            if chunk is None:
                return
            yield from chunk[0]


@dataclass(frozen=True)
class Lesson:
    """What came of one training.

    Attributes:
        accuracy: By split, fractions.
        updates: Updates made.
        seconds: Spent on these updates: processor time of the worker on a CPU, wall time on a GPU. Making the images
            and measuring the accuracy are not in it.
    """

    accuracy: dict[str, float]
    updates: int
    seconds: float


def learn(
    spec: Mapping[str, Any],
    course: Course,
    candidate: Candidate,
    *,
    seed: int,
    device: torch.device,
    splits: Mapping[str, Split],
    seconds: float | None = None,
) -> Lesson:
    """Train one fresh learner and measure it.

    Args:
        spec: The learner, see :func:`gendistill.objects.build`.
        course: What it is shown.
        candidate: Its step sizes; as many as the course has batches, or more.
        seed: Of its initial weights and of the batches.
        device: Where to train.
        splits: Where to measure accuracy, by name.
        seconds: Stop once so much has been spent, after at least one update. None: go through the whole course.

    Returns:
        Accuracies, updates and seconds. A learner with batch normalisation is measured with statistics taken anew from
        real training images (without their labels): after few updates its running ones are still those of the first.
    """
    data = course.data
    with LENDING:
        ensemble = Separate(
            spec, data.description, [seed], [candidate], optimizer="sgd", device=device, workers=Workers(1),
            temperature=course.temperature,
        )  # fmt: skip
    spent, done = 0.0, 0
    for batch in course.batches(seed):
        started = _now(device)
        ensemble.train([[batch]], done)
        spent += _now(device) - started
        done += 1
        if done >= course.updates or (seconds is not None and spent >= seconds):
            break
    fresh_statistics(ensemble.networks[0], data)
    accuracy = {name: float(ensemble.accuracy([0], split)[0]) for name, split in splits.items()}
    return Lesson(accuracy, done, spent)


def parameter_count(spec: Mapping[str, Any], data: RealData) -> int:
    """Return the number of parameters of a learner for a data set."""
    with LENDING:
        return sum(parameter.numel() for parameter in build_learner(spec, data.description, 0).parameters())


@torch.no_grad()
def fresh_statistics(network: nn.Module, data: RealData) -> None:
    """Replace a network's running statistics by those of real training images.

    Source:
        Wu & Johnson 2021, "Rethinking 'Batch' in BatchNorm", Sec. 3 (precise batch norm).
    """
    if not running_layers(network):
        return
    count = min(STATISTICS_IMAGES, len(data.train))
    # Evenly over the split, which may be sorted by class.
    index = torch.linspace(0, len(data.train) - 1, count, device=data.train.labels.device).long()
    set_statistics(network, [data.train.batch(index, data.description.normalisation)[0]])


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.thread_time()
    torch.cuda.synchronize(device)
    return time.perf_counter()
