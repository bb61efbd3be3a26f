"""Distillation that begins with stored images: whose they are, how many, in which order; and a run that goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from image_runs import LEARNER
from torch import Tensor

from gendistill import teacher as teachers
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import RealSubset, StoredImages, export, save
from gendistill.teacher.imports import import_teacher
from trainers.batch_condensation import BatchCondensationTrainer
from trainers.dataset_distillation import DatasetDistillationTrainer
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.gradient_matching import GradientMatchingTrainer
from trainers.stored_start import is_stored
from trainers.trainer import Trainer
from trainers.trajectory_matching import TrajectoryMatchingTrainer

SOFT = torch.tensor([[0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]]).repeat(2, 1)
"""Their likeliest classes are in turn."""


def options(root: Path, name: str, steps: int) -> RunOptions:
    return RunOptions(name=name, root=str(root), steps=steps, device="cpu", sample_every=0, progress=False,
                      log_every=1, save_every=1)  # fmt: skip


def matching(kind: type[Trainer], **given: Any) -> Callable[[str], Trainer]:
    return lambda start: kind(images_per_class=2, images=start, real_batch=4, learner=LEARNER, augment=None, **given)


def trajectories(**given: Any) -> Callable[[str], Trainer]:
    return lambda start: TrajectoryMatchingTrainer(
        images_per_class=2, images=start, learner=LEARNER, experts=1, expert={"lr": 0.05, "batch_size": 48},
        student_steps=1, expert_epochs=1, max_start_epoch=1, lr_images=1.0, **given,
    )  # fmt: skip


def distillation(**given: Any) -> Callable[[str], Trainer]:
    return lambda start: DatasetDistillationTrainer(
        inner_steps=2, inner_epochs=1, images_per_class=1, images=start, learner=LEARNER, batch_size=12, **given
    )


def condensation(**given: Any) -> Callable[[str], Trainer]:
    return lambda start: BatchCondensationTrainer(
        batch_size=6, condensed_size=3, num_batches=2, start=start, probes=[{"state": "fresh", "learner": LEARNER}],
        **given,
    )  # fmt: skip


KINDS = {
    "dm": matching(DistributionMatchingTrainer),
    "dc": matching(GradientMatchingTrainer, outer_loops=1, inner_loops=1),
    "mtt": trajectories(),
    "mtt-learned": trajectories(labels="learned"),
    "dd": distillation(),
    "dd-learned": distillation(learn_labels=True),
    "condensation": condensation(),
    "condensation-learned": condensation(labels="learned"),
}


def stored(path: Path, data: RealData, labels: Tensor, **more: Any) -> StoredImages:
    images = torch.randn(len(labels), 1, 8, 8, generator=torch.Generator().manual_seed(5))
    teacher = StoredImages(images, labels, data.description, **more)
    save(teacher, path)
    return teacher


def first(make: Callable[[str], Trainer], reference: Path | str, data: RealData, root: Path) -> StoredImages:
    """Return what a run has before its first step."""

    class Stop(Exception):
        pass

    trainer = make(str(reference))
    found: list[StoredImages] = []

    def look() -> Any:
        found.append(trainer.teacher())  # type: ignore[arg-type]
        raise Stop

    trainer.next_batch = look  # type: ignore[method-assign]
    with pytest.raises(Stop):
        train(trainer, data, options(root, "first", 1))
    return found[0]


def by_class(teacher: StoredImages) -> list[list[list[float]]]:
    return [sorted(teacher.images[teacher.classes == label].flatten(1).tolist()) for label in range(3)]


@pytest.mark.parametrize("kind", KINDS)
def test_every_trainer_begins_with_the_images_and_goes_on_without_the_file(
    tiny_data: RealData, tmp_path: Path, kind: str
) -> None:
    file, make = tmp_path / "start.safetensors", KINDS[kind]
    soft = kind.endswith("learned")
    teacher = stored(file, tiny_data, SOFT if soft else torch.tensor([0, 1, 2] * 2))
    assert is_stored(str(file), ("real", "noise")) and is_stored("digits-gan", ("real",))  # one that ships
    begun = first(make, file, tiny_data, tmp_path / "a")
    assert by_class(begun) == by_class(teacher)
    if soft:
        torch.testing.assert_close(begun.labels, SOFT)
        assert torch.equal(begun.images, teacher.images)
    whole = train(make(str(file)), tiny_data, options(tmp_path, "whole", 2))
    train(make(str(file)), tiny_data, options(tmp_path, "halves", 1))
    file.unlink()
    train(make(str(file)), tiny_data, options(tmp_path, "halves", 2))
    ends = [teachers.load(tmp_path / name / "teacher.safetensors").tensors() for name in ("whole", "halves")]
    assert whole.step == 2 and ends[0].keys() == ends[1].keys()
    assert all(torch.equal(value, ends[1][name]) for name, value in ends[0].items())
    assert not torch.equal(ends[0]["images"], begun.images)


def test_steps_stay_steps(tiny_data: RealData, tmp_path: Path) -> None:
    file = tmp_path / "dd.safetensors"
    teacher = stored(file, tiny_data, torch.tensor([2, 0, 1, 1, 0, 2]), order="fixed", batch_size=3)
    begun = first(KINDS["dd"], file, tiny_data, tmp_path)
    # Within a step classes are in turn.
    assert torch.equal(begun.images, teacher.images[[1, 2, 0, 4, 3, 5]])
    assert begun.labels.tolist() == [0, 1, 2] * 2


def test_whatever_names_stored_images_is_a_start(tiny_data: RealData, tmp_path: Path) -> None:
    subset = RealSubset.random(
        tiny_data.train, tiny_data.description, generator=torch.Generator().manual_seed(0), images_per_class=2
    )
    save(subset, tmp_path / "run" / "teacher.safetensors")
    export(subset, tmp_path / "mtt", "mtt")
    export(subset, tmp_path / "png", "png")
    for name in ("run", "mtt", "png"):
        begun = first(KINDS["dm"], tmp_path / name, tiny_data, tmp_path / f"{name}-run")
        shown = StoredImages(subset.everything()[0], subset.labels, tiny_data.description)
        assert by_class(begun) == by_class(shown)
    chosen = first(KINDS["dm"], "real:kcenter=2@pixels", tiny_data, tmp_path / "coreset")
    assert chosen.label_counts == [2, 2, 2]
    torch.save([subset.images.float() / 255, subset.labels], tmp_path / "data.pt")
    save(import_teacher(tmp_path / "data.pt", tiny_data), tmp_path / "idc.safetensors")
    begun = first(KINDS["mtt"], tmp_path / "idc.safetensors", tiny_data, tmp_path / "imported")
    assert begun.description == tiny_data.description
    torch.testing.assert_close(begun.images.sum(), subset.everything()[0].sum())


@pytest.mark.parametrize("kind", ["dm", "dc", "mtt", "dd", "condensation"])
def test_what_does_not_fit_is_one_sentence(tiny_data: RealData, tmp_path: Path, kind: str) -> None:
    make = KINDS[kind]
    place = tmp_path / "x.safetensors"

    def refuses(message: str, reference: str = str(place)) -> None:
        with pytest.raises(UserError, match=message) as caught:
            train(make(reference), tiny_data, options(tmp_path, "refused", 1))
        assert "\n" not in str(caught.value)

    refuses("there is no file|there is no teacher")
    stored(place, tiny_data, torch.tensor([0, 1, 2] * 3))
    refuses("holds 3 images of each class, .*images_per_class asks for 2; set .*images_per_class to 3|holds 9 images")
    if kind != "condensation":
        stored(place, tiny_data, torch.tensor([0, 1, 2, 1, 1, 2]))
        refuses("holds 1 to 3 images of each class")
    other = replace(tiny_data.description, class_names=("a", "b"))
    save(StoredImages(torch.zeros(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]), other), place)
    refuses("made for 2 classes")
    small = replace(tiny_data.description, image_shape=(1, 4, 4))
    save(StoredImages(torch.zeros(6, 1, 4, 4), torch.tensor([0, 1, 2] * 2), small), place)
    refuses(r"makes images of shape \(1, 4, 4\)")
    with pytest.raises(UserError, match="(images|start) is 'nois'; did you mean 'noise'"):
        make("nois")


def test_labels_that_are_learned_on_must_be_probabilities(tiny_data: RealData, tmp_path: Path) -> None:
    place = tmp_path / "x.safetensors"
    stored(place, tiny_data, SOFT * 3 - 0.5)
    with pytest.raises(UserError, match="no probabilities, so they cannot be learned on"):
        train(KINDS["mtt-learned"](str(place)), tiny_data, options(tmp_path, "refused", 1))
    # Labels that are targets are learned on as they are where they are learned as such.
    begun = first(KINDS["dd-learned"], place, tiny_data, tmp_path)
    torch.testing.assert_close(begun.labels, SOFT * 3 - 0.5)
    stored(place, tiny_data, SOFT[:3])
    with pytest.raises(UserError, match="holds 3 images, .* asks for 6 of 3 classes; set .* to 1"):
        train(KINDS["dd-learned"](str(place)), tiny_data, options(tmp_path, "refused", 1))


def test_pixels_of_a_file_are_of_one_round_and_no_latents(tmp_path: Path) -> None:
    for given in ({"rounds": 2}, {"generator": "g.safetensors"}):
        with pytest.raises(UserError, match="holds pixels of one round"):
            BatchCondensationTrainer(batch_size=8, condensed_size=4, start="a.safetensors", **given)  # type: ignore[arg-type]
