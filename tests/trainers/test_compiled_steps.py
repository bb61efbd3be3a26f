"""Steps that are compiled move what the others move, and are continued to the bit."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from image_runs import LEARNER, attached, power_cut_changes_nothing
from torch import Tensor
from trajectory_runs import attached as attached_trajectory
from trajectory_runs import tiny

from gendistill.data.real import RealData
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.gradient_matching import GradientMatchingTrainer

SMALL: dict[str, Any] = {"images_per_class": 2, "learner": LEARNER, "real_batch": 6, "outer_loops": 3, "inner_loops": 2}


@pytest.fixture(autouse=True)
def traced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Compile as far as the graph; its kernels are torch's own, which is quick to make."""
    torch._dynamo.reset()
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="aot_eager"))
    yield
    torch._dynamo.reset()


def moved(trainer: Any, steps: int = 3) -> Tensor:
    """Make some steps and return the images."""
    for _ in range(steps):
        trainer.train_step(trainer.next_batch())
        trainer.run.step += 1
    images: Tensor = trainer.images.detach()
    return images


@pytest.mark.parametrize(
    "options",
    [{"augment": "none"}, {"chunk": 4, "inner_batch": 5}, {"classes_at_once": 3, "distance": "mse"}],
    ids=["dc", "dsa in parts", "classes together"],
)
def test_gradient_matching_moves_images_as_uncompiled(
    options: dict[str, Any], tiny_data: RealData, tmp_path: Path
) -> None:
    plain, compiled = (
        attached(GradientMatchingTrainer(**SMALL, **options), tiny_data, tmp_path, compile=asked)
        for asked in (False, True)
    )
    assert compiled.quick is not None and plain.quick is None
    start = plain.images.detach().clone()
    expected = moved(plain)
    assert (moved(compiled) - expected).norm() < 1e-4 * (expected - start).norm()
    torch.testing.assert_close(list(compiled.network.parameters()), list(plain.network.parameters()))


def test_a_network_with_running_statistics_is_left_as_it_is(tiny_data: RealData, tmp_path: Path) -> None:
    learner = {**LEARNER, "init_args": {"width": 4, "depth": 1, "normalisation": "batch"}}
    trainer = attached(GradientMatchingTrainer(**SMALL | {"learner": learner}), tiny_data, tmp_path, compile=True)
    assert trainer.quick is None
    moved(trainer, 1)


def test_inner_batches_in_parts_train_the_network_as_whole_ones(tiny_data: RealData, tmp_path: Path) -> None:
    networks = []
    for chunk in (128, 2):
        trainer = attached(GradientMatchingTrainer(**SMALL, augment="none", chunk=chunk), tiny_data, tmp_path)
        trainer.new_network()
        trainer.train_network()
        networks.append([value.detach().clone() for value in trainer.network.parameters()])
    torch.testing.assert_close(*networks, rtol=1e-5, atol=1e-6)


def test_trajectory_matching_moves_images_and_rate_as_uncompiled(tiny_data: RealData, tmp_path: Path) -> None:
    trainers = [attached_trajectory(tiny(), tiny_data, tmp_path, compile=asked) for asked in (False, True)]
    images = [moved(trainer, 2) for trainer in trainers]
    torch.testing.assert_close(*images, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*(trainer.raw_rate for trainer in trainers))


def test_dataset_distillation_moves_images_as_uncompiled(tiny_data: RealData, tmp_path: Path) -> None:
    given: dict[str, Any] = {"inner_steps": 2, "inner_epochs": 2, "learner": LEARNER, "batch_size": 12, "meta_batch": 2}
    images = []
    for asked in (False, True):
        trainer = attached(DatasetDistillationTrainer(**given), tiny_data, tmp_path, compile=asked)  # type: ignore[type-var]
        images.append(moved(trainer, 2))
    torch.testing.assert_close(*images, rtol=1e-3, atol=2e-4)


def test_a_compiled_run_that_is_cut_off_ends_where_the_whole_one_does(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The option stands in the run's, which that check makes itself.
    monkeypatch.setattr("gendistill.runs.options.RunOptions.compile", True)
    monkeypatch.setattr("image_runs.RunOptions", partial(__import__("image_runs").RunOptions, compile=True))
    power_cut_changes_nothing(GradientMatchingTrainer, SMALL, tiny_data, tmp_path)
