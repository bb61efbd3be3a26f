"""Memory and time of trajectory matching and dataset distillation by the number of unrolled steps.

Each point is one step of the trainer in a process of its own, once with the graph of all steps (``full``) and once in
constant memory (``recompute``), which keeps the learner's parameters after each step and nothing else. Both must give
the images the same gradient, up to rounding, which long training at a large rate amplifies.

- ``mtt``: 3x32x32, ConvNet of width 128 and depth 3, 10 images per class. A student's step sees 40 of the 100, so that
  all points take minutes; the official step sees all, which makes memory and time about 2.5 times as large.
- ``dd``: 1x28x28, LeNet, one image per class a step, 1,024 real images: the official shapes.

    python benchmarks/run.py unroll_memory
    python benchmarks/unroll_memory.py JSON        one point; see ``OF_THEIR_OWN``
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar, get_args

import torch
from torch import Tensor

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.gan_step import most_memory  # noqa: E402
from benchmarks.meta_step import own_process  # noqa: E402
from gendistill import unroll  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams  # noqa: E402
from trainers.dataset_distillation import DatasetDistillationTrainer, DistillationInner  # noqa: E402
from trainers.student_training import StudentInner  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402
from trainers.trajectory_matching import TrajectoryMatchingTrainer  # noqa: E402

THREADS = 2
Kind = TypeVar("Kind", bound=Trainer)
LEARNERS = "gendistill.nets.learners"
MODES: tuple[unroll.Memory, ...] = ("full", "recompute")
assert set(MODES) <= set(get_args(unroll.Memory))


def mtt(root: str, steps: int, memory: unroll.Memory, small: bool) -> TrajectoryMatchingTrainer:
    """Return trajectory matching of ``steps`` student steps, with one expert of two short epochs.

    Args:
        root: Folder of the run and of the expert.
        steps: N.
        memory: Memory mode.
        small: The same with next to no images and channels, which loads all libraries.
    """
    learner = {"class_path": f"{LEARNERS}.ConvNet", "init_args": {"width": 4 if small else 128, "depth": 3}}
    trainer = TrajectoryMatchingTrainer(
        images_per_class=1 if small else 10,
        learner=learner,
        experts=1,
        expert={"batch_size": 20, "updates": 1},
        inner=StudentInner(steps=steps, batch_size=None if small else 40, memory=memory),
        max_start_epoch=1,
        expert_epochs=1,
        augment="color_crop_cutout_flip_scale_rotate",
        learning_rate=0.001,  # the published one for ten images of each class of CIFAR-10
    )
    return _attached(trainer, root, (3, 32, 32), 2 if small else 10)


def dd(root: str, steps: int, memory: unroll.Memory, small: bool) -> DatasetDistillationTrainer:
    """Return dataset distillation of ``steps`` steps of ten images; see :func:`mtt`."""
    trainer = DatasetDistillationTrainer(
        inner=DistillationInner(steps=steps, epochs=1, memory=memory),
        learner={"class_path": f"{LEARNERS}.LeNet"},
        weights="xavier",
        batch_size=20 if small else 1024,
    )
    return _attached(trainer, root, (1, 28, 28), 2 if small else 103)


def _attached(trainer: Kind, root: str, shape: tuple[int, int, int], images_a_class: int) -> Kind:
    options = RunOptions(root=root, device="cpu", progress=False, steps=1_000_000)
    run = RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(0))
    trainer.attach(run, random_data(images_a_class, shape))
    return trainer


METHODS: dict[str, Callable[[str, int, unroll.Memory, bool], Trainer]] = {"mtt": mtt, "dd": dd}


def point(
    method: str, steps: int, memory: unroll.Memory, gradient: str, rounds: int = 1, small: bool = False
) -> dict[str, float]:
    """Make steps of a method in this process and measure them.

    Args:
        method: ``mtt`` or ``dd``.
        steps: Unrolled steps.
        memory: Memory mode.
        gradient: File that gets the images' gradient of the first step.
        rounds: How many steps of the trainer are timed.
        small: See :func:`mtt`.

    Returns:
        The most MiB that the process held, in all and beyond its start, and median wall and CPU seconds.
    """
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as root:
        warm_up = METHODS[method](first, 2, memory, True)
        warm_up.train_step(warm_up.next_batch())
        trainer: Any = METHODS[method](root, steps, memory, small)
        before, wall, cpu = most_memory(), [], []
        for turn in range(rounds):
            batch = trainer.next_batch()
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            trainer.train_step(batch)
            wall.append(time.perf_counter() - wall_start)
            cpu.append(time.process_time() - cpu_start)
            if not turn:
                peak = most_memory()
                images: Tensor = trainer.images
                torch.save(images.grad, gradient)
            trainer.run.step += 1
    return {
        "peak_mib": peak,
        "beyond_start_mib": peak - before,
        "seconds": statistics.median(wall),
        "cpu_seconds": statistics.median(cpu),
    }


OF_THEIR_OWN: dict[str, Callable[..., dict[str, float]]] = {"point": point}


def by_steps(method: str, lengths: Sequence[int], rounds: int, small: bool = False) -> dict[str, Any]:
    """Return both modes' figures by the number of steps, their ratios, and what a step more costs in memory."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for steps in lengths:
            one: dict[str, Any] = {}
            gradients = {}
            for memory in MODES:
                file = str(Path(folder) / memory)
                given = {"method": method, "steps": steps, "memory": memory, "gradient": file}
                one[memory] = own_process("point", script=HERE, threads=THREADS, rounds=rounds, small=small, **given)
                gradients[memory] = torch.load(file, weights_only=True)
            full, recompute = (gradients[memory] for memory in MODES)
            one["relative_distance_of_gradients"] = apart = float((full - recompute).norm() / full.norm())
            assert full.norm() > 0 and apart < 1e-2, f"{method}, {steps} steps: the gradients are {apart} apart"
            for word in ("beyond_start_mib", "seconds", "cpu_seconds"):
                one[f"recompute_part_of_{word}"] = one["recompute"][word] / max(one["full"][word], 1e-9)
            found[str(steps)] = one
    first, last = str(lengths[0]), str(lengths[-1])
    growth = {
        memory: {
            "mib_a_step": (found[last][memory]["peak_mib"] - found[first][memory]["peak_mib"])
            / max(1, lengths[-1] - lengths[0]),
            "last_over_first_peak": found[last][memory]["peak_mib"] / found[first][memory]["peak_mib"],
        }
        for memory in MODES
    }
    return {"by_steps": found, "growth": growth}


def measure(lengths: Sequence[int] = (5, 10, 20, 40), rounds: int = 1, small: bool = False) -> dict[str, Any]:
    """Measure both methods.

    Args:
        lengths: Numbers of unrolled steps, ascending.
        rounds: Steps of the trainer that are timed at each point.
        small: Next to no images and channels.

    Returns:
        For each method, by steps: peak memory and time of each mode, what part of the full mode's the constant-memory
        mode takes, and the relative distance of the gradients; then each mode's growth in memory.
    """
    return {
        "setting": {"lengths": list(lengths), "rounds": rounds, "small": small},
        **{method: by_steps(method, lengths, rounds, small) for method in METHODS},
    }


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    asked = json.loads(sys.argv[1])
    print(f"\n{json.dumps(OF_THEIR_OWN[asked.pop('what')](**asked))}", flush=True)
