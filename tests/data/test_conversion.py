from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from official_files import take_as_official
from PIL import Image
from scipy.io import savemat

from gendistill.data import load
from gendistill.data.conversion import like
from gendistill.data.description import Description, symmetric
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.pretraining import load_source


def pictures(channels: int, side: int) -> RealData:
    drawn = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, channels, side, side), dtype=torch.uint8, generator=drawn)
    part = Split(images, torch.arange(12) % 3)
    description = Description("pictures", ("a", "b", "c"), (channels, side, side), symmetric(channels))
    return RealData(description, part, part, part)


def target(*shape: int) -> Description:
    return Description("target", ("a", "b", "c"), (shape[0], shape[1], shape[2]), symmetric(shape[0]))


@pytest.mark.parametrize(("side", "wanted"), [(16, 28), (32, 28), (8, 8)])
def test_grey_and_size_are_those_of_pillow(side: int, wanted: int) -> None:
    data = pictures(3, side)
    found = like(data, target(1, wanted, wanted)).test.images
    for image, made in zip(data.test.images, found, strict=True):
        grey = Image.fromarray(image.permute(1, 2, 0).numpy()).convert("L")
        expected = np.asarray(grey.resize((wanted, wanted), Image.Resampling.BILINEAR))
        # Pillow rounds after each of its passes, this once at the end.
        assert np.abs(made[0].numpy().astype(int) - expected.astype(int)).max() <= 1


def test_what_is_converted_is_described_anew_and_keeps_its_labels() -> None:
    data = pictures(1, 16)
    found = like(data, target(3, 8, 8))
    assert found.description.image_shape == (3, 8, 8) and found.description.name == "pictures"
    assert torch.equal(found.train.images[:, 0], found.train.images[:, 2])
    pixels = found.train.images.double().transpose(0, 1).flatten(1) / 255
    torch.testing.assert_close(torch.tensor(found.description.normalisation.mean).double(), pixels.mean(1))
    torch.testing.assert_close(torch.tensor(found.description.normalisation.std).double(), pixels.std(1, correction=0))
    assert torch.equal(found.train.labels, data.train.labels)


def test_what_fits_stays_what_it_is_and_what_cannot_fit_is_refused() -> None:
    data = pictures(1, 16)
    assert like(data, target(1, 16, 16)) is data
    with pytest.raises(UserError, match="classes"):
        like(data, replace(target(1, 16, 16), class_names=("a", "b")))
    with pytest.raises(UserError, match="only 1 and 3"):
        like(data, replace(target(1, 8, 8), image_shape=(2, 8, 8), normalisation=symmetric(2)))
    with pytest.raises(UserError, match="whitened"):
        like(data.with_normalisation(data.whitening()), target(1, 8, 8))


def test_svhn_comes_in_the_shape_of_the_digits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "svhn").mkdir()
    drawn = np.random.default_rng(0)
    for part in ("train", "test"):
        images = drawn.integers(0, 256, (32, 32, 3, 40), dtype=np.uint8)
        savemat(tmp_path / "svhn" / f"{part}_32x32.mat", {"X": images, "y": 1 + np.arange(40)[:, None] % 10})
    take_as_official("svhn", tmp_path, monkeypatch)
    digits = load("digits").description
    for where in ({"name": "svhn", "root": str(tmp_path)}, {"name": "svhn"}):
        source = load_source(where, digits, "cpu", root=str(tmp_path))
        assert source.description.image_shape == (1, 8, 8) and source.test.images.shape == (40, 1, 8, 8)
        assert len(source.description.normalisation.mean) == 1


@pytest.mark.parametrize(("source", "message"), [({"nam": "usps"}, "name"), ({"root": "/x"}, "names no data set")])
def test_a_source_that_is_not_one_is_refused(source: dict[str, str], message: str) -> None:
    with pytest.raises(UserError, match=message):
        load_source(source, target(1, 8, 8), "cpu")
