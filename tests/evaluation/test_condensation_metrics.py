"""The controls and the three measures of batch condensation."""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.condensation_controls import CONTROLS, control, control_teacher
from gendistill.evaluation.condensation_metrics import (
    break_even,
    condensation_report,
    crossed,
    gradient_agreement,
    held_out_networks,
    image_gradients,
    settings,
)
from gendistill.seeds import stream
from gendistill.teacher import StoredImages

LEARNER = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8, "depth": 1}}
SIZES: dict[str, Any] = {"batch_size": 16, "size": 8, "num_batches": 4}


def batches(data: RealData) -> tuple[Tensor, Tensor]:
    teacher = control_teacher("original", data, **SIZES)
    return teacher.images.unflatten(0, (4, 16)), teacher.labels.unflatten(0, (4, 16))


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_made_of_their_batch_and_repeat(tiny_data: RealData, name: str) -> None:
    teacher, again = (control_teacher(name, tiny_data, **SIZES, seed=2) for _ in range(2))
    assert teacher.order == "fixed" and teacher.batch_size == 8 and teacher.images_stored == 32
    assert torch.equal(teacher.images, again.images) and torch.equal(teacher.labels, again.labels)
    other = control_teacher(name, tiny_data, **SIZES, seed=3)
    assert not torch.equal(teacher.images, other.images)
    if name == "mixup":
        return
    whole = control_teacher("original", tiny_data, **SIZES, seed=2).images.unflatten(0, (4, 16))
    own = teacher.images.unflatten(0, (4, 8))
    assert (own[:, :, None] == whole[:, None]).flatten(3).all(3).any(2).all()


def test_the_gradient_of_what_the_loss_chooses_is_right_on_average(tiny_data: RealData) -> None:
    images, labels = (part[:1] for part in batches(tiny_data))
    network = held_out_networks(LEARNER, tiny_data, ages=[0], count=1, seed=0)["0"][0]
    expected = torch.autograd.grad(F.cross_entropy(network(images[0]), labels[0]), network.classifier.bias)[0]
    many = [part.expand(1000, *part.shape[1:]) for part in (images, labels)]
    chosen, targets = control("loss", many[0], many[1], 4, tiny_data, stream(0, "test"))
    loss = F.cross_entropy(network(chosen.flatten(0, 1)), targets.flatten(0, 1))
    found = torch.autograd.grad(loss, network.classifier.bias)[0]
    torch.testing.assert_close(found, expected, atol=0.015, rtol=0)
    assert (targets.sum(2) - 1).abs().max() > 0.1  # weights were at work


def test_mistakes_are_told(tiny_data: RealData) -> None:
    images, labels = batches(tiny_data)
    with pytest.raises(UserError, match="did you mean 'random'"):
        control("randm", images, labels, 8, tiny_data, stream(0, "test"))
    with pytest.raises(UserError, match=r"but 1\.\.15"):
        control("mixup", images, labels, 16, tiny_data, stream(0, "test"))
    with pytest.raises(UserError, match="do not say which real batches"):
        condensation_report(control_teacher("random", tiny_data, **SIZES), tiny_data)
    with pytest.raises(UserError, match="give ages from 0"):
        held_out_networks(LEARNER, tiny_data, ages=[], count=1, seed=0)
    with pytest.raises(UserError, match="give a list of values"):
        settings({"lr": 0.1})  # type: ignore[dict-item]


def test_batches_and_networks_vary_apart() -> None:
    """Values of three networks (rows) and four batches: the two have spreads of their own, each of a sample."""
    batches, networks = torch.tensor([0.0, 1.0, 2.0, 3.0]), torch.tensor([[0.0], [10.0], [20.0]])
    found = crossed(networks + batches)
    assert found["mean"] == 11.5
    assert found["std_batches"] == pytest.approx(float(batches.std())) and found["std_networks"] == pytest.approx(10)
    assert crossed(batches[None])["std_networks"] is None and crossed(networks)["std_batches"] is None
    with pytest.raises(UserError, match="'gradients' holds values that are NaN"):
        crossed(networks * torch.nan)


def test_agreement_of_a_batch_with_itself_and_with_its_opposite(tiny_data: RealData) -> None:
    original = control_teacher("original", tiny_data, **SIZES)
    networks = held_out_networks(LEARNER, tiny_data, ages=[0, 5], count=2, seed=1)
    same = gradient_agreement(original, original, tiny_data, 4, networks)
    for age in ("0", "5"):
        assert same[age]["cosine"]["mean"] == pytest.approx(1, abs=1e-5)
        zero = pytest.approx(0, abs=1e-6)
        assert same[age]["norm"] == {"mean": pytest.approx(1), "std_batches": zero, "std_networks": zero}
    minus = -2.0 * F.one_hot(original.labels, 3).float()  # cross-entropy is linear in its targets
    turned = StoredImages(original.images, minus, tiny_data.description, order="fixed", batch_size=16)
    opposite = gradient_agreement(turned, original, tiny_data, 4, networks)["5"]
    assert opposite["cosine"]["mean"] == pytest.approx(-1, abs=1e-5)
    assert opposite["norm"]["mean"] == pytest.approx(2, rel=1e-4)
    with pytest.raises(UserError, match="order: fixed"):
        gradient_agreement(original.reordered("shuffled"), original, tiny_data, 4, networks)


def test_held_out_networks_have_learned_more_when_they_are_older(tiny_data: RealData) -> None:
    networks = held_out_networks(LEARNER, tiny_data, ages=[0, 60], count=2, seed=1)
    images, labels = tiny_data.test.batch(torch.arange(60), tiny_data.description.normalisation)
    losses = {age: [F.cross_entropy(net(images), labels).item() for net in some] for age, some in networks.items()}
    assert max(losses["60"]) < 0.7 * min(losses["0"]) and len(set(losses["0"])) == 2


def test_the_grid_and_the_cost() -> None:
    assert settings({"lr": [0.1, 0.2], "momentum": [0.9]}) == {
        "lr=0.1 momentum=0.9": {"lr": 0.1, "momentum": 0.9},
        "lr=0.2 momentum=0.9": {"lr": 0.2, "momentum": 0.9},
    }
    assert image_gradients([64, 32, 16], 100, 150, looks=5) == 100 * 5 * 128 + 50 * 5 * 64
    assert break_even(640, 2, 64, 32) == {
        "image_gradients": 640, "epochs_of_the_original": 5.0, "break_even_epochs": 10.0
    }  # fmt: skip


def test_the_report_ranks_ways_to_train(tiny_data: RealData) -> None:
    images = control_teacher("random", tiny_data, **SIZES)
    images.metadata["condensation"] = {"sizes": [16, 8], "batches": 4, "image_gradients": 1000}
    result = condensation_report(
        images,
        tiny_data,
        learner=LEARNER,
        controls=["random", "mixup"],
        ages=[0],
        networks=1,
        updates=8,
        seeds=1,
        grid={"lr": [1e-5, 0.003, 0.1], "momentum": [0.0, 0.9]},
    )
    assert list(result["teachers"]) == ["condensed", "random", "mixup", "original"]
    condensed, same = result["teachers"]["condensed"], result["teachers"]["random"]
    assert condensed == same  # the same images: every measure is the same
    assert result["teachers"]["original"]["ranking"] is None
    assert condensed["ranking"]["architectures"] == 6 and condensed["best"] == max(condensed["accuracy"].values())
    assert condensed["ranking"]["all"]["spearman"]["value"] > 0.5
    assert 0 < condensed["gradient"]["0"]["cosine"]["mean"] <= 1
