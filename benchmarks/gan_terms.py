"""What the distillation terms add to a GAN step: the quickstart's digits GAN with each of them against the plain one.

All versions take turns in one process, so that whatever else the machine does meets all of them alike.
"""

from __future__ import annotations

import statistics
import tempfile
import time
import warnings
from typing import Any

import torch

from gendistill.data import load
from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.gan import ConditionalGANTrainer

THREADS = 1
DIFFERENCE = "trainers.terms.gradients.GradientDifference"
MAGNITUDE = "trainers.terms.gradients.GradientMagnitude"
TERMS: dict[str, tuple[str, dict[str, Any]]] = {
    "difference": (DIFFERENCE, {}),
    "difference, real_per_fake 4": (DIFFERENCE, {"real_per_fake": 4}),
    "difference, input": (DIFFERENCE, {"grad_wrt": "input", "distance": "l2"}),
    "difference, pretrained probe": (DIFFERENCE, {"probe": {"state": "pretrained"}}),
    "difference, pool of probes": (DIFFERENCE, {"probe": {"state": "pool"}}),
    "difference, trunk": (DIFFERENCE, {"probe": {"state": "trunk"}}),
    "difference on the discriminator, trunk": (DIFFERENCE, {"probe": {"state": "trunk"}, "apply_to": "discriminator"}),
    "difference on the discriminator, inert": (DIFFERENCE, {"apply_to": "discriminator"}),
    "magnitude": (MAGNITUDE, {"normalise": False}),
    "magnitude, normalised": (MAGNITUDE, {}),
}


def attached(data: RealData, directory: str, terms: list[dict[str, Any]], width: int) -> ConditionalGANTrainer:
    """Return a trainer of the quickstart's GAN with terms."""
    nets = "gendistill.nets.cgan_pd.CGANPD"
    trainer = ConditionalGANTrainer(
        n_dis=1,
        generator={"class_path": f"{nets}Generator", "init_args": {"nz": 32, "ngf": width, "bottom_width": 4}},
        discriminator={"class_path": f"{nets}Discriminator", "init_args": {"ndf": width}},
        terms=terms,
    )
    options = RunOptions(root=directory, device="cpu", steps=1_000_000)
    trainer.attach(RunContext(options, RunDirectory(directory, "none"), torch.device("cpu"), Streams(0)), data)
    return trainer


def measure(rounds: int = 15, width: int = 32) -> dict[str, Any]:
    """Measure a step with each term, batch 64, one discriminator update, default probe (ConvNet of width 32, depth 2).

    Args:
        rounds: Timed steps of each version; one more before, untimed.
        width: ``ngf`` and ``ndf``.

    Returns:
        Median CPU seconds of the plain step, and for each term the ratio to it.
    """
    data = load("digits")
    seconds: dict[str, list[float]] = {"plain": []} | {name: [] for name in TERMS}
    with tempfile.TemporaryDirectory() as directory, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that one of them is inert
        trainers = {"plain": attached(data, directory, [], width)}
        for name, (path, options) in TERMS.items():
            spec = {"class_path": path, "init_args": {"weight": 0.1, **options}}
            trainers[name] = attached(data, directory, [spec], width)
        for turn in range(rounds + 1):
            for name, trainer in trainers.items():
                started = time.process_time()
                trainer.train_step(trainer.next_batch())
                trainer.run.step += 1
                if turn:
                    seconds[name].append(time.process_time() - started)
    plain = statistics.median(seconds["plain"])
    ratios = {name: round(statistics.median(values) / plain, 2) for name, values in seconds.items() if name != "plain"}
    return {"setting": {"rounds": rounds, "width": width}, "plain_cpu_seconds": plain, "times_the_plain_step": ratios}
