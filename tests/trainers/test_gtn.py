"""A GTN's run: learners learn from what it leaves; a power cut, two processes, pictures, and what is refused."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from gtn_runs import LEARNER, attached, options, tiny
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import DivergenceError, UserError
from gendistill.nets.learners import ConvNet
from gendistill.runs.loop import train
from gendistill.runs.processes import Processes
from gendistill.seeds import initialisation, stream
from trainers.gtn import GTNTrainer


def taught_accuracy(teacher: teachers.Teacher, data: RealData) -> float:
    """Accuracy on test data of learners that no meta-step has seen, after one pass through the curriculum."""
    accuracies = []
    images, labels = data.test.batch(torch.arange(len(data.test)), data.description.normalisation)
    assert teacher.momenta is not None
    for seed in range(3):
        with initialisation(99, f"unseen/{seed}"):
            learner = ConvNet(3, (1, 8, 8), width=8, depth=1)
        optimiser = torch.optim.SGD(learner.parameters(), lr=1.0)
        for step, (x, y, rate) in enumerate(teacher.batches(3, 1, stream(0, "unused"))):
            optimiser.param_groups[0].update(lr=float(rate), momentum=float(teacher.momenta[step]))
            optimiser.zero_grad()
            F.cross_entropy(learner(x), y).backward()
            optimiser.step()
        accuracies.append((learner(images).argmax(1) == labels).float().mean())
    return float(torch.stack(accuracies).mean())


def test_unseen_learners_learn_from_what_was_trained(tiny_data: RealData, tmp_path: Path) -> None:
    untrained = attached(tiny(), tiny_data, tmp_path).teacher()
    train(tiny(meta_lr=0.02), tiny_data, options(tmp_path, "bands", 40))
    trained = teachers.load(tmp_path / "bands" / "teacher.safetensors")
    assert taught_accuracy(untrained, tiny_data) < 0.8
    assert taught_accuracy(trained, tiny_data) > 0.95


@pytest.mark.parametrize("curriculum", ["learned", "fixed"])
def test_the_teacher_shows_the_very_images_of_training(tiny_data: RealData, tmp_path: Path, curriculum: str) -> None:
    trainer = attached(tiny(curriculum=curriculum), tiny_data, tmp_path)
    trainer.train_step(trainer.next_batch())
    teachers.save(trainer.teacher(), tmp_path / "teacher.safetensors")
    assert trainer.generator.training
    shown = list(teachers.load(tmp_path / "teacher.safetensors").batches(7, 64, stream(0, "unused")))
    latents = trainer.curriculum.latents
    assert latents is not None and len(shown) == 7
    for step, (images, labels, rate) in enumerate(shown):
        turn = step % 3
        with torch.no_grad():
            assert torch.equal(images, trainer.generator(latents[turn], trainer.curriculum.labels[turn]))
        assert torch.equal(labels, trainer.curriculum.labels[turn])
        later = trainer.curriculum.learning_rates[-1] * 0.1
        assert torch.equal(rate, trainer.curriculum.learning_rates[turn] if step < 3 else later)


def test_an_interrupted_run_ends_where_the_uninterrupted_does(tiny_data: RealData, tmp_path: Path) -> None:
    class Stops(GTNTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 5:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    given: dict[str, Any] = {"meta_batch": 2, "learners": [LEARNER, {**LEARNER, "init_args": {"width": 4, "depth": 2}}]}
    train(tiny(**given), tiny_data, options(tmp_path, "whole", 7, save_every=3))
    stops = tiny(**given)
    stops.__class__ = Stops
    with pytest.raises(RuntimeError, match="power cut"):
        train(stops, tiny_data, options(tmp_path, "halves", 7, save_every=3))
    resumed = train(tiny(**given), tiny_data, options(tmp_path, "halves", 7, save_every=3))
    assert resumed.step == 7
    whole, halves = (teachers.load(tmp_path / name / "teacher.safetensors") for name in ("whole", "halves"))
    for name, tensor in whole.tensors().items():
        assert torch.equal(tensor, halves.tensors()[name]), name


SCRIPT = """
import sys, torch
from test_gtn import train_both

torch.set_num_threads(1)
train_both(sys.argv[1], "two")
"""


def noise_data() -> RealData:
    images = torch.randint(0, 256, (96, 1, 8, 8), generator=stream(0, "noise")).to(torch.uint8)
    split = Split(images, torch.arange(96) % 3)
    description = Description("noise", ("a", "b", "c"), (1, 8, 8), Normalisation((0.5,), (0.3,)))
    return RealData(description, split, split, split)


EXTRA: dict[str, dict[str, Any]] = {
    "learned": {"window": 2, "memory": "sqrt", "learn_labels": True, "inner_optimizer": "adam", "learning_rate": 0.01},
    "fresh": {},
}


def train_both(root: str, name: str) -> None:
    for curriculum in ("learned", "fresh"):
        train(
            tiny(meta_batch=4, curriculum=curriculum, **EXTRA[curriculum]),
            noise_data(),
            options(Path(root), f"{name}-{curriculum}", 4),
        )


def test_two_processes_with_half_the_learners_equal_one(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    here, root = Path(__file__).parent, Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{here}", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "script.py"), str(tmp_path)],
        cwd=root,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    train_both(str(tmp_path), "one")
    for curriculum in ("learned", "fresh"):
        one, two = (teachers.load(tmp_path / f"{name}-{curriculum}" / "teacher.safetensors") for name in ("one", "two"))
        start = attached(tiny(curriculum=curriculum), noise_data(), tmp_path).teacher()
        # What they show, not their weights: a weight's length before batch normalisation has no gradient but rounding.
        shown = [next(iter(t.batches(1, 12, stream(0, "noise"))))[0] for t in (one, two, start)]
        torch.testing.assert_close(shown[1], shown[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(two.learning_rates, one.learning_rates, rtol=1e-5, atol=0.0)
        assert (shown[2] - shown[0]).abs().max() > 0.1


def test_pictures_show_every_class_of_every_step(tiny_data: RealData, tmp_path: Path) -> None:
    pixels = attached(tiny(), tiny_data, tmp_path).samples()["curriculum"].pixels
    assert pixels.shape == (30, 1, 8, 8) and pixels.min() >= 0 and pixels.max() <= 1


def test_divergence_is_named(tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainers.gtn.check_learned_rate", lambda rate: None)  # as a rate that has run away since
    with pytest.raises(DivergenceError, match="loss/meta.*step"):
        train(tiny(learning_rate=1e30), tiny_data, options(tmp_path, "wild", 4))


def test_a_run_that_does_not_fit_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiple of 2"):
        attached(tiny(meta_batch=3), tiny_data, tmp_path, processes=Processes(0, 2))
