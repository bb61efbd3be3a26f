"""Soft labels that a network gives once, and what a teacher keeps of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData
from gendistill.decodes import Formation
from gendistill.errors import UserError
from gendistill.evaluation.continual import remembered
from gendistill.evaluation.lessons import Lessons
from gendistill.privacy.promise import KEY
from gendistill.seeds import stream
from gendistill.teacher import (
    GeneratorTeacher,
    Labeller,
    RealSubset,
    StoredImages,
    Teacher,
    describe,
    export,
    labelled,
    load,
    open_teacher,
    save,
)  # fmt: skip
from gendistill.teacher.stored_labels import NOTED, with_stored_labels

OWN = Normalisation((0.5,), (0.25,))


class Bands(nn.Module):
    """Says how bright each third of an image is."""

    spec: Any = None

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(classes))

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (N, K) of images (N, 1, H, W)."""
        return torch.stack([part.mean((1, 2, 3)) for part in images.tensor_split(len(self.scale), 2)], 1) * self.scale


@pytest.fixture
def labeller() -> Labeller:
    return Labeller(Bands(), OWN, temperature=20.0)


@pytest.fixture
def subset(tiny_data: RealData) -> RealSubset:
    return RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "x"), images_per_class=4)


@pytest.fixture
def sheets(tiny_data: RealData) -> StoredImages:
    """Six sheets of four images, those of the first class holding one of another."""
    description = tiny_data.description
    size = description.image_shape[-1]
    pixels = torch.full((6, 1, size, size), 0.4)
    for number, label in enumerate((0, 0, 1, 1, 2, 2)):
        for row in (0, size // 2):
            for column in (0, size // 2):
                kind = 2 if (number, row, column) == (1, 0, 0) else label
                at = row + (0, 2, 3)[kind]  # which lies in the third of the enlarged image
                pixels[number, :, at : at + 1, column : column + size // 2] = 0.9
    values = description.normalisation.apply(pixels)
    return StoredImages(values, torch.tensor([0, 0, 1, 1, 2, 2]), description, decode=Formation(2))


def kept(teacher: Teacher, path: Path) -> Path:
    save(teacher, path)
    return path


def answers(labeller: Labeller, teacher: Teacher, temperature: float = 1.0) -> Tensor:
    seen = teacher.description.normalisation.convert(teacher.everything()[0], OWN)
    return (labeller.network(seen) / temperature).softmax(1).detach()


def test_a_label_is_the_networks_answer_but_where_it_errs(subset: RealSubset, labeller: Labeller) -> None:
    expected = answers(labeller, subset, 0.5)
    found = with_stored_labels(subset, labeller, temperature=0.5)
    right = expected.argmax(1) == subset.labels
    assert right.any()
    wanted = torch.where(right[:, None], expected, F.one_hot(subset.labels, 3).float())
    torch.testing.assert_close(found.labels, wanted)
    torch.testing.assert_close(with_stored_labels(subset, labeller, temperature=0.5, corrected=False).labels, expected)
    assert found.labeller is None and torch.equal(found.classes, subset.labels)
    assert not subset.labels_are_soft and isinstance(found, RealSubset) and found.images.dtype == torch.uint8
    assert found.metadata[NOTED] == {
        "network": None, "temperature": 0.5, "corrected": True, "errors": int((~right).sum()), "images": 12
    }  # fmt: skip
    assert NOTED not in subset.metadata
    assert found.budget()["label_bytes"] == 12 * 3 * 4 and found.budget()["labeller_bytes"] == 0


def test_wrong_answers_leave_images_their_classes(subset: RealSubset) -> None:
    liar = Bands()
    with torch.no_grad():
        liar.scale.neg_()
    found = with_stored_labels(subset, Labeller(liar, OWN))
    wrong = answers(Labeller(liar, OWN), subset).argmax(1) != subset.labels
    assert torch.equal(found.classes, subset.labels) and found.metadata[NOTED]["errors"] == int(wrong.sum()) >= 10
    assert torch.equal(found.labels[wrong], F.one_hot(subset.labels, 3).float()[wrong])


def test_each_image_of_a_sheet_has_its_own(sheets: StoredImages, labeller: Labeller, tmp_path: Path) -> None:
    found = with_stored_labels(sheets, labeller)
    assert found.shown_have_labels and found.labels.shape == (24, 3)
    images, labels = found.everything()
    torch.testing.assert_close(images, sheets.everything()[0])
    expected = answers(labeller, sheets)
    # The second sheet's first image is of another class: it keeps the sheet's.
    assert int(expected[4].argmax()) == 2 and found.metadata[NOTED]["errors"] == 1
    expected[4] = torch.tensor([1.0, 0.0, 0.0])
    torch.testing.assert_close(labels, expected)
    assert torch.equal(found.classes, sheets.classes) and found.label_counts == [2, 2, 2]
    for index in (torch.tensor([4, 23, 0]), torch.arange(24)):
        shown, told = found.pick(index)
        torch.testing.assert_close(shown, images[index])
        assert torch.equal(told, labels[index])
    for shown, told, _ in found.batches(5, 7, torch.Generator().manual_seed(0)):
        for image, label in zip(shown, told, strict=True):
            place = (images - image).flatten(1).abs().sum(1) < 1e-5
            assert any(torch.equal(label, one) for one in labels[place])
    torch.testing.assert_close(found.labels_of_stored, labels.view(6, 4, 3).mean(1))
    path = kept(found, tmp_path / "sheets.safetensors")
    again = load(path)
    assert isinstance(again, StoredImages) and torch.equal(again.labels, found.labels) and again.decoded_images == 24
    assert describe(path)["soft_labels"] is True and describe(path)["images_per_class"] == [2, 2, 2]
    for other in (found.in_eight_bits(), found.in_eight_bits().unrounded(), found.decoded()):
        assert torch.equal(other.labels, found.labels) and torch.equal(other.everything()[1], labels)
    assert found.decoded().images_stored == 24 and not found.decoded().shown_have_labels


def test_learners_are_told_them(sheets: StoredImages, labeller: Labeller) -> None:
    found = with_stored_labels(sheets, labeller)
    images, labels = found.everything()
    lessons = Lessons(found, found.description, [0], 1, 24, augment=None, labels="given")
    (batches,) = next(iter(lessons.chunks([1])))
    shown, told = batches[0]
    for image, label in zip(shown, told, strict=True):
        place = (images - image).flatten(1).abs().sum(1) < 1e-5
        assert any(torch.equal(label, one) for one in labels[place])
    torch.testing.assert_close(told.sum(0), labels.sum(0))
    assert lessons.temperature == 1


def test_some_classes_and_another_order_of_them(sheets: StoredImages, labeller: Labeller) -> None:
    found = with_stored_labels(sheets, labeller)
    some = remembered(found, [0, 2])
    assert some.images_stored == 4 and some.labels.shape == (16, 2) and some.label_counts == [2, 2]
    kept = found.labels.view(6, 4, 3)[[0, 1, 4, 5]].flatten(0, 1)[:, [0, 2]]
    torch.testing.assert_close(some.labels, kept / kept.sum(1, keepdim=True))
    turned = found.in_order(torch.tensor([2, 0, 1]), found.description)
    assert torch.equal(turned.labels[:, [2, 0, 1]], found.labels) and turned.label_counts == [2, 2, 2]


def test_exports_keep_them_or_say_why_not(sheets: StoredImages, labeller: Labeller, tmp_path: Path) -> None:
    found = with_stored_labels(sheets, labeller)
    for format in ("safetensors", "pt", "png"):
        export(found, tmp_path / format, format)
        back = open_teacher(tmp_path / format)
        assert isinstance(back, StoredImages) and back.decoded_images == 24
        torch.testing.assert_close(back.everything()[1], found.labels)
    with pytest.raises(UserError, match="each that it shows has its own; choose safetensors, or pt"):
        export(found, tmp_path / "idc", "idc")
    assert not (tmp_path / "idc").exists()


@pytest.mark.parametrize("kind", ["pool", "curriculum"])
def test_a_generator_is_told_what_it_was(make: Callable[[str], Teacher], kind: str, tmp_path: Path) -> None:
    teacher = make(kind)
    found = with_stored_labels(teacher, Labeller(Bands(), OWN))
    assert isinstance(found, GeneratorTeacher) and found.labels_are_soft
    torch.testing.assert_close(found.everything()[0], teacher.everything()[0])
    again = load(kept(found, tmp_path / "g.safetensors"))
    torch.testing.assert_close(again.everything()[0], teacher.everything()[0])
    torch.testing.assert_close(again.everything()[1], found.everything()[1])
    assert found.label_counts == teacher.label_counts


def test_fresh_images_have_no_file_of_labels(make: Callable[[str], Teacher]) -> None:
    with pytest.raises(UserError, match="fresh ones without end; export a number of them first"):
        with_stored_labels(make("fresh"), Labeller(Bands(), OWN))


@pytest.mark.parametrize("rows", [6, 12, 25])
def test_other_numbers_of_labels_are_refused(sheets: StoredImages, rows: int) -> None:
    soft = torch.full((rows, 3), 1 / 3)
    if rows == 6:  # of the stored ones
        made = StoredImages(sheets.images, soft, sheets.description, decode=Formation(2))
        assert not made.shown_have_labels
        return
    with pytest.raises(UserError, match="labels must be"):
        StoredImages(sheets.images, soft, sheets.description, decode=Formation(2))


def test_hard_labels_belong_to_stored_images(sheets: StoredImages) -> None:
    with pytest.raises(UserError, match="labels must be"):
        StoredImages(sheets.images, torch.zeros(24, dtype=torch.int64), sheets.description, decode=Formation(2))


def test_any_teacher_takes_them_by_name(
    tiny_data: RealData, subset: RealSubset, trained: Labeller, tmp_path: Path
) -> None:
    by = kept(labelled(subset, trained), tmp_path / "by.safetensors")
    found = open_teacher(f"real:ipc=2,labels={by}@stored", tiny_data)
    plain = open_teacher("real:ipc=2", tiny_data)
    assert isinstance(found, RealSubset) and isinstance(plain, RealSubset)
    assert found.labels_are_soft and found.labeller is None and torch.equal(found.images, plain.images)
    expected = with_stored_labels(plain, trained)
    torch.testing.assert_close(found.labels, expected.labels)
    # A place that is called so is that place.
    save(labelled(subset, trained), tmp_path / "by@stored")
    assert open_teacher(f"real:ipc=2,labels={tmp_path / 'by@stored'}", tiny_data).labeller is not None
    with pytest.raises(UserError, match="has no labeller to give away"):
        open_teacher("real:ipc=2,labels=real:ipc=1@stored", tiny_data)


def test_no_promise_of_privacy_covers_them(
    tiny_data: RealData, subset: RealSubset, trained: Labeller, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    by = kept(labelled(subset, trained), tmp_path / "by.safetensors")
    private = StoredImages(*subset.everything(), subset.description, metadata={KEY: {"epsilon": 1.0}})
    path = kept(private, tmp_path / "private.safetensors")
    found = open_teacher(f"{path},labels={by}@stored", tiny_data)
    assert KEY not in found.metadata and found.labels_are_soft


@pytest.fixture
def trained(tiny_data: RealData) -> Labeller:
    from gendistill.evaluation.victims import trained_learners

    spec = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
    (network,) = trained_learners(spec, tiny_data, [0], updates=30)
    return Labeller(network, tiny_data.description.normalisation, temperature=4.0)
