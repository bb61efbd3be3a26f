"""One meta-step of a generative teaching network: our memory modes against ``higher`` on the same networks and batches.

Time: all ways take turns in one process. Memory: each way makes one meta-step in a process of its own, and what that
adds to the process's peak is reported. Then how time and memory grow with T, with the learners of a meta-step (one
after another, and together), and what two processes gain. ``higher`` is optional (``pip install higher==0.2.1``).

    python benchmarks/meta_step.py JSON        one measurement of a process of its own; see ``OF_THEIR_OWN``
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.gan_step import most_memory  # noqa: E402
from gendistill import unroll  # noqa: E402
from gendistill.nets.gtn import GTNGenerator  # noqa: E402
from gendistill.nets.weight_normalised import WeightNormConvNet  # noqa: E402
from gendistill.outer import LossesTogether, RealLoss  # noqa: E402
from gendistill.runs.processes import Processes  # noqa: E402
from gendistill.seeds import initialisation, stream  # noqa: E402

THREADS = 1
SHAPE = (1, 28, 28)
CLASSES = 10
MISSING = "not measured: higher is not installed (pip install higher==0.2.1)"
Way = Callable[[], list[Tensor]]
Times = dict[str, float]


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
        processes: Those that share the learners.
    """

    def __init__(self, steps: int, batch: int, processes: Processes | None = None) -> None:
        with initialisation(0, "benchmark"):
            self.generator = GTNGenerator(CLASSES, SHAPE, nz=64, hidden=256, channels=64)
        draw = stream(0, "benchmark")
        self.latents = torch.randn(steps, batch, 64, generator=draw, requires_grad=True)
        self.labels = torch.arange(steps * batch).view(steps, batch) % CLASSES
        self.rates = torch.full((steps,), 0.02, requires_grad=True)
        self.momenta = torch.full((steps,), 0.5, requires_grad=True)
        self.real = torch.randn(batch, *SHAPE, generator=draw)
        self.real_labels = torch.arange(batch) % CLASSES
        self.processes = processes or Processes()

    @property
    def trained(self) -> list[Tensor]:
        """Everything that has a meta-gradient."""
        return [*self.generator.parameters(), self.latents, self.rates, self.momenta]

    def learners(self, count: int) -> list[nn.Module]:
        """Return this process's fresh learners (20,548 parameters), as plain sequences: ``higher`` refuses others."""
        found: list[nn.Module] = []
        for number in self.processes.shard(torch.arange(count)).tolist():
            with initialisation(number, "learner"):
                net = WeightNormConvNet(CLASSES, SHAPE, widths=[16, 32], hidden=None)
            layers: list[nn.Module] = []
            for convolution, norm in zip(net.convolutions, net.norms, strict=True):
                layers += [convolution, nn.MaxPool2d(3, 2, padding=1), norm, nn.LeakyReLU(net.slope)]
            found.append(nn.Sequential(*layers, nn.Flatten(), net.classifier))
        return found

    def gradients(self) -> list[Tensor]:
        """Return and clear what has gathered, averaged over the processes."""
        self.processes.average_gradients(self.trained)
        found = [torch.zeros_like(value) if value.grad is None else value.grad for value in self.trained]
        for value in self.trained:
            value.grad = None
        return found

    def ours(self, memory: unroll.Memory, count: int, together: bool = False) -> list[Tensor]:
        """Make a meta-step with learners that share the images; return the gradients of the mean of their losses."""
        shared = unroll.SharedImages(
            self.generator, self.latents, self.labels, self.labels, keep_graph=memory == "full"
        )
        learners = self.learners(count)
        asked = [RealLoss(one, [len(self.labels)], self.real[None], self.real_labels[None]) for one in learners]
        jobs: list[tuple[nn.Module, unroll.OuterLoss, unroll.InnerLoss]]
        if together:
            network = unroll.Together(learners)
            jobs = [(network, LossesTogether(network, asked), unroll.summed(F.cross_entropy))]
        else:
            jobs = [(one, outer, F.cross_entropy) for one, outer in zip(learners, asked, strict=True)]
        for learner, outer, inner in jobs:
            result = unroll.unrolled_loss(
                learner, shared.images, self.labels, self.rates, self.momenta, outer, inner_loss=inner, memory=memory
            )
            (result.loss / len(learners)).backward()
        shared.backward()
        return self.gradients()

    def with_higher(self, count: int) -> list[Tensor]:
        """Make a meta-step as one writes it with ``higher``."""
        learners = self.learners(count)
        for learner in learners:
            sgd = torch.optim.SGD(learner.parameters(), lr=0.02, momentum=0.5)
            with higher_module().innerloop_ctx(learner, sgd) as (net, moves):
                for t, labels in enumerate(self.labels):
                    images = self.generator(self.latents[t], labels)
                    override = {"lr": [self.rates[t]], "momentum": [self.momenta[t]]}
                    moves.step(F.cross_entropy(net(images), labels), override=override)
                (F.cross_entropy(net(self.real), self.real_labels) / len(learners)).backward()
        return self.gradients()

    def way(self, name: str, count: int) -> Way:
        """Return a meta-step by name: a memory mode, perhaps with ``together`` behind it, or ``higher``."""
        if name == "higher":
            return lambda: self.with_higher(count)
        memory, _, together = name.partition(", ")
        return lambda: self.ours(memory, count, together == "together")  # type: ignore[arg-type]


def in_turns(steps: int, batch: int, ways: Sequence[tuple[str, int]], rounds: int) -> dict[tuple[str, int], Times]:
    """Return the medians of wall and CPU seconds a learner for ways and learners, which take turns."""
    MetaStep(1, 2).ours("full", 1)  # libraries, caches
    problem = MetaStep(steps, batch)
    wall: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    cpu: dict[tuple[str, int], list[float]] = {way: [] for way in ways}
    for turn in range(rounds):
        for name, count in list(ways)[:: -1 if turn % 2 else 1]:
            make, wall_start, cpu_start = problem.way(name, count), time.perf_counter(), time.process_time()
            make()
            wall[name, count].append((time.perf_counter() - wall_start) / count)
            cpu[name, count].append((time.process_time() - cpu_start) / count)
    return {way: {"seconds": statistics.median(wall[way]), "cpu_seconds": statistics.median(cpu[way])} for way in ways}


def own_process(
    what: str, processes: int = 0, *, script: Path = HERE, threads: int = THREADS, **given: Any
) -> dict[str, float]:
    """Return what one of a script's measurements gives in a process of its own, or in several under torchrun.

    Args:
        what: Its name, in ``OF_THEIR_OWN`` of the script.
        processes: How many torchrun starts; 0: one plain process.
        script: Reads the name and ``given`` as JSON from its first argument and prints its figures as one.
        threads: Of each process.
        **given: Arguments of the measurement.

    Raises:
        RuntimeError: It failed.
    """
    launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc_per_node={processes}"] if processes else []
    command = [sys.executable, *launcher, str(script), json.dumps({"what": what, **given})]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)), "OMP_NUM_THREADS": str(threads)
    }  # fmt: skip
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"'{' '.join(command)}' failed:\n{done.stderr[-2000:]}")
    # The libraries of several processes may say something on stdout, too.
    found: dict[str, float] = json.loads([line for line in done.stdout.splitlines() if line.startswith("{")][-1])
    return found


def peak(way: str, steps: int, batch: int) -> dict[str, float]:
    """Return the MiB that a process held at most in one meta-step of one learner: in all, and beyond its start."""
    MetaStep(1, 2).way(way, 1)()  # libraries; small, for what a process once held it keeps
    make, before = MetaStep(steps, batch).way(way, 1), most_memory()
    make()
    return {"peak_mib": most_memory(), "beyond_start_mib": most_memory() - before}


def split(steps: int, batch: int, learners: int, rounds: int) -> dict[str, float]:
    """Return the median seconds of a meta-step whose learners are split over torchrun's processes."""
    processes = Processes.from_environment()
    processes.connect()
    problem, seconds = MetaStep(steps, batch, processes), []
    for _ in range(rounds + 1):
        processes.barrier()
        start = time.perf_counter()
        gradients = problem.ours("full", learners)
        seconds.append(time.perf_counter() - start)
    norm = float(torch.cat([gradient.flatten() for gradient in gradients]).norm())
    return {"seconds": statistics.median(seconds[1:]), "gradient_norm": norm}


OF_THEIR_OWN: dict[str, Callable[..., dict[str, float]]] = {"peak": peak, "split": split}


def agreement(steps: int = 3, batch: int = 16) -> float | str:
    """Return the distance of our meta-gradient from that of ``higher``, relative to its norm."""
    if higher_module() is None:
        return MISSING
    problem = MetaStep(steps, batch)
    ours, other = (
        torch.cat([gradient.flatten() for gradient in found])
        for found in (problem.ours("full", 2), problem.with_higher(2))
    )
    return float((ours - other).norm() / other.norm())


def against_higher(
    times: dict[tuple[str, int], Times], memory: dict[str, dict[str, float]], learners: int
) -> dict[str, float] | str:
    """Return the ratios that the measurement is made for, or the sentence that ``higher`` is not installed."""
    if "higher" not in memory:
        return MISSING
    found, other = {}, times["higher", 1]
    for kind, word in (("seconds", ""), ("cpu_seconds", "cpu_")):
        for count in sorted({1, learners}):
            name = f"full_{count}_learners_{word}times_as_fast"
            found[name] = other[kind] / times["full", count][kind]
        for mode in ("recompute", "sqrt"):
            found[f"{mode}_{word}time"] = times[mode, 1][kind] / other[kind]
    for mode in unroll.MEMORY_MODES:
        found[f"{mode}_memory"] = memory[mode]["beyond_start_mib"] / memory["higher"]["beyond_start_mib"]
    return found


def measure(
    steps: int = 32,
    batch: int = 128,
    learners: int = 4,
    rounds: int = 3,
    lengths: Sequence[int] = (8, 16, 32),
    short: int = 4,
    processes: Sequence[int] = (1, 2),
) -> dict[str, Any]:
    """Measure the meta-step.

    Args:
        steps: T of the comparison with ``higher``.
        batch: Images a step.
        learners: K, learners that share the images.
        rounds: How often each way is timed.
        lengths: Values of T for time and memory by T.
        short: T of the times by learners and by processes.
        processes: Numbers of processes, one thread each, that share K learners.

    Returns:
        ``against_higher``: how many times as fast the full mode is a learner, and what part of ``higher``'s time and
        memory the other modes take (or the sentence that it is not installed); ``seconds_a_learner``, ``memory``,
        ``by_steps``, ``by_learners`` (one after another and together) and ``by_processes``.
    """
    others = ["higher"] if higher_module() is not None else []
    modes = [*unroll.MEMORY_MODES, *others]
    times = in_turns(steps, batch, [("full", learners), *((mode, 1) for mode in modes)], rounds)
    memory = {mode: own_process("peak", way=mode, steps=steps, batch=batch) for mode in modes}
    by_steps: dict[str, Any] = {}
    for length in lengths:
        again = length == steps
        timed = times if again else in_turns(length, batch, [("full", 1), ("recompute", 1)], rounds)
        held = memory["recompute"] if again else own_process("peak", way="recompute", steps=length, batch=batch)
        by_steps[str(length)] = {mode: timed[mode, 1] for mode in ("full", "recompute")} | {"recompute_memory": held}
    counts = sorted({1, max(1, learners // 2), learners})
    ways = [*(("full", count) for count in counts), ("full, together", learners), ("recompute, together", learners)]
    by_learners = in_turns(short, batch, [*ways, ("recompute", learners)], rounds)
    together = {
        mode: by_learners[mode, learners]["seconds"] / by_learners[f"{mode}, together", learners]["seconds"]
        for mode in ("full", "recompute")
    }
    given = {"steps": short, "batch": batch, "learners": learners, "rounds": rounds}
    by_processes: dict[str, Any] = {str(count): own_process("split", count, **given) for count in processes}
    first, last = (by_processes[str(count)]["seconds"] for count in (processes[0], processes[-1]))
    return {
        "setting": {"steps": steps, "batch": batch, "learners": learners, "rounds": rounds, "image": list(SHAPE)},
        "relative_distance_from_higher": agreement(),
        "against_higher": against_higher(times, memory, learners),
        "seconds_a_learner": _named(times),
        "memory": memory,
        "by_steps": by_steps,
        "by_learners": {"steps": short, "seconds_a_learner": _named(by_learners), "together_times_as_fast": together},
        "by_processes": {**given, "processes": by_processes, "times_as_fast": first / last},
    }


def _named(times: dict[tuple[str, int], Times]) -> dict[str, Times]:
    return {f"{name}; learners: {count}": seconds for (name, count), seconds in times.items()}


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    asked = json.loads(sys.argv[1])
    answer = json.dumps(OF_THEIR_OWN[asked.pop("what")](**asked))
    if Processes.from_environment().main:
        print(f"\n{answer}", flush=True)
