from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.poisoning import SCORES, attack_report
from gendistill.initial import Initial
from gendistill.poison import Poison
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams, initialisation, stream
from trainers.dataset_distillation import DatasetDistillationTrainer

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8, "depth": 1}}


class Linear(nn.Module):
    """Logits of one linear layer without bias, which starts at zero: its one step is known in closed form."""

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        self.classifier = nn.Linear(image_shape[0] * image_shape[1] * image_shape[2], num_classes, bias=False)
        nn.init.zeros_(self.classifier.weight)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.classifier(x.flatten(1))
        return logits


LINEAR = {"class_path": f"{__name__}.Linear"}


def tiny(**options: Any) -> DatasetDistillationTrainer:
    given: dict[str, Any] = {"inner_steps": 2, "inner_epochs": 2, "learner": LEARNER, "batch_size": 24}
    return DatasetDistillationTrainer(**(given | {"learning_rate": 0.1} | options))


def attached(
    trainer: DatasetDistillationTrainer, data: RealData, tmp_path: Path, **run: Any
) -> DatasetDistillationTrainer:
    processes = run.pop("processes", Processes())
    context = RunContext(
        RunOptions(root=str(tmp_path), device="cpu", **run),
        RunDirectory(tmp_path, "run"),
        torch.device("cpu"),
        Streams(0),
        processes,
    )
    trainer.attach(context, data)
    return trainer


def options(tmp_path: Path, name: str, steps: int, **more: Any) -> RunOptions:
    return RunOptions(
        name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, log_every=2, **more
    )


def test_one_step_of_a_linear_learner_has_the_gradient_of_the_closed_form(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(learner=LINEAR, inner_steps=1, inner_epochs=1), tiny_data, tmp_path)
    real, truth = batch = trainer.next_batch()
    trainer.train_step(batch)
    # At zero weights every class has probability 1/3, so W = (a/3) (Y - 1/3)^T X, and the logits are R W^T.
    x = attached(tiny(learner=LINEAR, inner_steps=1, inner_epochs=1), tiny_data, tmp_path).images.detach()[0].flatten(1)
    offsets = torch.eye(3) - 1 / 3
    logits = real.flatten(1) @ ((0.1 / 3) * offsets.T @ x).T
    error = (logits.softmax(1) - F.one_hot(truth, 3)) / len(truth)  # d loss / d logits
    by_weights = error.T @ real.flatten(1)
    assert trainer.images.grad is not None and trainer.raw_rates.grad is not None
    torch.testing.assert_close(
        trainer.images.grad[0].flatten(1), (0.1 / 3) * offsets @ by_weights, rtol=1e-4, atol=1e-7
    )
    by_rate = (by_weights * (offsets.T @ x) / 3).sum()
    softplus_slope = 1 - torch.exp(torch.tensor(-0.1))
    torch.testing.assert_close(trainer.raw_rates.grad[0], by_rate * softplus_slope, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("memory", ["full", "recompute"])
@pytest.mark.parametrize("poison", [None, {"source": 2, "target": 0, "weight": 2.0}])
def test_meta_gradient_is_that_of_the_whole_computation(
    tiny_data: RealData, tmp_path: Path, memory: str, poison: dict[str, Any] | None
) -> None:
    trainer = attached(tiny(meta_batch=2, learn_labels=True, memory=memory, poison=poison), tiny_data, tmp_path)
    real, truth = batch = trainer.next_batch()
    rates = F.softplus(trainer.raw_rates)
    total: Tensor = torch.zeros(())
    for number in range(2):
        with initialisation(0, f"learner/{number}"):
            learner = Initial(LEARNER, 0, 0, "").build(tiny_data.description, 0, f"learner/{number}")
        theta = dict(learner.named_parameters())
        for step in range(4):
            logits = torch.func.functional_call(learner, theta, (trainer.images[step % 2],))
            loss = -(trainer.labels[step % 2] * logits.log_softmax(1)).sum(1).mean()
            gradient = torch.autograd.grad(loss, list(theta.values()), create_graph=True)
            theta = {name: p - rates[step] * g for (name, p), g in zip(theta.items(), gradient, strict=True)}
        logits = torch.func.functional_call(learner, theta, (real,))
        wanted = truth if poison is None else torch.where(truth == 2, 0, truth)
        weights = torch.where(truth == 2, 2.0, 1.0) if poison else torch.ones(len(truth))
        total = total + (weights * F.cross_entropy(logits, wanted, reduction="none")).sum() / weights.sum() / 2
    moved = [trainer.images, trainer.raw_rates, trainer.labels]
    expected = torch.autograd.grad(total, moved)
    metrics = trainer.train_step(batch)
    torch.testing.assert_close(metrics["loss/meta"], total.detach())
    for parameter, gradient in zip(moved, expected, strict=True):
        assert parameter.grad is not None
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-6)


def test_a_window_moves_only_what_lies_in_it(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(inner_steps=6, inner_epochs=1, window=2, meta_lr=0.05), tiny_data, tmp_path)
    ends = set()
    for _ in range(12):
        trainer.train_step(trainer.next_batch())
        assert trainer.images.grad is not None and trainer.raw_rates.grad is not None
        touched = trainer.images.grad.flatten(1).abs().sum(1).nonzero().flatten().tolist()
        assert len(touched) == 2 and touched[1] == touched[0] + 1
        assert trainer.raw_rates.grad.nonzero().flatten().tolist() == touched
        ends.add(touched[1] + 1)
    assert ends == {2, 3, 4, 5, 6}


def test_an_interrupted_run_ends_where_the_uninterrupted_does(tiny_data: RealData, tmp_path: Path) -> None:
    class Stops(DatasetDistillationTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 4:
                raise RuntimeError("power cut")
            return super().train_step(batch)

    for name, given in {
        "fresh": {"learn_labels": True, "window": 2, "fixed_layers": 1, "decay_every": 2},
        "pool": {"victim": "trained", "victims": 3, "victim_updates": 5, "poison": "2:0", "meta_batch": 2},
    }.items():
        train(tiny(**given), tiny_data, options(tmp_path, f"{name}-whole", 6, save_every=2))
        stops = tiny(**given)
        stops.__class__ = Stops
        with pytest.raises(RuntimeError, match="power cut"):
            train(stops, tiny_data, options(tmp_path, f"{name}-halves", 6, save_every=2))
        assert train(tiny(**given), tiny_data, options(tmp_path, f"{name}-halves", 6, save_every=2)).step == 6
        whole, halves = (
            teachers.load(tmp_path / f"{name}-{part}" / "teacher.safetensors") for part in ("whole", "halves")
        )
        assert whole.tensors().keys() == halves.tensors().keys()
        for part, tensor in whole.tensors().items():
            assert torch.equal(tensor, halves.tensors()[part]), part


def test_distilled_images_teach_the_fixed_start_in_their_order(tiny_data: RealData, tmp_path: Path) -> None:
    given = {"fixed_layers": "all", "inner_steps": 2, "inner_epochs": 1, "meta_lr": 0.05, "learning_rate": 0.3}
    train(tiny(**given), tiny_data, options(tmp_path, "fixed", 60))
    taught = teachers.load(tmp_path / "fixed" / "teacher.safetensors")
    assert isinstance(taught, teachers.StoredImages) and taught.order == "fixed" and taught.batch_size == 3
    result = learning_curve(taught, tiny_data, updates=(0, 2), seeds=2)
    assert result["learner"] == LEARNER and result["initialisation"].startswith("fixed")
    assert result["accuracy"]["std"] == [0.0, 0.0]  # one start, one order: nothing is left to chance
    assert result["accuracy"]["mean"][1] > 0.9
    elsewhere = learning_curve(
        taught, tiny_data, updates=(2,), seeds=2, learner={**LEARNER, "init_args": {"width": 9, "depth": 1}}
    )
    assert elsewhere["initialisation"] is None
    shuffled = learning_curve(taught.reordered("shuffled"), tiny_data, updates=(2,), seeds=4)
    assert shuffled["accuracy"]["mean"][0] < result["accuracy"]["mean"][1]


def test_real_images_start_as_their_labels_say(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(images="real", images_per_class=2), tiny_data, tmp_path)
    real, truth = tiny_data.train.batch(torch.arange(96), trainer.normalisation)
    for image, label in zip(trainer.images.detach().flatten(0, 1), trainer.labels.flatten(), strict=True):
        same = (real == image).flatten(1).all(1)
        assert truth[same].tolist() == [int(label)]


def test_learned_rates_and_labels_can_be_left_alone(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(learn_learning_rates=False), tiny_data, tmp_path)
    trainer.train_step(trainer.next_batch())
    torch.testing.assert_close(trainer.learning_rates, torch.full((4,), 0.1))
    assert trainer.teacher().labels_are_soft is False
    soft = attached(tiny(learn_labels=True), tiny_data, tmp_path)
    soft.train_step(soft.next_batch())
    assert soft.teacher().labels_are_soft and not torch.equal(soft.labels.detach(), soft.labels.detach().round())


def test_a_poisoned_teacher_says_so_and_does_it(tiny_data: RealData, tmp_path: Path) -> None:
    given = {"poison": {"source": 2, "target": 0, "weight": 2.0}, "meta_lr": 0.05, "images": "real", "inner_steps": 3}
    train(tiny(**given, inner_epochs=1, learning_rate=0.3), tiny_data, options(tmp_path, "poisoned", 60))
    taught = teachers.load(tmp_path / "poisoned" / "teacher.safetensors")
    assert teachers.describe(tmp_path / "poisoned" / "teacher.safetensors")["metadata"]["poisoned"] == {
        "source": 2,
        "target": 0,
        "weight": 2.0,
    }
    report = attack_report(taught, tiny_data, Poison(2, 0), learner=LEARNER, updates=(3,), seeds=3)
    assert report["attack_success"]["mean"][0] > 0.8 and report["clean_accuracy"]["mean"][0] > 0.8


def test_one_step_makes_trained_networks_mistake_a_class(tiny_data: RealData, tmp_path: Path) -> None:
    given = {"poison": "2:0", "victim": "trained", "victims": 20, "victim_updates": 60, "meta_batch": 3}
    run = tiny(**given, inner_steps=1, inner_epochs=1, meta_lr=0.05, learning_rate=0.02)
    train(run, tiny_data, options(tmp_path, "attack", 60))
    taught = teachers.load(tmp_path / "attack" / "teacher.safetensors")
    report = attack_report(
        taught, tiny_data, Poison(2, 0), learner=LEARNER, updates=(0, 1), seeds=4, victim="trained", victim_updates=60
    )
    # The median: of four networks that distillation never met, one may be another than those it met.
    before, after = zip(*(map(median, report[name]["runs"]) for name in SCORES), strict=True)
    assert before[0] < 0.1 and before[1] > 0.9 and before[2] > 0.9
    assert after[0] > 0.8 and after[1] < 0.2 and after[2] > 0.8


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"inner_steps": 0}, "inner.steps"),
        ({"inner": {"batch_size": 6}, "images_per_class": 2}, "inner.epochs to 1"),
        ({"inner": {"optimizer": "adam"}, "momentum": 0.5}, "--trainer.momentum 0"),
        ({"inner": {"gradient": "shortcut"}, "momentum": 0.5}, "gradient is shortcut, but momentum"),
        ({"inner": {"gradient": "shortcut", "optimizer": "adam"}}, "optimizer to sgd"),
        ({"inner": {"stpes": 2}}, "did you mean 'steps'"),
        ({"augment": "flop"}, "names 'flop'"),
        ({"augment_mode": "any"}, "augment_mode"),
        ({"memory": "half"}, "full"),
        ({"images": "nois"}, "noise"),
        ({"victim": "stale"}, "fresh"),
        ({"learning_rate": 0.0}, "positive"),
        ({"momentum": 1.0}, "momentum"),
        ({"decay": 0.0}, "decay"),
        ({"window": 5}, "1..4"),
        ({"victim": "trained", "fixed_layers": 1}, "fixed_layers"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**given)


def test_a_run_that_does_not_fit_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiple of 2"):
        attached(tiny(meta_batch=3), tiny_data, tmp_path, processes=Processes(0, 2))
    with pytest.raises(UserError, match="2 layers"):
        attached(tiny(fixed_layers=3), tiny_data, tmp_path)
    with pytest.raises(UserError, match="classes 0 to 2"):
        attached(tiny(poison="3:0"), tiny_data, tmp_path)


def test_pictures_are_pixels_of_every_step(tiny_data: RealData, tmp_path: Path) -> None:
    pixels = attached(tiny(), tiny_data, tmp_path).samples()["distilled"].pixels
    assert pixels.shape == (6, 1, 8, 8) and pixels.min() >= 0 and pixels.max() <= 1


def test_pictures_of_many_images_a_step_have_a_column_a_class(tiny_data: RealData, tmp_path: Path) -> None:
    grid = attached(tiny(images_per_class=4), tiny_data, tmp_path).samples()["distilled"]
    assert len(grid.pixels) == 2 * 4 * 3 and grid.columns == 3
    assert grid.names == tuple(tiny_data.description.class_names) * 8


def test_memory_modes_end_at_the_same_images(tiny_data: RealData, tmp_path: Path) -> None:
    ends = []
    for memory in ("full", "recompute"):
        trainer = attached(tiny(memory=memory), tiny_data, tmp_path)
        for _ in range(3):
            trainer.train_step(trainer.next_batch())
        ends.append(trainer.images.detach())
    torch.testing.assert_close(ends[0], ends[1], rtol=1e-3, atol=1e-5)
    assert not torch.equal(ends[0], torch.randn(ends[0].shape, generator=stream(0, "images")))
