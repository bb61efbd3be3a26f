from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.reading import Reading, count_sets, is_public
from gendistill.evaluation.suspects import class_order
from gendistill.teacher import StoredImages
from gendistill.teacher.export import export

COLOURS = Normalisation((0.5, 0.4, 0.3), (0.2, 0.3, 0.4))


@pytest.fixture
def colourful() -> RealData:
    """Two classes of 3x4x4 images."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, 3, 4, 4), generator=generator).to(torch.uint8)
        return Split(images, torch.arange(count) % 2)

    return RealData(Description("colours", ("a", "b"), (3, 4, 4), COLOURS), split(12), split(6), split(6))


@pytest.fixture
def file(tmp_path: Path, colourful: RealData) -> Path:
    """A result of two sets, whose labels are indices."""
    pixels = torch.rand(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    pair = [COLOURS.apply(pixels), torch.tensor([0, 0, 0, 1, 1, 1])]
    torch.save({"data": [pair, [-pair[0], pair[1]]], "accs_all_exps": {}}, tmp_path / "res.pt")
    return tmp_path / "res.pt"


def pixels(teacher) -> torch.Tensor:
    return teacher.description.normalisation.invert(teacher.images)


def test_images_are_changed_in_pixels_whatever_their_normalisation(file, colourful) -> None:
    plain = pixels(Reading().open(file, colourful))
    found = {word: pixels(Reading(altered=word).open(file, colourful)) for word in
             ("transposed", "channels reversed", "negative")}  # fmt: skip
    torch.testing.assert_close(found["transposed"], plain.transpose(2, 3))
    torch.testing.assert_close(found["channels reversed"], plain[:, [2, 1, 0]])
    torch.testing.assert_close(found["negative"], 1 - plain)


def test_another_normalisation_is_of_the_same_numbers(file, colourful) -> None:
    other = Normalisation((0.1, 0.1, 0.1), (0.5, 0.5, 0.5))
    usual, changed = (reading.open(file, colourful) for reading in (Reading(), Reading(normalisation=other)))
    torch.testing.assert_close(changed.images, usual.images)
    torch.testing.assert_close(pixels(changed), other.invert(usual.images))


@pytest.mark.parametrize("soft", [False, True])
def test_classes_are_renamed(tmp_path, colourful, soft) -> None:
    labels = torch.tensor([[0.9, 0.1], [0.2, 0.8]]) if soft else torch.tensor([0, 1])
    images = COLOURS.apply(torch.rand(2, 3, 4, 4, generator=torch.Generator().manual_seed(1)))
    torch.save(images, tmp_path / "images_best.pt")
    torch.save(labels, tmp_path / "labels_best.pt")
    renamed = Reading(classes=(1, 0)).open(tmp_path, colourful).labels
    assert torch.equal(renamed, labels.flip(1) if soft else 1 - labels)


def test_sets_are_counted_and_chosen(file, colourful) -> None:
    assert count_sets(file) == 2 and count_sets("real") == 1
    first, second = (Reading(experiment=place).open(file, colourful).images for place in (0, 1))
    torch.testing.assert_close(second, -first)


def test_public_files_are_told_from_teachers(tmp_path, file, colourful) -> None:
    teacher = Reading().open(file, colourful)
    assert isinstance(teacher, StoredImages)
    for form in ("pt", "png", "safetensors"):
        export(teacher, tmp_path / form, form)
    (tmp_path / "png" / "teacher.json").unlink()
    (tmp_path / "png" / "metadata.csv").unlink()
    (tmp_path / "run" / "Normal").mkdir(parents=True)  # where DATM puts its files
    (tmp_path / "run" / "Normal" / "images_best.pt").touch()
    public = {name: is_public(tmp_path / name) for name in ("res.pt", "pt", "run", "png", "safetensors")}
    assert public == {"res.pt": True, "pt": True, "run": True, "png": False, "safetensors": False}
    assert not is_public("real") and not is_public("real:ipc=2") and not is_public(tmp_path / "t.safetensors")


def test_what_says_itself_what_it_holds_is_not_read_otherwise(tmp_path, file, colourful) -> None:
    with pytest.raises(UserError, match="leave out --format, --experiment"):
        Reading("dc", experiment=0).open("real", colourful)
    with pytest.raises(UserError, match="only distilled images"):
        Reading(altered="negative").open("real", colourful)


def test_an_order_of_classes_is_suspected_only_where_the_images_show_it(tiny_data) -> None:
    images, labels = tiny_data.train.batch(torch.arange(30), tiny_data.description.normalisation)

    def suspected(images: torch.Tensor, labels: torch.Tensor) -> tuple[int, ...] | None:
        return class_order(StoredImages(images, labels, tiny_data.description), tiny_data)

    assert suspected(images, labels) is None
    # What the file calls class 0 is class 1, and so on.
    assert suspected(images, (labels + 2) % 3) == (1, 2, 0)
    noise = torch.randn(images.shape, generator=torch.Generator().manual_seed(0))
    assert suspected(noise, labels) is None
