"""One meta-step of a generative teaching network: our memory modes against ``higher`` on the same networks and batches.

Time: all ways take turns in one process. Memory: each way makes one meta-step in a process of its own, and what that
adds to the process's peak is reported. ``higher`` is optional: ``pip install higher==0.2.1``; without it only our own
modes are measured.

    python benchmarks/meta_step.py WAY STEPS LEARNERS      one meta-step; prints MiB added to the peak, as JSON
"""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve()
sys.path.insert(0, str(HERE.parents[1]))

from gendistill import unroll  # noqa: E402
from gendistill.nets.gtn import GTNGenerator  # noqa: E402
from gendistill.nets.weight_normalised import WeightNormConvNet  # noqa: E402
from gendistill.outer import RealLoss  # noqa: E402
from gendistill.seeds import initialisation, stream  # noqa: E402

THREADS = 1
SHAPE = (1, 28, 28)
CLASSES = 10
MISSING = "not measured: higher is not installed (pip install higher==0.2.1)"
Way = Callable[[], list[Tensor]]


def higher_module() -> Any:
    """Return the module ``higher``, or ``None`` where it is not installed."""
    try:
        import higher
    except ImportError:
        return None
    return higher


class MetaStep:
    """Everything that all ways share: networks, latents, learning rates and momenta of every step, a real batch.

    Args:
        steps: T, inner steps.
        batch: Images at each, synthetic and real.
    """

    def __init__(self, steps: int, batch: int = 128) -> None:
        with initialisation(0, "benchmark"):
            self.generator = GTNGenerator(CLASSES, SHAPE, nz=64, hidden=256, channels=64)
        draw = stream(0, "benchmark")
        self.latents = torch.randn(steps, batch, 64, generator=draw, requires_grad=True)
        self.labels = torch.arange(steps * batch).view(steps, batch) % CLASSES
        self.rates = torch.full((steps,), 0.02, requires_grad=True)
        self.momenta = torch.full((steps,), 0.5, requires_grad=True)
        self.real = torch.randn(batch, *SHAPE, generator=draw)
        self.real_labels = torch.arange(batch) % CLASSES

    @property
    def trained(self) -> list[Tensor]:
        """Everything that has a meta-gradient."""
        return [*self.generator.parameters(), self.latents, self.rates, self.momenta]

    def learner(self, number: int) -> nn.Module:
        """Return a fresh learner (20,548 parameters), as a plain sequence: ``higher`` refuses abstract base classes."""
        with initialisation(number, "learner"):
            net = WeightNormConvNet(CLASSES, SHAPE, widths=[16, 32], hidden=None)
        layers: list[nn.Module] = []
        for convolution, norm in zip(net.convolutions, net.norms, strict=True):
            layers += [convolution, nn.MaxPool2d(3, 2, padding=1), norm, nn.LeakyReLU(net.slope)]
        return nn.Sequential(*layers, nn.Flatten(), net.classifier)

    def gradients(self) -> list[Tensor]:
        """Return and clear what has gathered."""
        found = [torch.zeros_like(value) if value.grad is None else value.grad for value in self.trained]
        for value in self.trained:
            value.grad = None
        return found

    def ours(self, memory: unroll.Memory, learners: int) -> list[Tensor]:
        """Make a meta-step with learners that share the images; return the gradients of the sum of their losses."""
        shared = unroll.SharedImages(
            self.generator, self.latents, self.labels, self.labels, keep_graph=memory == "full"
        )
        for number in range(learners):
            learner = self.learner(number)
            outer = RealLoss(learner, [len(self.labels)], self.real[None], self.real_labels[None])
            unroll.unrolled_loss(
                learner, shared.images, self.labels, self.rates, self.momenta, outer, memory=memory
            ).loss.backward()
        shared.backward()
        return self.gradients()

    def with_higher(self, higher: Any, learners: int = 1) -> list[Tensor]:
        """Make a meta-step as one writes it with ``higher``."""
        for number in range(learners):
            learner = self.learner(number)
            sgd = torch.optim.SGD(learner.parameters(), lr=0.02, momentum=0.5)
            with higher.innerloop_ctx(learner, sgd) as (net, moves):
                for t, labels in enumerate(self.labels):
                    images = self.generator(self.latents[t], labels)
                    override = {"lr": [self.rates[t]], "momentum": [self.momenta[t]]}
                    moves.step(F.cross_entropy(net(images), labels), override=override)
                F.cross_entropy(net(self.real), self.real_labels).backward()
        return self.gradients()

    def ways(self, learners: int) -> dict[str, tuple[int, Way]]:
        """Return, by name, how many learners a way trains and the way."""
        found: dict[str, tuple[int, Way]] = {
            f"{memory}, {count} learners": (count, lambda memory=memory, count=count: self.ours(memory, count))
            for memory in unroll.MEMORY_MODES
            for count in sorted({1, learners})
        }
        higher = higher_module()
        if higher is not None:
            found["higher"] = (1, lambda: self.with_higher(higher))
        return found


def timed(steps: int, learners: int, rounds: int) -> dict[str, dict[str, float]]:
    """Return medians of wall and CPU seconds a learner for every way, which take turns."""
    problem = MetaStep(steps)
    ways = problem.ways(learners)
    wall: dict[str, list[float]] = {name: [] for name in ways}
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    for turn in range(rounds):
        for name in sorted(ways, reverse=bool(turn % 2)):
            count, way = ways[name]
            wall_start, cpu_start = time.perf_counter(), time.process_time()
            way()
            wall[name].append((time.perf_counter() - wall_start) / count)
            cpu[name].append((time.process_time() - cpu_start) / count)
    return {
        name: {"seconds": statistics.median(wall[name]), "cpu_seconds": statistics.median(cpu[name])} for name in ways
    }


def peak(way: str, steps: int, learners: int) -> float:
    """Return the MiB that one meta-step adds to the peak of a process of its own."""
    command = [sys.executable, str(HERE), way, str(steps), str(learners)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return float(json.loads(done.stdout))


def agreement(steps: int = 3) -> float | str:
    """Return the distance of our meta-gradient from that of ``higher``, relative to its norm."""
    higher = higher_module()
    if higher is None:
        return MISSING
    problem = MetaStep(steps, batch=16)
    ours, other = (
        torch.cat([gradient.flatten() for gradient in found])
        for found in (problem.ours("full", 1), problem.with_higher(higher))
    )
    return float((ours - other).norm() / other.norm())


def measure(steps: int = 32, learners: int = 4, rounds: int = 3, lengths: tuple[int, ...] = (8, 16, 32, 64)) -> Any:
    """Measure the meta-step.

    Args:
        steps: T of the comparison.
        learners: K, learners that share the images.
        rounds: How often each way is timed.
        lengths: Values of T for the memory by T.

    Returns:
        ``seconds`` a learner, ``peak_mib`` by way, ``recompute_mib_by_steps``, and the ratios to ``higher`` (or the
        sentence that it is not installed).
    """
    seconds = timed(steps, learners, rounds)
    there = higher_module() is not None
    memory = {name: peak(name, steps, 1) for name in [*unroll.MEMORY_MODES, *(["higher"] if there else [])]}
    result: dict[str, Any] = {
        "setting": {"steps": steps, "batch": 128, "learners": learners, "rounds": rounds},
        "relative_distance_from_higher": agreement(),
        "seconds_a_learner": seconds,
        "peak_mib": memory,
        "recompute_mib_by_steps": {str(length): peak("recompute", length, 1) for length in lengths},
    }
    if not there:
        return result | {"against_higher": MISSING}
    other = seconds["higher"]
    result["against_higher"] = {
        f"{kind}, {name}": other[kind] / one[kind]
        for name, one in seconds.items()
        if name != "higher"
        for kind in ("seconds", "cpu_seconds")
    }
    result["against_higher"]["memory, recompute"] = memory["higher"] / memory["recompute"]
    return result


def _one(way: str, steps: int, learners: int) -> float:
    """Make one meta-step and return by how many MiB the process's peak grew."""
    torch.set_num_threads(THREADS)
    MetaStep(1).ours("full", 1)  # libraries, caches
    problem, higher = MetaStep(steps), higher_module()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    if way == "higher":
        problem.with_higher(higher, learners)
    else:
        problem.ours(way, learners)  # type: ignore[arg-type]
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


if __name__ == "__main__":
    print(json.dumps(_one(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))))
