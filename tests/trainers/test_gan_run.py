"""A GAN's run: its teacher, a user's own loss, a power cut, two processes, and what is refused."""

from __future__ import annotations

import inspect
import itertools
import os
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from gan_runs import SMALL, STEPS, advance, assert_same, attached, effective, small
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import load, save
from trainers.gan import Batch, ConditionalGANTrainer, GANTrainer


def test_teacher_goes_through_its_file(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(small(), tiny_data, tmp_path)
    advance(trainer, 1)
    save(trainer.teacher(), tmp_path / "teacher.safetensors")
    loaded = load(tmp_path / "teacher.safetensors")
    images, labels = loaded.sample(9, torch.Generator().manual_seed(1))
    expected, _ = trainer.teacher().sample(9, torch.Generator().manual_seed(1))
    assert torch.equal(images, expected)
    assert torch.bincount(labels).tolist() == [3, 3, 3]
    assert loaded.description.normalisation.mean == (0.5,)


def test_without_labels(tiny_data: RealData, tmp_path: Path) -> None:
    specs: dict[str, Any] = {
        "generator": {"class_path": "gendistill.nets.sngan.SNGANGenerator", "init_args": {"nz": 6, "ngf": 6}},
        "discriminator": {"class_path": "gendistill.nets.sngan.SNGANDiscriminator", "init_args": {"ndf": 6}},
    }
    trainer = attached(GANTrainer(batch_size=12, n_dis=1, gradient_penalty=1.0, **specs), tiny_data, tmp_path)
    assert all(torch.isfinite(value) for value in advance(trainer, 2)[-1].values())
    assert trainer.samples()["generator"].pixels.shape == (9, 1, 8, 8)


class WeakGenerator(ConditionalGANTrainer):
    """A user's own term: keep the mean brightness of each batch near the data's."""

    def __init__(self, *, brightness: float = 1.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.brightness = brightness

    def generator_loss(self, fake: Batch) -> Tensor:
        term = (fake.images.mean() + 0.5).square()
        self.record("loss/brightness", term)
        return super().generator_loss(fake) + self.brightness * term


def test_a_new_loss_is_a_short_subclass(tiny_data: RealData, tmp_path: Path) -> None:
    assert len(inspect.getsource(WeakGenerator).splitlines()) < 20
    heavy, off, plain = (
        attached(trainer, tiny_data, tmp_path)
        for trainer in (
            WeakGenerator(brightness=100.0, batch_size=12, n_dis=2, lr_generator=1e-3, **SMALL),
            WeakGenerator(brightness=0.0, batch_size=12, n_dis=2, lr_generator=1e-3, **SMALL),
            small(),
        )
    )
    records = [advance(trainer)[-1] for trainer in (heavy, off, plain)]
    assert "loss/brightness" in records[0] and "loss/brightness" not in records[2]
    assert records[0]["loss/brightness"] < records[1]["loss/brightness"]
    assert_same(off.generator, plain.generator, rtol=0, atol=0)


class Breaks(ConditionalGANTrainer):
    """Fails in its fourth step, as a machine might."""

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.step == 3:
            raise RuntimeError("power cut")
        return super().train_step(batch)


def test_a_broken_run_continues_to_the_same_weights(tiny_data: RealData, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"batch_size": 12, "n_dis": 2, "gradient_penalty": 1.0, **SMALL}

    def options(name: str) -> RunOptions:
        return RunOptions(
            name=name, root=str(tmp_path), steps=5, save_every=2, sample_every=2, device="cpu", progress=False
        )

    whole, continued = ConditionalGANTrainer(**settings), ConditionalGANTrainer(**settings)
    train(whole, tiny_data, options("whole"))
    with pytest.raises(RuntimeError, match="power cut"):
        train(Breaks(**settings), tiny_data, options("broken"))
    run = train(continued, tiny_data, options("broken"))
    assert run.step == 5
    for name in ("generator", "discriminator"):
        assert_same(getattr(continued, name), getattr(whole, name), rtol=0, atol=0)
    assert_same(continued.ema.module, whole.ema.module, rtol=0, atol=0)
    assert (tmp_path / "broken" / "teacher.safetensors").exists()


def parallel(rank: int, world: int, port: int, data: RealData, root: str) -> None:
    torch.set_num_threads(1)
    os.environ.update(
        RANK=str(rank), WORLD_SIZE=str(world), LOCAL_RANK=str(rank), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port)
    )
    trainer = small(gradient_penalty=10.0, loss_type="wasserstein", ema_decay=0.5)
    options = RunOptions(
        name=f"world{world}", root=root, steps=STEPS, device="cpu", sample_every=0, progress=False, seed=5
    )
    train(trainer, data, options)
    states = {name: getattr(trainer, name).state_dict() for name in ("generator", "discriminator")}
    torch.save(states | {"average": trainer.ema.module.state_dict()}, Path(root) / f"{world}-{rank}.pt")


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_two_processes_with_half_the_batch_are_one(tiny_data: RealData, tmp_path: Path) -> None:
    mp.spawn(parallel, (2, free_port(), tiny_data, str(tmp_path)), nprocs=2)
    trainer = small(gradient_penalty=10.0, loss_type="wasserstein", ema_decay=0.5)
    options = RunOptions(
        name="alone", root=str(tmp_path), steps=STEPS, device="cpu", sample_every=0, progress=False, seed=5
    )
    train(trainer, tiny_data, options)
    states = [torch.load(tmp_path / f"2-{rank}.pt", weights_only=True) for rank in range(2)]
    networks = {"generator": trainer.generator, "discriminator": trainer.discriminator, "average": trainer.ema.module}
    for name, network in networks.items():
        for key, tensor in network.state_dict().items():
            assert torch.equal(states[0][name][key], states[1][name][key]), f"{name}.{key} differs between processes"
            if name == "discriminator" or effective(key):
                torch.testing.assert_close(states[0][name][key], tensor, rtol=1e-3, atol=1e-5)


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"n_dis": 0}, "n_dis"),
    ({"lr_generator": 0.0}, "lr_generator"),
    ({"betas": (0.0, 1.0)}, "betas"),
    ({"lr_decay": "cosine"}, "linear, none"),
    ({"ema_decay": 1.0}, "ema_decay"),
    ({"gradient_penalty": -1.0}, "gradient_penalty"),
    ({"loss_type": "hings"}, "did you mean 'hinge'"),
]


@pytest.mark.parametrize(("options", "words"), REFUSALS, ids=itertools.count())
def test_refusals(options: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        small(**options)


def test_a_network_that_is_no_gan_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"gendistill\.nets\.base"):
        attached(small(generator={"class_path": "torch.nn.Identity"}), tiny_data, tmp_path)
