"""Distribution matching against a loop over classes, finite differences, and what all matching trainers share."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_runs import BATCH_NORM, LEARNER, POOL, attached, power_cut_changes_nothing, run
from torch import Tensor, nn

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.runs.processes import Processes
from gendistill.teacher import StoredImages
from trainers.distribution_matching import DistributionMatchingTrainer


def tiny(**options: Any) -> DistributionMatchingTrainer:
    return DistributionMatchingTrainer(
        **({"images_per_class": 3, "real_batch": 8, "learner": LEARNER, "augment": "color_crop_cutout"} | options)
    )


def of_every_class(trainer: DistributionMatchingTrainer, network: Any, real: Tensor) -> Tensor:
    """The loss of Algorithm 1, one class after another, everything in one graph."""
    change, total = trainer.siamese(), torch.zeros(())
    for label, some in enumerate(trainer.real_images(real)):
        wanted = network.features(change(some[None], label)[0]).mean(0)
        found = network.features(change(trainer.images[label][None], label)[0]).mean(0)
        total = total + ((wanted.detach() - found) ** 2).sum()
    return total


@pytest.mark.parametrize("chunk", [1, 4, 7, 1000])
@pytest.mark.parametrize("options", [{}, {"augment": "none", "images": "noise"}, {"learner": BATCH_NORM}])
def test_a_step_is_that_of_the_slow_version(
    tiny_data: RealData, tmp_path: Path, chunk: int, options: dict[str, Any]
) -> None:
    trainer, other = (attached(tiny(chunk=chunk, **options), tiny_data, tmp_path) for _ in range(2))
    start = trainer.images.detach().clone()
    real, labels = batch = trainer.next_batch()
    assert labels.tolist() == [0] * 8 + [1] * 8 + [2] * 8 and torch.equal(other.next_batch()[0], real)
    loss = of_every_class(other, other.new_network(), real)
    (expected,) = torch.autograd.grad(loss, other.images)
    metrics = trainer.train_step(batch)
    torch.testing.assert_close(metrics["loss/distribution"], loss.detach())
    assert trainer.images.grad is not None and expected.abs().max() > 1e-3
    torch.testing.assert_close(trainer.images.grad, expected, rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(trainer.images.detach(), start - expected, rtol=1e-4, atol=1e-6)  # the rate is 1


def test_the_distance_agrees_with_finite_differences(tiny_data: RealData, tmp_path: Path) -> None:
    smooth = {**LEARNER, "init_args": {"width": 2, "depth": 1, "activation": "tanh"}}
    trainer = attached(tiny(learner=smooth, images_per_class=1), tiny_data, tmp_path)
    network, real = trainer.new_network().double(), trainer.real_images(trainer.next_batch()[0]).double()

    def distance(images: Tensor) -> Tensor:
        return trainer.distance(network, real[:2], images, 0)

    assert torch.autograd.gradcheck(distance, (trainer.images.detach()[:2].double().requires_grad_(),))


def test_processes_share_the_classes_and_descend_the_same_gradient(tiny_data: RealData, tmp_path: Path) -> None:
    class Two(Processes):
        def average_gradients(self, parameters: Any) -> None:
            pass  # each keeps its own, to be averaged below

    one = attached(tiny(), tiny_data, tmp_path)
    one.train_step(one.next_batch())
    metrics, gradients, seen = [], [], []
    for rank in range(2):
        trainer = attached(tiny(), tiny_data, tmp_path, Two(rank, 2))
        batch = trainer.next_batch()
        seen += batch[1].tolist()
        metrics.append(trainer.train_step(batch)["loss/distribution"])
        gradients.append(trainer.images.grad)
    assert seen == [0] * 8 + [1] * 8 + [2] * 8
    assert one.images.grad is not None
    torch.testing.assert_close((gradients[0] + gradients[1]) / 2, one.images.grad)
    fresh = attached(tiny(), tiny_data, tmp_path)
    torch.testing.assert_close(sum(metrics) / 2, fresh.train_step(fresh.next_batch())["loss/distribution"])
    with pytest.raises(UserError, match="4 processes cannot share 3 classes"):
        attached(tiny(), tiny_data, tmp_path, Processes(0, 4))


@pytest.mark.parametrize("probe", [None, POOL, {"state": "pretrained", "steps": 3}])
def test_an_interrupted_run_ends_where_the_uninterrupted_does(
    tiny_data: RealData, tmp_path: Path, probe: dict[str, Any] | None
) -> None:
    power_cut_changes_nothing(
        DistributionMatchingTrainer,
        {"images_per_class": 2, "real_batch": 4, "learner": LEARNER, "probe": probe, "augment": "crop_scale"},
        tiny_data,
        tmp_path,
    )


def test_networks_of_a_pool_learn_and_fresh_ones_do_not(tiny_data: RealData, tmp_path: Path) -> None:
    images, labels = tiny_data.test.batch(torch.arange(60), tiny_data.description.normalisation)

    def accuracy(probe: dict[str, Any] | None) -> float:
        trainer = attached(tiny(probe=probe, augment="none"), tiny_data, tmp_path)
        return max(float((trainer.new_network()(images).argmax(1) == labels).float().mean()) for _ in range(3))

    assert accuracy({"state": "pool", "size": 3, "steps": 120, "lr": 0.05, "batch_size": 32}) > 0.9
    assert accuracy(None) < 0.8


def test_noise_becomes_images_that_teach(tiny_data: RealData, tmp_path: Path) -> None:
    taught = []
    for steps in (1, 60):
        trainer = tiny(images="noise", images_per_class=2, lr_images=1e-6 if steps == 1 else 0.3, augment="none")
        run(trainer, tiny_data, tmp_path, f"run-{steps}", steps)
        found = teachers.load(tmp_path / f"run-{steps}" / "teacher.safetensors")
        assert isinstance(found, StoredImages) and found.labels.tolist() == [0, 0, 1, 1, 2, 2]
        result = learning_curve(found, tiny_data, updates=(20,), seeds=3, lr=0.05, learner=LEARNER)
        taught.append(result["accuracy"]["mean"][0])
    assert taught[0] < 0.6 and taught[1] > 0.9, taught
    assert found.metadata["learner"] == LEARNER and found.metadata["augmentation"] == "none"
    assert found.metadata["images_per_class"] == 2 and found.metadata["start"] == "noise"


def test_real_images_are_the_start_and_digits_are_not_mirrored(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(tiny(images="real", augment="dsa"), tiny_data, tmp_path)
    real, labels = tiny_data.train.batch(torch.arange(96), tiny_data.description.normalisation)
    for label, own in enumerate(trainer.images.detach()):
        for image in own:
            same = (real == image).flatten(1).all(1).nonzero().flatten()
            assert len(same) == 1 and labels[same] == label
    assert trainer.strategy == "color_crop_cutout_flip_scale_rotate"
    assert trainer.samples()["images"].pixels.shape == (9, 1, 8, 8)
    object.__setattr__(tiny_data.description, "name", "mnist")
    assert attached(tiny(augment="dsa"), tiny_data, tmp_path).strategy == "color_crop_cutout_scale_rotate"


def test_the_strength_of_augmentation_is_an_option(tiny_data: RealData, tmp_path: Path) -> None:
    reach = {}
    for degrees in (0.0, 15.0, 45.0):
        trainer = attached(tiny(augment="rotate", strength={"rotate": degrees}), tiny_data, tmp_path)
        ((_, angles),) = trainer.siamese().drawn[0].steps
        reach[degrees] = float(angles.abs().max())
    assert reach[0.0] == 0.0 and reach[45.0] == pytest.approx(3 * reach[15.0]) and reach[15.0] > 0.01


def test_bfloat16_and_channels_last_change_the_rounding_alone(tiny_data: RealData, tmp_path: Path) -> None:
    exact = attached(tiny(), tiny_data, tmp_path)
    exact.train_step(exact.next_batch())
    for tolerance, options in ((1e-5, {"channels_last": True}), (0.1, {"precision": "bfloat16"})):
        trainer = attached(tiny(), tiny_data, tmp_path, **options)
        trainer.train_step(trainer.next_batch())
        assert exact.images.grad is not None and trainer.images.grad is not None
        off = (trainer.images.grad - exact.images.grad).norm() / exact.images.grad.norm()
        assert 0 < off < tolerance, options


def test_compiling_changes_no_number_and_happens_once_for_each_shape(
    tiny_data: RealData, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    whole = torch.compile

    def counting(graph: torch.fx.GraphModule, examples: list[Tensor]) -> Any:
        made.append(1)
        return graph.forward

    monkeypatch.setattr(torch, "compile", lambda function, **given: whole(function, backend=counting, **given))
    exact, compiled = (attached(tiny(compile=c, chunk=5, probe=POOL), tiny_data, tmp_path) for c in (False, True))
    for _ in range(5):
        exact.train_step(exact.next_batch())
        compiled.train_step(compiled.next_batch())
    assert torch.equal(exact.images, compiled.images)
    assert len(made) == 3  # five real images, the three that are left of eight, three synthetic ones
    exact, compiled = (attached(tiny(compile=c, chunk=2, probe=POOL), tiny_data, tmp_path) for c in (False, True))
    for _ in range(2):  # a class's synthetic images in two parts, each made anew on the way back
        exact.train_step(exact.next_batch())
        compiled.train_step(compiled.next_batch())
    assert torch.equal(exact.images, compiled.images)


class Blind(nn.Module):
    def __init__(self, num_classes: int) -> None:
        super().__init__()


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"images_per_class": 0}, "images_per_class is 0"),
        (
            {"images_per_class": 40},
            "images_per_class is 40, .* 40 real images of each class, and classes 'top' has 32.*choose 1 to 32",
        ),
        ({"images": "reel"}, "did you mean 'real'"),
        ({"lr_images": 0.0}, "lr_images must be positive"),
        ({"momentum": 1.0}, r"momentum lie in \[0, 1\)"),
        ({"augment": "crop_blur"}, "names 'blur'"),
        ({"chunk": 0}, "chunk is 0"),
        ({"strength": {"rotat": 45.0}}, "strength names 'rotat'; did you mean 'rotate'"),
        ({"probe": {"state": "trunk"}, "learner": None}, "is a discriminator's"),
        ({"probe": {"state": "trunk"}}, "is a discriminator's"),
        ({"probe": {"learner": LEARNER}}, "named twice"),
        ({"learner": {"class_path": f"{__name__}.Blind"}}, "Blind has no 'features'"),
    ],
)
def test_a_wrong_option_is_one_sentence(
    tiny_data: RealData, tmp_path: Path, options: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(UserError, match=sentence):
        trainer = tiny(**options)
        trainer.typed = frozenset(options)  # what is not typed is lowered with a note
        attached(trainer, tiny_data, tmp_path)
        trainer.train_step(trainer.next_batch())
