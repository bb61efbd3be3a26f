"""What a training step gains where freed memory is kept, as every command does (:mod:`gendistill.allocation`).

Each point is a process of its own, as how memory is handed out cannot be taken back; with and without take turns.
A step is a forward and backward pass of the condensation papers' ConvNet of depth 3 at 1x28x28.

    python benchmarks/run.py kept_memory
    python benchmarks/kept_memory.py JSON          one point; see ``OF_THEIR_OWN``
"""

from __future__ import annotations

import json
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from benchmarks.gan_step import most_memory  # noqa: E402
from benchmarks.meta_step import own_process  # noqa: E402
from gendistill.allocation import keep_freed_memory  # noqa: E402
from gendistill.nets.learners import ConvNet  # noqa: E402

THREADS = 1
SHAPE = (1, 28, 28)
POINTS = ((128, 100), (32, 256), (32, 100), (8, 64))
"""Widths of the network and images of a batch."""


def point(width: int, batch: int, keep: bool, steps: int) -> dict[str, float]:
    """Make steps in this process and measure them.

    Args:
        width: Of the network.
        batch: Images.
        keep: Whether freed memory is kept.
        steps: How many; the first is not counted.

    Returns:
        Median wall and CPU seconds of a step, and the most MiB that the process held.
    """
    if keep and not keep_freed_memory():
        raise RuntimeError("memory is not handed out by glibc here, or the environment says how")
    network = ConvNet(num_classes=10, image_shape=SHAPE, width=width, depth=3)
    images, labels = torch.randn(batch, *SHAPE), torch.arange(batch) % 10
    wall, cpu = [], []
    for _ in range(steps + 1):
        wall_start, cpu_start = time.perf_counter(), time.process_time()
        F.cross_entropy(network(images), labels).backward()
        wall.append(time.perf_counter() - wall_start)
        cpu.append(time.process_time() - cpu_start)
    return {
        "seconds": statistics.median(wall[1:]),
        "cpu_seconds": statistics.median(cpu[1:]),
        "peak_mib": most_memory(),
    }


OF_THEIR_OWN: dict[str, Callable[..., dict[str, float]]] = {"point": point}


def measure(points: Sequence[tuple[int, int]] = POINTS, rounds: int = 3, steps: int = 8) -> dict[str, Any]:
    """Measure each point with and without.

    Args:
        points: Widths and batches.
        rounds: Processes of each way; the medians of their medians count.
        steps: Of a process.

    Returns:
        For each point both ways' figures, and how many times as fast a step is, in wall and in CPU seconds.
    """
    found = {}
    for width, batch in points:
        given = {"width": width, "batch": batch, "steps": steps}
        runs: dict[str, list[dict[str, float]]] = {"kept": [], "given_back": []}
        for _ in range(rounds):
            for way, ones in runs.items():
                ones.append(own_process("point", script=HERE, threads=THREADS, keep=way == "kept", **given))
        ways = {
            way: {word: statistics.median(one[word] for one in ones) for word in ones[0]} for way, ones in runs.items()
        }
        faster = {word: ways["given_back"][word] / ways["kept"][word] for word in ("seconds", "cpu_seconds")}
        found[f"width {width}, batch {batch}"] = {**ways, "times_as_fast": faster}
    return {"setting": {"rounds": rounds, "steps": steps, "image": list(SHAPE)}, "steps_of_training": found}


if __name__ == "__main__":
    torch.set_num_threads(THREADS)
    asked = json.loads(sys.argv[1])
    print(f"\n{json.dumps(OF_THEIR_OWN[asked.pop('what')](**asked))}", flush=True)
