"""Evaluating many learners at once against one after another, on the CPU.

Eight at the shapes of digits and of MNIST, and twenty at those of the condensation papers: 3x32x32, ten stored images
of each class in one batch, ConvNet of width 128 and depth 3. Four ways to the same accuracies, which take turns in one
process so that whatever else the machine does meets all of them alike:

- ``at_once``: :func:`gendistill.evaluation.learning.learning_curve` as it is used, one learner a core.
- ``stacked``: the same with all learners in one vmapped pass, as on a GPU.
- ``one_after_another``: the obvious loop over learners with ``torch.optim.SGD``, batches already in memory.
- ``as_published``: that loop as the condensation papers' public code has it: a ``DataLoader``, loss and accuracy read
  out after every step, torch's pooling.

Seconds are medians over repeats; CPU seconds tell how much of the machine a way takes.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.learning import learning_curve
from gendistill.nets.learners import default_learner
from gendistill.nets.pooling import AveragePool
from gendistill.seeds import stream
from gendistill.teacher import RealSubset

THREADS = 2
RATE, MOMENTUM, DECAY = 0.01, 0.9, 5e-4


@dataclass(frozen=True)
class Case:
    """What is evaluated, and how often it is timed.

    Attributes:
        shape: (C, H, W) of the images.
        learners: How many.
        images: Of the teacher.
        batch_size: Images an update.
        updates: Of each learner.
        repeats: Timed turns of each way.
        warm_up: Turns before them.
        ways: Names of ways.
        learner: Spec; None: the data set's default.
    """

    shape: tuple[int, int, int]
    learners: int = 8
    images: int = 1200
    batch_size: int = 64
    updates: int = 2
    repeats: int = 3
    warm_up: int = 0
    ways: tuple[str, ...] = ("at_once", "stacked", "one_after_another", "as_published")
    learner: dict[str, Any] | None = None


CASES = {
    "digits": Case((1, 8, 8), updates=50, repeats=5, warm_up=1),
    "mnist": Case((1, 28, 28)),
    "condensation": Case(
        (3, 32, 32),
        learners=20,
        images=100,
        batch_size=100,
        updates=1,
        repeats=2,
        ways=("at_once", "one_after_another", "as_published"),
    ),
}
"""The shapes. A stacked pass, which is for a GPU, is left out where it takes long."""


def measure(cases: Mapping[str, Case] = CASES) -> dict[str, Any]:
    """Return median seconds of each way, and the ratios, for each case by name."""
    return {name: _compare(case) for name, case in cases.items()}


def _data(shape: tuple[int, int, int], images: int) -> RealData:
    """Return classes that differ in the brightness of one row, so that learning leaves accuracies to compare."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % min(10, shape[1])
        images = torch.randint(0, 200, (count, *shape), generator=generator)
        images[torch.arange(count), 0, labels] += 40
        return Split(images.to(torch.uint8), labels)

    names = tuple(str(number) for number in range(min(10, shape[1])))
    description = Description("noise", names, shape, Normalisation((0.4,) * shape[0], (0.25,) * shape[0]))
    return RealData(description, split(images), split(100), split(100))


def _compare(case: Case) -> dict[str, Any]:
    data = _data(case.shape, case.images)
    teacher = RealSubset.all(data.train, data.description)
    spec = case.learner or default_learner(data.description)
    seeds = range(case.learners)
    options: dict[str, Any] = {
        "updates": (case.updates,), "seeds": case.learners, "batch_size": case.batch_size, "lr": RATE, "learner": spec
    }  # fmt: skip

    def curve(batched: bool) -> list[float]:
        result = learning_curve(teacher, data, batched=batched, **options)
        runs: list[float] = result["accuracy"]["runs"][0]
        return runs

    known: dict[str, Callable[[], list[float]]] = {
        "at_once": lambda: curve(False),
        "stacked": lambda: curve(True),
        "one_after_another": lambda: [_plain(teacher, data, spec, seed, case) for seed in seeds],
        "as_published": lambda: [_published(data, spec, seed, case) for seed in seeds],
    }
    ways = {name: known[name] for name in case.ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    accuracies: dict[str, list[float]] = {}
    for repeat in range(-case.warm_up, case.repeats):
        for name, way in ways.items():
            started, busy = time.perf_counter(), time.process_time()
            accuracies[name] = way()
            if repeat >= 0:
                wall[name].append(time.perf_counter() - started)
                cpu[name].append(time.process_time() - busy)
    seconds = {name: statistics.median(values) for name, values in wall.items()}
    busy_seconds = {name: statistics.median(values) for name, values in cpu.items()}
    pairs = zip(accuracies["at_once"], accuracies["one_after_another"], strict=True)
    return {
        "learners": case.learners,
        "batch_size": case.batch_size,
        "learner": spec["init_args"],
        "updates": case.updates,
        "seconds": seconds,
        "cpu_seconds": busy_seconds,
        "ratio": {name: seconds[name] / seconds["at_once"] for name in ways},
        "cpu_ratio": {name: busy_seconds[name] / busy_seconds["at_once"] for name in ways},
        "largest_difference_of_accuracies": max(abs(one - other) for one, other in pairs),
    }


def _learner(data: RealData, spec: dict[str, Any], seed: int) -> tuple[nn.Module, torch.optim.Optimizer]:
    network = build_learner(spec, data.description, seed)
    return network, torch.optim.SGD(network.parameters(), RATE, momentum=MOMENTUM, weight_decay=DECAY)


def _step(network: nn.Module, optimiser: torch.optim.Optimizer, images: Tensor, labels: Tensor) -> Tensor:
    loss = F.cross_entropy(network(images), labels)
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    return loss


def _plain(teacher: RealSubset, data: RealData, spec: dict[str, Any], seed: int, case: Case) -> float:
    """Train one learner on the batches that the ensemble's learner of this seed sees; return its test accuracy."""
    network, optimiser = _learner(data, spec, seed)
    for images, labels, _ in teacher.batches(case.updates, case.batch_size, stream(seed, "evaluation/batches")):
        _step(network, optimiser, images, labels)
    network.eval()
    count = 0
    with torch.no_grad():
        for index in torch.arange(len(data.test)).split(256):
            images, labels = data.test.batch(index, data.description.normalisation)
            count += int((network(images).argmax(1) == labels).sum())
    return count / len(data.test)


def _published(data: RealData, spec: dict[str, Any], seed: int, case: Case) -> float:
    """Train one learner as the papers' public code does; return its test accuracy."""
    network, optimiser = _learner(data, spec, seed)
    for name, module in list(network.named_modules()):
        if isinstance(module, AveragePool):
            network.set_submodule(name, nn.AvgPool2d(2))
    normalise = data.description.normalisation.apply
    train = TensorDataset(normalise(data.train.images), data.train.labels)
    test = TensorDataset(normalise(data.test.images), data.test.labels)
    loader = DataLoader(train, case.batch_size, shuffle=True, generator=torch.Generator().manual_seed(seed))
    done = 0
    while done < case.updates:
        for images, labels in loader:
            loss = _step(network, optimiser, images, labels)
            loss.item()
            done += 1
            if done == case.updates:
                break
    network.eval()
    count = 0
    with torch.no_grad():
        for images, labels in DataLoader(test, 256):
            count += (network(images).argmax(1) == labels).sum().item()
    return count / len(test)
