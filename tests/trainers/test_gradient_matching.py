"""Gradient matching against the papers' loop written out slowly, finite differences and the table of loops."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from image_runs import BATCH_NORM, LEARNER, POOL, attached, power_cut_changes_nothing, run
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill.data.augment import augment
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.runs.processes import Processes
from gendistill.seeds import stream
from trainers.gradient_matching import GradientMatchingTrainer


def tiny(**options: Any) -> GradientMatchingTrainer:
    given: dict[str, Any] = {"images_per_class": 2, "real_batch": 6, "learner": LEARNER, "augment": "color_crop_cutout"}
    return GradientMatchingTrainer(**(given | {"outer_loops": 3, "inner_loops": 2} | options))


def advance(trainer: GradientMatchingTrainer) -> dict[str, Tensor]:
    metrics = trainer.train_step(trainer.next_batch())
    trainer.run.step += 1
    return metrics


def published_distance(real: list[Tensor], synthetic: list[Tensor]) -> Tensor:
    """One minus the cosine for every output unit, one at a time; 1-D gradients do not count."""
    total = torch.zeros(())
    for wanted, found in zip(real, synthetic, strict=True):
        if wanted.ndim == 1:
            continue
        for a, b in zip(wanted, found, strict=True):
            total = total + 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)
    return total


def of_every_class(trainer: GradientMatchingTrainer, network: nn.Module, real: Tensor) -> Tensor:
    change, total = trainer.siamese(), torch.zeros(())
    parameters = list(network.parameters())
    for label, some in enumerate(trainer.real_images(real)):
        shown = change(some[None], label)[0]
        wanted = torch.autograd.grad(F.cross_entropy(network(shown), torch.full((6,), label)), parameters)
        shown = change(trainer.images[label][None], label)[0]
        loss = F.cross_entropy(network(shown), torch.full((2,), label))
        found = torch.autograd.grad(loss, parameters, create_graph=True)
        total = total + published_distance(list(wanted), list(found))
    return total


@pytest.mark.parametrize("classes_at_once", [1, 2, 3])
@pytest.mark.parametrize("options", [{}, {"augment": "none", "images": "noise"}, {"learner": BATCH_NORM}])
def test_a_match_is_that_of_the_slow_version(
    tiny_data: RealData, tmp_path: Path, classes_at_once: int, options: dict[str, Any]
) -> None:
    # A chunk of 4 cuts a class's six real images into two parts, or one image of each class at a time.
    trainer, other = (
        attached(tiny(classes_at_once=classes_at_once, chunk=4, **options), tiny_data, tmp_path) for _ in range(2)
    )
    start = trainer.images.detach().clone()
    real, _ = batch = trainer.next_batch()
    other.next_batch()
    network = other.new_network()
    loss = of_every_class(other, network, real)
    (expected,) = torch.autograd.grad(loss, other.images)
    metrics = trainer.train_step(batch)
    torch.testing.assert_close(metrics["loss/gradient"], loss.detach(), rtol=1e-4, atol=1e-5)
    assert trainer.images.grad is not None and expected.abs().max() > 1e-4
    torch.testing.assert_close(trainer.images.grad, expected, rtol=2e-3, atol=1e-5)
    torch.testing.assert_close(trainer.images.detach(), start - 0.1 * expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("distance", ["cosine_layerwise", "mse"])
def test_the_distance_agrees_with_finite_differences(tiny_data: RealData, tmp_path: Path, distance: str) -> None:
    smooth = {**LEARNER, "init_args": {"width": 2, "depth": 1, "activation": "tanh"}}
    trainer = attached(tiny(learner=smooth, distance=distance), tiny_data, tmp_path)
    network, real = trainer.new_network().double(), trainer.real_images(trainer.next_batch()[0]).double()

    def of_one(images: Tensor) -> Tensor:
        return trainer.distance(network, real[1:2], images, 1)

    assert torch.autograd.gradcheck(of_one, (trainer.images.detach()[1:2, :1].double().requires_grad_(),))


def test_the_network_learns_from_the_images_between_matches_and_is_then_replaced(
    tiny_data: RealData, tmp_path: Path
) -> None:
    trainer = attached(tiny(inner_batch=4, lr_network=0.1), tiny_data, tmp_path)
    other = attached(tiny(), tiny_data, tmp_path)
    for step in range(6):
        if step % 3 == 0:
            network = copy.deepcopy(other.new_network())
        metrics = advance(trainer)
        assert ("loss/network" in metrics) == (step % 3 < 2)
        if step % 3 < 2:
            generator = stream(0, f"inner/{step}")
            images = trainer.images.detach().flatten(0, 1)
            for _ in range(2):
                order = torch.randperm(6, generator=generator)
                for index in (order[:4], order[4:]):
                    shown = augment(images[index], "color_crop_cutout", generator)
                    loss = F.cross_entropy(network(shown), index // 2)
                    gradients = torch.autograd.grad(loss, list(network.parameters()))
                    with torch.no_grad():
                        for parameter, gradient in zip(network.parameters(), gradients, strict=True):
                            parameter -= 0.1 * gradient
        for mine, expected in zip(trainer.network.parameters(), network.parameters(), strict=True):
            torch.testing.assert_close(mine, expected, rtol=1e-4, atol=1e-6)


def test_memory_holds_the_graph_of_as_many_classes_as_asked_for(tiny_data: RealData, tmp_path: Path) -> None:
    alive: list[int] = []
    held = 0

    class Counts(torch.autograd.Function):
        """Notes how many images' graphs wait for their backward pass."""

        @staticmethod
        def forward(ctx: Any, images: Tensor) -> Tensor:
            nonlocal held
            ctx.count = len(images)
            held += ctx.count
            alive.append(held)
            return images.clone()

        @staticmethod
        def backward(ctx: Any, *gradients: Tensor) -> Tensor:
            nonlocal held
            held -= ctx.count
            return gradients[0]

    class Counted(GradientMatchingTrainer):
        def distance(self, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
            return super().distance(network, real, Counts.apply(synthetic), first_class)

    for together, most in ((1, 1), (2, 2), (3, 3)):
        alive.clear()
        trainer = tiny(classes_at_once=together, augment="none")
        trainer.__class__ = Counted
        advance(attached(trainer, tiny_data, tmp_path))
        assert max(alive) == most and held == 0


@pytest.mark.parametrize("probe", [None, POOL])
def test_an_interrupted_run_ends_where_the_uninterrupted_does(
    tiny_data: RealData, tmp_path: Path, probe: dict[str, Any] | None
) -> None:
    given = {"images_per_class": 2, "real_batch": 4, "learner": LEARNER, "outer_loops": 3, "inner_loops": 2}
    power_cut_changes_nothing(
        GradientMatchingTrainer, {**given, "probe": probe, "augment": "crop_scale"}, tiny_data, tmp_path
    )


def test_a_pool_does_not_learn_from_synthetic_images(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(probe={**POOL, "refresh": 0}), tiny_data, tmp_path)
    before = copy.deepcopy(trainer.probes.state_dict())
    for _ in range(3):
        advance(trainer)
    for member, saved in zip(trainer.probes.members, before["members"], strict=True):
        for name, value in member["network"].state_dict().items():
            assert torch.equal(value, saved["network"][name])
    first = before["members"][0]["network"]
    assert any(not torch.equal(value, first[name]) for name, value in trainer.network.state_dict().items())


def test_processes_share_the_classes_and_train_the_same_network(tiny_data: RealData, tmp_path: Path) -> None:
    class Two(Processes):
        def average_gradients(self, parameters: Any) -> None:
            pass  # each keeps its own, to be averaged below

    one = attached(tiny(lr_images=1e-12), tiny_data, tmp_path)
    pair = [attached(tiny(lr_images=1e-12), tiny_data, tmp_path, Two(rank, 2)) for rank in range(2)]
    for _ in range(2):
        advance(one)
        for trainer in pair:
            advance(trainer)
        assert one.images.grad is not None
        gradients = [trainer.images.grad for trainer in pair]
        torch.testing.assert_close((gradients[0] + gradients[1]) / 2, one.images.grad, rtol=1e-3, atol=1e-6)
    for parameters in zip(*(trainer.network.parameters() for trainer in (one, *pair)), strict=True):
        torch.testing.assert_close(parameters[0], parameters[1])
        torch.testing.assert_close(parameters[0], parameters[2])


def test_bfloat16_is_for_the_first_derivatives_alone(tiny_data: RealData, tmp_path: Path) -> None:
    exact, rounded = (attached(tiny(), tiny_data, tmp_path, precision=p) for p in ("float32", "bfloat16"))
    for trainer in (exact, rounded):
        trainer.train_step(trainer.next_batch())
    assert exact.images.grad is not None and rounded.images.grad is not None
    assert rounded.images.grad.dtype == torch.float32
    off = (rounded.images.grad - exact.images.grad).norm() / exact.images.grad.norm()
    assert 0 < off < 0.1


def test_noise_becomes_images_that_teach(tiny_data: RealData, tmp_path: Path) -> None:
    taught = []
    for name, steps, rate in (("still", 1, 1e-9), ("moved", 30, 2.0)):
        trainer = tiny(images="noise", lr_images=rate, real_batch=8, augment="none", inner_loops=1)
        run(trainer, tiny_data, tmp_path, name, steps)
        found = teachers.load(tmp_path / name / "teacher.safetensors")
        result = learning_curve(found, tiny_data, updates=(20,), seeds=3, lr=0.05, learner=LEARNER)
        taught.append(result["accuracy"]["mean"][0])
    assert taught[0] < 0.6 and taught[1] > 0.9, taught


@pytest.mark.parametrize(
    ("images_per_class", "loops"), [(1, (1, 1)), (10, (10, 50)), (20, (20, 25)), (30, (30, 20)), (50, (50, 10))]
)
def test_loops_are_those_published(images_per_class: int, loops: tuple[int, int]) -> None:
    trainer = GradientMatchingTrainer(images_per_class=images_per_class)
    assert (trainer.outer_loops, trainer.inner_loops) == loops
    assert GradientMatchingTrainer(images_per_class=7, outer_loops=2, inner_loops=0).inner_loops == 0


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images_per_class": 7, "outer_loops": None}, "no published loops for 7 images per class, only for 1, 10"),
        ({"outer_loops": 0}, "outer_loops is 0"),
        ({"inner_loops": -1}, "inner_loops must be 0 or more"),
        ({"lr_network": 0.0}, "lr_network positive"),
        ({"distance": "cosine"}, "distance is 'cosine'; choose one of cosine_layerwise, l2, mse"),
        ({"classes_at_once": 0}, "classes_at_once is 0"),
        ({"inner_batch": 0}, "inner_batch is 0"),
    ],
)
def test_a_wrong_option_is_one_sentence(options: dict[str, Any], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        tiny(**options)
