"""Small GANs on the bands data set, their steps, and what it means that two are the same."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.gan import ConditionalGANTrainer, GANTrainer

SMALL: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
}
STEPS = 4


def attached(trainer: GANTrainer, data: RealData, root: Path, **options: Any) -> GANTrainer:
    settings: dict[str, Any] = {"name": "gan", "root": str(root), "steps": STEPS, "device": "cpu", "seed": 5}
    chosen = RunOptions(**settings | options)
    directory = RunDirectory(chosen.root, chosen.name)
    trainer.attach(RunContext(chosen, directory, torch.device("cpu"), Streams(chosen.seed)), data)
    return trainer


def advance(trainer: GANTrainer, steps: int = STEPS) -> list[dict[str, Tensor]]:
    records = []
    for _ in range(steps):
        records.append(trainer.train_step(trainer.next_batch()))
        trainer.run.step += 1
    return records


def small(**options: Any) -> ConditionalGANTrainer:
    settings: dict[str, Any] = {"batch_size": 12, "n_dis": 2, "lr_generator": 1e-3}
    return ConditionalGANTrainer(**settings | SMALL | options)


# Biases in front of a batch norm have no effect: their gradient is rounding noise, which Adam turns into steps of full
# size. Where two versions round differently they go apart, and with them the mean that the batch norm then subtracts.
POWERLESS = ("conv1.bias", "0.conv2.bias", "shortcut.bias", "norm2.bn.running_mean", "norm.running_mean")


def effective(name: str) -> bool:
    return not name.endswith(POWERLESS)


def assert_same(
    ours: nn.Module, other: nn.Module, rtol: float = 1e-5, atol: float = 1e-6, powerless: bool = True
) -> None:
    state = other.state_dict()
    for name, tensor in ours.state_dict().items():
        if not powerless and not effective(name):
            continue
        torch.testing.assert_close(tensor, state[name], rtol=rtol, atol=atol, msg=f"{name} differs")
