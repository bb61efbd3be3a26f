"""Steps that each look at a part of one big tensor of images: a leaf or a node of their own against a slice each.

The way back through ``images[part]`` writes a gradient of the size of all images. A step that takes K parts, one after
another, moves K times all images through memory: quadratic in the classes of gradient matching, in the steps of dataset
distillation and in the images of trajectory matching. Each pair below is one trainer's step, once as the trainer makes
it and once with slices, in turns in one process; both must give the images the same gradient, bit for bit.

- ``dsa``: gradient matching with siamese augmentation, 100 classes of 50 images 3x32x32.
- ``groups``: what slices alone cost at 200 classes of 10 images 3x64x64: ``(part ** 2).sum()`` of every class.
- ``dd``: dataset distillation by 100 steps of ten images 3x32x32.
- ``mtt``: trajectory matching, 8 steps of 250 of 5,000 images 3x32x32.

    python benchmarks/run.py slices
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor, nn

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.gan_step import in_turns  # noqa: E402
from gendistill.data.augment import apply  # noqa: E402
from gendistill.inner import ShownImages  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams  # noqa: E402
from trainers import student_training  # noqa: E402
from trainers.dataset_distillation import DatasetDistillationTrainer, DistillationInner  # noqa: E402
from trainers.gradient_matching import GradientMatchingTrainer  # noqa: E402
from trainers.student_training import Followed, StudentInner  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402
from trainers.trajectory_matching import TrajectoryMatchingTrainer  # noqa: E402

THREADS = 1
SETTING: dict[str, dict[str, int]] = {
    "dsa": {"classes": 100, "images": 50, "side": 32, "width": 16},
    "groups": {"classes": 200, "images": 10, "side": 64},
    "dd": {"steps": 100, "side": 32, "width": 8},
    "mtt": {"classes": 100, "images": 50, "side": 32, "steps": 8, "batch": 250, "width": 8},
}
SMALL: dict[str, dict[str, int]] = {
    "dsa": {"classes": 3, "images": 2, "side": 8, "width": 2},
    "groups": {"classes": 3, "images": 2, "side": 8},
    "dd": {"steps": 5, "side": 8, "width": 2},
    "mtt": {"classes": 3, "images": 2, "side": 8, "steps": 3, "batch": 4, "width": 2},
}
Step = Callable[[], Tensor]


def with_slices(match: GradientMatchingTrainer, network: nn.Module, real: Tensor) -> Tensor:
    """Do what :meth:`trainers.matching.MatchingTrainer.match` does by slices of one parameter; return the gradient."""
    change = match.siamese()
    match.images.grad = None
    for first in match.mine[:: match.classes_together]:
        last = min(first + match.classes_together, match.mine.stop)
        wanted = change(match.real_images(real[first:last]), first)
        match.distance(network, wanted, change(match.images[first:last], first), first).backward(inputs=[match.images])
    assert match.images.grad is not None
    return match.images.grad


def sliced_images(distil: DatasetDistillationTrainer, steps: int) -> tuple[list[Tensor], list[Tensor]]:
    """Do what the trainer's own method does, by a slice for each step."""
    turns = [step % distil.options.sets for step in range(steps)]
    images, labels = [distil.images[turn] for turn in turns], [distil.labels[turn] for turn in turns]
    return images, labels


class SlicedImages(ShownImages):
    """What :class:`gendistill.inner.ShownImages` shows, by an index into all images for each step on the way back."""

    def backward(self) -> None:
        """Send what has gathered at the steps to the images."""
        for batch, (index, how) in zip(self.images, self._showings, strict=True):
            apply(self._all[index], how).backward(batch.grad)


def _attached(trainer: Trainer, root: str, classes: int, side: int, images: int = 16) -> Any:
    options = RunOptions(root=root, device="cpu", progress=False)
    run = RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(0))
    trainer.attach(run, random_data(images, (3, side, side), classes))
    return trainer


def _convnet(width: int, depth: int) -> dict[str, Any]:
    return {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": depth}}


def dsa(root: str, classes: int, images: int, side: int, width: int) -> dict[str, Step]:
    """Return a match of gradient matching both ways; each returns the images' gradient."""
    made = GradientMatchingTrainer(
        images_per_class=images, real_batch=8, learner=_convnet(width, 3), outer_loops=1, inner_loops=0, lr_images=1e-30
    )
    trainer = _attached(made, root, classes, side, max(images, 8))
    network, real = trainer.new_network(), trainer.next_batch()[0]

    def ours() -> Tensor:
        trainer.match(network, real)
        found: Tensor = trainer.images.grad
        return found

    return {"ours": ours, "slices": lambda: with_slices(trainer, network, real)}


def groups(root: str, classes: int, images: int, side: int) -> dict[str, Step]:
    """Return the gradient of every class's sum of squares, by leaves and by slices; no network, no trainer."""
    every = torch.randn(classes, images, 3, side, side, requires_grad=True)

    def leaves() -> Tensor:
        gradient = torch.zeros_like(every)
        for place in range(classes):
            own = every.detach()[place : place + 1].requires_grad_()
            gradient[place : place + 1] = torch.autograd.grad(own.square().sum(), own)[0]
        return gradient

    def slices() -> Tensor:
        every.grad = None
        for place in range(classes):
            every[place : place + 1].square().sum().backward(inputs=[every])
        assert every.grad is not None
        return every.grad

    return {"ours": leaves, "slices": slices}


def dd(root: str, steps: int, side: int, width: int) -> dict[str, Step]:
    """Return a meta-step of dataset distillation both ways."""
    learner = _convnet(width, 1)
    made = DatasetDistillationTrainer(
        inner=DistillationInner(steps=steps, epochs=1),
        learner=learner,
        batch_size=10,
        meta_lr=1e-30,
        learn_labels=True,
    )
    trainer = _attached(made, root, 10, side)
    batch = trainer.next_batch()

    def ours() -> Tensor:
        trainer.train_step(batch)
        found: Tensor = trainer.images.grad
        return found

    def slices() -> Tensor:
        with patch.object(DatasetDistillationTrainer, "_stored", sliced_images):
            return ours()

    return {"ours": ours, "slices": slices}


def mtt(root: str, classes: int, images: int, side: int, steps: int, batch: int, width: int) -> dict[str, Step]:
    """Return a student of trajectory matching both ways."""
    made = TrajectoryMatchingTrainer(
        images_per_class=images,
        learner=_convnet(width, 1),
        experts=1,
        expert={"batch_size": 20, "updates": 1},
        inner=StudentInner(steps=steps, batch_size=batch),
        max_start_epoch=1,
        expert_epochs=1,
        augment="color_crop_cutout_flip_scale_rotate",
        learning_rate=0.001,
    )
    trainer = _attached(made, root, classes, side, max(images, 2))
    lesson = trainer.plan.draw(0)
    start, target = (trainer.buffer.snapshot(0, at) for at in (0, 1))

    followed = Followed(lesson, start, target, seed=0)

    def ours() -> Tensor:
        trainer.images.grad = None
        given = trainer.images, trainer.labels, trainer.raw_rate.exp, 1.0
        trainer.training.backward(trainer.student, [followed], *given, end=steps)
        found: Tensor = trainer.images.grad
        return found

    def slices() -> Tensor:
        with patch.object(student_training, "ShownImages", SlicedImages):
            return ours()

    return {"ours": ours, "slices": slices}


PAIRS: dict[str, Callable[..., dict[str, Step]]] = {"dsa": dsa, "groups": groups, "dd": dd, "mtt": mtt}


def measure(setting: dict[str, dict[str, int]] = SETTING, rounds: int = 1) -> dict[str, Any]:
    """Measure every pair.

    Args:
        setting: Sizes of each pair.
        rounds: How often each is timed, after one untimed round.

    Returns:
        For each pair median wall and CPU seconds of both ways, and how many times faster ours is.
    """
    found: dict[str, Any] = {"setting": {**setting, "rounds": rounds}}
    for name, make in PAIRS.items():
        with tempfile.TemporaryDirectory() as root:
            steps = make(root, **setting[name])
            gradients = [steps[way]().clone() for way in ("ours", "slices")]
            assert gradients[0].norm() > 0 and torch.equal(*gradients), f"{name}: the gradients differ"
            times = in_turns(steps, rounds)
        faster = {kind: times["slices"][kind] / max(times["ours"][kind], 1e-9) for kind in times["ours"]}
        found[name] = {"seconds": times, "times_faster": faster}
    return found
