"""Peak memory of a step against classes, images a class, batches, snapshots and steps: what grows with what.

Each point is one step of a trainer in a process of its own that keeps freed memory, as the commands do. ``ours`` is the
trainer as it is; ``whole`` is the same step with everything of its kind in memory at once:

- ``classes``: distribution (``dm``) and gradient matching (``dsa``) at 3x64x64, 32 real images of each class; whole:
  all classes' images in one chunk (``dm``), or all real images normalised first (``dsa``).
- ``images``: the same by images a class at 3x32x32, and latent search of as many latents; whole: with the graph of all
  images. Gradient matching holds that of a class's images, so there is no other way.
- ``batches``: batch condensation of real batches of 64; whole: the gradients of all batches with their graph.
- ``snapshots``: an expert of two million parameters by epochs; there is no whole.
- ``steps``: trajectory matching and dataset distillation in constant memory by unrolled steps; whole: ``memory: full``.
- ``target``: one step of gradient matching at 200 classes of ten images 3x64x64.

A slope is what one more class, image, batch, snapshot or step costs, beyond what is stored of it: synthetic images with
gradient and momentum, latents and their images. All pairs of ways make the same step (the tests hold them together).

    python benchmarks/run.py memory_slopes
    python benchmarks/memory_slopes.py JSON        one point; see ``OF_THEIR_OWN``
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.dm_step import random_data  # noqa: E402
from benchmarks.gan_step import most_memory  # noqa: E402
from benchmarks.latent_step import make_generator  # noqa: E402
from benchmarks.meta_step import own_process  # noqa: E402
from gendistill.allocation import keep_freed_memory  # noqa: E402
from gendistill.experts import Recipe, expert_buffer  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams  # noqa: E402
from trainers import chunks  # noqa: E402
from trainers.batch_condensation import BatchCondensationTrainer  # noqa: E402
from trainers.dataset_distillation import DatasetDistillationTrainer, DistillationInner  # noqa: E402
from trainers.distribution_matching import DistributionMatchingTrainer  # noqa: E402
from trainers.gradient_matching import GradientMatchingTrainer  # noqa: E402
from trainers.latent_search import LatentSearchTrainer  # noqa: E402
from trainers.matching import MatchingTrainer  # noqa: E402
from trainers.student_training import StudentInner  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402
from trainers.trajectory_matching import TrajectoryMatchingTrainer  # noqa: E402

THREADS = 1
MIB = 2**20
Step = Callable[[], object]
Made = tuple[Step, float]
"""A step that is ready, and the MiB that its result takes beside what was there before."""


def _attached(trainer: Trainer, root: str, data: Any) -> Any:
    options = RunOptions(root=root, device="cpu", progress=False)
    trainer.attach(RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(0)), data)
    return trainer


def _learner(width: int, depth: int = 3) -> dict[str, Any]:
    return {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": width, "depth": depth}}


def _once(trainer: Any) -> Step:
    return lambda: trainer.train_step(trainer.next_batch())


def matching(
    root: str, whole: bool, kind: str, classes: int, images: int, side: int, width: int = 8, real: int = 32
) -> Callable[[], Made]:
    """Prepare a step of ``dm`` or ``dsa``."""
    data = random_data(max(real, images), (3, side, side), classes)
    given: dict[str, Any] = {"images_per_class": images, "real_batch": real, "learner": _learner(width)}

    def make() -> Made:
        trainer: Any
        if kind == "dm":
            trainer = DistributionMatchingTrainer(**given, chunk=10**6 if whole else None)
        else:
            trainer = GradientMatchingTrainer(**given, outer_loops=1, inner_loops=0)
        trainer = _attached(trainer, root, data)
        if whole and kind == "dsa":
            _all_real_first(trainer)
        return _once(trainer), 3 * trainer.images.nbytes / MIB

    return make


def _all_real_first(trainer: MatchingTrainer) -> None:
    """Normalise the real images of all classes before the step looks at the first."""
    draw, read = trainer.next_batch, trainer.real_images
    images: list[Tensor] = []

    def next_batch() -> tuple[Tensor, Tensor]:
        index, labels = draw()
        images[:] = [read(index)]
        return torch.arange(len(index))[:, None], labels

    trainer.next_batch = next_batch  # type: ignore[method-assign]
    trainer.real_images = lambda index: images[0][index.flatten()]  # type: ignore[method-assign]


def latents(
    root: str, whole: bool, objective: str, images: int, width: int = 8, real: int = 16, generator: int = 32
) -> Callable[[], Made]:
    """Prepare a step of latent search in ten classes at 1x28x28."""
    data = random_data(real, (1, 28, 28))
    path = make_generator(data, root, generator)
    if whole:
        chunks.KEPT = 10**9

    def make() -> Made:
        asked = {
            "class_path": objective,
            "init_args": {"classes": "at_once"} if whole and "gradient" in objective else {},
        }
        trainer = LatentSearchTrainer(
            path, images_per_class=images, objective=asked, real_batch=real, probe=_learner(width), film_frames=0
        )
        trainer = _attached(trainer, root, data)
        return _once(trainer), (4 * trainer.latents.nbytes + 2 * len(trainer.labels) * 28 * 28 * 4) / MIB

    return make


def condensation(root: str, whole: bool, batches: int, width: int = 16) -> Callable[[], Made]:
    """Prepare a step of batch condensation at 1x28x28 that moves all batches."""
    data = random_data(-(-batches * 64 // 10) + 1, (1, 28, 28))

    def make() -> Made:
        trainer = BatchCondensationTrainer(
            num_batches=batches, batches_at_once=None, probes=[{"state": "fresh", "learner": _learner(width)}]
        )
        trainer = _attached(trainer, root, data)
        if whole:
            trainer.together = batches
        # Condensed images with gradient and Adam's two moments, and the real ones.
        return _once(trainer), (4 * 32 + 64) * batches * 28 * 28 * 4 / MIB

    return make


def experts(root: str, whole: bool, snapshots: int, width: int = 1000) -> Callable[[], Made]:
    """Prepare the training of an expert by one update a snapshot."""
    data = random_data(8, (1, 28, 28))
    learner = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": width}}
    recipe = Recipe(batch_size=8, updates=1)
    # The validation images would be looked at by all of them, however many.
    data = replace(
        data, validation=replace(data.validation, images=data.train.images[:8], labels=data.train.labels[:8])
    )
    return lambda: (lambda: expert_buffer(learner, data, recipe, 1, snapshots - 1, root=root), 0.0)


def unrolled(root: str, whole: bool, kind: str, steps: int, width: int = 16) -> Callable[[], Made]:
    """Prepare a step of ``mtt`` or ``dd`` at 3x32x32."""
    data = random_data(10, (3, 32, 32))
    memory: Any = "full" if whole else "recompute"
    trainer: Any
    if kind == "mtt":
        trainer = TrajectoryMatchingTrainer(
            images_per_class=4, learner=_learner(width), experts=1, expert={"batch_size": 20, "updates": 1},
            inner=StudentInner(steps=steps, memory=memory), max_start_epoch=1, expert_epochs=1,
        )  # fmt: skip
        stored = 2 * 40 * 3 * 32 * 32 * 4  # what a step shows, and its gradient
    else:
        trainer = DatasetDistillationTrainer(
            inner=DistillationInner(steps=steps, epochs=1, memory=memory), learner=_learner(width), batch_size=20
        )
        stored = 4 * 10 * 3 * 32 * 32 * 4  # a step's images with gradient and Adam's two moments
    return lambda: (_once(_attached(trainer, root, data)), steps * stored / MIB)


METHODS: dict[str, Callable[..., Callable[[], Made]]] = {
    "matching": matching, "latents": latents, "condensation": condensation, "experts": experts, "unrolled": unrolled,
}  # fmt: skip
SMALLEST: dict[str, dict[str, Any]] = {
    "matching": {"kind": "dsa", "classes": 2, "images": 1, "side": 8, "width": 2, "real": 2},
    "latents": {"objective": "feature_matching", "images": 1, "width": 2, "real": 2, "generator": 4},
    "condensation": {"batches": 1, "width": 2},
    "experts": {"snapshots": 2, "width": 4},
    "unrolled": {"kind": "dd", "steps": 1, "width": 2},
}


def point(method: str, whole: bool, warm: bool = True, **given: Any) -> dict[str, float]:
    """Make a step in this process and measure it.

    Args:
        method: A key of :data:`METHODS`.
        whole: See the module's text.
        warm: Make the smallest step of the method first, which loads all libraries.
        **given: What the method is given.

    Returns:
        ``peak_mib`` of the process; ``working_mib`` beyond its start and beyond what is stored; ``cpu_seconds``.
    """
    with tempfile.TemporaryDirectory() as first, tempfile.TemporaryDirectory() as root:
        if warm:
            METHODS[method](first, False, **SMALLEST[method])()[0]()
        make = METHODS[method](root, whole, **given)
        before = now()
        step, stored = make()
        start = time.process_time()
        step()
        return {
            "peak_mib": most_memory(),
            "working_mib": most_memory() - before - stored,
            "cpu_seconds": time.process_time() - start,
        }


def now() -> float:
    """Return the MiB that this process holds now, and let its peak begin there where the system allows it."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status")
    found = re.search(r"VmRSS:\s+(\d+)", status.read_text()) if status.exists() else None
    return int(found[1]) / 1024 if found else most_memory()


OF_THEIR_OWN: dict[str, Callable[..., dict[str, float]]] = {"point": point}

Sweep = tuple[str, str, dict[str, Any], Sequence[int], bool]
"""Method, what is varied, the rest, its values, and whether there is a whole way."""
SWEEPS: dict[str, Sweep] = {
    "dm, classes": ("matching", "classes", {"kind": "dm", "images": 1, "side": 64}, (10, 50, 200), True),
    "dsa, classes": ("matching", "classes", {"kind": "dsa", "images": 1, "side": 64}, (10, 50, 200), True),
    "dm, images": ("matching", "images", {"kind": "dm", "classes": 10, "side": 32}, (10, 50, 200), True),
    "dsa, images": ("matching", "images", {"kind": "dsa", "classes": 10, "side": 32}, (10, 50, 200), False),
    "latents by features, images": ("latents", "images", {"objective": "feature_matching"}, (10, 50, 200), True),
    "latents by gradients, images": ("latents", "images", {"objective": "gradient_matching"}, (10, 50, 200), True),
    "condensation, batches": ("condensation", "batches", {}, (8, 24, 72), True),
    "an expert, snapshots": ("experts", "snapshots", {}, (4, 16, 64), False),
    "mtt, steps": ("unrolled", "steps", {"kind": "mtt"}, (4, 16, 48), True),
    "dd, steps": ("unrolled", "steps", {"kind": "dd"}, (4, 16, 48), True),
}  # fmt: skip
TARGET: dict[str, Any] = {"kind": "dsa", "classes": 200, "images": 10, "side": 64, "width": 16}


def slope(points: dict[str, dict[str, float]]) -> float:
    """Return the MiB that one more of what is varied costs: least squares through the points' working memory."""
    x = torch.tensor([float(value) for value in points], dtype=torch.float64)
    y = torch.tensor([one["working_mib"] for one in points.values()], dtype=torch.float64)
    return float(((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum())


def measure(sweeps: dict[str, Sweep] = SWEEPS, target: dict[str, Any] = TARGET) -> dict[str, Any]:
    """Measure all sweeps.

    Args:
        sweeps: By name.
        target: The one step of gradient matching.

    Returns:
        For each sweep and way the points, and the slope: MiB for one more; then the target's point.
    """
    found: dict[str, Any] = {}
    for name, (method, varied, rest, values, both) in sweeps.items():
        found[name] = {}
        for way in ("ours", "whole") if both else ("ours",):
            points = {}
            for value in values:
                given = {"method": method, "whole": way == "whole", varied: value, **rest}
                points[str(value)] = own_process("point", script=HERE, threads=THREADS, **given)
            found[name][way] = {"points": points, "mib_for_one_more": slope(points)}
    return {"sweeps": found, "target": own_process("point", script=HERE, method="matching", whole=False, **target)}


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    keep_freed_memory()
    asked = json.loads(sys.argv[1])
    print(f"\n{json.dumps(OF_THEIR_OWN[asked.pop('what')](**asked))}", flush=True)
