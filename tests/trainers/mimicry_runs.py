"""Small networks of torch-mimicry, runs of them, and torch-mimicry's own trainer to compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.mimicry import MimicryTrainer

Pair = tuple[Tensor, Tensor]
FAMILIES = {"sngan": "SNGAN", "ssgan": "SSGAN", "cgan_pd": "CGANPD"}


def specs(family: str) -> dict[str, Any]:
    path = f"torch_mimicry.nets.{family}.{FAMILIES[family]}"
    return {
        "generator": {"class_path": f"{path}Generator32", "init_args": {"nz": 4, "ngf": 4}},
        "discriminator": {"class_path": f"{path}Discriminator32", "init_args": {"ndf": 4}},
    }


def small(family: str = "sngan", **options: Any) -> MimicryTrainer:
    settings: dict[str, Any] = {"batch_size": 4, "n_dis": 2, "lr_generator": 1e-3, **specs(family)}
    return MimicryTrainer(**settings | options)


def noise() -> RealData:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (30, 3, 32, 32), generator=generator, dtype=torch.uint8)
    split = Split(images, torch.arange(30) % 3)
    return RealData(Description("noise", ("a", "b", "c"), (3, 32, 32), symmetric(3)), split, split, split)


def attached(trainer: MimicryTrainer, data: RealData, root: Path, **options: Any) -> MimicryTrainer:
    settings: dict[str, Any] = {"name": "run", "root": str(root), "device": "cpu", "steps": 4}
    chosen = RunOptions(**settings | options)
    directory = RunDirectory(chosen.root, chosen.name)
    trainer.attach(RunContext(chosen, directory, torch.device("cpu"), Streams(chosen.seed)), data)
    return trainer


def run_options(root: Path, name: str, **options: Any) -> RunOptions:
    settings: dict[str, Any] = {"steps": 20, "save_every": 5, "sample_every": 10, "device": "cpu", "progress": False}
    return RunOptions(name=name, root=str(root), **settings | options)


def same(ours: Any, other: Any) -> None:
    if isinstance(ours, Tensor):
        assert torch.equal(ours, other)
    elif isinstance(ours, dict):
        assert ours.keys() == other.keys()
        for key in ours:
            same(ours[key], other[key])
    elif isinstance(ours, (list, tuple)):
        assert len(ours) == len(other)
        for one, two in zip(ours, other, strict=True):
            same(one, two)
    else:
        assert ours == other


class Recorded:
    """A data loader that gives recorded batches, and keeps the state of torch's generator at each of them."""

    batch_size = 4

    def __init__(self, batches: list[Pair]) -> None:
        self.batches = batches
        self.random_states: list[Tensor] = []

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[Pair]:
        for batch in self.batches:
            self.random_states.append(torch.random.get_rng_state())
            yield batch


def theirs(trainer: MimicryTrainer, loader: Recorded, log_dir: Path, steps: int, save_steps: int = 1000) -> Any:
    """torch-mimicry's trainer on new networks with the weights of ``trainer``."""
    from torch_mimicry import training

    nets = []
    for ours in (trainer.generator, trainer.discriminator):
        net = type(ours)(**ours.spec["init_args"])
        net.load_state_dict(ours.state_dict())
        nets.append(net)
    net_g, net_d = nets
    opt_g = torch.optim.Adam(net_g.parameters(), trainer.lr_generator, betas=trainer.betas)
    opt_d = torch.optim.Adam(net_d.parameters(), trainer.lr_discriminator, betas=trainer.betas)
    often = {"print_steps": 1000, "vis_steps": 1000, "log_steps": 1000, "save_steps": save_steps}
    return training.Trainer(
        net_d, net_g, opt_d, opt_g, loader, steps, str(log_dir), n_dis=trainer.n_dis, lr_decay="linear",
        device=torch.device("cpu"), **often,
    )  # fmt: skip


def advance(trainer: MimicryTrainer, steps: int) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    for _ in range(steps):
        values = trainer.train_step(trainer.next_batch())
        trainer.run.step += 1
    return values
