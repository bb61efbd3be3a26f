"""WGAN with clipped weights against its algorithm written out, and every family of networks in training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.load import load
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.dcgan import ConditionalDCGANDiscriminator, ConditionalDCGANGenerator
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams, initialisation
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.wgan import ConditionalWGANTrainer, WGANTrainer

NETS = "gendistill.nets"


def specs(generator: str, discriminator: str, width: int = 6) -> dict[str, Any]:
    return {
        "generator": {"class_path": f"{NETS}.{generator}", "init_args": {"nz": 6, "ngf": width}},
        "discriminator": {"class_path": f"{NETS}.{discriminator}", "init_args": {"ndf": width}},
    }


def attached(trainer: GANTrainer, data: RealData, root: Path, **options: Any) -> GANTrainer:
    chosen = RunOptions(**({"name": "gan", "root": str(root), "steps": 1000, "device": "cpu", "seed": 5} | options))
    run = RunContext(chosen, RunDirectory(chosen.root, chosen.name), torch.device("cpu"), Streams(chosen.seed))
    trainer.attach(run, data)
    return trainer


def advance(trainer: GANTrainer, steps: int) -> list[dict[str, Tensor]]:
    records = []
    for _ in range(steps):
        records.append(trainer.train_step(trainer.next_batch()))
        trainer.run.step += 1
    return records


def test_steps_are_the_published_algorithm(tiny_data: RealData, tmp_path: Path) -> None:
    settings = specs("dcgan.ConditionalDCGANGenerator", "dcgan.ConditionalDCGANDiscriminator")
    trainer = attached(
        ConditionalWGANTrainer(batch_size=12, n_dis=2, weight_clip=0.03, lr_generator=1e-3, **settings),
        tiny_data,
        tmp_path,
    )
    records = advance(trainer, 3)

    streams = Streams(5)
    with initialisation(5, "generator"):
        net_g = ConditionalDCGANGenerator(3, (1, 8, 8), nz=6, ngf=6)
    with initialisation(5, "discriminator"):
        net_d = ConditionalDCGANDiscriminator(3, (1, 8, 8), ndf=6)
    squares = {name: torch.zeros_like(p) for net in (net_g, net_d) for name, p in tagged(net)}
    order = torch.randperm(96, generator=streams["data"]).split(12)
    at = 0

    def fakes() -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (12,), generator=streams["noise"])
        return net_g(torch.randn(12, 6, generator=streams["noise"]), labels), labels

    def descend(net: torch.nn.Module, loss: Tensor, rate: float) -> None:
        for (name, parameter), slope in zip(
            tagged(net), torch.autograd.grad(loss, list(net.parameters())), strict=True
        ):
            squares[name].mul_(0.99).add_(0.01 * slope**2)
            parameter.data -= rate * slope / (squares[name].sqrt() + 1e-8)

    for _ in range(3):
        for _ in range(2):
            index, at = order[at], at + 1
            real, labels = (tiny_data.train.images[index].float() - 127.5) / 127.5, tiny_data.train.labels[index]
            fake, told = fakes()
            distance = net_d(real, labels).mean() - net_d(fake.detach(), told).mean()
            descend(net_d, -distance, 5e-5)
            for parameter in net_d.parameters():
                parameter.data.clamp_(-0.03, 0.03)
        fake, told = fakes()
        descend(net_g, -net_d(fake, told).mean(), 1e-3)

    torch.testing.assert_close(records[-1]["loss/discriminator"], -distance.detach(), rtol=1e-4, atol=1e-7)
    for ours, theirs in ((trainer.generator, net_g), (trainer.discriminator, net_d)):
        for (name, found), (_, expected) in zip(tagged(ours), tagged(theirs), strict=True):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-6, msg=name)
    assert max(p.abs().max().item() for p in trainer.discriminator.parameters()) == pytest.approx(0.03)


def tagged(net: torch.nn.Module) -> list[tuple[str, Tensor]]:
    return [(f"{type(net).__name__}.{name}", parameter) for name, parameter in net.named_parameters()]


FAMILIES: list[tuple[type[GANTrainer], str, str, dict[str, Any]]] = [
    (GANTrainer, "sngan.SNGANGenerator", "sngan.SNGANDiscriminator", {}),
    (GANTrainer, "dcgan.DCGANGenerator", "dcgan.DCGANDiscriminator", {"loss_type": "gan"}),
    (
        ConditionalGANTrainer,
        "dcgan.ConditionalDCGANGenerator",
        "dcgan.ConditionalDCGANDiscriminator",
        {"loss_type": "gan"},
    ),
    (
        GANTrainer,
        "wgan_gp.WGANGPGenerator",
        "wgan_gp.WGANGPDiscriminator",
        {"loss_type": "wasserstein", "gradient_penalty": 10.0},
    ),
    (
        ConditionalGANTrainer,
        "wgan_gp.ConditionalWGANGPGenerator",
        "wgan_gp.ConditionalWGANGPDiscriminator",
        {"loss_type": "wasserstein", "gradient_penalty": 10.0},
    ),
    (WGANTrainer, "dcgan.DCGANGenerator", "dcgan.DCGANDiscriminator", {"weight_clip": 0.05}),
]


@pytest.mark.parametrize(("trainer", "generator", "discriminator", "options"), FAMILIES)
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_every_family_trains_on_digits(
    tmp_path: Path,
    trainer: type[GANTrainer],
    generator: str,
    discriminator: str,
    options: dict[str, Any],
    precision: str,
) -> None:
    made = trainer(batch_size=32, n_dis=1, lr_discriminator=2e-3, **specs(generator, discriminator, 8), **options)
    run = attached(made, load("digits"), tmp_path, precision=precision)
    before = [parameter.clone() for parameter in run.generator.parameters()]
    (record,) = advance(run, 1)
    moved = [(new - old).abs().max().item() for new, old in zip(run.generator.parameters(), before, strict=True)]
    assert max(moved) > 1e-5
    assert all(value.isfinite() for value in record.values())
    assert run.samples()["generator"].pixels.shape == (100, 1, 8, 8)
    # Against a generator that stands still the discriminator must learn to tell the two apart.
    run.generator_step = lambda: None  # type: ignore[method-assign]
    losses = [record["loss/discriminator"].item() for record in advance(run, 25)]
    assert sum(losses[-5:]) / 5 < sum(losses[:5]) / 5 - 1e-3


def test_the_generator_learns_from_a_critic_that_stands_still(tmp_path: Path) -> None:
    settings = specs("dcgan.DCGANGenerator", "dcgan.DCGANDiscriminator", 8)
    run = attached(WGANTrainer(batch_size=32, n_dis=1, lr_generator=1e-3, **settings), load("digits"), tmp_path)
    advance(run, 5)
    run.discriminator_step = lambda real: None  # type: ignore[method-assign]
    losses = [record["loss/generator"].item() for record in advance(run, 20)]
    assert losses[-1] < losses[0]


def test_a_broken_run_continues_to_the_same_weights(tiny_data: RealData, tmp_path: Path) -> None:
    class Breaks(ConditionalWGANTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 3:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    settings: dict[str, Any] = {"batch_size": 12, "n_dis": 2}
    settings |= specs("dcgan.ConditionalDCGANGenerator", "dcgan.ConditionalDCGANDiscriminator")

    def options(name: str) -> RunOptions:
        return RunOptions(name=name, root=str(tmp_path), steps=5, save_every=2, device="cpu", progress=False)

    whole, continued = ConditionalWGANTrainer(**settings), ConditionalWGANTrainer(**settings)
    train(whole, tiny_data, options("whole"))
    with pytest.raises(RuntimeError, match="power cut"):
        train(Breaks(**settings), tiny_data, options("broken"))
    train(continued, tiny_data, options("broken"))
    for name in ("generator", "discriminator"):
        expected = getattr(whole, name).state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in getattr(continued, name).state_dict().items())


def test_refusals() -> None:
    with pytest.raises(UserError, match="weight_clip"):
        WGANTrainer(weight_clip=0.0)
    with pytest.raises(UserError, match="RMSprop"):
        WGANTrainer(betas=(0.5, 0.9))
    assert WGANTrainer(betas=(0.0, 0.9)).loss_type == "wasserstein", "a complete config names the default"
