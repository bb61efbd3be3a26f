"""Stored values as images in every trainer that has them: gradients, beginnings, teachers, resume."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import test_batch_condensation
import test_dataset_distillation
import torch
import trajectory_runs
from image_runs import LEARNER, attached, power_cut_changes_nothing, run
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.decodes import Formation
from gendistill.errors import UserError
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.teacher import GeneratorTeacher, Labeller, StoredImages, load, save
from trainers.decoding import Shown
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.filled_cells import fill_cells
from trainers.gradient_matching import GradientMatchingTrainer
from trainers.matching import MatchingTrainer

generator = test_batch_condensation.generator
MATCHING: dict[str, Any] = {
    "images_per_class": 2, "real_batch": 4, "learner": LEARNER, "augment": "crop_scale", "decode": {"factor": 2},
}  # fmt: skip


def matching(kind: type[MatchingTrainer] = DistributionMatchingTrainer, **options: Any) -> MatchingTrainer:
    loops = {"outer_loops": 3, "inner_loops": 2} if kind is GradientMatchingTrainer else {}
    return kind(**{**MATCHING, **loops, **options})


def moved(trainer: Any) -> Tensor:
    """Return the gradient of the stored images that a step makes."""
    trainer.train_step(trainer.next_batch())
    assert trainer.images.grad is not None
    return trainer.images.grad.detach().clone()


def back(decode: Formation, values: Tensor, gradient: Tensor) -> Tensor:
    """Return the gradient of sheets (N, ...) whose images have a gradient (N * 4, ...)."""
    leaf = values.detach().clone().requires_grad_()
    labels = torch.zeros(len(leaf), dtype=torch.int64)
    return torch.autograd.grad(decode(leaf, labels), leaf, gradient)[0]


# -- gradients --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DistributionMatchingTrainer, GradientMatchingTrainer])
@pytest.mark.parametrize("chunk", [None, 3])
def test_groups_descend_the_gradient_of_all_sheets_at_once(
    tiny_data: RealData, tmp_path: Path, kind: type[MatchingTrainer], chunk: int | None
) -> None:
    trainer = attached(matching(kind, chunk=chunk), tiny_data, tmp_path)
    assert trainer.images.shape == (3, 2, 1, 8, 8) and trainer.shown_per_class == 8
    index, network = trainer.next_batch()[0], trainer.new_network()
    leaf = trainer.images.detach().clone().requires_grad_()
    change, labels = trainer.siamese(), trainer.labels.view(3, 2)
    shown = trainer.decode(leaf.flatten(0, 1), labels.flatten()).view(3, 8, 1, 8, 8)
    real = trainer.real_images(index)
    total = torch.stack(
        [
            trainer.distance(network, change(real[at : at + 1], at), change(shown[at : at + 1], at), at)
            for at in range(3)
        ]
    ).sum()
    (expected,) = torch.autograd.grad(total, leaf)
    torch.testing.assert_close(trainer.match(network, index), total.detach())
    assert trainer.images.grad is not None
    torch.testing.assert_close(trainer.images.grad, expected, rtol=1e-4, atol=1e-6)


def test_factor_1_is_the_plain_method_to_the_bit(tiny_data: RealData, tmp_path: Path) -> None:
    for decode, name in ((None, "plain"), ({"factor": 1}, "one")):
        run(matching(decode=decode), tiny_data, tmp_path, name, 3)
    plain, one = (load(tmp_path / name / "teacher.safetensors").tensors() for name in ("plain", "one"))
    assert torch.equal(plain["images"], one["images"])


def test_values_that_learners_share_get_the_gradient_of_the_whole(tiny_data: RealData) -> None:
    decode = Formation(2).prepare(tiny_data.description)
    values = torch.randn(700, 1, 8, 8, requires_grad=True)  # several groups on the way back
    told = torch.randn(700, 3, requires_grad=True)
    shown = Shown(decode, values, told, torch.zeros(700, dtype=torch.int64))
    weights, of_labels = torch.randn(2800, 1, 8, 8), torch.randn(2800, 3)
    ((shown.images**2 * weights).sum() + (shown.labels**2 * of_labels).sum()).backward()
    shown.backward()
    decoded = decode(values, told)
    whole = (decoded**2 * weights).sum() + (told.repeat_interleave(4, 0) ** 2 * of_labels).sum()
    expected = torch.autograd.grad(whole, [values, told])
    for leaf, gradient in zip((values, told), expected, strict=True):
        assert leaf.grad is not None
        torch.testing.assert_close(leaf.grad, gradient)


def test_dataset_distillation_of_sheets_is_that_of_their_images(tiny_data: RealData, tmp_path: Path) -> None:
    sheets = test_dataset_distillation.attached(
        test_dataset_distillation.tiny(decode={"factor": 2}, learn_labels=True), tiny_data, tmp_path
    )
    plain = test_dataset_distillation.attached(
        test_dataset_distillation.tiny(images_per_class=4, learn_labels=True), tiny_data, tmp_path
    )
    decode: Any = sheets.decode
    assert sheets.images.shape == (2, 3, 1, 8, 8) and plain.images.shape == (2, 12, 1, 8, 8)
    classes = sheets.classes.repeat(2)
    plain.images.data = decode(sheets.images.detach().flatten(0, 1), classes).view_as(plain.images)
    plain.labels.data = sheets.labels.detach().repeat_interleave(4, 1)
    expected = moved(plain)
    torch.testing.assert_close(
        moved(sheets).flatten(0, 1),
        back(decode, sheets.images.flatten(0, 1), expected.flatten(0, 1)),
        rtol=1e-3,
        atol=1e-6,
    )
    assert plain.labels.grad is not None and sheets.labels.grad is not None
    torch.testing.assert_close(sheets.labels.grad, plain.labels.grad.unflatten(1, (3, 4)).sum(2), rtol=1e-3, atol=1e-6)


def test_mini_batches_of_sheets_show_some_of_their_images(tiny_data: RealData, tmp_path: Path) -> None:
    inner = {"steps": 3, "epochs": 1, "batch_size": 6}
    given: dict[str, Any] = {"inner": inner, "augment": "crop", "learn_labels": True}
    kinds = test_dataset_distillation
    trainers = [
        kinds.attached(
            kinds.DatasetDistillationTrainer(learner=kinds.LEARNER, batch_size=24, learning_rate=0.1, **given, **own),
            tiny_data,
            tmp_path,
        )
        for own in ({"decode": 2, "images_per_class": 2}, {"images_per_class": 8})
    ]
    sheets, plain = trainers
    decode: Any = sheets.decode
    # Stored (sheet, class), shown (sheet, class, cell); the plain one's classes are in turn: (sheet, cell, class).
    place = torch.arange(24).view(2, 3, 4).permute(0, 2, 1).flatten()
    before = sheets.images.detach().flatten(0, 1).clone()
    plain.images.data = decode(before, sheets.classes)[place].view_as(plain.images)
    plain.labels.data = sheets.labels.detach().flatten(0, 1).repeat_interleave(4, 0)[place].view_as(plain.labels)
    expected = moved(plain).flatten(0, 1)[place.argsort()]
    torch.testing.assert_close(moved(sheets).flatten(0, 1), back(decode, before, expected), rtol=1e-3, atol=1e-6)
    assert sheets.labels.grad is not None and plain.labels.grad is not None
    told = plain.labels.grad.flatten(0, 1)[place.argsort()].unflatten(0, (-1, 4)).sum(1)
    torch.testing.assert_close(sheets.labels.grad.flatten(0, 1), told, rtol=1e-3, atol=1e-6)
    teacher = sheets.teacher()
    assert isinstance(teacher, StoredImages) and (teacher.images_stored, teacher.batch_size) == (6, 6)


@pytest.mark.parametrize("labels", ["hard", "learned"])
def test_trajectory_matching_of_sheets_is_that_of_their_images(
    tiny_data: RealData, tmp_path: Path, labels: str
) -> None:
    sheets = trajectory_runs.attached(trajectory_runs.tiny(decode=2, labels=labels), tiny_data, tmp_path)
    plain = trajectory_runs.attached(trajectory_runs.tiny(images_per_class=8, labels=labels), tiny_data, tmp_path)
    decode: Any = sheets.decode
    assert sheets.images.shape == (6, 1, 8, 8) and plain.images.shape == (24, 1, 8, 8)
    # Shown as (sheet of each class in turn, cell); the plain one's classes are in turn.
    place = torch.arange(24).view(2, 3, 4).permute(0, 2, 1).flatten()
    with torch.no_grad():
        plain.images.copy_(decode(sheets.images, sheets.classes)[place])
        if labels == "learned":
            plain.labels.copy_(sheets.labels.repeat_interleave(4, 0)[place])
    expected = moved(plain)[place.argsort()]
    before = sheets.images.detach().clone()
    torch.testing.assert_close(moved(sheets), back(decode, before, expected), rtol=1e-3, atol=1e-6)
    teacher = sheets.teacher()
    assert teacher.images_stored == 6 and teacher.decoded_images == 24


def test_condensed_batches_of_sheets_are_those_of_their_images(tiny_data: RealData, tmp_path: Path) -> None:
    found: dict[str, list[Tensor]] = {}

    def step(name: str, size: int, **options: Any) -> Any:
        arguments: dict[str, Any] = {"batch_size": 16, "condensed_size": size, "probes": test_batch_condensation.FRESH}
        trainer = test_batch_condensation.BatchCondensationTrainer(**(arguments | options))
        return trainer, name

    sheets, _ = step("sheets", 3, decode={"factor": 2}, labels="learned", augment="crop")
    plain, _ = step("plain", 12, labels="learned", augment="crop")
    for trainer in (sheets, plain):
        attached(trainer, tiny_data, tmp_path, steps=2)
    decode: Any = sheets.decode
    assert sheets.values[0].shape == (6, 3, 1, 8, 8) and plain.values[0].shape == (6, 12, 1, 8, 8)
    plain.values[0].data = decode(sheets.values[0].detach().flatten(0, 1), sheets.classes.flatten()).view(
        6, 12, 1, 8, 8
    )
    plain.labels[0].data = sheets.labels[0].detach().repeat_interleave(4, 1)
    before = sheets.values[0].detach().clone()
    for name, trainer in (("sheets", sheets), ("plain", plain)):
        kept: list[Tensor] = found.setdefault(name, [])
        trainer.optimizer.step = lambda kept=kept, trainer=trainer: kept.append(trainer.values[0].grad.clone())
        trainer.label_optimizer.step = lambda kept=kept, trainer=trainer: kept.append(trainer.labels[0].grad.clone())
        found[f"{name}/loss"] = [trainer.train_step(trainer.next_batch())["loss/gradient_matching"]]
    torch.testing.assert_close(found["sheets/loss"], found["plain/loss"])
    expected = back(decode, before.flatten(0, 1), found["plain"][0].flatten(0, 1))
    torch.testing.assert_close(found["sheets"][0].flatten(0, 1), expected, rtol=1e-3, atol=1e-6)
    summed = found["plain"][1].unflatten(1, (3, 4)).sum(2)
    torch.testing.assert_close(found["sheets"][1], summed, rtol=1e-3, atol=1e-6)


# -- beginnings -------------------------------------------------------------------------------------------------------


def test_sheets_start_from_different_real_images_of_their_class(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(matching(), tiny_data, tmp_path)
    real = tiny_data.description.normalisation.apply(tiny_data.train.images)
    for label, sheets in enumerate(trainer.images.detach()):
        mine = real[tiny_data.train.labels == label][:, :, ::2, ::2]
        cells = sheets.unfold(2, 4, 4).unfold(3, 4, 4).reshape(8, 1, 4, 4)
        taken = [int((mine == cell).flatten(1).all(1).nonzero()[0]) for cell in cells]
        assert len(set(taken)) == 8


def test_noise_and_earlier_sets_are_beginnings_too(tiny_data: RealData, tmp_path: Path) -> None:
    noise = attached(matching(images="noise"), tiny_data, tmp_path / "noise").images
    assert noise.shape == (3, 2, 1, 8, 8) and abs(float(noise.detach().mean())) < 0.3
    first = attached(matching(), tiny_data, tmp_path / "first")
    save(first.teacher(), tmp_path / "sheets.safetensors")
    again = attached(matching(images=str(tmp_path / "sheets.safetensors")), tiny_data, tmp_path / "again")
    assert torch.equal(again.images, first.images)  # stored values, as they are
    eight = attached(matching(images="real:kmeans=8@pixels"), tiny_data, tmp_path / "eight")
    assert eight.images.shape == (3, 2, 1, 8, 8)
    with pytest.raises(UserError, match="holds 2 images of each class, images_per_class asks for 8, 4 in each"):
        attached(matching(images="real:kmeans=2@pixels"), tiny_data, tmp_path / "few")
    with pytest.raises(UserError, match="starts from 36 real images of each class"):
        many = matching(images_per_class=9)
        many.typed = frozenset({"images_per_class"})
        attached(many, tiny_data, tmp_path / "many")
    plain = attached(matching(images=str(tmp_path / "sheets.safetensors"), decode=None, images_per_class=8), tiny_data,
                     tmp_path / "plain")  # fmt: skip
    shown = first.decode.rows(first.images.detach(), first.labels.view(3, 2))
    assert torch.equal(plain.images, shown)


def test_cells_of_a_batch_are_filled_with_others_of_the_class() -> None:
    images, labels = torch.randn(2, 8, 1, 2, 2), torch.tensor([[0, 0, 0, 0, 0, 1, 1, 2], [2, 2, 2, 2, 0, 0, 0, 0]])
    first, told = images[:, [5, 0, 7]].clone(), labels[:, [5, 0, 7]]
    filled = fill_cells(first, told, images, labels, 4, torch.Generator().manual_seed(0))
    assert filled.shape == (2, 12, 1, 2, 2)
    for batch in range(2):
        places = [int((images[batch] == one).flatten(1).all(1).nonzero()[0]) for one in filled[batch]]
        assert [int(labels[batch, at]) for at in places] == told[batch].repeat_interleave(4).tolist()
        assert places[::4] == [5, 0, 7]
    of_the_five = [int((images[0] == one).flatten(1).all(1).nonzero()[0]) for one in filled[0, 4:8]]
    assert len(set(of_the_five)) == 4  # none twice as long as there are others


# -- runs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DistributionMatchingTrainer, GradientMatchingTrainer])
def test_an_interrupted_run_ends_where_the_uninterrupted_does(
    tiny_data: RealData, tmp_path: Path, kind: type[MatchingTrainer]
) -> None:
    loops = {"outer_loops": 3, "inner_loops": 1} if kind is GradientMatchingTrainer else {}
    labeller = {"updates": 5, "temperature": 2.0, "learner": LEARNER}
    power_cut_changes_nothing(kind, {**MATCHING, **loops, "labeller": labeller}, tiny_data, tmp_path)
    whole, halves = (load(tmp_path / part / "teacher.safetensors") for part in ("whole", "halves"))
    assert isinstance(whole, StoredImages) and whole.decoded_images == 24 and isinstance(whole.labeller, Labeller)
    assert halves.labeller is not None and whole.labeller.temperature == 2
    mine, theirs = whole.labeller.tensors(), halves.labeller.tensors()
    assert mine and all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_processes_share_the_classes_of_sheets(tiny_data: RealData, tmp_path: Path) -> None:
    class Two(Processes):
        def average_gradients(self, parameters: Any) -> None:
            pass  # each keeps its own, to be averaged below

    whole = moved(attached(matching(), tiny_data, tmp_path))
    parts = [moved(attached(matching(), tiny_data, tmp_path, Two(rank, 2))) for rank in range(2)]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, whole)


def test_pictures_show_the_images_and_the_sheets(tiny_data: RealData, tmp_path: Path) -> None:
    pictures = attached(matching(), tiny_data, tmp_path).samples()
    assert {name: tuple(picture.pixels.shape) for name, picture in pictures.items()} == {
        "images": (24, 1, 8, 8), "stored": (6, 1, 8, 8)
    }  # fmt: skip
    assert list(attached(matching(decode=None), tiny_data, tmp_path).samples()) == ["images"]


def test_a_palette_is_learned_through_and_stored_as_bytes(tiny_data: RealData, tmp_path: Path) -> None:
    before = attached(matching(decode={"colours": 4}), tiny_data, tmp_path / "before").teacher()
    run(matching(decode={"colours": 4}), tiny_data, tmp_path, "palette", 6)
    teacher = load(tmp_path / "palette" / "teacher.safetensors")
    assert isinstance(teacher, StoredImages) and teacher.images.dtype == torch.uint8
    assert teacher.budget()["image_bytes"] == 6 * 64 + 4 * 4
    assert not torch.equal(before.everything()[0], teacher.everything()[0])
    assert len(teacher.everything()[0].unique()) <= 4


@pytest.mark.parametrize("kind", [DistributionMatchingTrainer, GradientMatchingTrainer])
def test_values_of_a_byte_are_free_in_training_and_rounded_in_the_file(
    tiny_data: RealData, tmp_path: Path, kind: type[MatchingTrainer]
) -> None:
    run(matching(kind, decode={"factor": 2, "bits": 8}), tiny_data, tmp_path, "bytes", 3)
    run(matching(kind, decode={"factor": 2}), tiny_data, tmp_path, "floats", 3)
    small, large = (load(tmp_path / name / "teacher.safetensors") for name in ("bytes", "floats"))
    assert isinstance(small, StoredImages) and small.images.dtype == torch.uint8
    assert isinstance(large, StoredImages)
    assert torch.equal(small.everything()[0], large.in_eight_bits().everything()[0])
    # Sheets of either begin a run of the other, and one of bytes goes on from itself.
    for given, asked in (
        ("bytes", {"factor": 2}),
        ("floats", {"factor": 2, "bits": 8}),
        ("bytes", {"bits": 8, "factor": 2}),
    ):
        teacher = load(tmp_path / given / "teacher.safetensors")
        start = str(tmp_path / given / "teacher.safetensors")
        begun = attached(matching(kind, decode=asked, images=start), tiny_data, tmp_path / f"{given}-{len(asked)}")
        assert isinstance(teacher, StoredImages)
        values = begun.images.detach().transpose(0, 1).flatten(0, 1)
        assert torch.equal(
            values,
            teacher.values(teacher.classes.argsort(stable=True)).unflatten(0, (3, 2)).transpose(0, 1).flatten(0, 1),
        )


# -- generators -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [DistributionMatchingTrainer, GradientMatchingTrainer])
def test_a_generator_is_a_decode_of_latents_on_the_sphere(
    tiny_data: RealData, tmp_path: Path, generator: str, kind: type[MatchingTrainer]
) -> None:
    with pytest.raises(UserError, match="start from noise, which draws them on the sphere"):
        attached(matching(kind, decode={"generator": generator}), tiny_data, tmp_path)
    trainer = attached(matching(kind, decode={"generator": generator}, images="noise"), tiny_data, tmp_path)
    before = trainer.images.detach().clone()
    assert before.shape == (3, 2, 6)
    for _ in range(3):
        trainer.train_step(trainer.next_batch())
    torch.testing.assert_close(trainer.images.norm(dim=-1), torch.full((3, 2), 6**0.5))
    assert not torch.allclose(trainer.images, before, atol=1e-4)
    teacher = trainer.teacher()
    assert isinstance(teacher, GeneratorTeacher) and teacher.images_stored == 6
    shown = teacher.description.normalisation.convert(teacher.everything()[0], tiny_data.description.normalisation)
    torch.testing.assert_close(shown, trainer.decode(trainer.images.detach().flatten(0, 1), trainer.labels))


def test_features_of_a_layer_become_images(tiny_data: RealData, tmp_path: Path, generator: str) -> None:
    decode = {"generator": generator, "layer": "blocks.0"}
    trainer = attached(matching(decode=decode, images="noise", lr_images=10.0), tiny_data, tmp_path)
    before = trainer.images.detach().clone()
    trainer.train_step(trainer.next_batch())
    assert not torch.equal(before, trainer.images)
    teacher = trainer.teacher()
    assert isinstance(teacher, StoredImages) and teacher.decode is None and teacher.images.shape == (6, 1, 8, 8)


def test_latents_in_distillation_and_trajectory_matching(tiny_data: RealData, tmp_path: Path, generator: str) -> None:
    of_latents: dict[str, Any] = {"decode": {"generator": generator}, "images": "noise"}
    distil = test_dataset_distillation.attached(test_dataset_distillation.tiny(**of_latents), tiny_data, tmp_path)
    rates = distil.raw_rates.detach().clone()
    distil.train_step(distil.next_batch())
    torch.testing.assert_close(distil.images.norm(dim=-1), torch.full((2, 3), 6**0.5))
    assert not torch.equal(rates, distil.raw_rates)
    teacher = distil.teacher()
    assert isinstance(teacher, GeneratorTeacher) and teacher.curriculum and teacher.learning_rates is not None
    assert teacher.latents is not None and teacher.latents.shape == (2, 3, 6) and len(teacher.learning_rates) == 4
    match = trajectory_runs.attached(trajectory_runs.tiny(**of_latents), tiny_data, tmp_path)
    trajectory_runs.step(match)
    torch.testing.assert_close(match.images.norm(dim=-1), torch.full((6,), 6**0.5))
    assert isinstance(match.teacher(), GeneratorTeacher)


def test_an_average_of_latents_lies_on_the_sphere(tiny_data: RealData, tmp_path: Path, generator: str) -> None:
    given: dict[str, Any] = {"decode": {"generator": generator}, "images": "noise", "ema_decay": 0.9}
    trainer = attached(matching(**given, lr_images=100.0), tiny_data, tmp_path)
    followed = trajectory_runs.attached(trajectory_runs.tiny(**given), tiny_data, tmp_path)
    for step in range(3):
        trainer.train_step(trainer.next_batch())
        trainer.run.step = step + 1
        trajectory_runs.step(followed)
    assert trainer.average is not None
    for average, one in ((trainer.average, trainer), (followed.averages[0], followed)):
        taught = one.teacher()
        assert isinstance(taught, GeneratorTeacher) and taught.latents is not None
        torch.testing.assert_close(taught.latents.norm(dim=-1), torch.full((6,), 6**0.5))
        assert not torch.equal(taught.latents, average.flatten(0, -2))


def test_the_old_option_of_batch_condensation_is_the_same_decode(
    tiny_data: RealData, tmp_path: Path, generator: str
) -> None:
    first = test_batch_condensation.condense(tiny_data, tmp_path, name="old", generator=generator)
    other = test_batch_condensation.condense(tiny_data, tmp_path, name="new", decode={"generator": generator})
    assert torch.equal(first.values[0], other.values[0])
    with pytest.raises(UserError, match="generator is a decode, too; give one of"):
        test_batch_condensation.BatchCondensationTrainer(decode=2, generator=generator)


def test_condensed_sheets_are_shown_in_their_batches(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = test_batch_condensation.condense(tiny_data, tmp_path, condensed_size=4, decode={"factor": 2}, rounds=1)
    teacher = load(trainer.run.directory.teacher)
    assert isinstance(teacher, StoredImages) and teacher.images_stored == 24 and teacher.batch_size == 16
    images, labels = trainer.condensed()
    for step, (shown, told, _) in enumerate(teacher.batches(6, 1, torch.Generator())):
        torch.testing.assert_close(shown, images[step])
        assert torch.equal(told, labels[step])
    begun = test_batch_condensation.condense(
        tiny_data, tmp_path, name="on", condensed_size=4, decode={"factor": 2}, optimise=False,
        start=str(trainer.run.directory.teacher),
    )  # fmt: skip
    assert torch.equal(begun.values[0], trainer.values[0])
    with pytest.raises(UserError, match="start mixup has soft labels"):
        test_batch_condensation.BatchCondensationTrainer(decode=2, start="mixup")
    twice = test_batch_condensation.condense(tiny_data, tmp_path, name="two", condensed_size=4, decode=2, rounds=2)
    assert twice.teacher().images_stored == 6 and twice.teacher().decoded_images == 24


# -- labellers --------------------------------------------------------------------------------------------------------


def test_a_labeller_is_trained_or_taken_of_another_teacher(tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"learner": LEARNER, "updates": 40, "temperature": 3.0}
    run(matching(labeller=spec), tiny_data, tmp_path, "first", 1)
    first = load(tmp_path / "first" / "teacher.safetensors")
    assert isinstance(first.labeller, Labeller)
    seen, labels = tiny_data.test.batch(torch.arange(60), tiny_data.description.normalisation)
    assert float((first.labeller(seen, tiny_data.description.normalisation).argmax(1) == labels).float().mean()) > 0.8
    taken = {"teacher": str(tmp_path / "first" / "teacher.safetensors")}
    for trainer in (
        test_dataset_distillation.tiny(labeller=taken), trajectory_runs.tiny(labeller=taken), matching(labeller=taken)
    ):  # fmt: skip
        name = type(trainer).__name__
        train(trainer, tiny_data, RunOptions(name, str(tmp_path), 1, sample_every=0, progress=False, device="cpu"))
        second = load(tmp_path / name / "teacher.safetensors").labeller
        assert isinstance(second, Labeller) and second.temperature == 3
        assert all(torch.equal(value, first.labeller.tensors()[key]) for key, value in second.tensors().items())


def test_its_labels_are_stored_where_the_network_is_not_handed_over(tiny_data: RealData, tmp_path: Path) -> None:
    spec = {"learner": LEARNER, "updates": 40, "temperature": 2.0, "stored": True}
    sheets = matching(labeller=spec)
    run(sheets, tiny_data, tmp_path, "sheets", 1)
    teacher = load(tmp_path / "sheets" / "teacher.safetensors")
    assert isinstance(teacher, StoredImages) and teacher.labeller is None and teacher.labels.shape == (24, 3)
    by = Labeller(sheets.labelling, tiny_data.description.normalisation)
    plain = sheets.decode(sheets.learned().flatten(0, 1), sheets.labels).detach()
    expected = (by.logits(plain, sheets.normalisation) / 2).softmax(1)
    right = expected.argmax(1) == sheets.labels.repeat_interleave(4)
    torch.testing.assert_close(teacher.labels[right], expected[right])
    assert bool((teacher.labels[~right].amax(1) == 1).all())
    uncorrected = matching(labeller={**spec, "corrected": False})
    run(uncorrected, tiny_data, tmp_path, "uncorrected", 1)
    torch.testing.assert_close(load(tmp_path / "uncorrected" / "teacher.safetensors").labels, expected)  # type: ignore[attr-defined]
    # What begins with such a set begins with its values.
    begun = attached(matching(images=str(tmp_path / "sheets" / "teacher.safetensors")), tiny_data, tmp_path / "begun")
    torch.testing.assert_close(begun.learned().flatten(0, 1).sort(0).values, teacher.images.sort(0).values)
    for trainer in (test_dataset_distillation.tiny(labeller=spec), trajectory_runs.tiny(labeller=spec)):
        name = type(trainer).__name__
        train(trainer, tiny_data, RunOptions(name, str(tmp_path), 1, sample_every=0, progress=False, device="cpu"))
        made = load(tmp_path / name / "teacher.safetensors")
        assert made.labeller is None and made.labels_are_soft


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"update": 3}, "labeller has no key 'update'; did you mean 'updates'"),
        ({"teacher": "real:ipc=2"}, "which has no labeller; name one that has"),
        ({"temperature": 0.0, "updates": 1, "learner": LEARNER}, "temperature is 0.0; give a positive number"),
    ],
)
def test_a_labeller_that_cannot_be_is_refused(
    tiny_data: RealData, tmp_path: Path, spec: dict[str, Any], message: str
) -> None:
    with pytest.raises(UserError, match=message):
        attached(matching(labeller=spec), tiny_data, tmp_path)
