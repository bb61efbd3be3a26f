"""Kinds of probes: what they know, what they cost the rest of the run (nothing), and how they come back."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.multiprocessing as mp
from small_gans import SMALL, advance, attached, equal, run_options, term
from torch import Tensor, nn

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from trainers.gan import ConditionalGANTrainer, GANTrainer
from trainers.terms.gradients import GradientDifference
from trainers.terms.probe_kinds import make_probes
from trainers.terms.probes import Probes

NET: dict[str, Any] = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
DIFFERENCE = "trainers.terms.gradients.GradientDifference"
KINDS: dict[str, dict[str, Any]] = {
    "fresh": {"learner": NET},
    "pretrained": {"state": "pretrained", "learner": NET, "steps": 5},
    "pool": {"state": "pool", "learner": NET, "steps": 2, "size": 2},
    "growing": {
        "state": "growing",
        "learner": NET,
        "size": 2,
        "first": 1,
        "every": 2,
        "steps": 1,
        "batch_size": 8,
    },
    "interpolated": {"state": "interpolated", "learner": NET, "steps": 2, "size": 2},
    "trunk": {"state": "trunk"},
}


def gan(probe: dict[str, Any], **options: Any) -> ConditionalGANTrainer:
    return ConditionalGANTrainer(**SMALL, terms=[term(DIFFERENCE, probe=probe, **options)])


def probes_of(trainer: GANTrainer) -> Probes:
    (only,) = trainer.terms
    assert isinstance(only, GradientDifference)
    return only.probes


def weights(network: nn.Module) -> Tensor:
    return torch.cat([value.detach().flatten() for value in network.parameters()])


def accuracy(network: nn.Module, trainer: GANTrainer) -> float:
    images, labels = trainer.data.train.batch(torch.arange(96), trainer.normalisation)
    return float((network(images).argmax(1) == labels).float().mean())


def test_fresh_probes_are_new_and_depend_on_seed_and_number_only(tiny_data: RealData, tmp_path: Path) -> None:
    first, second = (probes_of(attached(gan(KINDS["fresh"]), tiny_data, tmp_path)) for _ in range(2))
    first.host.draw_any(3)
    torch.rand(3)
    drawn = [weights(first.draw().network) for _ in range(2)]
    assert not torch.equal(*drawn)
    assert all(torch.equal(one, weights(second.draw().network)) for one in drawn)
    other = probes_of(attached(gan(KINDS["fresh"]), tiny_data, tmp_path, seed=6))
    assert not torch.equal(weights(other.draw().network), drawn[0])


def test_a_pretrained_probe_knows_the_data_and_stays_as_it_is(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(gan({**KINDS["pretrained"], "steps": 60, "lr": 0.05}), tiny_data, tmp_path)
    network = probes_of(trainer).draw().network
    before = weights(network)
    assert accuracy(network, trainer) > 0.9
    assert accuracy(probes_of(attached(gan(KINDS["fresh"]), tiny_data, tmp_path)).draw().network, trainer) < 0.8
    advance(trainer, 2)
    assert torch.equal(weights(probes_of(trainer).draw().network), before)
    assert all(parameter.grad is None for parameter in network.parameters())


def test_a_pool_has_all_ages_and_renews_itself(tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"state": "pool", "learner": NET, "size": 3, "steps": 6, "refresh": 2}
    pool = probes_of(attached(gan(spec), tiny_data, tmp_path))
    ages, seen = [], []
    for _ in range(12):
        seen.append(pool.draw().network)
        ages.append(pool.members[(pool.count - 1) % 3]["age"])
    assert ages == [0, 2, 4, 2, 4, 6, 4, 6, 0, 6, 0, 2]
    assert seen[0] is seen[3] is seen[6] and len({id(network) for network in seen}) == 3


def test_a_pool_without_refresh_stays_as_it_is(tiny_data: RealData, tmp_path: Path) -> None:
    pool = probes_of(attached(gan({**KINDS["pool"], "refresh": 0}), tiny_data, tmp_path))
    first = weights(pool.draw().network)
    for _ in range(3):
        pool.draw()
    assert torch.equal(weights(pool.draw().network), first)


def test_the_trunk_is_the_discriminators_own_classifier(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(gan(KINDS["trunk"]), tiny_data, tmp_path)
    discriminator = trainer.discriminator.eval()
    images, _ = trainer.next_batch()
    probe = probes_of(trainer).draw()
    assert probe.live
    logits = probe.logits(probe.parameters, images)
    for label in range(3):
        # The projection discriminator's logit is that of the class plus one that no class has.
        own = discriminator(images, torch.full((12,), label)) - discriminator.linear(discriminator.features(images))
        torch.testing.assert_close(logits[:, label : label + 1], own)
    with torch.no_grad():
        discriminator.requires_grad_(False)
    held = probes_of(trainer).draw()
    assert not held.live and all(value.requires_grad for value in held.parameters.values())


def test_a_probe_of_your_own(tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"class_path": "trainers.terms.probes.Fresh", "init_args": {"learner": NET, "mode": "eval"}}
    network = probes_of(attached(gan(spec), tiny_data, tmp_path)).draw().network
    assert not network.training and len(weights(network)) == len(weights(make_network(tiny_data, tmp_path)))


def make_network(data: RealData, root: Path) -> nn.Module:
    return probes_of(attached(gan(KINDS["fresh"]), data, root)).draw().network


class Breaks(ConditionalGANTrainer):
    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.step == 3:
            raise RuntimeError("power cut")
        return super().train_step(batch)


@pytest.mark.parametrize("kind", ["fresh", "pretrained", "pool", "growing", "interpolated"])
def test_a_broken_run_continues_with_the_same_probes(tiny_data: RealData, tmp_path: Path, kind: str) -> None:
    settings = SMALL | {"terms": [term(DIFFERENCE, probe=KINDS[kind])]}
    whole, continued = ConditionalGANTrainer(**settings), ConditionalGANTrainer(**settings)
    train(whole, tiny_data, run_options(tmp_path, name="whole", save_every=2))
    with pytest.raises(RuntimeError, match="power cut"):
        train(Breaks(**settings), tiny_data, run_options(tmp_path, name="broken", save_every=2))
    train(continued, tiny_data, run_options(tmp_path, name="broken", save_every=2))
    assert equal(continued.generator, whole.generator) and equal(continued.discriminator, whole.discriminator)
    assert torch.equal(weights(probes_of(continued).draw().network), weights(probes_of(whole).draw().network))


def parallel(rank: int, port: int, data: RealData, root: str) -> None:
    torch.set_num_threads(1)
    places = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": rank, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in places.items()})
    trainer = gan(KINDS["pool"], weight=3.0)
    train(trainer, data, run_options(Path(root), steps=3))
    parts = (trainer.generator, trainer.discriminator, *(member["network"] for member in probes_of(trainer).members))
    torch.save([weights(part) for part in parts], Path(root) / f"{rank}.pt")


def test_all_processes_have_the_same_probes_and_networks(tiny_data: RealData, tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    mp.spawn(parallel, (port, tiny_data, str(tmp_path)), nprocs=2)
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    assert len(first) == 4 and all(torch.equal(one, other) for one, other in zip(first, second, strict=True))


REFUSALS: list[tuple[dict[str, Any], str]] = [
    ({"state": "pol"}, "did you mean 'pool'"),
    ({"state": "pool", "sizes": 3}, "did you mean 'size'"),
    ({"state": "pool", "size": 0}, "size must be at least 1"),
    ({"state": "pretrained", "steps": 0}, "steps and batch_size"),
    ({"state": "pretrained", "lr": 0.0}, "lr must be positive"),
    ({"mode": "test"}, "train, eval"),
    ({"class_path": "torch.nn.Linear"}, "not a subclass"),
]


@pytest.mark.parametrize(("spec", "words"), REFUSALS, ids=range(len(REFUSALS)))
def test_refusals(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(UserError, match=words):
        make_probes(spec)


def test_a_trunk_needs_a_projection_discriminator(tiny_data: RealData, tmp_path: Path) -> None:
    class Labelled(GANTrainer):
        labelled = True

    sngan = {"class_path": "gendistill.nets.sngan.SNGANDiscriminator", "init_args": {"ndf": 6}}
    settings = {**SMALL, "discriminator": sngan, "terms": [term(DIFFERENCE, probe={"state": "trunk"})]}
    with pytest.raises(UserError, match="SNGANDiscriminator has no 'features'"):
        attached(Labelled(**settings), tiny_data, tmp_path)
