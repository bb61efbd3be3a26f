"""One step of a latent search: all classes and latents in one program against a loop over classes, at MNIST's shape.

Three ways to the same gradient, which take turns in one process; every one makes the whole step, with drawing real
images, a fresh probe and the move on the sphere:

- ``obvious``: the loop that one writes down from the sum over classes. For each class the generator is asked, the probe
  is asked, and the distance goes backwards, into the weights of both networks too, as torch does unless it is told not
  to (and as the condensation papers' public code does).
- ``loop``: that loop with everything spared but itself: only latents get gradients, real features have no graph.
- ``ours``: :class:`trainers.latent_search.LatentSearchTrainer` as it is. Gradient matching may take the classes' weight
  gradients ``at_once``, too.

    python benchmarks/run.py latent_step
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.gan_step import in_turns  # noqa: E402
from gendistill.data.description import symmetric  # noqa: E402
from gendistill.data.real import RealData  # noqa: E402
from gendistill.losses.matching import gradient_distance  # noqa: E402
from gendistill.objects import build  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams, initialisation  # noqa: E402
from gendistill.teacher import GeneratorTeacher, save  # noqa: E402
from trainers.latent_search import LatentSearchTrainer  # noqa: E402

THREADS = 2
SHAPE = (1, 28, 28)
WAYS: dict[str, tuple[str, ...]] = {
    "feature_matching": ("obvious", "loop", "ours"),
    "gradient_matching": ("obvious", "loop", "ours", "ours, at once"),
}
"""What is timed for each objective."""


def make_generator(data: RealData, root: str, width: int) -> str:
    """Write a conditional GAN generator with random weights and ``width`` channels; return its file."""
    spec = {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 128, "ngf": width}}
    with initialisation(0, "generator"):
        network = build(spec, nn.Module, num_classes=data.description.num_classes, image_shape=SHAPE)
    path = Path(root) / "generator.safetensors"
    save(GeneratorTeacher(network, data.description.with_normalisation(symmetric(SHAPE[0]))), path)
    return str(path)


def make(
    data: RealData, root: str, generator: str, way: str, objective: str, latents: int, width: int, real_batch: int
) -> LatentSearchTrainer:
    """Return a search that is ready for its first step.

    Args:
        data: The data set.
        root: An empty folder.
        generator: What :func:`make_generator` returned.
        way: A name in :data:`WAYS`.
        objective: A key of :data:`WAYS`.
        latents: Latents of each class.
        width: Of the probe, a ConvNet of depth 3.
        real_batch: Real images of each class.
    """
    asked: Any = objective
    if way == "ours, at once":
        asked = {"class_path": objective, "init_args": {"classes": "at_once"}}
    trainer = LatentSearchTrainer(
        generator,
        images_per_class=latents,
        objective=asked,
        real_batch=real_batch,
        probe={"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": 3}},
        film_frames=0,
    )
    options = RunOptions(root=root, device="cpu")
    trainer.attach(RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(0)), data)
    if way == "obvious":
        trainer.network.requires_grad_(True)
    return trainer


def ours(trainer: LatentSearchTrainer) -> None:
    """Make a step of the trainer."""
    trainer.train_step(trainer.next_batch())


def class_by_class(trainer: LatentSearchTrainer, objective: str, spare: bool) -> None:
    """Make the step as a loop over classes."""
    add_gradients(trainer, objective, trainer.next_batch()[0], spare)
    trainer.optimizer.step()
    trainer.optimizer.zero_grad()
    trainer.network.zero_grad()


def add_gradients(trainer: LatentSearchTrainer, objective: str, real: Tensor, spare: bool) -> None:
    """Add the gradient of every class's distance to that of the latents, class by class.

    Args:
        trainer: The search.
        objective: A key of :data:`WAYS`.
        real: Images (K * R, C, H, W), class by class.
        spare: Whether only latents get gradients, and real images no graph.
    """
    network = trainer.probe()
    weights = list(network.parameters())
    convert = trainer.source.description.normalisation.convert
    classes = trainer.data.description.num_classes
    for label, images in enumerate(real.unflatten(0, (classes, -1))):
        mine = torch.arange(trainer.images_per_class) + label * trainer.images_per_class
        made = convert(trainer.source.render(trainer.latents[mine], trainer.labels[mine]), trainer.normalisation)
        if objective == "feature_matching":
            network.requires_grad_(not spare)
            wanted = network.features(images).mean(0).detach()
            distance = (wanted - network.features(made).mean(0)).square().sum()
        else:
            wanted_gradients = torch.autograd.grad(_loss(network, images, label), weights)
            found = torch.autograd.grad(_loss(network, made, label), weights, create_graph=True)
            distance = gradient_distance(wanted_gradients, found)
        distance.backward(inputs=[trainer.latents] if spare else None)


def _loss(network: nn.Module, images: Tensor, label: int) -> Tensor:
    return F.cross_entropy(network(images), torch.full((len(images),), label))


def agreement(make_one: Callable[..., LatentSearchTrainer], objective: str) -> dict[str, float]:
    """Return how far the other ways' gradients are from the obvious one, relative to its norm.

    Args:
        make_one: Makes a search of a way.
        objective: A key of :data:`WAYS`.
    """
    found: dict[str, Tensor] = {}
    for way in WAYS[objective]:
        trainer = make_one(way)
        batch = trainer.next_batch()
        if way in ("obvious", "loop"):
            add_gradients(trainer, objective, batch[0], spare=way == "loop")
        else:
            trainer.loss(batch)[0].backward(inputs=[trainer.latents])
        assert trainer.latents.grad is not None
        found[way] = trainer.latents.grad
    expected = found.pop("obvious")
    apart = {way: float((gradient - expected).norm() / expected.norm()) for way, gradient in found.items()}
    assert max(apart.values()) < 1e-3, f"the ways do not make the same step: {apart}"
    return apart


def measure(
    latents: Sequence[int] = (1, 10, 50), width: int = 64, real_batch: int = 16, generator: int = 32, rounds: int = 3
) -> dict[str, Any]:
    """Measure a step.

    Args:
        latents: Numbers of latents of each of ten classes.
        width: Of the probe, a ConvNet of depth 3.
        real_batch: Real images of each class.
        generator: Width of the generator.
        rounds: How often each way is timed; the ways take turns.

    Returns:
        For each objective and number of latents the median wall and CPU seconds of each way, how many times as fast as
        the obvious one and as the bare loop each is, and the relative distances of the gradients.
    """
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as root:
        data = random_data(2 * real_batch, SHAPE)
        path = make_generator(data, root, generator)
        for objective, ways in WAYS.items():
            found[objective] = {}
            for count in latents:
                given = {"objective": objective, "latents": count, "width": width, "real_batch": real_batch}
                make_one = partial(make, data, root, path, **given)
                steps: dict[str, Callable[[], None]] = {}
                for way in ways:
                    looped = partial(class_by_class, objective=objective, spare=way == "loop")
                    steps[way] = partial(ours if way.startswith("ours") else looped, make_one(way))
                times = in_turns(steps, rounds)
                found[objective][str(count)] = {
                    "seconds_a_step": times,
                    "times_as_fast_as_obvious": _ratios(times, "obvious"),
                    "times_as_fast_as_loop": _ratios(times, "loop"),
                    "relative_distance_of_gradients": agreement(make_one, objective),
                }
    setting = {"width": width, "real_batch": real_batch, "generator": generator, "rounds": rounds, "image": list(SHAPE)}
    return {"setting": setting, "latents_a_class": found}


def _ratios(times: dict[str, dict[str, float]], other: str) -> dict[str, dict[str, float]]:
    return {
        way: {kind: times[other][kind] / one[kind] for kind in one}
        for way, one in times.items()
        if way.startswith("ours")
    }
