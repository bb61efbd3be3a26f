"""Small GANs on the bands data set, for the tests of terms."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrizations

from gendistill.data.real import RealData
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.nets.learners import ConvNet
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.terms.term import Term

SMALL: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 2,
    "lr_generator": 1e-3,
}
HERE = "small_gans"


class Dark(Term):
    """Generated images shall be as dark as real ones; a weight of its own and a count show what is saved."""

    def attach(self, trainer: GANTrainer) -> None:
        super().attach(trainer)
        with self.initialised("scale"):
            self.scale = trainer.place(nn.Linear(1, 1))
        self.calls = 0
        self.mean = torch.zeros(())

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        self.calls += 1
        drawn = torch.rand((), generator=self.stream)
        target = self.draw_real(2).images.mean() + real.images.mean() + drawn
        self.mean = 0.9 * self.mean + target.detach()
        return (fake.images.mean() - target - self.mean + self.scale.bias.detach().sum()).square()


class Confident(Term):
    """The discriminator's own answer as a term: it does depend on the discriminator."""

    def __call__(self, real: Batch, fake: Batch) -> Tensor:
        return self.trainer.discriminate_exactly(real.images, real.labels).square().mean()


class Restless(CGANPDGenerator):
    """A generator that draws, and makes power iterations."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        parametrizations.spectral_norm(self.linear)
        self.dropout = nn.Dropout(0.2)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return super().forward(self.dropout(z), y)


class Forgetful(CGANPDDiscriminator):
    """A discriminator that draws."""

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        return super().forward(F.dropout(x, 0.2, self.training), y)


class ForgetfulProbe(ConvNet):
    """A learner that draws."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__(num_classes, image_shape, width=4, depth=1)

    def features(self, x: Tensor) -> Tensor:
        return F.dropout(super().features(x), 0.5, self.training)


def run_options(root: Path, **options: Any) -> RunOptions:
    """Options of a short run on the CPU without pictures."""
    settings: dict[str, Any] = {"name": "gan", "root": str(root), "steps": 4, "device": "cpu", "seed": 5}
    settings |= {"sample_every": 0, "progress": False}
    return RunOptions(**settings | options)


def attached(trainer: GANTrainer, data: RealData, root: Path, **options: Any) -> GANTrainer:
    """Attach a trainer to a run that writes nothing."""
    chosen = run_options(root, **options)
    directory = RunDirectory(chosen.root, chosen.name)
    trainer.attach(RunContext(chosen, directory, torch.device("cpu"), Streams(chosen.seed)), data)
    return trainer


def advance(trainer: GANTrainer, steps: int = 3) -> dict[str, Tensor]:
    """Make steps and return the last one's records."""
    record: dict[str, Tensor] = {}
    for _ in range(steps):
        record = trainer.train_step(trainer.next_batch())
        trainer.run.step += 1
    return record


def trained(data: RealData, root: Path, steps: int = 3, **options: Any) -> ConditionalGANTrainer:
    """Return a small conditional GAN after a few steps."""
    trainer = ConditionalGANTrainer(**SMALL | options)
    advance(attached(trainer, data, root), steps)
    return trainer


def term(kind: str, **options: Any) -> dict[str, Any]:
    """Return the spec of a term."""
    path = kind if "." in kind else f"{HERE}.{kind}"
    return {"class_path": path, "init_args": options}


def equal(first: nn.Module, second: nn.Module) -> bool:
    """Tell whether two networks agree to the bit, buffers too."""
    states = first.state_dict(), second.state_dict()
    return all(torch.equal(value, states[1][name]) for name, value in states[0].items())
