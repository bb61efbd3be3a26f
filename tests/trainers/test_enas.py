"""Search with shared weights: rates of the teacher, REINFORCE against its closed form, a planted best child, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.nets.cells import cell_operations
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams, stream
from gendistill.teacher import StoredImages, load, save
from trainers.enas import ENASTrainer, Policy

SPACE = {"class_path": "gendistill.nets.spaces.CellSpace", "init_args": {"width": 4, "cells": 1, "stages": 1}}


@pytest.fixture
def teacher(tmp_path: Path, tiny_data: RealData) -> str:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    made = StoredImages(
        images, labels, tiny_data.description,
        learning_rates=torch.tensor([0.5, 0.1, 0.02]), momenta=torch.tensor([0.0, 0.3, 0.6]),
    )  # fmt: skip
    save(made, tmp_path / "teacher.safetensors")
    return str(tmp_path / "teacher.safetensors")


def attached(teacher: str, data: RealData, root: Path, **options: Any) -> ENASTrainer:
    trainer = ENASTrainer(**({"teacher": teacher, "space": SPACE, "batch_size": 12} | options))
    run = RunOptions(root=str(root), device="cpu")
    trainer.attach(RunContext(run, RunDirectory(root, "run"), torch.device("cpu"), Streams(0), Processes()), data)
    return trainer


def test_children_take_the_teachers_rates_in_turn(teacher: str, tiny_data: RealData, tmp_path: Path) -> None:
    distilled = attached(teacher, tiny_data, tmp_path)
    found = [distilled.schedule(step) for step in range(5)]
    assert [rate for rate, _ in found] == pytest.approx([0.5, 0.1, 0.02, 0.5, 0.1])
    assert [momentum for _, momentum in found] == pytest.approx([0.0, 0.3, 0.6, 0.0, 0.3])
    constant = attached(teacher, tiny_data, tmp_path, learning_rate=0.05, momentum=0.8)
    assert constant.schedule(7) == (0.05, 0.8)


def test_one_update_is_plain_sgd_on_the_childs_weights(teacher: str, tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(teacher, tiny_data, tmp_path, warm_up=1)
    before = [value.detach().clone() for value in trainer.supernet.parameters()]
    images, labels = trainer.next_batch()
    drawn = Policy().draw(Streams(0)["architectures"])  # the same stream as the trainer's
    trainer.train_step((images, labels))
    changed = [not torch.equal(now, old) for now, old in zip(trainer.supernet.parameters(), before, strict=True)]
    used = {id(value) for value in trainer.supernet.child_parameters()}
    assert trainer.supernet.blocks[2].operations == [
        ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")[number] for number in drawn
    ]
    for value, old, moved in zip(trainer.supernet.parameters(), before, changed, strict=True):
        if value.grad is not None:
            torch.testing.assert_close(value.detach(), old - 0.5 * value.grad)
        assert moved <= (id(value) in used)
    assert any(changed)


def test_the_policys_gradient_is_reinforce() -> None:
    """The mean of advantage * gradient of log p over all choices must be the gradient of the expected reward."""
    policy = Policy().double()
    with torch.no_grad():
        policy.logits.normal_(generator=stream(0, "logits"))
    worth = torch.randn(5, generator=stream(1, "worth"), dtype=torch.float64)
    expected = torch.autograd.grad((policy.logits[0].softmax(0) * worth).sum(), policy.logits)[0][0]
    rows = torch.zeros(5, dtype=torch.float64)
    for choice in range(5):
        chosen = torch.tensor([choice, 0, 0, 0, 0, 0])
        gradient = torch.autograd.grad(policy.log_probability(chosen), policy.logits)[0][0]
        rows += policy.logits[0].softmax(0)[choice].detach() * worth[choice] * gradient
    torch.testing.assert_close(rows, expected)


def test_a_planted_best_operation_is_found(
    teacher: str, tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the share of 3x3 convolutions as reward the policy must come to draw little else."""
    trainer = attached(teacher, tiny_data, tmp_path, policy_lr=0.2, policy_samples=4, finalists=3)

    def reward(cell: str, images: Tensor, labels: Tensor) -> Tensor:
        return torch.tensor(cell_operations(cell).count("nor_conv_3x3") / 6)

    monkeypatch.setattr(trainer, "shared_accuracy", reward)
    first = float(trainer._move_policy(*trainer.draw(4)))
    for _ in range(120):
        last = float(trainer._move_policy(*trainer.draw(4)))
    assert first < 0.6 < 0.85 < last
    assert cell_operations(trainer.found()).count("nor_conv_3x3") >= 5


@pytest.mark.parametrize("images", ["real", "teacher"])
def test_a_run_notes_what_it_found_and_resumes_exactly(
    images: str, teacher: str, tiny_data: RealData, tmp_path: Path
) -> None:
    def run(name: str, *lengths: int) -> ENASTrainer:
        for steps in lengths:
            trainer = ENASTrainer(teacher=teacher, space=SPACE, batch_size=12, images=images, warm_up=1)
            options = RunOptions(
                name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, save_every=2
            )
            train(trainer, tiny_data, options)
        return trainer

    whole, parts = run("whole", 6), run("parts", 4, 6)
    for left, right in zip(whole.supernet.parameters(), parts.supernet.parameters(), strict=True):
        assert torch.equal(left, right)
    assert torch.equal(whole.policy.logits, parts.policy.logits)
    noted = [load(tmp_path / name / "teacher.safetensors").metadata["architecture"] for name in ("whole", "parts")]
    assert noted[0] == noted[1] == whole.found()
    assert len(cell_operations(noted[0])) == 6


def test_mistakes_are_one_sentence(teacher: str, tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="learned no learning rates"):
        attached("real:ipc=1", tiny_data, tmp_path)
    for options, sentence in (
        ({"learning_rate": -1.0}, "positive number"),
        ({"images": "both"}, "choose real or teacher"),
        ({"finalists": 0}, "at least 1"),
        ({"baseline_decay": 1.0}, r"\[0, 1\)"),
    ):
        with pytest.raises(UserError, match=sentence):
            ENASTrainer(teacher=teacher, **options)  # type: ignore[arg-type]
