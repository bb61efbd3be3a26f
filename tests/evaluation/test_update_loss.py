from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation import ensemble, learning, update_loss
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.update_loss import UpdateLoss
from gendistill.teacher import RealSubset

CONVNET = "gendistill.nets.learners.ConvNet"
BATCH_NORM = {"class_path": CONVNET, "init_args": {"width": 5, "depth": 1, "normalisation": "batch"}}
SMALL = {"class_path": CONVNET, "init_args": {"width": 4, "depth": 1}}
QUICK: dict[str, Any] = {"learner": SMALL, "batch_size": 16, "seeds": 2, "lr": 0.1, "updates": (20,)}


@pytest.fixture
def quickly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything of compiling but the compiler itself, which takes seconds."""
    monkeypatch.setattr(update_loss, "compiled", lambda f: torch.compile(f, dynamic=False, backend="aot_eager"))


def gradients(loss: UpdateLoss, network: torch.nn.Module, images: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    found = torch.autograd.grad(loss(network, images, labels), list(network.parameters()))
    return torch.cat([one.flatten() for one in found])


def test_a_loss_is_the_obvious_one(tiny_data: RealData) -> None:
    network = build_learner(BATCH_NORM, tiny_data.description, 0)
    images, labels = torch.randn(12, 1, 8, 8), torch.randn(12, 3).softmax(1)
    logits = copy.deepcopy(network)(images)
    assert torch.equal(UpdateLoss("float32", 1.0, False)(copy.deepcopy(network), images, labels),
                       F.cross_entropy(logits, labels))  # fmt: skip
    assert torch.equal(UpdateLoss("float32", 4.0, False)(copy.deepcopy(network), images, labels),
                       F.cross_entropy(logits / 4, labels))  # fmt: skip
    low = UpdateLoss("bfloat16", 1.0, False)(copy.deepcopy(network), images, labels)
    assert low.dtype == torch.float32
    assert 0 < float((low - F.cross_entropy(logits, labels)).detach().abs()) < 0.05


def test_what_is_compiled_has_the_same_gradients_and_leaves_statistics(tiny_data: RealData, quickly: None) -> None:
    networks = [build_learner(BATCH_NORM, tiny_data.description, seed) for seed in (0, 1)]
    images, labels = torch.randn(12, 1, 8, 8), torch.arange(12) % 3
    loss = UpdateLoss("float32", 1.0, True)
    assert not loss.compiles
    loss.prepare(networks[0], images, labels)
    assert loss.compiles and int(networks[0].blocks[1].num_batches_tracked) == 0
    for network in networks:  # also of one that it was not prepared with
        twin = copy.deepcopy(network)
        expected = gradients(UpdateLoss("float32", 1.0, False), twin, images, labels)
        torch.testing.assert_close(gradients(loss, network, images, labels), expected)
        torch.testing.assert_close(network.blocks[1].running_mean, twin.blocks[1].running_mean)


def test_without_a_compiler_learners_are_trained_as_they_are(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(function: Any) -> Any:
        def call(*arguments: Any) -> Any:
            raise RuntimeError("no C++ compiler\nand a long trace")

        return call

    real = RealSubset.all(tiny_data.train, tiny_data.description)
    plain = learning_curve(real, tiny_data, **QUICK)
    said: list[str] = []
    monkeypatch.setattr(update_loss, "compiled", broken)
    monkeypatch.setattr(update_loss, "note", said.append)
    again = learning_curve(real, tiny_data, compile=True, **QUICK)
    assert again["accuracy"] == plain["accuracy"] and again["compiled"] is False
    assert len(said) == 1 and "(no C++ compiler)" in said[0]


def test_long_trainings_are_compiled_and_short_ones_are_not(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch, quickly: None
) -> None:
    real = RealSubset.all(tiny_data.train, tiny_data.description)
    plain = learning_curve(real, tiny_data, **QUICK)
    assert plain["compiled"] is False and plain["precision"] == "float32"
    # 8x8 maps, 4 filters of 3x3, and 64 values to 3 classes; 20 updates of 16 images, two learners, three passes.
    work = 3 * (64 * 4 * 9 + 64 * 3) * 20 * 16 * 2
    monkeypatch.setattr(learning, "FEWEST", 0)
    monkeypatch.setattr(learning, "PAYS", work + 1)
    assert learning_curve(real, tiny_data, **QUICK)["compiled"] is False
    monkeypatch.setattr(learning, "PAYS", work)
    found = learning_curve(real, tiny_data, **QUICK)
    assert found["compiled"] is True
    assert found["accuracy"]["mean"] == pytest.approx(plain["accuracy"]["mean"], abs=0.02)
    assert learning_curve(real, tiny_data, compile=False, **QUICK)["compiled"] is False


def test_bfloat16_that_the_processor_imitates_is_said(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(ensemble, "slowdown", lambda device: 9.6)
    learning_curve(RealSubset.all(tiny_data.train, tiny_data.description), tiny_data, precision="bfloat16", **QUICK)
    assert capsys.readouterr().err.count("bfloat16 is some 10 times slower here than float32") == 1


def test_bfloat16_learns_as_well_and_is_a_setting(tiny_data: RealData) -> None:
    real = RealSubset.all(tiny_data.train, tiny_data.description)
    full, low = (learning_curve(real, tiny_data, precision=name, **QUICK) for name in ("float32", "bfloat16"))
    assert low["precision"] == "bfloat16" and low["accuracy"] != {}
    assert low["accuracy"]["mean"] == pytest.approx(full["accuracy"]["mean"], abs=0.05)


@pytest.mark.parametrize(
    ("options", "words"),
    [({"precision": "half"}, "precision"), ({"compile": "yes"}, "compile is 'yes'"),
     ({"precision": "bfloat16", "batched": True}, "leave batched out")],
)  # fmt: skip
def test_what_cannot_be_is_refused(tiny_data: RealData, options: dict[str, Any], words: str) -> None:
    real = RealSubset.all(tiny_data.train, tiny_data.description)
    with pytest.raises(UserError, match=words):
        learning_curve(real, tiny_data, **QUICK | options)
