"""Small servers and sites of the bands data set."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from gendistill.data.real import RealData
from gendistill.federated.messages import Terms
from gendistill.federated.server import Hub, Seat
from gendistill.federated.site import InProcess, Site
from gendistill.federated.states import States
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.privacy_gan import PrivacyGANTrainer

RUN = bytes(range(16))
BASE = {
    "class_path": "trainers.gan.ConditionalGANTrainer",
    "init_args": {
        "generator": {
            "class_path": "gendistill.nets.dcgan.ConditionalDCGANGenerator",
            "init_args": {"nz": 4, "ngf": 2},
        },
        "discriminator": {"class_path": "gendistill.nets.dcgan.ConditionalDCGANDiscriminator", "init_args": {"ndf": 2}},
        "batch_size": 4,
        "n_dis": 1,
    },
}


def trainer(**options: Any) -> PrivacyGANTrainer:
    settings: dict[str, Any] = {"clients": 2, "base": BASE, "alpha": 0.5, "teacher_steps": 1}
    return PrivacyGANTrainer(**settings | options)


def run_of(root: Path, steps: int = 6, save_every: int = 2) -> RunContext:
    chosen = RunOptions(name="run", root=str(root), steps=steps, save_every=save_every, device="cpu", seed=3)
    return RunContext(chosen, RunDirectory(root, "run"), torch.device("cpu"), Streams(3))


class World:
    """A server and sites whose states are in folders; what is made anew finds what was saved."""

    def __init__(self, data: RealData, root: Path, names: Sequence[str] = ("a", "b"), **options: Any) -> None:
        self.data, self.root, self.names = data, root, names
        self.trainer = trainer(**options)
        self.run = run_of(root)
        self.terms: Terms = self.trainer.agreement(self.run, data)
        self.log: list[str] = []
        self.start_server()
        self.sites = {name: self.new_site(name) for name in names}

    def start_server(self) -> None:
        halves = self.trainer.generator_halves(run_of(self.root), self.data, len(self.names))
        seats = {
            name: Seat(half, States(RunDirectory(self.root / "server", name)))
            for name, half in zip(self.names, halves, strict=True)
        }
        self.hub = Hub(RUN, self.terms, seats, self.log.append)
        for site in getattr(self, "sites", {}).values():
            site.transport = InProcess(self.hub, site.transport._site)

    def new_site(self, name: str, transport: Any = None) -> Site:
        half = self.trainer.discriminator_half(run_of(self.root), self.data, self.names.index(name))
        states = States(RunDirectory(self.root / "sites", name))
        return Site(RUN, self.terms, half, transport or InProcess(self.hub, name), states=states, say=self.log.append)

    def half(self, name: str) -> Any:
        return self.hub.seats[name].half
