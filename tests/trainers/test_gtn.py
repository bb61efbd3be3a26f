from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill import unroll
from gendistill.curriculum import make_curriculum
from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import DivergenceError, UserError
from gendistill.nets.gtn import GTNGenerator
from gendistill.nets.learners import ConvNet
from gendistill.nets.weight_normalised import WeightNormConvNet
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams, initialisation, stream
from trainers.gtn import GTNTrainer

GENERATOR = {
    "class_path": "gendistill.nets.gtn.GTNGenerator",
    "init_args": {"nz": 8, "hidden": 16, "channels": 8},
}
LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8, "depth": 1}}


def tiny(**options: Any) -> GTNTrainer:
    given: dict[str, Any] = {
        "generator": GENERATOR,
        "learners": LEARNER,
        "inner_steps": 3,
        "inner_batch_size": 6,
        "learning_rate": 0.1,
        "batch_size": 24,
        "real_every": 2,
    }
    return GTNTrainer(**(given | options))


def attached(trainer: GTNTrainer, data: RealData, tmp_path: Path, **run: Any) -> GTNTrainer:
    processes = run.pop("processes", Processes())
    options = RunOptions(root=str(tmp_path), device="cpu", **run)
    directory = RunDirectory(tmp_path, "run")
    trainer.attach(RunContext(options, directory, torch.device("cpu"), Streams(0), processes), data)
    return trainer


def options(tmp_path: Path, name: str, steps: int, **more: Any) -> RunOptions:
    return RunOptions(
        name=name, root=str(tmp_path), steps=steps, device="cpu", sample_every=0, progress=False, log_every=2, **more
    )


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
from tests.trainers.test_gtn import train_both

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
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
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


def test_curricula_differ_in_what_is_trained(tiny_data: RealData, tmp_path: Path) -> None:
    moved = {}
    for kind in ("learned", "fixed"):
        trainer = attached(tiny(curriculum=kind), tiny_data, tmp_path)
        assert trainer.curriculum.latents is not None
        before = trainer.curriculum.latents.detach().clone()
        trainer.train_step(trainer.next_batch())
        moved[kind] = not torch.equal(before, trainer.curriculum.latents)
    assert moved == {"learned": True, "fixed": False}
    fresh = attached(tiny(curriculum="fresh"), tiny_data, tmp_path)
    fresh.train_step(fresh.next_batch())
    assert fresh.teacher().images_stored is None
    rates = attached(tiny(learn_learning_rates=False), tiny_data, tmp_path)
    before = rates.curriculum.learning_rates.detach().clone()
    rates.train_step(rates.next_batch())
    assert torch.equal(before, rates.curriculum.learning_rates.detach())


def test_a_curriculum_starts_where_it_was_asked_to() -> None:
    curriculum = make_curriculum(
        "learned",
        steps=4,
        batch_size=7,
        nz=2,
        num_classes=3,
        generator=torch.Generator(),
        learning_rate=0.05,
        momentum=0.9,
    )
    torch.testing.assert_close(curriculum.learning_rates, torch.full((4,), 0.05))
    torch.testing.assert_close(curriculum.momenta, torch.full((4,), 0.9))
    counts = torch.stack([labels.bincount(minlength=3) for labels in curriculum.labels])
    assert (counts.max(1).values - counts.min(1).values).max() <= 1


def test_pictures_show_every_class_of_every_step(tiny_data: RealData, tmp_path: Path) -> None:
    pixels = attached(tiny(), tiny_data, tmp_path).samples()["curriculum"]
    assert pixels.shape == (30, 1, 8, 8) and pixels.min() >= 0 and pixels.max() <= 1


def test_divergence_is_named(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="loss/meta.*step"):
        train(tiny(learning_rate=1e30), tiny_data, options(tmp_path, "wild", 4))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"meta_batch": 0}, "meta_batch"),
        ({"memory": "half"}, "full, recompute"),
        ({"curriculum": "loose"}, "learned, fixed, fresh, batch_shuffled, all_shuffled"),
        ({"momentum": 1.0}, "momentum"),
        ({"learning_rate": 0.0}, "learning_rate"),
        ({"meta_lr": -1.0}, "meta_lr"),
        ({"meta_lr_final": 2.0}, "meta_lr_final"),
        ({"inner_batch_size": 1}, "at least 2"),
        ({"window": 4}, "inner_steps, which is 3"),
        ({"statistics": "mine"}, "batch, running"),
        ({"inner_optimizer": "lion"}, "sgd, adam"),
        ({"curriculum": "fresh", "learn_labels": True}, "learn_labels to false"),
        ({"learners": []}, "at least one learner"),
    ],
)
def test_wrong_options_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=message):
        tiny(**given)


def test_a_run_that_does_not_fit_is_refused(tiny_data: RealData, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="multiple of 2"):
        attached(tiny(meta_batch=3), tiny_data, tmp_path, processes=Processes(0, 2))


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 32, 32), (1, 28, 28)])
def test_generator_makes_images_of_any_usual_size(shape: tuple[int, int, int]) -> None:
    network = GTNGenerator(10, shape, nz=4, hidden=8, channels=4)
    labels = torch.arange(6)
    latents = torch.randn(6, 4, generator=stream(0, "z"))
    images = network(latents, labels)
    assert images.shape == (6, *shape) and images.abs().max() <= 2.0
    soft = network(latents, F.one_hot(labels, 10).float())
    assert torch.equal(images, soft)
    assert torch.equal(images, network.eval()(latents, labels))


def test_generator_refuses_what_it_cannot_build() -> None:
    with pytest.raises(UserError, match="multiples of 4"):
        GTNGenerator(10, (1, 30, 30))
    with pytest.raises(UserError, match="batch, none"):
        GTNGenerator(10, (1, 8, 8), normalisation="layer")
    plain = GTNGenerator(10, (1, 8, 8), normalisation="none", weight_norm=False)
    assert not any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in plain.modules())


WEIGHT_NORM = {
    "class_path": "gendistill.nets.weight_normalised.WeightNormConvNet",
    "init_args": {"widths": [4, 6], "hidden": None},
}


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


def test_shuffled_teachers_show_what_learners_met_in_training(tiny_data: RealData, tmp_path: Path) -> None:
    for kind, shuffle in (("batch_shuffled", "batches"), ("all_shuffled", "all")):
        trainer = attached(tiny(curriculum=kind, inner_steps=7), tiny_data, tmp_path)
        lesson = trainer.curriculum.lesson(stream(7, "order"))
        again = trainer.curriculum.lesson(stream(8, "order"))
        assert not torch.equal(lesson.latents, again.latents)
        teacher = trainer.teacher()
        assert isinstance(teacher, teachers.GeneratorTeacher) and teacher.shuffle == shuffle
        for (images, labels, rate), z, y, expected in zip(
            teacher.batches(7, 64, stream(7, "order")), *lesson[:2], trainer.curriculum.learning_rates, strict=True
        ):
            with torch.no_grad():
                assert torch.equal(images, trainer.generator(z, y))
            assert torch.equal(labels, y) and torch.equal(rate, expected)


def test_learned_labels_move_and_are_told_to_learners(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(learn_labels=True), tiny_data, tmp_path)
    before = trainer.teacher()
    assert before.labels_are_soft
    _, labels, _ = next(before.batches(1, 6, stream(0, "unused")))
    torch.testing.assert_close(labels.max(1).values, torch.full((6,), 0.9))
    assert torch.equal(labels.argmax(1), trainer.curriculum.labels[0])
    trainer.train_step(trainer.next_batch())
    teachers.save(trainer.teacher(), tmp_path / "teacher.safetensors")
    after = teachers.load(tmp_path / "teacher.safetensors")
    images, moved, _ = next(after.batches(1, 6, stream(0, "unused")))
    assert not torch.equal(moved, labels)
    torch.testing.assert_close(moved.sum(1), torch.ones(6))
    with torch.no_grad():  # the generator is still asked for the class
        assert torch.equal(images, trainer.generator(trainer.curriculum.latents[0], trainer.curriculum.labels[0]))


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


def test_learners_from_a_space_of_widths(tiny_data: RealData, tmp_path: Path) -> None:
    space = {
        "class_path": "gendistill.nets.spaces.WidthSpace",
        "init_args": {"learner": WEIGHT_NORM, "widths": {"widths": [[2, 5], [3, 8]]}},
    }
    trainer = attached(tiny(learners=space, meta_batch=3), tiny_data, tmp_path)
    widths = set()
    for _ in range(3):
        widths |= {learner.norms[1].bias.numel() for learner in trainer._new_learners()}
    assert len(widths) > 1 and widths <= set(range(3, 9))
    assert trainer.train_step(trainer.next_batch())["loss/meta"].isfinite()
    assert trainer.teacher().metadata["learner"] == [space]


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


def test_adams_teacher_has_rates_without_momenta(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = attached(tiny(inner_optimizer="adam"), tiny_data, tmp_path).teacher()
    assert teacher.momenta is None and teacher.metadata["optimizer"] == "adam"


def test_a_poisoned_teacher_says_so_and_reports_the_attack(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(poison="0:1"), tiny_data, tmp_path)
    assert "attack/success" in trainer.train_step(trainer.next_batch())
    assert trainer.teacher().metadata["poisoned"]["source"] == 0


def test_bfloat16_trains_near_float32(tiny_data: RealData, tmp_path: Path) -> None:
    exact, rounded = (
        gradients_of(attached(tiny(gradient_clip=0.0), tiny_data, tmp_path, precision=precision))
        for precision in ("float32", "bfloat16")
    )
    a, b = (torch.cat([gradient.flatten() for gradient in one]) for one in (exact, rounded))
    assert not torch.equal(a, b) and F.cosine_similarity(a, b, 0) > 0.97
