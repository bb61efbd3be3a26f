"""The generator's loss at a discriminator that steps ahead, against the steps written out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import SMALL, advance, assert_same, attached
from torch import Tensor
from torch.func import functional_call

from gendistill.data.real import RealData
from gendistill.errors import UserError
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.unrolled_gan import ConditionalUnrolledGANTrainer, UnrolledGANTrainer

BASE: dict[str, Any] = {"batch_size": 12, "n_dis": 1, "lr_generator": 1e-3} | SMALL
DCGAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.dcgan.DCGANGenerator", "init_args": {"nz": 6, "ngf": 4}},
    "discriminator": {
        "class_path": "gendistill.nets.dcgan.DCGANDiscriminator",
        "init_args": {"ndf": 4, "bottom_width": 2},
    },
    "batch_size": 12,
    "loss_type": "gan",
}


def written_out(trainer: GANTrainer, real: Batch, fake: Batch, steps: int, rule: str, rate: float) -> Tensor:
    """The generator's loss after ``steps`` updates of the discriminator, made one by one with their graph."""
    network = trainer.discriminator
    theta = {name: value.detach().clone().requires_grad_() for name, value in network.named_parameters()}
    buffers = {name: value.clone() for name, value in network.named_buffers()}
    first = {name: torch.zeros_like(value) for name, value in theta.items()}
    second = {name: torch.zeros_like(value) for name, value in theta.items()}

    def judge(batch: Batch) -> Tensor:
        given = (batch.images,) if batch.labels is None else tuple(batch)
        return functional_call(network, (theta, buffers), given)

    for step in range(1, steps + 1):
        loss = network.compute_gan_loss(output_real=judge(real), output_fake=judge(fake))
        for name, slope in zip(theta, torch.autograd.grad(loss, list(theta.values()), create_graph=True), strict=True):
            if rule == "sgd":
                theta[name] = theta[name] - rate * slope
                continue
            first[name] = 0.9 * first[name] + 0.1 * slope
            second[name] = 0.999 * second[name] + 0.001 * slope**2
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            theta[name] = theta[name] - rate * mean / ((square + 1e-22).sqrt() + 1e-8)
    return trainer.generator.compute_gan_loss(judge(fake))


@pytest.mark.parametrize(
    ("kind", "options", "rule", "rate"),
    [
        (ConditionalUnrolledGANTrainer, BASE, "sgd", 0.5),  # spectral norms: singular vectors move with the steps
        (ConditionalUnrolledGANTrainer, BASE, "adam", 0.01),
        (UnrolledGANTrainer, DCGAN, "sgd", 0.5),  # batch norm in the discriminator
    ],
)
def test_loss_and_gradient_are_those_of_the_steps_written_out(
    kind: type[UnrolledGANTrainer], options: Any, rule: str, rate: float, tiny_data: RealData, tmp_path: Path
) -> None:
    given = options | {"unroll_steps": 3, "unroll_optimizer": rule, "unroll_lr": rate}
    trainer = attached(kind(**given), tiny_data, tmp_path)
    trainer._real = real = Batch(*trainer.next_batch())
    if not trainer.labelled:
        real = Batch(real.images)
    fake = trainer.fakes()
    before = {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}
    parameters = list(trainer.generator.parameters())
    found = trainer.generator_loss(fake)
    slopes = torch.autograd.grad(found, parameters, retain_graph=True)
    for name, value in trainer.discriminator.state_dict().items():
        assert torch.equal(value, before[name]), f"looking ahead moved {name}"
    wanted = written_out(trainer, real, fake, 3, rule, rate)
    torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-6)
    expected = torch.autograd.grad(wanted, parameters, retain_graph=True)
    still = torch.autograd.grad(GANTrainer.generator_loss(trainer, fake), parameters)
    size = torch.cat([slope.flatten() for slope in expected]).norm()
    gap = torch.cat([(a - b).flatten() for a, b in zip(slopes, expected, strict=True)]).norm()
    assert gap < 1e-3 * size
    away = torch.cat([(a - b).flatten() for a, b in zip(still, expected, strict=True)]).norm()
    assert away > 0.05 * size, "the steps ahead say nothing"


def test_no_step_ahead_is_the_gan_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    options = BASE | {"gradient_penalty": 1.0, "diff_augment": "color_shift"}
    gan = attached(ConditionalGANTrainer(**options), tiny_data, tmp_path)
    none = attached(ConditionalUnrolledGANTrainer(**options, unroll_steps=0), tiny_data, tmp_path)
    for one, other in zip(advance(gan), advance(none), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert_same(none.generator, gan.generator, rtol=0, atol=0)


def test_penalties_packs_and_augmentation_are_part_of_the_steps_ahead(tiny_data: RealData, tmp_path: Path) -> None:
    options = BASE | {"gradient_penalty": 1.0, "r1": 0.1, "packing": 2, "diff_augment": "color_shift"}
    trainer = attached(ConditionalUnrolledGANTrainer(**options, unroll_steps=2), tiny_data, tmp_path)
    found = advance(trainer, 2)[-1]
    assert {"loss/gradient_penalty", "loss/r1"} <= found.keys()
    assert all(value.isfinite() for value in found.values())


def test_what_is_logged_is_of_the_update_itself(tiny_data: RealData, tmp_path: Path) -> None:
    gan = attached(ConditionalGANTrainer(**BASE), tiny_data, tmp_path)
    ahead = attached(ConditionalUnrolledGANTrainer(**BASE, unroll_steps=2), tiny_data, tmp_path)
    (one,), (other,) = advance(gan, 1), advance(ahead, 1)
    assert torch.equal(one["loss/discriminator"], other["loss/discriminator"])
    assert torch.equal(one["prob/fake"], other["prob/fake"])
    assert not torch.equal(one["loss/generator"], other["loss/generator"])


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"unroll_steps": -1}, "whole number from 0"),
        ({"unroll_steps": True}, "whole number from 0"),
        ({"unroll_optimizer": "adamw"}, "did you mean 'adam'"),
        ({"unroll_lr": 0.0}, "positive"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        UnrolledGANTrainer(**given)
