"""Packs of images that a discriminator judges together, in the base GAN and with all that looks at it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import SMALL, advance, assert_same, attached
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.losses.adversarial import discriminator_loss
from gendistill.losses.penalty import gradient_penalty
from trainers.batch import Batch
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.packing import packed

BASE: dict[str, Any] = {"batch_size": 12, "n_dis": 2, "lr_generator": 1e-3} | SMALL
SNGAN: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.sngan.SNGANGenerator", "init_args": {"nz": 6, "ngf": 4}},
    "discriminator": {"class_path": "gendistill.nets.sngan.SNGANDiscriminator", "init_args": {"ndf": 4}},
    "batch_size": 12,
}


@pytest.mark.parametrize("shape", [(2, 3, 4), (2,), (2, 1, 1)])
def test_a_pack_has_the_channels_of_its_images(shape: tuple[int, ...]) -> None:
    images = torch.randn(6, *shape)
    found, labels = packed(Batch(images, torch.arange(6)), 3)
    assert found.shape == (2, 6, *shape[1:])
    for pack in range(2):
        assert torch.equal(found[pack], torch.cat(list(images[3 * pack : 3 * pack + 3]), 0))
    assert labels is not None and labels.tolist() == [0, 3]
    whole = Batch(images)
    assert packed(whole, 1) is whole


def test_packs_of_one_are_the_gan_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    options = BASE | {"gradient_penalty": 1.0, "diff_augment": "color_shift"}
    gan, ones = (
        attached(ConditionalGANTrainer(**options | more), tiny_data, tmp_path) for more in ({}, {"packing": 1})
    )
    for one, other in zip(advance(gan), advance(ones), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert_same(ones.generator, gan.generator, rtol=0, atol=0)


def test_the_loss_is_that_of_a_discriminator_of_joined_images(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(GANTrainer(**SNGAN, packing=3, gradient_penalty=2.0), tiny_data, tmp_path)
    trainer.discriminator.eval()  # no power iteration: one call after another finds the same weights
    real, fake = Batch(trainer.next_batch()[0]), Batch(trainer.fakes().images.detach())
    mix = torch.rand(4, generator=torch.Generator().manual_seed(0))
    trainer.run.streams["penalty"].manual_seed(0)
    found = trainer.discriminator_loss(real, fake)

    def joined(images: Tensor) -> Tensor:
        return torch.stack([torch.cat([images[3 * n], images[3 * n + 1], images[3 * n + 2]]) for n in range(4)])

    judge = trainer.discriminator
    wanted = discriminator_loss("hinge", judge(joined(real.images)), judge(joined(fake.images)))
    wanted = wanted + 2 * gradient_penalty(judge, joined(real.images), joined(fake.images), mix=mix)
    torch.testing.assert_close(found, wanted)
    assert trainer.discriminate(fake).shape == (4, 1)


def test_with_labels_a_pack_is_of_one_class(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(ConditionalGANTrainer(**BASE, packing=3), tiny_data, tmp_path)
    given = Batch(*trainer.next_batch())
    assert given.labels is not None
    real, fake = trainer.in_packs(given), trainer.fakes()
    for batch in (real, fake):
        assert batch.labels is not None and batch.images.shape == (12, 1, 8, 8)
        rows = batch.labels.view(4, 3)
        assert torch.equal(rows, rows[:, :1].expand(4, 3))
    assert real.labels is not None and torch.equal(real.labels[::3], given.labels[::3])
    assert torch.equal(real.images[::3], given.images[::3])
    # The bands data set shows its class: its rows are brighter there than anywhere else.
    assert torch.equal(real.images.mean((1, 3)).view(12, 4, 2).mean(2)[:, :3].argmax(1), real.labels)


def test_packs_go_with_penalties_and_augmentation(tiny_data: RealData, tmp_path: Path) -> None:
    options = BASE | {"gradient_penalty": 1.0, "r1": 0.1, "r2": 0.1, "diff_augment": "color_shift_cutout"}
    found = advance(attached(ConditionalGANTrainer(**options, packing=4), tiny_data, tmp_path), 2)[-1]
    assert {"loss/gradient_penalty", "loss/r1", "loss/r2"} <= found.keys()
    assert all(value.isfinite() for value in found.values())


def test_what_does_not_fit_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    for given in (0, 1.5, True):
        with pytest.raises(UserError, match="whole number from 1"):
            GANTrainer(packing=given)  # type: ignore[arg-type]
    with pytest.raises(
        UserError, match=r"batch_size 12 does not divide into packs of 5 images; choose a multiple of 5"
    ):
        attached(ConditionalGANTrainer(**BASE, packing=5), tiny_data, tmp_path)
    term = {"class_path": "trainers.terms.gradients.GradientMagnitude", "init_args": {"probe": {"state": "trunk"}}}
    with pytest.raises(UserError, match=r"judges packs.*--trainer.packing 1"):
        attached(ConditionalGANTrainer(**BASE, packing=2, terms=[term]), tiny_data, tmp_path)
