"""Pools that grow, networks between two, and networks that learn from synthetic images."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from image_runs import LEARNER, POOL, attached, power_cut_changes_nothing
from small_gans import SMALL, term
from small_gans import attached as attached_gan

from gendistill.data.augment import augment
from gendistill.data.cutmix import cutmix
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.seeds import stream
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gan import ConditionalGANTrainer
from trainers.terms.pools import Growing, Interpolated
from trainers.terms.trained_probes import Pool, Trained


def probes(data: RealData, root: Path, **spec: Any) -> Trained:
    options: dict[str, Any] = {"images_per_class": 2, "real_batch": 8, "learner": LEARNER, "augment": "none"}
    trainer = attached(DistributionMatchingTrainer(**options, probe=spec), data, root)
    assert isinstance(trainer.probes, Trained)
    return trainer.probes


def test_a_growing_pool_gets_networks_until_it_is_full_and_then_the_oldest_leave(
    tiny_data: RealData, tmp_path: Path
) -> None:
    pool = probes(tiny_data, tmp_path, state="growing", size=4, first=2, every=3, taught=2, steps=5, batch_size=4)
    assert isinstance(pool, Growing) and pool.members[0]["optimizer"].param_groups[0]["weight_decay"] == 5e-4
    sizes, updates, gone = [], 0, 0
    before = list(pool.members)
    for count in range(16):
        drawn = pool.draw()
        assert any(drawn.network is member["network"] for member in pool.members)
        sizes.append(len(pool.members))
        gone += sum(member["age"] for member in before if not any(member is one for one in pool.members))
        before = list(pool.members)
        updates = gone + sum(member["age"] for member in pool.members)
        assert updates <= 2 * 5 * count
    assert sizes == [2, 2, 2, 3, 3, 3, 4, 4, 4, 4, 4, 4, 4, 4, 4, 4]
    assert updates == 2 * 5 * 15 and gone > 0
    ages = [member["age"] for member in pool.members]
    assert ages[0] > ages[-1] and len({id(member["network"]) for member in pool.members}) == 4


@pytest.mark.parametrize("progress", [True, False])
def test_how_far_networks_are_before_the_first_step_is_said_where_progress_is_shown(
    tiny_data: RealData,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    progress: bool,
) -> None:
    monkeypatch.setattr("gendistill.counter.SECONDS_BETWEEN_LINES", 0)
    probe: dict[str, Any] = {"state": "pool", "size": 2, "steps": 60, "batch_size": 4}
    labeller = {"learner": LEARNER, "updates": 3}
    options: dict[str, Any] = {"images_per_class": 2, "real_batch": 8, "learner": LEARNER, "augment": "none"}
    trainer = DistributionMatchingTrainer(**options, probe=probe, labeller=labeller)
    attached(trainer, tiny_data, tmp_path, progress=progress)
    said = capsys.readouterr().err
    lines = ("probes: 20 of 30 updates", "probes: 30 of 30 updates", "labeller: 3 of 3 updates")
    assert [line in said for line in lines] == [progress] * 3


def test_networks_in_between_lie_on_the_way_from_the_first_to_the_trained_weights(
    tiny_data: RealData, tmp_path: Path
) -> None:
    pool = probes(tiny_data, tmp_path, state="interpolated", size=2, steps=80, lr=0.05, batch_size=16)
    assert isinstance(pool, Interpolated)
    shares = []
    for _ in range(40):
        drawn = pool.draw()
        weights = torch.cat([value.detach().flatten() for value in drawn.parameters.values()])
        found = []
        for member in pool.members:
            ends = [
                torch.cat([state[name].flatten() for name in drawn.parameters])
                for state in (member["first"], member["network"].state_dict())
            ]
            way = ends[0] - ends[1]
            share = float((weights - ends[1]) @ way / way.square().sum())
            if torch.allclose(weights, ends[1] + share * way, atol=1e-5):
                found.append(share)
                assert drawn.accuracy is pool.accuracy(member) and float(pool.accuracy(member)) > 0.8
        (share,) = found
        shares.append(share)
    assert min(shares) > -1e-4 and max(shares) < 1 and min(shares) < 0.15 and max(shares) > 0.85
    assert [member["age"] for member in pool.members] == [80, 80]


def test_a_pool_may_learn_from_the_synthetic_images_as_they_are(tiny_data: RealData, tmp_path: Path) -> None:
    options: dict[str, Any] = {"images_per_class": 2, "real_batch": 8, "learner": LEARNER, "augment": "none"}
    spec = {"state": "pool", "size": 2, "steps": 200, "refresh": 60, "lr": 0.05, "batch_size": 6, "learn": "synthetic"}
    trainer = attached(DistributionMatchingTrainer(**options, probe=spec, decode={"factor": 2}), tiny_data, tmp_path)
    with torch.no_grad():  # images that nobody has seen before: grey of a class of its own
        trainer.images.copy_(torch.linspace(-1, 1, 3)[:, None, None, None, None].expand_as(trainer.images))
    images, labels = trainer.shown_images(12, torch.Generator().manual_seed(0))
    assert labels is not None and images.shape == (12, 1, 8, 8)
    torch.testing.assert_close(images[:, 0, 0, 0], labels.float() - 1)
    pool = trainer.probes
    assert isinstance(pool, Pool)
    for _ in range(4):
        probe = pool.draw()
    assert probe.accuracy is not None and float(probe.accuracy) > 0.5
    # Learned from what is there: the grey is told apart.
    assert (probe.network(images).argmax(1) == labels).float().mean() > 0.6


def test_networks_learn_from_augmented_and_mixed_images_at_a_falling_rate(tiny_data: RealData, tmp_path: Path) -> None:
    """Held against an obvious loop on the same draws."""
    spec: dict[str, Any] = {"state": "pretrained", "steps": 12, "lr": 0.05, "batch_size": 6, "weight_decay": 1e-3}
    more = {"augment": "color_crop_cutout_scale", "augment_mode": "idc", "cutmix": 0.7, "schedule": "two-steps"}
    pool = probes(tiny_data, tmp_path / "one", **spec, **more)
    options: dict[str, Any] = {"images_per_class": 2, "real_batch": 8, "learner": LEARNER, "augment": "none"}
    unused = attached(DistributionMatchingTrainer(**options), tiny_data, tmp_path / "other").probes
    network = unused.new("pretrained").train()
    optimiser = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9, weight_decay=1e-3)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimiser, [8, 10], gamma=0.2)
    for update in range(12):
        images, labels = unused.host.draw_any(6)
        assert labels is not None
        change = stream(0, f"probes/{unused.host.key}/augment/{update}")  # type: ignore[attr-defined]
        images = augment(images, "color_crop_cutout_scale", change, mode="idc")
        images, soft = cutmix(images, labels, 3, change, probability=0.7)
        optimiser.zero_grad()
        torch.nn.functional.cross_entropy(network(images), soft).backward()
        optimiser.step()
        schedule.step()
    for name, value in pool.members[0]["network"].named_parameters():
        torch.testing.assert_close(value, dict(network.named_parameters())[name])


@pytest.mark.parametrize("change", [{"augment": "crop_rotate"}, {"cutmix": 0.5}], ids=str)
def test_a_pool_that_augments_goes_on_to_the_bit(change: dict[str, Any], tiny_data: RealData, tmp_path: Path) -> None:
    given = {"images_per_class": 1, "real_batch": 4, "learner": LEARNER, "probe": POOL | change}
    power_cut_changes_nothing(DistributionMatchingTrainer, given, tiny_data, tmp_path)


def test_signs_are_not_mirrored_for_networks_either(tiny_data: RealData, tmp_path: Path) -> None:
    spec: dict[str, Any] = {"state": "pretrained", "steps": 1, "batch_size": 4}
    mirrored = probes(tiny_data, tmp_path / "a", augment="color_flip_crop", **spec)
    assert mirrored.strategy == "color_flip_crop"
    digits = replace(tiny_data, description=replace(tiny_data.description, name="mnist"))
    assert probes(digits, tmp_path / "b", augment="color_flip_crop", **spec).strategy == "color_crop"
    assert probes(digits, tmp_path / "c", augment="flip", **spec).strategy is None
    assert "flip" not in str(probes(digits, tmp_path / "d", augment="dsa", **spec).strategy)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"state": "pool", "cutmix": 1.5}, "cutmix is 1.5; it is a probability"),
        ({"state": "pool", "augment": "crap"}, "did you mean 'crop'"),
        ({"state": "pool", "augment_mode": "idk"}, "did you mean 'idc'"),
        ({"state": "interpolated", "schedule": "halvin"}, "did you mean 'halving'"),
        ({"state": "growing", "schedule": "cosine"}, "leave it constant"),
    ],
)
def test_what_networks_cannot_learn_by_is_refused(
    given: dict[str, Any], words: str, tiny_data: RealData, tmp_path: Path
) -> None:
    with pytest.raises(UserError, match=words):
        probes(tiny_data, tmp_path, **given)


def test_what_has_no_images_to_show_says_so(tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"state": "pool", "learner": LEARNER, "learn": "synthetic"}
    gan = ConditionalGANTrainer(**SMALL, terms=[term("trainers.terms.gradients.GradientDifference", probe=spec)])
    with pytest.raises(UserError, match="choose learn: real"):
        attached_gan(gan, tiny_data, tmp_path)
