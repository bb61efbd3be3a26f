"""Classes of 60, 40 and 4 pictures: every method takes what a class has, and says so once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill import notes
from gendistill.data.real import RealData, Split
from gendistill.data.sampling import ClassSampler
from gendistill.errors import UserError
from gendistill.evaluation.adaptation import _as_shown
from gendistill.evaluation.detection import clean_set
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.seeds import Streams
from gendistill.teacher import RealSubset, StoredImages, load, open_teacher
from gendistill.teacher.coreset import coreset
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gan import ConditionalGANTrainer
from trainers.gradient_matching import GradientMatchingTrainer
from trainers.latent_search import LatentSearchTrainer
from trainers.trajectory_matching import TrajectoryMatchingTrainer

MLP = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}}
COUNTS = (60, 40, 4)
SMALL: dict[str, Any] = {
    "generator": {"class_path": "gendistill.nets.cgan_pd.CGANPDGenerator", "init_args": {"nz": 6, "ngf": 6}},
    "discriminator": {"class_path": "gendistill.nets.cgan_pd.CGANPDDiscriminator", "init_args": {"ndf": 6}},
    "batch_size": 12,
    "n_dis": 1,
}


@pytest.fixture(autouse=True)
def afresh() -> None:
    notes.begin()


@pytest.fixture
def uneven(tiny_data: RealData) -> RealData:
    """Return three classes of 60, 40 and 4 training images, all different."""
    index = [(tiny_data.train.labels == label).nonzero().flatten() for label in range(3)]
    labels = torch.arange(3).repeat_interleave(torch.tensor(COUNTS))
    images = torch.cat(
        [tiny_data.train.images[own.repeat(2)[:count]] for own, count in zip(index, COUNTS, strict=True)]
    )
    images[:, 0, 7, 7] = torch.arange(len(images), dtype=torch.uint8)  # which picture it is
    return replace(tiny_data, train=Split(images, labels))


def go(trainer: Any, data: RealData, root: Path, name: str = "run", **more: Any) -> Any:
    settings: dict[str, Any] = {"steps": 2, "device": "cpu", "sample_every": 0, "progress": False}
    return train(trainer, data, RunOptions(name=name, root=str(root), **settings | more))


def matching(kind: type[Any], **more: Any) -> Any:
    return kind(**{"images_per_class": 2, "real_batch": 8, "learner": MLP, "images": "noise", "augment": "none"} | more)


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        (DistributionMatchingTrainer, {}),
        (DistributionMatchingTrainer, {"chunk": 8}),
        (GradientMatchingTrainer, {"outer_loops": 1, "inner_loops": 1}),
        (GradientMatchingTrainer, {"outer_loops": 2, "inner_loops": 1, "classes_at_once": 3, "chunk": 4}),
    ],
)
def test_matching_takes_all_images_of_a_short_class_once(
    kind: type[Any],
    more: dict[str, Any],
    uneven: RealData,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: dict[int, dict[int, list[int]]] = {}
    original = kind.distance

    def looked_at(self: Any, network: Any, real: Tensor, synthetic: Tensor, first_class: int) -> Tensor:
        pixels = self.normalisation.invert(real)[..., 0, 7, 7].mul(255).round().int()
        for row, numbers in enumerate(pixels.tolist()):
            seen.setdefault(self.step, {})[first_class + row] = numbers
        found: Tensor = original(self, network, real, synthetic, first_class)
        return found

    monkeypatch.setattr(kind, "distance", looked_at)
    go(matching(kind, **more), uneven, tmp_path)
    for classes in seen.values():
        assert {label: len(set(numbers)) for label, numbers in classes.items()} == {0: 8, 1: 8, 2: 4}
        assert all(len(numbers) == len(set(numbers)) for numbers in classes.values())
        assert sorted(classes[2]) == [100, 101, 102, 103]
    said = capsys.readouterr().err
    assert said.count("note: --trainer.real_batch is 8, but class 'bottom' has 4: of such a class all are taken") == 1
    assert "of such a class all are taken" in (tmp_path / "run" / "log.txt").read_text()


def test_a_distance_is_of_the_images_that_there_are(uneven: RealData, tmp_path: Path) -> None:
    """The loss of the first step against the obvious sum over classes of min(batch, class size) images."""
    trainer = matching(DistributionMatchingTrainer, real_batch=50)
    losses = []
    original = trainer.train_step

    def noted(batch: Any) -> Any:
        with torch.no_grad():
            network = _copy(trainer)
            total = torch.zeros(())
            for label, rows in enumerate((50, 40, 4)):
                real = trainer.real_images(batch[0][label : label + 1, :rows])[0]
                made = trainer.images[label]
                total += (network.features(real).mean(0) - network.features(made).mean(0)).square().sum()
        losses.append((total, original(batch)["loss/distribution"]))
        return {"loss/distribution": losses[-1][1]}

    trainer.train_step = noted
    go(trainer, uneven, tmp_path, steps=1)
    torch.testing.assert_close(losses[0][0], losses[0][1], rtol=1e-5, atol=1e-6)


def _copy(trainer: Any) -> Any:
    """Return the network of the step to come; the source of networks is left as it was."""
    count = trainer.probes.count
    network = trainer.probes.draw().network.eval()
    trainer.probes.count = count
    return network


def test_classes_that_are_large_enough_are_drawn_as_ever(uneven: RealData, tmp_path: Path) -> None:
    trainer = matching(DistributionMatchingTrainer)
    batches = []
    original = trainer.train_step
    trainer.train_step = lambda batch: batches.append(batch) or original(batch)
    go(trainer, uneven, tmp_path)
    stream = Streams(0, torch.device("cpu"))["data"]
    sampler = ClassSampler(uneven.train.labels, 3)
    for index, labels in batches:
        assert torch.equal(index, sampler.draw(8, stream, repeat=True))
        assert torch.equal(labels, torch.arange(3).repeat_interleave(8))


@pytest.mark.parametrize(
    "trainer",
    [
        lambda: matching(DistributionMatchingTrainer, images="real", images_per_class=5),
        lambda: TrajectoryMatchingTrainer(
            images_per_class=5, learner=MLP, experts=1, expert={"updates": 1}, max_start_epoch=1, expert_epochs=1
        ),
    ],
)
def test_a_start_from_real_images_takes_as_many_as_there_are_unless_more_were_typed(
    trainer: Any, uneven: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go(trainer(), uneven, tmp_path)
    assert load(tmp_path / "run" / "teacher.safetensors").label_counts == [4, 4, 4]
    assert capsys.readouterr().err.count("note: --trainer.images_per_class is 5, but it starts from 5 real images") == 1
    typed = trainer()
    typed.typed = frozenset({"images_per_class"})
    with pytest.raises(UserError, match="images_per_class is 5, but .* class 'bottom' has 4; choose 1 to 4"):
        go(typed, uneven, tmp_path, "typed")
    assert not (tmp_path / "typed").exists()


def test_steps_that_each_start_from_real_images_need_one_for_each(uneven: RealData, tmp_path: Path) -> None:
    trainer = DatasetDistillationTrainer(inner_steps=5, images="real", learner=MLP, batch_size=8)
    with pytest.raises(UserError, match="starts from 5 real images of each class, but class 'bottom' has 4") as caught:
        go(trainer, uneven, tmp_path)
    assert "--trainer.inner.steps" in str(caught.value) and "--trainer.images noise" in str(caught.value)


def test_a_batch_is_no_larger_than_the_data(
    uneven: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gan = ConditionalGANTrainer(**{**SMALL, "batch_size": 10_000}, packing=2)
    go(gan, uneven, tmp_path, "gan", steps=1)
    assert gan.batch_size == len(uneven.train) // 2 * 2
    assert f"has {len(uneven.train)} training images: {gan.batch_size} are taken" in capsys.readouterr().err
    typed = ConditionalGANTrainer(**{**SMALL, "batch_size": 10_000})
    typed.typed = frozenset({"batch_size"})
    with pytest.raises(UserError, match=f"batch_size is 10000, but .*; choose 1 to {len(uneven.train)}"):
        go(typed, uneven, tmp_path, "typed")


def test_more_synthetic_images_than_real_ones_start_from_noise(uneven: RealData, tmp_path: Path) -> None:
    go(matching(DistributionMatchingTrainer, images_per_class=6), uneven, tmp_path)
    assert load(tmp_path / "run" / "teacher.safetensors").images_stored == 18


def test_a_latent_search_and_a_gans_terms_take_them_again(
    uneven: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    term = {
        "class_path": "trainers.terms.gradient_matching.ClassGradientMatching",
        "init_args": {"probe": {"learner": MLP}, "real_per_class": 8, "generated_per_class": 2},
    }
    go(ConditionalGANTrainer(**SMALL, terms=[term]), uneven, tmp_path, "gan", steps=1)
    said = capsys.readouterr().err
    assert "real_per_class of the term class_gradient_matching is 8, but class 'bottom' has 4" in said
    search = LatentSearchTrainer(str(tmp_path / "gan"), images_per_class=6, real_batch=8, probe=MLP, film_frames=0)
    go(search, uneven, tmp_path, "search")
    assert "note: --trainer.real_batch is 8, but class 'bottom' has 4" in capsys.readouterr().err
    inverted = LatentSearchTrainer(str(tmp_path / "gan"), images_per_class=6, start="inversion", probe=MLP)
    inverted.typed = frozenset({"images_per_class"})
    with pytest.raises(UserError, match="class 'bottom' has 4; choose 1 to 4"):
        go(inverted, uneven, tmp_path, "inverted")


def test_choices_of_real_images_name_the_class(uneven: RealData) -> None:
    with pytest.raises(UserError, match=r"1\.\.4 .* class 'bottom' has 4; a number in total \(real:subset=K\)"):
        open_teacher("real:ipc=5", uneven)
    assert open_teacher("real:subset=30", uneven).label_counts == [13, 13, 4]
    with pytest.raises(UserError, match=r"1\.\.4 images a class, got 5: class 'bottom' has 4"):
        coreset(uneven, "herding", 5, features="pixels")
    with pytest.raises(UserError, match="class 'bottom' has 1; leave the detectors out"):
        few = uneven.validation.labels != 2
        few[(uneven.validation.labels == 2).nonzero()[0]] = True
        clean_set(
            Split(uneven.validation.images[few], uneven.validation.labels[few]), 3, 5, 0, ("top", "mid", "bottom")
        )


def test_real_images_for_an_adaptation_are_as_many(uneven: RealData) -> None:
    teacher = StoredImages(
        torch.zeros(30, 1, 8, 8), torch.arange(30) % 3, uneven.description, order="fixed", batch_size=3
    )
    shown = _as_shown(teacher, uneven, 0)
    assert isinstance(shown, RealSubset) and shown.label_counts == [13, 13, 4]
    assert shown.labels[:12].tolist() == [0, 1, 2] * 4 and shown.labels[12:].tolist() == [0, 1] * 9
