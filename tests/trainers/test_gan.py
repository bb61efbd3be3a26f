"""The GAN step against a slow and obvious version, and what it must leave alone."""

from __future__ import annotations

import copy
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gan_runs import SMALL, STEPS, advance, assert_same, attached, small
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.nets.cgan_pd import CGANPDDiscriminator, CGANPDGenerator
from gendistill.seeds import Streams, initialisation
from trainers.gan import Batch, ConditionalGANTrainer


def obvious(data: RealData, loss_type: str, penalty_weight: float, ema_decay: float) -> dict[str, Any]:
    """What the trainer does, written from the papers, with every shortcut left out."""
    streams, batch_size, n_dis = Streams(5), 12, 2
    with initialisation(5, "generator"):
        net_g = CGANPDGenerator(3, (1, 8, 8), nz=6, ngf=6)
    with initialisation(5, "discriminator"):
        net_d = CGANPDDiscriminator(3, (1, 8, 8), ndf=6)
    average = copy.deepcopy(net_g)
    opt_g = torch.optim.Adam(net_g.parameters(), 1e-3, betas=(0.0, 0.9))
    opt_d = torch.optim.Adam(net_d.parameters(), 2e-4, betas=(0.0, 0.9))
    sched_g = torch.optim.lr_scheduler.LambdaLR(opt_g, lambda t: 1 - t / STEPS)
    sched_d = torch.optim.lr_scheduler.LambdaLR(opt_d, lambda t: 1 - t / STEPS)

    def real_batches() -> Iterator[tuple[Tensor, Tensor]]:
        while True:
            order = torch.randperm(96, generator=streams["data"])
            for start in range(0, 96 - batch_size + 1, batch_size):
                index = order[start : start + batch_size]
                yield (data.train.images[index].float() - 127.5) / 127.5, data.train.labels[index]

    def fake_batch() -> tuple[Tensor, Tensor]:
        labels = torch.randint(3, (batch_size,), generator=streams["noise"])
        return net_g(torch.randn(batch_size, 6, generator=streams["noise"]), labels), labels

    def statistics() -> list[Tensor]:
        return [b.clone() for name, b in net_g.named_buffers() if "running" in name or "tracked" in name]

    losses: dict[str, Any] = {}
    batches = real_batches()
    for step in range(STEPS):
        for _ in range(n_dis):
            real, labels = next(batches)
            before = statistics()
            fake, fake_labels = fake_batch()
            for buffer, value in zip(net_g.buffers(), before, strict=True):
                buffer.copy_(value)
            out_real, out_fake = net_d(real, labels), net_d(fake.detach(), fake_labels)
            if loss_type == "hinge":
                loss = F.relu(1 - out_real).mean() + F.relu(1 + out_fake).mean()
            elif loss_type == "wasserstein":
                loss = out_fake.mean() - out_real.mean()
            else:
                loss = -F.logsigmoid(out_real).mean() - F.logsigmoid(-out_fake).mean()
            if penalty_weight:
                mix = torch.rand(batch_size, generator=streams["penalty"]).view(-1, 1, 1, 1)
                between = (mix * real + (1 - mix) * fake.detach()).requires_grad_()
                (slope,) = torch.autograd.grad(net_d(between, labels).sum(), between, create_graph=True)
                loss = loss + penalty_weight * ((slope.flatten(1).norm(dim=1) - 1) ** 2).mean()
            net_d.zero_grad()
            loss.backward()
            opt_d.step()
            losses["discriminator"] = loss.item()
        net_g.zero_grad()
        fake, fake_labels = fake_batch()
        out = net_d(fake, fake_labels)
        loss = -out.mean() if loss_type in ("hinge", "wasserstein") else -F.logsigmoid(out).mean()
        loss.backward()
        opt_g.step()
        losses["generator"] = loss.item()
        decay = min(ema_decay, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average.parameters(), net_g.parameters(), strict=True):
                mean.copy_(decay * mean + (1 - decay) * parameter)
            for own, buffer in zip(average.buffers(), net_g.buffers(), strict=True):
                own.copy_(buffer)
        sched_g.step()
        sched_d.step()
    return {"generator": net_g, "discriminator": net_d, "average": average, "losses": losses}


@pytest.mark.parametrize(
    ("loss_type", "weight"), [("hinge", 0.0), ("gan", 0.0), ("ns", 0.0), ("wasserstein", 0.0), ("wasserstein", 10.0)]
)
def test_steps_equal_the_obvious_version(tiny_data: RealData, tmp_path: Path, loss_type: str, weight: float) -> None:
    trainer = attached(small(loss_type=loss_type, gradient_penalty=weight, ema_decay=0.3), tiny_data, tmp_path)
    start = copy.deepcopy(trainer.generator.state_dict())
    record = advance(trainer)[-1]
    expected = obvious(tiny_data, loss_type, weight, 0.3)
    # These two losses are rounded alike in both versions, so everything must agree.
    exact = loss_type in ("hinge", "wasserstein") and not weight
    assert_same(trainer.generator, expected["generator"], powerless=exact)
    assert_same(trainer.discriminator, expected["discriminator"])
    assert_same(trainer.ema.module, expected["average"], powerless=exact)
    assert record["loss/discriminator"].item() == pytest.approx(expected["losses"]["discriminator"], rel=1e-5)
    assert record["loss/generator"].item() == pytest.approx(expected["losses"]["generator"], rel=1e-5, abs=1e-6)
    moved = [(value - start[name]).abs().max().item() for name, value in trainer.generator.named_parameters()]
    assert max(moved) > 1e-3, "the comparison is worth nothing if nothing was trained"


def test_generator_step_leaves_the_discriminator_without_gradients(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(), tiny_data, tmp_path)
    advance(trainer, 1)
    assert all(parameter.grad is None for parameter in trainer.discriminator.parameters())
    assert all(parameter.requires_grad for parameter in trainer.discriminator.parameters())
    assert all(parameter.grad is not None for parameter in trainer.generator.parameters())


def test_discriminator_step_makes_fakes_without_a_graph(tiny_data: RealData, tmp_path: Path) -> None:
    class Spy(ConditionalGANTrainer):
        def discriminator_loss(self, real: Batch, fake: Batch) -> Tensor:
            assert not fake.images.requires_grad and fake.labels is not None
            assert all(parameter.requires_grad for parameter in self.discriminator.parameters())
            seen.append("discriminator")
            return super().discriminator_loss(real, fake)

        def generator_loss(self, fake: Batch) -> Tensor:
            assert fake.images.grad_fn is not None
            assert not any(parameter.requires_grad for parameter in self.discriminator.parameters())
            seen.append("generator")
            return super().generator_loss(fake)

    seen: list[str] = []
    advance(attached(Spy(batch_size=12, n_dis=3, **SMALL), tiny_data, tmp_path), 1)
    assert seen == ["discriminator"] * 3 + ["generator"]


@pytest.mark.parametrize(("decay", "factors"), [("linear", [1.0, 0.75, 0.5, 0.25]), ("none", [1.0] * 4)])
def test_learning_rates(tiny_data: RealData, tmp_path: Path, decay: str, factors: list[float]) -> None:
    trainer = attached(small(lr_decay=decay, lr_discriminator=4e-4), tiny_data, tmp_path)
    extra = nn.Parameter(torch.zeros(1))
    trainer.generator_optimizer.add_param_group({"params": [extra], "lr": 0.5, "initial_lr": 0.5})
    for factor in factors:
        advance(trainer, 1)
        assert [group["lr"] for group in trainer.generator_optimizer.param_groups] == pytest.approx(
            [1e-3 * factor, 0.5 * factor]
        )
        assert trainer.discriminator_optimizer.param_groups[0]["lr"] == pytest.approx(4e-4 * factor)


def test_statistics_move_once_a_step_and_not_for_pictures(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(n_dis=3), tiny_data, tmp_path)
    advance(trainer, 2)
    assert trainer.generator.norm.num_batches_tracked == 2
    assert all(m.track_running_stats for m in trainer.generator.modules() if isinstance(m, nn.BatchNorm2d))
    before = [copy.deepcopy(m.state_dict()) for m in (trainer.generator, trainer.discriminator, trainer.ema.module)]
    grid = trainer.samples()["generator"].pixels
    images, _ = trainer.teacher().sample(7, torch.Generator().manual_seed(0))
    assert grid.shape == (9, 1, 8, 8) and grid.min() >= 0 and grid.max() <= 1
    assert images.shape == (7, 1, 8, 8)
    for module, state in zip((trainer.generator, trainer.discriminator, trainer.ema.module), before, strict=True):
        assert all(torch.equal(value, state[name]) for name, value in module.state_dict().items())
    assert trainer.generator.training and trainer.discriminator.training


def test_metrics_are_detached_scalars(tiny_data: RealData, tmp_path: Path) -> None:
    (record,) = advance(attached(small(gradient_penalty=1.0), tiny_data, tmp_path), 1)
    names = {"loss/generator", "loss/discriminator", "loss/gradient_penalty", "prob/real", "prob/fake"}
    assert set(record) == names
    assert all(value.ndim == 0 and not value.requires_grad for value in record.values())
    assert 0 < record["prob/real"] < 1 and 0 < record["prob/fake"] < 1


def test_bfloat16_trains_and_keeps_second_order_terms_exact(tiny_data: RealData, tmp_path: Path) -> None:
    exact = attached(small(gradient_penalty=10.0, ema_decay=0.0), tiny_data, tmp_path)
    mixed = attached(small(gradient_penalty=10.0, ema_decay=0.0), tiny_data, tmp_path, precision="bfloat16")
    kinds: list[torch.dtype] = []
    mixed.discriminator.linear.register_forward_hook(lambda module, inputs, output: kinds.append(output.dtype))
    first, second = advance(exact)[-1], advance(mixed)[-1]
    # Real, fake, penalty, twice; then the generator's.
    assert kinds[:7] == [torch.bfloat16, torch.bfloat16, torch.float32] * 2 + [torch.bfloat16]
    for name, value in second.items():
        assert torch.isfinite(value) and value.dtype == torch.float32
        assert value.item() == pytest.approx(first[name].item(), rel=0.1, abs=0.05)
    assert all(parameter.dtype == torch.float32 for parameter in mixed.generator.parameters())


def test_channels_last_is_the_same_function(tiny_data: RealData, tmp_path: Path) -> None:
    trainers = [attached(small(), tiny_data, tmp_path, channels_last=last) for last in (False, True)]
    for trainer in trainers:
        advance(trainer, 2)
    weight = trainers[1].discriminator.blocks[1].conv1.parametrizations.weight.original
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert_same(trainers[1].generator, trainers[0].generator, rtol=1e-3, atol=1e-5, powerless=False)
    assert_same(trainers[1].discriminator, trainers[0].discriminator, rtol=1e-3, atol=1e-5)


def test_compiled_networks_are_the_same_function(tiny_data: RealData, tmp_path: Path, monkeypatch) -> None:
    # What the compiler captures, run as it is: to have it write code would take a minute.
    calls: list[Any] = []

    def compile(forward: Any) -> Any:
        calls.append(forward)
        return functools.partial(real_compile, backend="eager")(forward)

    real_compile = torch.compile
    monkeypatch.setattr(torch, "compile", compile)
    plain = attached(small(gradient_penalty=1.0), tiny_data, tmp_path)
    quick = attached(small(gradient_penalty=1.0), tiny_data, tmp_path, compile=True)
    assert len(calls) == 2
    advance(plain, 2)
    advance(quick, 2)
    assert plain.state_dict().keys() == quick.state_dict().keys()
    assert_same(quick.generator, plain.generator, rtol=1e-3, atol=1e-5, powerless=False)
    assert_same(quick.discriminator, plain.discriminator, rtol=1e-3, atol=1e-5)
