"""One step of distribution matching: ours against the obvious loop over classes, at the published shapes.

The obvious version is the loop that one writes down from Algorithm 1: for each class a forward pass of its real images,
with the graph of everything but the real features, weights that want gradients, the network in the default memory
format. Both draw, augment and match the same images in the same network; all ways take turns in one process.

    python benchmarks/run.py dm_step
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

from gendistill.data.augment import apply, draw_parameters
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams, stream
from trainers.distribution_matching import DistributionMatchingTrainer

THREADS = 2
SHAPE = (3, 32, 32)
CLASSES = 10
WAYS: dict[str, dict[str, Any]] = {
    "chunks": {},
    "chunks, channels last": {"channels_last": True},
    "chunks, channels last, bfloat16": {"channels_last": True, "precision": "bfloat16"},
    "compiled, channels last": {"channels_last": True, "compile": True},
    "compiled, channels last, bfloat16": {"channels_last": True, "precision": "bfloat16", "compile": True},
}


def random_data(images_a_class: int, shape: tuple[int, int, int] = SHAPE, classes: int = CLASSES) -> RealData:
    """Return random pictures (C, H, W) of every class; what they show takes no time."""
    labels = torch.arange(classes * images_a_class) % classes
    pictures = torch.randint(0, 256, (len(labels), *shape), generator=stream(0, "pictures"), dtype=torch.uint8)
    split = Split(pictures, labels)
    names = tuple(str(label) for label in range(classes))
    normalisation = Normalisation((0.5,) * shape[0], (0.25,) * shape[0])
    description = Description("pictures", names, shape, normalisation)
    return RealData(description, split, split, split)


def make(data: RealData, root: str, width: int, real_batch: int, **way: Any) -> DistributionMatchingTrainer:
    """Return a trainer that is ready for its first step."""
    learner = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": 3}}
    own = {"compile": way.pop("compile", False), "real_batch": real_batch}
    trainer = DistributionMatchingTrainer(learner=learner, **own)
    options = RunOptions(root=root, device="cpu", **way)
    trainer.attach(RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(0), Processes()), data)
    return trainer


def ours(trainer: DistributionMatchingTrainer) -> dict[str, Tensor]:
    """Make a step of the trainer."""
    return trainer.train_step(trainer.next_batch())


def obvious(trainer: DistributionMatchingTrainer) -> float:
    """Make the step of the obvious version on the trainer's images; return the loss."""
    network: Any = trainer.new_network().requires_grad_(True)
    generator = stream(trainer.run.options.seed, f"siamese/{trainer.step}")
    loss = torch.zeros(())
    index, _ = trainer.next_batch()
    for label, real in enumerate(trainer.real_images(index)):
        parameters = draw_parameters(trainer.strategy, 1, SHAPE, generator)
        wanted = network.features(apply(real, parameters)).detach()
        found = network.features(apply(trainer.images[label], parameters))
        loss = loss + (wanted.mean(0) - found.mean(0)).square().sum()
    trainer.optimizer.zero_grad()
    loss.backward()
    trainer.optimizer.step()
    network.requires_grad_(False).zero_grad()
    return float(loss.detach())


def agreement(data: RealData, root: str, width: int) -> float:
    """Return how far our gradient is from the obvious one, relative to its norm, without augmentation."""
    gradients: list[Tensor] = []
    ways: tuple[Callable[[DistributionMatchingTrainer], Any], ...] = (obvious, ours)
    for way in ways:
        trainer = make(data, root, width, 16)
        trainer.strategy = "none"
        way(trainer)
        assert trainer.images.grad is not None
        gradients.append(trainer.images.grad)
    return float((gradients[0] - gradients[1]).norm() / gradients[0].norm())


def measure(width: int = 128, real_batch: int = 256, rounds: int = 5, ways: tuple[str, ...] = tuple(WAYS)) -> Any:
    """Measure a step.

    Args:
        width: Of the ConvNet.
        real_batch: Real images of each of ten classes.
        rounds: How often each way is timed; the ways take turns.
        ways: Names in :data:`WAYS`.

    Returns:
        Median wall and CPU seconds of each way, how many times faster than the obvious one each is, and the distance of
        the gradients.
    """
    with tempfile.TemporaryDirectory() as root:
        data = random_data(2 * real_batch)
        plain = make(data, root, width, real_batch)
        steps: dict[str, Callable[[], Any]] = {"obvious": partial(obvious, plain)}
        for name in ways:
            trainer = make(data, root, width, real_batch, **WAYS[name])
            steps[name] = partial(ours, trainer)
        wall: dict[str, list[float]] = {name: [] for name in steps}
        cpu: dict[str, list[float]] = {name: [] for name in steps}
        for step in steps.values():
            step()  # compiles, fills caches
        for turn in range(rounds):
            for name in sorted(steps, reverse=bool(turn % 2)):
                wall_start, cpu_start = time.perf_counter(), time.process_time()
                steps[name]()
                wall[name].append(time.perf_counter() - wall_start)
                cpu[name].append(time.process_time() - cpu_start)
        seconds = {
            name: {"seconds": statistics.median(wall[name]), "cpu_seconds": statistics.median(cpu[name])}
            for name in steps
        }
        return {
            "setting": {"width": width, "real_batch": real_batch, "images_per_class": 10, "rounds": rounds},
            "relative_distance_of_gradients": agreement(data, root, width),
            "seconds_a_step": seconds,
            "times_faster": {
                name: {kind: seconds["obvious"][kind] / one[kind] for kind in one}
                for name, one in seconds.items()
                if name != "obvious"
            },
        }
