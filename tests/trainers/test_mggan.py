"""Several GANs that exchange their discriminators: what must equal a GAN alone, what travels, and what comes of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from gan_runs import SMALL
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.mixture import GeneratorMixture
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams, derive_seed
from gendistill.teacher import GeneratorTeacher, load
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.mggan import MGGANTrainer
from trainers.trainer import Trainer

ARGUMENTS: dict[str, Any] = {"batch_size": 12, "n_dis": 2, "lr_generator": 1e-3, "gradient_penalty": 1.0} | SMALL
BASE = {"class_path": "trainers.gan.ConditionalGANTrainer", "init_args": ARGUMENTS}
SOON: dict[str, Any] = {"period_a": "fixed", "first_interval": 2, "interval": 2, "window": 0, "interval_growth": 1.0}
NETS = "gendistill.nets.dcgan.ConditionalDCGAN"
DCGAN = {
    "class_path": "trainers.gan.ConditionalGANTrainer",
    "init_args": {
        "generator": {"class_path": f"{NETS}Generator", "init_args": {"nz": 5, "ngf": 4}},
        "discriminator": {"class_path": f"{NETS}Discriminator", "init_args": {"ndf": 4}},
        "batch_size": 12, "loss_type": "gan", "n_dis": 1, "lr_decay": "none",
    },
}  # fmt: skip
WGAN = {"class_path": "trainers.wgan.ConditionalWGANTrainer", "init_args": {"batch_size": 12, "n_dis": 2} | {
    "generator": {"class_path": f"{NETS}Generator", "init_args": {"nz": 7, "ngf": 4}},
    "discriminator": {"class_path": f"{NETS}Discriminator", "init_args": {"ndf": 6}},
}}  # fmt: skip


def attached(trainer: Trainer, data: RealData, root: Path, seed: int = 5) -> Any:
    options = RunOptions(root=str(root), steps=6, device="cpu", seed=seed)
    context = RunContext(options, RunDirectory(root, "run"), torch.device("cpu"), Streams(seed))
    trainer.attach(context, data)
    return trainer


def advance(trainer: Trainer, steps: int) -> list[dict[str, Tensor]]:
    found = []
    for _ in range(steps):
        found.append(trainer.train_step(trainer.next_batch()))
        trainer.run.step += 1
    return found


def assert_equal(one: Any, other: Any) -> None:
    """The states of two GANs are the same, to the bit."""
    for name, module in one.modules().items():
        for key, value in other.modules()[name].state_dict().items():
            assert torch.equal(module.state_dict()[key], value), f"{name}.{key}"
    assert torch.equal(*(t.sample(9, torch.Generator().manual_seed(1))[0] for t in (one.teacher(), other.teacher())))


def test_one_group_is_the_base_gan_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    alone = attached(ConditionalGANTrainer(**ARGUMENTS), tiny_data, tmp_path)
    group = attached(MGGANTrainer(groups=1, base=BASE), tiny_data, tmp_path)
    for one, other in zip(advance(alone, 4), advance(group, 4), strict=True):
        assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    assert_equal(alone, group.seats[0])
    assert torch.equal(*(t.teacher().sample(9, torch.Generator().manual_seed(1))[0] for t in (alone, group)))
    assert alone.samples().keys() == group.samples().keys()


def test_without_exchanges_they_are_independent_gans_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(groups=3, base=BASE, preset="ensemble"), tiny_data, tmp_path)
    advance(groups, 3)
    for number, seat in enumerate(groups.seats):
        seed = 5 if number == 0 else derive_seed(5, f"group/{number}")
        alone = attached(ConditionalGANTrainer(**ARGUMENTS), tiny_data, tmp_path, seed)
        advance(alone, 3)
        assert_equal(alone, seat)


def moments(optimizer: torch.optim.Optimizer) -> list[Tensor]:
    return [state["exp_avg"].clone() for state in optimizer.state.values()]


def test_a_discriminator_travels_with_its_optimiser_and_its_buffers(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(groups=2, base=BASE, preset="gap", schedule=SOON), tiny_data, tmp_path)
    advance(groups, 1)
    before = {
        number: (
            {name: value.clone() for name, value in groups.of_group(number).discriminator.state_dict().items()},
            moments(groups.of_group(number).discriminator_optimizer),
            groups.of_group(number).generator,
            groups.of_group(number).run.streams,
        )
        for number in (0, 1)
    }
    groups.exchange()
    for number in (0, 1):
        seat = groups.of_group(number)
        weights, first, *_ = before[1 - number]
        assert all(torch.equal(weights[name], value) for name, value in seat.discriminator.state_dict().items())
        assert all(torch.equal(a, b) for a, b in zip(first, moments(seat.discriminator_optimizer), strict=True))
        trained = {id(p) for group in seat.discriminator_optimizer.param_groups for p in group["params"]}
        assert trained == {id(p) for p in seat.discriminator.parameters()}
        assert seat.generator is before[number][2] and seat.run.streams is before[number][3]
    groups.exchange()
    assert groups.holds == [0, 1]  # after two exchanges of two groups everyone is at home


def test_exchanges_come_when_the_schedule_says_and_change_what_is_learned(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(groups=3, base=BASE, preset="gap", schedule=SOON), tiny_data, tmp_path)
    apart = attached(MGGANTrainer(groups=3, base=BASE, preset="ensemble"), tiny_data, tmp_path)
    found, others = advance(groups, 5), advance(apart, 5)
    assert [int(values["exchanges"]) for values in found] == [0, 1, 1, 2, 2]
    assert groups.regrouping.exchanges == [2, 4]
    for step, (one, other) in enumerate(zip(found, others, strict=True)):
        assert torch.equal(one["loss/generator"], other["loss/generator"]) == (step < 2)
    assert {"loss/generator/0", "loss/generator/2", "rate/1", "prob/real"} <= found[0].keys()


def test_the_rate_belongs_to_the_group(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(groups=2, base=[DCGAN, WGAN], preset="gap", schedule=SOON), tiny_data, tmp_path)
    groups.exchange()
    groups.regrouping.factors = [3.0, 1.0]
    groups._set_rates()
    first = groups.of_group(0)  # the DCGAN's generator, at the WGAN's critic
    assert type(first).__name__ == "ConditionalWGANTrainer"
    assert first.generator_optimizer.param_groups[0]["initial_lr"] == pytest.approx(3 * 2e-4)
    assert first.discriminator_optimizer.param_groups[0]["initial_lr"] == pytest.approx(3 * 5e-5)
    assert groups.of_group(1).generator_optimizer.param_groups[0]["initial_lr"] == pytest.approx(5e-5)


def test_of_mixed_bases_the_discriminator_says_the_loss(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(base=[DCGAN, WGAN], preset="gap", schedule=SOON), tiny_data, tmp_path)
    advance(groups, 3)
    assert groups.holds == [1, 0]
    assert [groups.of_group(number).generator.loss_type for number in (0, 1)] == ["wasserstein", "gan"]
    clipped = max(float(p.detach().abs().max()) for p in groups.of_group(0).discriminator.parameters())
    assert clipped <= 0.01
    assert isinstance(groups.teacher().network, GeneratorMixture) and groups.teacher().nz == 8


@pytest.mark.parametrize("base", [BASE, [DCGAN, WGAN]])
def test_a_run_that_was_cut_off_in_a_window_ends_the_same(base: Any, tiny_data: RealData, tmp_path: Path) -> None:
    schedule: dict[str, Any] = {"period_a": "fixed", "first_interval": 3, "interval": 4, "window": 1, "variation": 9.0}

    class Stops(MGGANTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 8:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    def go(kind: type[MGGANTrainer], name: str) -> Any:
        options = RunOptions(name, str(tmp_path), 11, device="cpu", save_every=3, sample_every=0, progress=False)
        trainer = kind(base=base, groups=2, schedule=schedule)
        train(trainer, tiny_data, options)
        return trainer

    whole = go(MGGANTrainer, "whole")
    assert whole.regrouping.exchanges == [3, 7]
    with pytest.raises(RuntimeError, match="power cut"):
        go(Stops, "halves")
    halves = go(MGGANTrainer, "halves")
    assert halves.holds == whole.holds
    for name, module in whole.modules().items():
        for key, value in halves.modules()[name].state_dict().items():
            assert torch.equal(module.state_dict()[key], value), f"{name}.{key}"


def test_what_a_run_leaves_is_a_teacher_of_one_file(tiny_data: RealData, tmp_path: Path) -> None:
    for taught_by, weights in (("mixture", "uniform"), ("mixture", "validation"), ("best", "uniform"), (1, "uniform")):
        options = RunOptions(f"{taught_by}-{weights}", str(tmp_path), 2, device="cpu", sample_every=2, progress=False)
        trainer = MGGANTrainer(groups=2, base=BASE, taught_by=taught_by, weights=weights)
        made = load(train(trainer, tiny_data, options).directory.teacher)
        assert isinstance(made, GeneratorTeacher)
        facts = made.metadata["mggan"]
        assert facts["groups"] == 2 and facts["exchanges"] == []
        if taught_by == "mixture":
            assert isinstance(made.network, GeneratorMixture) and sum(facts["weights"]) == pytest.approx(1.0)
            assert ("distance" in facts) == (weights == "validation")
        else:
            wanted = trainer.of_group(facts["group"]).teacher()
            assert torch.equal(*(t.sample(6, torch.Generator().manual_seed(2))[0] for t in (made, wanted)))
            assert taught_by == "best" or facts["group"] == 1


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"groups": 0}, "whole number from 1"),
        ({"preset": "mgan"}, "did you mean 'mggan'"),
        ({"taught_by": 2}, "0 to 1"),
        ({"taught_by": "worst"}, "mixture, best"),
        ({"weights": "best"}, "uniform or validation"),
        ({"base": []}, "empty list"),
        (
            {"base": [BASE, {"class_path": "trainers.gan.GANTrainer", "init_args": {"batch_size": 12}}]},
            "with and without",
        ),
        ({"base": [BASE, DCGAN | {"init_args": DCGAN["init_args"] | {"batch_size": 6}}]}, "batch_size differ"),  # type: ignore[operator]
        ({"base": {"class_path": "trainers.gtn.GTNTrainer"}}, "GANTrainer"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        MGGANTrainer(**given)


def test_a_group_is_a_gan(tiny_data: RealData, tmp_path: Path) -> None:
    groups = attached(MGGANTrainer(groups=2, base=BASE), tiny_data, tmp_path)
    assert all(isinstance(seat, GANTrainer) for seat in groups.seats)
    assert {"group0/generator", "group1/discriminator"} <= groups.modules().keys()
    assert len(groups.optimizers()) == 4 and len(groups.samples()) == 2
