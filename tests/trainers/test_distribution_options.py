"""What has been added to distribution matching, each option against its equation computed slowly."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from image_runs import LEARNER, POOL, attached, power_cut_changes_nothing
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.frequencies import FrequencySampler
from gendistill.runs.processes import Processes
from trainers.distribution_matching import DistributionMatchingTrainer

FIXED = {"frequencies": 20}
LEARNED = {"frequencies": 20, "learned": True, "width": 8, "lr": 0.05}
CHOSEN = {"every": 3, "among": 20}
IDM = {"state": "growing", "size": 3, "first": 1, "every": 2, "taught": 1, "steps": 2, "batch_size": 8}
NCFM = {"state": "interpolated", "size": 2, "steps": 4, "batch_size": 8}


def tiny(**options: Any) -> DistributionMatchingTrainer:
    given = {"images_per_class": 3, "real_batch": 8, "learner": LEARNER, "augment": "color_crop_cutout"}
    return DistributionMatchingTrainer(**(given | options))


def complex_distance(wanted: Tensor, found: Tensor, frequencies: Tensor, a: float, b: float) -> Tensor:
    """NCFM's distance of features (N, F) and (M, F), with complex numbers."""
    wanted, found, frequencies = wanted.double(), found.double(), frequencies.double()
    phi = [torch.exp(1j * (F.normalize(some, dim=1) @ frequencies.T)).mean(0) for some in (wanted, found)]
    lengths = (phi[0].abs() - phi[1].abs()) ** 2
    angles = 2 * (phi[0].abs() * phi[1].abs() - (phi[0] * phi[1].conj()).real)
    return (a * lengths + b * angles).sqrt().mean()


def of_every_class(trainer: DistributionMatchingTrainer, network: Any, real: Tensor, plan: dict[str, Any]) -> Tensor:
    """The loss of the class's docstring, one class after another, everything in one graph."""
    change, total = trainer.siamese(), torch.zeros(())
    shown = trainer.decode.rows(trainer.images, trainer.labels.view(len(trainer.images), -1))
    for label, some in enumerate(trainer.real_images(real)):
        wanted = network.features(change(some[None], label)[0]).detach()
        images = change(shown[label][None], label)[0]
        found = network.features(images)
        if trainer.frequencies is None:
            total = total + (wanted.mean(0) - found.mean(0)).square().sum()
        else:
            t = trainer.frequencies.frequencies
            weights = plan.get("amplitude", 0.5), plan.get("phase", 0.5)
            total = total + plan.get("scale", 300.0) * complex_distance(wanted, found, t, *weights)
        if trainer.cross_entropy:
            told = torch.full((len(images),), label)
            total = total + trainer.cross_entropy * trainer.accuracy * F.cross_entropy(network(images), told)
    return total


@pytest.mark.parametrize("chunk", [1, 5, 1000])
@pytest.mark.parametrize(
    "options",
    [
        {"characteristic": FIXED},
        {"characteristic": {**FIXED, "amplitude": 1.0, "phase": 0.25, "scale": 10.0}, "decode": {"factor": 2}},
        {"characteristic": LEARNED},
        {"cross_entropy": 3.0, "probe": {"state": "pretrained", "steps": 40, "lr": 0.05, "batch_size": 8}},
        {"characteristic": FIXED, "cross_entropy": 50.0, "probe": NCFM, "decode": {"factor": 2}},
    ],
)
def test_a_step_is_that_of_the_slow_version(
    tiny_data: RealData, tmp_path: Path, chunk: int, options: dict[str, Any]
) -> None:
    trainer, other = (attached(tiny(chunk=chunk, **options), tiny_data, tmp_path) for _ in range(2))
    batch = trainer.next_batch()
    network = other.new_network()
    if other.frequencies is not None:
        other.frequencies.draw(0)
    if other.cross_entropy:
        assert 0.05 < float(other.accuracy) < 1
    loss = of_every_class(other, network, batch[0], options.get("characteristic") or {})
    leaves = [other.images, *([] if other.frequencies is None else other.frequencies.leaves)]
    expected, *ascent = torch.autograd.grad(loss, leaves)
    before = trainer.frequencies and trainer.frequencies.sampler and trainer.frequencies.sampler.state_dict()
    before = {name: value.clone() for name, value in before.items()} if before else {}
    metrics = trainer.train_step(batch)
    torch.testing.assert_close(metrics["loss/distribution"], loss.detach().float(), rtol=1e-4, atol=1e-5)
    assert trainer.images.grad is not None and expected.abs().max() > 1e-3
    torch.testing.assert_close(trainer.images.grad, expected, rtol=2e-3, atol=2e-4 * float(expected.abs().max()))
    if ascent:
        # The network's step goes up the distance by the chain rule.
        assert other.frequencies is not None and trainer.frequencies is not None
        other.frequencies.frequencies.grad = ascent[0]
        other.frequencies.ascend()
        assert other.frequencies.sampler is not None and trainer.frequencies.sampler is not None
        mine, theirs = trainer.frequencies.sampler.state_dict(), other.frequencies.sampler.state_dict()
        assert any(not torch.equal(mine[name], before[name]) for name in mine)
        for name, value in mine.items():
            torch.testing.assert_close(value, theirs[name], rtol=1e-3, atol=1e-5)


def test_no_more_than_a_chunk_is_in_memory_however_many_images_there_are(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"images_per_class": 6, "decode": {"factor": 2}, "real_batch": 30, "chunk": 5}
    trainer = attached(
        tiny(**options, characteristic=LEARNED, cross_entropy=1.0, probe=NCFM, representatives={"among": 32}),
        tiny_data,
        tmp_path,
    )
    network, seen, with_graph = trainer.network, list[int](), list[int]()
    whole = network.features

    def counting(images: Tensor) -> Tensor:
        seen.append(len(images))
        found: Tensor = whole(images)
        if found.requires_grad:
            with_graph.append(len(images))
        return found

    monkeypatch.setattr(network, "features", counting)
    trainer.train_step(trainer.next_batch())
    assert max(seen) <= 5 and sum(with_graph) == 6 * 4 * 3  # each synthetic image's graph once


def test_learned_frequencies_find_a_larger_distance_than_the_drawn_ones(tiny_data: RealData, tmp_path: Path) -> None:
    plan = {"frequencies": 64, "learned": True, "width": 16, "lr": 0.5}
    trainer = attached(tiny(characteristic=plan, images="noise", lr_images=1e-12, augment="none"), tiny_data, tmp_path)
    network = trainer.new_network()
    drawn = attached(
        tiny(characteristic={"frequencies": 64}, images="noise", lr_images=1e-12, augment="none"), tiny_data, tmp_path
    )
    assert trainer.frequencies is not None and drawn.frequencies is not None
    batch = trainer.next_batch()[0]
    for step in range(12):
        trainer.frequencies.draw(step)
        trainer.match(network, batch, trainer.frequencies.leaves)
        trainer.frequencies.ascend()
    found = []
    for one in (trainer, drawn):
        assert one.frequencies is not None
        one.frequencies.draw(99)
        found.append(float(one.match(network, batch)))
        assert one.frequencies.frequencies.shape == (64, one.frequencies.features)
    assert found[0] > 1.02 * found[1], found


def test_the_sampler_begins_as_the_identity_and_reaches_no_further_than_it_may() -> None:
    sampler, normal = FrequencySampler(6, 8, reach=0.5), torch.randn(30, 6)
    assert torch.equal(sampler(normal), normal)
    last = sampler.layers[-2]
    torch.nn.init.normal_(last.weight, std=100.0)  # type: ignore[union-attr,arg-type]
    moved = (sampler(normal) - normal).abs().detach()
    assert float(moved.max()) <= 0.5 + 1e-6 and float(moved.max()) > 0.4


@pytest.mark.parametrize(
    "options",
    [
        {"characteristic": FIXED},
        {"characteristic": LEARNED, "probe": NCFM, "cross_entropy": 1.0},
        {"representatives": CHOSEN, "probe": IDM, "cross_entropy": 1.0},
        {"probe": {**POOL, "learn": "synthetic"}, "decode": {"factor": 2}, "representatives": CHOSEN, "ema_decay": 0.9},
    ],
)
def test_an_interrupted_run_ends_where_the_uninterrupted_does(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any]
) -> None:
    given = {"images_per_class": 2, "real_batch": 4, "learner": LEARNER, "augment": "crop_scale"}
    power_cut_changes_nothing(DistributionMatchingTrainer, given | options, tiny_data, tmp_path)


def test_the_teacher_is_the_average_and_the_images_go_their_way(tiny_data: RealData, tmp_path: Path) -> None:
    trainer, without = (attached(tiny(ema_decay=decay), tiny_data, tmp_path) for decay in (0.3, 0.0))
    expected = trainer.images.detach().clone()
    for step in range(5):
        for one in (trainer, without):
            one.train_step(one.next_batch())
            one.run.step = step + 1
        decay = min(0.3, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * trainer.images.detach()
    assert torch.equal(trainer.images, without.images) and "average" not in without.state_dict()
    torch.testing.assert_close(trainer.teacher().tensors()["images"], expected.flatten(0, 1))
    assert torch.equal(without.teacher().tensors()["images"], without.images.detach().flatten(0, 1))
    seen, own = trainer.samples()["images"], without.samples()["images"]
    assert not torch.equal(seen.pixels, own.pixels)


def test_processes_share_the_classes_frequencies_and_representatives(tiny_data: RealData, tmp_path: Path) -> None:
    class Two(Processes):
        def average_gradients(self, parameters: Any) -> None:
            pass  # each keeps its own, to be averaged below

        def mean(self, tensor: Tensor) -> Tensor:
            return tensor / 2  # this process's part of the sum alone

    options: dict[str, Any] = {"characteristic": LEARNED, "representatives": CHOSEN}
    one = attached(tiny(**options), tiny_data, tmp_path)
    loss = one.train_step(one.next_batch())["loss/distribution"]
    parts = [attached(tiny(**options), tiny_data, tmp_path, Two(rank, 2)) for rank in range(2)]
    losses = [part.train_step(part.next_batch())["loss/distribution"] for part in parts]
    assert torch.equal(parts[0].serving + parts[1].serving, one.serving)
    torch.testing.assert_close(sum(losses) / 2, loss)
    assert one.images.grad is not None
    shares = [part.images.grad for part in parts]
    torch.testing.assert_close((shares[0] + shares[1]) / 2, one.images.grad, rtol=1e-4, atol=1e-5)  # type: ignore[operator]


def test_representatives_are_those_nearest_to_the_centres(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(representatives={"every": 2, "among": 32, "rounds": 50}), tiny_data, tmp_path)
    chosen = []
    for _ in range(4):
        trainer.train_step(trainer.next_batch())
        chosen.append(trainer.serving.clone())
        trainer.run.step += 1
    same = [torch.equal(one, other) for one, other in zip(chosen, chosen[1:], strict=False)]
    assert same == [True, False, True]  # each choice serves for two steps
    labels = tiny_data.train.labels
    for label, row in enumerate(chosen[0]):
        assert len(row.unique()) == 8 and bool((labels[row] == label).all())
    # The eight stand for their class better than eight at random do.
    network = trainer.network
    of_class: Callable[[int], Tensor] = lambda label: (labels == label).nonzero().flatten()  # noqa: E731

    def loss(label: int, index: Tensor) -> float:
        with torch.no_grad():
            every, few = (network.features(trainer.real_images(some)) for some in (of_class(label), index))
        return float(torch.cdist(every, few).square().min(1).values.sum())

    fresh = attached(tiny(representatives={"every": 2, "among": 32, "rounds": 50}), tiny_data, tmp_path)
    network = fresh.new_network()
    assert fresh.representatives is not None
    mine = fresh._chosen(network, fresh.representatives)
    drawn = [fresh.classes.draw(8, torch.Generator().manual_seed(seed)) for seed in range(5)]
    for label in range(3):
        at_random = sum(loss(label, some[label]) for some in drawn) / len(drawn)
        assert loss(label, mine[label]) < 0.9 * at_random


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"ema_decay": 1.0}, r"ema_decay is 1.0; give a number in \[0, 1\)"),
        ({"characteristic": {"frequency": 4}}, "characteristic has no key 'frequency'; did you mean 'frequencies'"),
        ({"characteristic": {"frequencies": 0}}, "characteristic.frequencies is 0"),
        ({"characteristic": {"amplitude": 0.0, "phase": 0.0}}, "not both 0"),
        ({"characteristic": {"scale": -1.0}}, "must be positive"),
        ({"characteristic": {"learned": "yes"}}, "characteristic.learned is 'yes'; give true or false"),
        ({"representatives": {"among": 4}}, "among is 4, of which 8 real images cannot be chosen"),
        ({"representatives": {"each": 4}}, "representatives has no key 'each'"),
        ({"cross_entropy": -1.0}, "cross_entropy is -1.0"),
        ({"cross_entropy": 1.0}, r"choose --trainer.probe '\{state: pool\}'"),
        ({"probe": {"state": "growing", "size": 0}}, "size is 0"),
        ({"probe": {"state": "pool", "learn": "reel"}}, "learn is 'reel'"),
        ({"probe": {"state": "pool", "weight_decay": -1.0}}, "weight_decay must be at least 0"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        attached(tiny(**options), tiny_data, tmp_path)
