from __future__ import annotations

import csv
import errno
import io
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch import nn
from torchvision.datasets import ImageFolder

from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.data.real import RealData
from gendistill.errors import StorageError, UserError
from gendistill.teacher import GeneratorTeacher, RealSubset, StoredImages, export, load, materialise
from gendistill.teacher.folder import read_image_folder


@pytest.fixture
def teacher(description: Description) -> StoredImages:
    rng = torch.Generator().manual_seed(2)
    images = torch.rand(7, 1, 4, 4, generator=rng) * 2.2 - 1.1  # a little beyond what 8 bits can show
    labels = torch.tensor([0, 1, 0, 2, 2, 1, 0])
    return StoredImages(images, labels, description, metadata={"seed": 3, "learner": {"class_path": "a.B"}})


@pytest.fixture
def soft(teacher: StoredImages) -> StoredImages:
    labels = torch.rand(7, 3, generator=torch.Generator().manual_seed(4))
    rates = torch.tensor([0.25, 0.5])
    return StoredImages(
        teacher.images, labels, teacher.description, order="fixed", learning_rates=rates, momenta=rates / 2
    )


def test_png_is_read_by_torchvision_with_the_same_labels(teacher: StoredImages, tmp_path: Path) -> None:
    result = export(teacher, tmp_path / "out", "png")
    pixels = teacher.description.normalisation.invert(teacher.images)
    found = ImageFolder(str(tmp_path / "out"))
    assert found.classes == ["0_top", "1_middle", "2_bottom"]
    assert [label for _, label in found.samples] == sorted(teacher.labels.tolist())
    with (tmp_path / "out" / "metadata.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["label"]) for row in rows] == teacher.labels.tolist()
    worst = 0.0
    for row, image in zip(rows, pixels, strict=True):
        stored = torch.tensor(list(Image.open(tmp_path / "out" / row["file_name"]).tobytes())).view(4, 4) / 255
        assert torch.equal((image[0].clamp(0, 1) * 255).round(), (stored * 255).round())
        worst = max(worst, float((stored - image[0]).abs().max()))
    assert result["max_quantisation_error"] == pytest.approx(worst)
    assert result["max_quantisation_error"] > 0.5 / 255, "clipping counts"
    outside = ((pixels < -0.5 / 255) | (pixels > 1 + 0.5 / 255)).double().mean()
    assert result["clipped"] == pytest.approx(float(outside)) and result["clipped"] > 0
    assert result["images_per_class"] == [3, 2, 2]


def test_png_comes_back_within_its_quantisation_error(soft: StoredImages, tmp_path: Path) -> None:
    result = export(soft, tmp_path / "out", "png")
    found = read_image_folder(tmp_path / "out")
    assert found.description == soft.description and found.order == "fixed"
    assert torch.equal(found.labels, soft.labels)
    assert found.learning_rates is not None and torch.equal(found.learning_rates, soft.learning_rates)
    assert found.momenta is not None and torch.equal(found.momenta, soft.momenta)
    error = (found.images - soft.images).abs().max() * soft.description.normalisation.std[0]
    assert float(error) == pytest.approx(result["max_quantisation_error"], rel=1e-4)


def test_real_images_come_back_from_png_exactly(tiny_data: RealData, tmp_path: Path) -> None:
    teacher = RealSubset.all(tiny_data.test, tiny_data.description)
    exported = export(teacher, tmp_path / "out", "png")
    assert (exported["max_quantisation_error"], exported["clipped"]) == (0, 0)
    found = read_image_folder(tmp_path / "out")
    assert torch.equal(found.images, teacher.everything()[0]) and torch.equal(found.labels, teacher.labels)


def test_colour_png(tmp_path: Path) -> None:
    description = Description("c", ("a",), (3, 2, 3), symmetric(3))
    images = torch.linspace(-1, 1, 36).view(2, 3, 2, 3)
    export(StoredImages(images, torch.zeros(2).long(), description), tmp_path / "out", "png")
    found = read_image_folder(tmp_path / "out")
    torch.testing.assert_close(found.images, images, rtol=0, atol=1 / 255 + 1e-6)


def test_pt_pair_loads_without_pickled_code_and_is_exact(soft: StoredImages, tmp_path: Path) -> None:
    export(soft, tmp_path / "out", "pt")
    names = ("images", "labels", "learning_rates", "momenta")
    found = {name: torch.load(tmp_path / "out" / f"{name}.pt", weights_only=True) for name in names}
    assert found["images"].dtype == torch.float32
    for name in names:
        assert torch.equal(found[name], getattr(soft, name))


def test_pt_is_normalised_as_the_data_set_is(tmp_path: Path) -> None:
    description = Description("cifar10", tuple("abcdefghij"), (3, 2, 2), symmetric(3))
    teacher = StoredImages(torch.zeros(1, 3, 2, 2), torch.zeros(1).long(), description)
    result = export(teacher, tmp_path / "out", "pt")
    images = torch.load(tmp_path / "out" / "images.pt", weights_only=True)
    mean, std = torch.tensor([0.4914, 0.4822, 0.4465]), torch.tensor([0.2023, 0.1994, 0.2010])
    torch.testing.assert_close(images[0, :, 0, 0], (0.5 - mean) / std, rtol=1e-4, atol=1e-4)
    assert result["normalisation"]["mean"] == pytest.approx(mean.tolist(), abs=1e-4)
    own = Normalisation((0.0,) * 3, (1.0,) * 3)
    export(teacher, tmp_path / "own", "pt", normalisation=own)
    assert torch.load(tmp_path / "own" / "images.pt", weights_only=True).unique().tolist() == [0.5]


def test_parquet_has_the_layout_of_the_hub(soft: StoredImages, tmp_path: Path) -> None:
    parquet = pytest.importorskip("pyarrow.parquet")
    export(soft, tmp_path / "out", "parquet")
    table = parquet.read_table(tmp_path / "out" / "data" / "train-00000-of-00001.parquet")
    features = json.loads(table.schema.metadata[b"huggingface"])["info"]["features"]
    assert features["image"] == {"_type": "Image"} and features["label"]["names"] == ["top", "middle", "bottom"]
    rows = table.to_pylist()
    assert [row["label"] for row in rows] == soft.labels.argmax(1).tolist()
    torch.testing.assert_close(torch.tensor([row["soft_label"] for row in rows]), soft.labels, rtol=0, atol=0)
    export(soft, tmp_path / "png", "png")
    expected = read_image_folder(tmp_path / "png").images
    for row, image in zip(rows, expected, strict=True):
        pixels = torch.tensor(list(Image.open(io.BytesIO(row["image"]["bytes"])).tobytes())).view(1, 4, 4) / 255
        torch.testing.assert_close(pixels * 2 - 1, image)


def test_parquet_without_pyarrow_says_what_to_install(
    teacher: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UserError, match="needs pyarrow; install"):
        export(teacher, tmp_path / "out", "parquet")
    assert os.listdir(tmp_path) == []


def test_safetensors_keeps_a_curriculum_as_it_is_shown(
    network: nn.Module, description: Description, tmp_path: Path
) -> None:
    rng = torch.Generator().manual_seed(0)
    teacher = GeneratorTeacher(
        network,
        description,
        latents=torch.randn(3, 6, 4, generator=rng),
        learning_rates=torch.tensor([0.1, 0.2, 0.3]),
        batch_norm="batch",
    )
    export(teacher, tmp_path / "out", "safetensors")
    found = load(tmp_path / "out" / "teacher.safetensors")
    shown, again = list(teacher.batches(5, 6, rng)), list(found.batches(5, 6, rng))
    for one, other in zip(shown, again, strict=True):
        for a, b in zip(one, other, strict=True):
            assert a is not None and b is not None and torch.equal(a, b)


def test_endless_teachers_need_a_count_and_draw_the_same_each_time(
    network: nn.Module, description: Description, tmp_path: Path
) -> None:
    teacher = GeneratorTeacher(network, description)
    with pytest.raises(UserError, match="say how many"):
        export(teacher, tmp_path / "out", "pt")
    with pytest.raises(UserError, match="at least 1, got 0"):
        export(teacher, tmp_path / "out", "pt", count=0)
    one, other = materialise(teacher, 9), materialise(teacher, 9)
    assert torch.equal(one.images, other.images) and one.label_counts == [3, 3, 3]
    assert export(teacher, tmp_path / "out", "pt", count=9)["images"] == 9


def test_the_card_tells_what_is_needed(soft: StoredImages, tmp_path: Path) -> None:
    export(soft, tmp_path / "out", "png")
    _, front, text = (tmp_path / "out" / "README.md").read_text().split("---\n", 2)
    values = yaml.safe_load(front)
    assert values["task_categories"] == ["image-classification"] and values["size_categories"] == ["n<1K"]
    assert values["source_datasets"] == ["bands"]
    for words in ("top, middle, bottom", "mean (0.5,)", "soft", "largest change", "learning rates | 2 learned"):
        assert words in text
    notes: dict[str, Any] = json.loads((tmp_path / "out" / "teacher.json").read_text())
    assert notes["exported_from"] == "stored-images" and notes["learning_rates"] == [0.25, 0.5]


def test_nothing_is_overwritten(teacher: StoredImages, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    export(teacher, tmp_path / "empty", "pt")
    before = (tmp_path / "empty" / "images.pt").read_bytes()
    with pytest.raises(UserError, match="not an empty folder"):
        export(teacher, tmp_path / "empty", "png")
    assert (tmp_path / "empty" / "images.pt").read_bytes() == before
    (tmp_path / "file").write_text("x")
    with pytest.raises(UserError, match="not an empty folder"):
        export(teacher, tmp_path / "file", "png")
    with pytest.raises(UserError, match="did you mean 'png'"):
        export(teacher, tmp_path / "new", "pgn")


def test_a_full_disk_leaves_nothing_behind(
    teacher: StoredImages, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(StorageError, match="no space left"):
        export(teacher, tmp_path / "out", "png")
    assert os.listdir(tmp_path) == []


def test_pictures_need_one_or_three_channels(tmp_path: Path) -> None:
    description = Description("two", ("a",), (2, 2, 2), symmetric(2))
    with pytest.raises(UserError, match="1 or 3 channels, these images have 2"):
        export(StoredImages(torch.zeros(1, 2, 2, 2), torch.zeros(1).long(), description), tmp_path / "out", "png")
    assert os.listdir(tmp_path) == []
