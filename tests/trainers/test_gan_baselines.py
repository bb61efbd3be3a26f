"""D2GAN and the relativistic loss against their equations; and of all baselines: resuming, and groups of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gan_runs import SMALL, advance, attached
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.objects import build, locate
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from trainers.batch import Batch
from trainers.d2gan import ConditionalD2GANTrainer, D2GANTrainer
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.mggan import MGGANTrainer

BASE: dict[str, Any] = {"batch_size": 12, "n_dis": 1, "lr_generator": 1e-3} | SMALL
SOON: dict[str, Any] = {"period_a": "fixed", "first_interval": 2, "interval": 2, "window": 0, "interval_growth": 1.0}
BASELINES: dict[str, dict[str, Any]] = {
    "unrolled": {
        "class_path": "trainers.unrolled_gan.ConditionalUnrolledGANTrainer",
        "init_args": BASE | {"unroll_steps": 2},
    },
    "packed": {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": BASE | {"packing": 2}},
    "d2gan": {"class_path": "trainers.d2gan.ConditionalD2GANTrainer", "init_args": BASE},
    "relativistic": {
        "class_path": "trainers.gan.ConditionalGANTrainer",
        "init_args": BASE | {"loss_type": "relativistic", "r1": 0.1, "r2": 0.1},
    },
}


def test_two_discriminators_and_their_generator_descend_the_equation(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(ConditionalD2GANTrainer(**BASE, alpha=0.2, beta=0.3), tiny_data, tmp_path)
    trainer.discriminator.eval()
    one, two = trainer.discriminator.first, trainer.discriminator.second
    assert not torch.equal(next(one.parameters()), next(two.parameters()))
    real, fake = Batch(*trainer.next_batch()), trainer.fakes()

    def judged(network: Any, batch: Batch) -> Tensor:
        return F.softplus(network(batch.images, batch.labels))

    objective = 0.2 * judged(one, real).log().mean() - judged(one, fake).mean()
    objective = objective - judged(two, real).mean() + 0.3 * judged(two, fake).log().mean()
    torch.testing.assert_close(trainer.discriminator_loss(real, fake), -objective)
    weights = list(trainer.generator.parameters())
    found = torch.autograd.grad(trainer.generator_loss(fake), weights, retain_graph=True)
    # The generator descends the same objective that the two climb.
    for mine, wanted in zip(found, torch.autograd.grad(objective, weights), strict=True):
        torch.testing.assert_close(mine, wanted, rtol=1e-4, atol=1e-6)
    both = {id(p) for group in trainer.discriminator_optimizer.param_groups for p in group["params"]}
    assert both == {id(p) for network in (one, two) for p in network.parameters()}


def test_pairs_of_real_and_generated_images_make_the_loss_with_both_penalties(
    tiny_data: RealData, tmp_path: Path
) -> None:
    options = BASE | {"loss_type": "relativistic", "r1": 0.5, "r2": 0.25}
    trainer = attached(ConditionalGANTrainer(**options), tiny_data, tmp_path)
    trainer.discriminator.eval()
    judge = trainer.discriminator
    trainer._real = real = Batch(*trainer.next_batch())
    fake = trainer.fakes()

    def slopes(batch: Batch) -> Tensor:
        """Each image's squared slope, one image after another."""
        found = []
        for image, label in zip(batch.images.detach(), batch.labels, strict=True):  # type: ignore[arg-type]
            at = image[None].requires_grad_()
            found.append(torch.autograd.grad(judge(at, label[None]).sum(), at)[0].square().sum())
        return torch.stack(found)

    apart = judge(real.images, real.labels) - judge(fake.images, fake.labels)
    wanted = F.softplus(-apart).mean() + 0.25 * slopes(real).mean() + 0.125 * slopes(fake).mean()
    torch.testing.assert_close(trainer.discriminator_loss(real, fake), wanted)
    torch.testing.assert_close(trainer.generator_loss(fake), F.softplus(apart).mean())
    records = trainer.recorded()
    torch.testing.assert_close(records["prob/real"] + records["prob/fake"], torch.ones(()))


@pytest.mark.parametrize("name", BASELINES)
def test_a_broken_run_continues_to_the_same_weights(name: str, tiny_data: RealData, tmp_path: Path) -> None:
    kind = locate(BASELINES[name]["class_path"], GANTrainer)

    class Breaks(kind):  # type: ignore[misc, valid-type]
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 3:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    def go(of: Any, run: str) -> GANTrainer:
        trainer: GANTrainer = of(**BASELINES[name]["init_args"])
        options = RunOptions(run, str(tmp_path), 5, save_every=2, device="cpu", sample_every=0, progress=False)
        train(trainer, tiny_data, options)
        return trainer

    whole = go(kind, "whole")
    with pytest.raises(RuntimeError, match="power cut"):
        go(Breaks, "broken")
    continued = go(kind, "broken")
    for part, network in whole.modules().items():
        expected = continued.modules()[part].state_dict()
        assert all(torch.equal(value, expected[key]) for key, value in network.state_dict().items()), part


@pytest.mark.parametrize("name", BASELINES)
def test_one_group_is_the_baseline_and_two_exchange(name: str, tiny_data: RealData, tmp_path: Path) -> None:
    base = BASELINES[name]
    alone = attached(build(base, GANTrainer), tiny_data, tmp_path)
    group: Any = attached(MGGANTrainer(groups=1, base=base), tiny_data, tmp_path)  # type: ignore[arg-type]
    for one, other in zip(advance(alone, 2), advance(group, 2), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)
    two: Any = attached(MGGANTrainer(base=base, preset="gap", schedule=SOON), tiny_data, tmp_path)  # type: ignore[arg-type]
    found = advance(two, 3)
    assert two.holds == [1, 0] and found[-1]["loss/generator"].isfinite()


def test_the_loss_follows_the_discriminator(tiny_data: RealData, tmp_path: Path) -> None:
    bases = [BASELINES["d2gan"], BASELINES["relativistic"], BASELINES["packed"]]
    schedule = SOON | {"pairing": "cyclic"}
    groups: Any = attached(MGGANTrainer(base=bases, preset="gap", schedule=schedule), tiny_data, tmp_path)  # type: ignore[arg-type]
    advance(groups, 2)
    assert groups.holds != [0, 1, 2]
    for seat in groups.seats:
        assert seat.generator.loss_type == seat.loss_type
    assert advance(groups, 1)[-1]["loss/generator"].isfinite()


@pytest.mark.parametrize(
    ("kind", "given", "words"),
    [
        (D2GANTrainer, {"alpha": 0.0}, "alpha is 0.0; give a number above 0"),
        (D2GANTrainer, {"beta": 1.5}, "beta is 1.5"),
        (D2GANTrainer, {"loss_type": "gan"}, "a loss of its own"),
        (D2GANTrainer, {"r1": 1.0, "gradient_penalty": 1.0}, "gradient_penalty and r1 is of one"),
        (GANTrainer, {"r1": -1.0}, "r1 is -1.0; give a weight of 0 or more"),
        (GANTrainer, {"r2": float("nan")}, "r2 is nan"),
    ],
)
def test_what_does_not_fit_is_refused(kind: type[GANTrainer], given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        kind(**given)


def test_a_discriminator_that_normalises_by_its_batch_has_no_zero_centred_penalty(
    tiny_data: RealData, tmp_path: Path
) -> None:
    nets = "gendistill.nets.dcgan.DCGAN"
    options: dict[str, Any] = {
        "generator": {"class_path": f"{nets}Generator", "init_args": {"nz": 6, "ngf": 4}},
        "discriminator": {"class_path": f"{nets}Discriminator", "init_args": {"ndf": 4, "bottom_width": 2}},
        "batch_size": 12,
    }
    with pytest.raises(UserError, match=r"--trainer.r1 is 1 and --trainer.r2 is 2, but .*norm none"):
        attached(GANTrainer(**options, r1=1.0, r2=2.0), tiny_data, tmp_path)
