"""Groups of GANs in one process against as many runs one after another, and what an exchange of discriminators costs.

Both sides make the same steps of the same networks (a group is a GAN of its own, to the bit), in turns in one process;
an exchange moves no tensor. Digits, the networks of configs/mggan/digits.yaml, four groups.

    python benchmarks/run.py mggan_groups
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.config.command_line import assemble, take_apart  # noqa: E402
from gendistill.data import load  # noqa: E402
from gendistill.runs.context import RunContext  # noqa: E402
from gendistill.runs.directory import RunDirectory  # noqa: E402
from gendistill.runs.options import RunOptions  # noqa: E402
from gendistill.seeds import Streams, derive_seed  # noqa: E402
from trainers.gan import GANTrainer  # noqa: E402
from trainers.mggan import MGGANTrainer  # noqa: E402
from trainers.trainer import Trainer  # noqa: E402

THREADS = 1
CONFIG = str(HERE.parents[1] / "configs" / "mggan" / "digits.yaml")


def attached(trainer: Trainer, root: str, seed: int) -> Any:
    """Return a trainer on the digits, ready for its first step."""
    options = RunOptions(root=root, steps=1000, seed=seed, device="cpu")
    context = RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(seed))
    trainer.attach(context, load("digits"))
    return trainer


def step(trainer: Trainer) -> None:
    """Make a step."""
    trainer.train_step(trainer.next_batch())
    trainer.run.step += 1


def measure(groups: int = 4, rounds: int = 15, scale: str | None = None) -> dict[str, Any]:
    """Return CPU seconds of a step of all groups, of as many GANs one after another, and of an exchange."""
    words = ["--config", CONFIG, *([] if scale is None else ["--scale", scale])]
    arguments = dict(assemble(take_apart(words)).init_args)
    with tempfile.TemporaryDirectory() as root:
        together = attached(
            MGGANTrainer(**arguments | {"groups": groups, "preset": "ensemble", "schedule": None}), root, 0
        )
        seeds = [0, *(derive_seed(0, f"group/{number}") for number in range(1, groups))]
        made = MGGANTrainer(**arguments | {"groups": groups, "preset": "ensemble", "schedule": None}).seats
        apart: list[GANTrainer] = [attached(seat, root, seed) for seat, seed in zip(made, seeds, strict=True)]
        times: dict[str, list[float]] = {"groups": [], "runs": [], "exchange": []}
        for _ in range(rounds + 2):
            times["groups"].append(_cpu(lambda: step(together)))
            times["runs"].append(_cpu(lambda: [step(trainer) for trainer in apart]))
            times["exchange"].append(_cpu(together.exchange))
    middle = {name: statistics.median(found[2:]) for name, found in times.items()}
    return {
        "groups": groups,
        "a step of all groups, CPU seconds": round(middle["groups"], 4),
        "a step of as many runs, CPU seconds": round(middle["runs"], 4),
        "groups to runs": round(middle["groups"] / middle["runs"], 3),
        "an exchange, microseconds": round(1e6 * middle["exchange"], 1),
        "an exchange as a part of a step": round(middle["exchange"] / middle["groups"], 6),
    }


def _cpu(work: Any) -> float:
    started = time.process_time()
    work()
    return time.process_time() - started
