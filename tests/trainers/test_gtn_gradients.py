"""The GTN's meta-gradient against the whole computation, in all memory modes and with learners at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gtn_runs import LEARNER, WEIGHT_NORM, attached, tiny
from torch import Tensor

from gendistill import unroll
from gendistill.data.real import RealData
from gendistill.nets.weight_normalised import WeightNormConvNet
from gendistill.seeds import stream
from trainers.gtn import GTNTrainer


@pytest.mark.parametrize("memory", unroll.MEMORY_MODES)
def test_meta_gradient_is_that_of_the_whole_computation(tiny_data: RealData, tmp_path: Path, memory: str) -> None:
    trainer = attached(tiny(meta_batch=2, gradient_clip=0.0, memory=memory), tiny_data, tmp_path)
    curriculum, batch = trainer.curriculum, trainer.next_batch()
    learners = trainer._new_learners()
    total: Tensor = torch.zeros(())
    for learner, reals, targets in zip(learners, *batch, strict=True):
        theta = dict(learner.named_parameters())
        velocity = {name: torch.zeros_like(value) for name, value in theta.items()}
        for t in range(3):
            images = trainer.generator(curriculum.latents[t], curriculum.labels[t])
            loss = F.cross_entropy(torch.func.functional_call(learner, theta, (images,)), curriculum.labels[t])
            gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            for (name, value), g in zip(theta.items(), gradient, strict=True):
                velocity[name] = curriculum.momenta[t] * velocity[name] + g
                theta[name] = value - curriculum.learning_rates[t] * velocity[name]
            if t in (1, 2):  # real_every=2: after 2 steps, and after the last
                logits = torch.func.functional_call(learner, theta, (reals[t - 1],))
                total = total + F.cross_entropy(logits, targets[t - 1]) / 4
    parameters = [*trainer.generator.parameters(), *curriculum.parameters()]
    expected = torch.autograd.grad(total, parameters)
    metrics = trainer.train_step(batch)
    torch.testing.assert_close(metrics["loss/meta"], total.detach())
    for parameter, gradient in zip(parameters, expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-5)


def gradients_of(trainer: GTNTrainer) -> list[Tensor]:
    trainer.train_step(trainer.next_batch())
    found = [*trainer.generator.parameters(), *trainer.curriculum.parameters()]
    return [torch.zeros_like(p) if p.grad is None else p.grad for p in found]


@pytest.mark.parametrize(
    "given",
    [
        {"curriculum": "batch_shuffled"},
        {"curriculum": "all_shuffled", "learn_labels": True},
        {"window": 2, "real_every": 1},
        {"learners": WEIGHT_NORM, "statistics": "running"},
        {"inner_optimizer": "adam", "learning_rate": 0.01},
        {"poison": "0:1"},
    ],
)
def test_every_option_has_one_gradient_in_all_memory_modes(
    given: dict[str, Any], tiny_data: RealData, tmp_path: Path
) -> None:
    found = []
    for memory in unroll.MEMORY_MODES:
        found.append(
            gradients_of(attached(tiny(memory=memory, meta_batch=2, gradient_clip=0.0, **given), tiny_data, tmp_path))
        )
    # All together: a weight's length before batch normalisation has no gradient but rounding.
    exact, *others = (torch.cat([gradient.flatten() for gradient in one]) for one in found)
    assert exact.norm() > 1e-3
    assert all((other - exact).norm() < 1e-3 * exact.norm() for other in others)


@pytest.mark.parametrize(
    ("given", "run"),
    [
        ({"window": 2, "real_every": 1, "memory": "recompute"}, {}),
        ({"learners": WEIGHT_NORM, "statistics": "running"}, {}),
        ({"poison": "0:1", "learn_labels": True}, {}),
        ({"learners": [LEARNER, WEIGHT_NORM], "meta_batch": 5}, {}),
        ({}, {"precision": "bfloat16"}),
    ],
)
def test_learners_trained_together_give_the_gradient_of_the_loop(
    given: dict[str, Any], run: dict[str, Any], tiny_data: RealData, tmp_path: Path
) -> None:
    reports, found = [], []
    for batched in (False, True):
        choice: dict[str, Any] = {"meta_batch": 3, "gradient_clip": 0.0, "batched_learners": batched} | given
        trainer = attached(tiny(**choice), tiny_data, tmp_path, **run)
        reports.append(trainer.train_step(trainer.next_batch()))
        wanted = [*trainer.generator.parameters(), *trainer.curriculum.parameters()]
        found.append(torch.cat([(torch.zeros_like(p) if p.grad is None else p.grad).flatten() for p in wanted]))
    assert found[0].norm() > 1e-3
    tolerance = 0.05 if run else 1e-3
    assert (found[1] - found[0]).norm() < tolerance * found[0].norm()
    assert reports[0].keys() == reports[1].keys()
    for name, value in reports[0].items():
        torch.testing.assert_close(reports[1][name], value, rtol=tolerance, atol=1e-5)


def test_only_learners_of_one_architecture_are_trained_together(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    together = unroll.Together
    monkeypatch.setattr(unroll, "Together", lambda learners: sizes.append(len(learners)) or together(learners))
    for batched in (True, False, None):
        given: dict[str, Any] = {"learners": [LEARNER, WEIGHT_NORM], "meta_batch": 5, "batched_learners": batched}
        trainer = attached(tiny(**given), tiny_data, tmp_path)
        kinds = {type(learner) for learner in trainer._new_learners()}
        trainer.train_step(trainer.next_batch())
    assert len(kinds) == 2 and 1 <= len(sizes) <= 2 and sum(sizes) in (4, 5)


def test_a_window_ends_everywhere_and_leaves_the_rest_alone(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(inner_steps=5, window=2, real_every=1), tiny_data, tmp_path)
    ends = set()
    for _ in range(24):
        assert trainer.next_batch()[0].shape[:2] == (1, 2)
        trainer.train_step(trainer.next_batch())
        moved = trainer.curriculum.latents.grad.abs().amax((1, 2)) > 0
        end = int(moved.nonzero().max()) + 1
        assert moved.tolist() == [end - 2 <= step < end for step in range(5)]
        ends.add(end)
    assert ends == {2, 3, 4, 5}


def test_the_meta_loss_is_what_evaluation_sees(tiny_data: RealData, tmp_path: Path) -> None:
    """A learner that torch trains on the teacher's batches has, in eval mode, the loss that was descended."""
    trainer = attached(tiny(learners=WEIGHT_NORM, real_every=3), tiny_data, tmp_path)
    (images, labels), teacher = trainer.next_batch(), trainer.teacher()
    with trainer.initialised("learner/0"):
        learner = WeightNormConvNet(3, (1, 8, 8), widths=[4, 6], hidden=None)
    optimiser = torch.optim.SGD(learner.parameters(), lr=1.0)
    for step, (x, y, rate) in enumerate(teacher.batches(3, 1, stream(0, "unused"))):
        optimiser.param_groups[0].update(lr=float(rate), momentum=float(teacher.momenta[step]))
        optimiser.zero_grad()
        F.cross_entropy(learner(x), y).backward()
        optimiser.step()
    expected = F.cross_entropy(learner.eval()(images[0, 0]), labels[0, 0]).detach()
    torch.testing.assert_close(trainer.train_step((images, labels))["loss/meta"], expected)


def test_bfloat16_trains_near_float32(tiny_data: RealData, tmp_path: Path) -> None:
    exact, rounded = (
        gradients_of(attached(tiny(gradient_clip=0.0), tiny_data, tmp_path, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    a, b = (torch.cat([gradient.flatten() for gradient in one]) for one in (exact, rounded))
    assert not torch.equal(a, b) and F.cosine_similarity(a, b, 0) > 0.97
