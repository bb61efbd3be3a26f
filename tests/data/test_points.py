"""Points as data: the published difficulties, their pixels, what travels in files, and what is refused."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gendistill import data
from gendistill.cli import main
from gendistill.data.augment import augment
from gendistill.data.cloud import SHAPE, Cloud
from gendistill.data.description import LEVELS, Description, as_pixels, as_stored, check_fits
from gendistill.data.fingerprint import fingerprint
from gendistill.data.points import CLOUDS
from gendistill.data.scatter import BAD, GOOD, MISSED, SIDE, scatter
from gendistill.errors import UserError
from gendistill.teacher import RealSubset, export, load, save
from gendistill.teacher.subset import is_everything


@pytest.mark.parametrize(
    ("name", "modes", "radius", "variance"),
    [
        ("ring:d2gan", 8, 2.0, 0.02),
        ("ring:unrolled", 8, 2.0, 0.0004),
        ("ring:veegan", 8, 1.0, 0.0001),
        ("grid:veegan", 25, None, 0.0025),
    ],
)
def test_the_published_difficulties(name: str, modes: int, radius: float | None, variance: float) -> None:
    real = data.load(name)
    described, cloud = real.description, real.description.cloud
    assert cloud is not None and described.num_classes == modes and described.image_shape == (2, 1, 1)
    assert [len(part) for part in (real.train, real.validation, real.test)] == [100_000, 10_000, 10_000]
    images, labels = real.train.batch(torch.arange(100_000), described.normalisation)
    centres = cloud.positions()
    if radius is not None:
        torch.testing.assert_close(centres.norm(dim=1), torch.full((modes,), radius, dtype=torch.float64))
    else:
        assert {tuple(one) for one in centres.tolist()} == {(x, y) for x in range(-4, 5, 2) for y in range(-4, 5, 2)}
    apart = images.flatten(1).double() - centres[labels]
    torch.testing.assert_close(apart.square().mean(), torch.tensor(variance, dtype=torch.float64), rtol=0.02, atol=0)
    assert apart.mean().abs() < 0.01 * math.sqrt(variance)
    shares = torch.bincount(labels).double() / len(labels) * modes
    assert (shares - 1).abs().max() < 5 * math.sqrt(modes / len(labels))
    # Networks see coordinates as they are, to a fraction of the standard deviation.
    assert 2 * cloud.extent / LEVELS[torch.int32] < cloud.sigma / 1000


def test_they_are_the_same_everywhere() -> None:
    assert fingerprint(data.load("ring:d2gan")) == fingerprint(data.load("ring:d2gan"))
    assert fingerprint(data.load("ring:d2gan"))[:16] == "0df2765b8e1e9007"


def test_pixels_and_levels_are_inverse() -> None:
    pixels = torch.rand(50, *SHAPE, dtype=torch.float64).float()
    stored = as_stored(pixels, torch.int32)
    assert stored.dtype == torch.int32 and (as_pixels(stored) - pixels).abs().max() <= 0.5 / 2**20 + 1e-7
    assert torch.equal(as_stored(as_pixels(stored), torch.int32), stored)
    normalisation = data.load("grid:veegan").description.normalisation
    torch.testing.assert_close(normalisation.apply(stored), normalisation.apply(as_pixels(stored)))
    torch.testing.assert_close(normalisation.invert(normalisation.apply(stored)), as_pixels(stored))


def test_a_teacher_of_points_keeps_its_modes(tmp_path: Path) -> None:
    real = data.load("ring:veegan")
    some = RealSubset.random(
        real.train, real.description, images_per_class=3, generator=torch.Generator().manual_seed(0)
    )
    save(some, tmp_path / "some.safetensors")
    again = load(tmp_path / "some.safetensors")
    assert again.description == real.description and torch.equal(again.everything()[0], some.everything()[0])
    export(some, tmp_path / "pt", format="pt")
    assert torch.equal(torch.load(tmp_path / "pt" / "images.pt", weights_only=True), some.everything()[0])
    for form in ("png", "parquet"):
        with pytest.raises(UserError, match="points are no pictures; export them as pt"):
            export(some, tmp_path / form, format=form)
    assert not is_everything(some, real.train)
    assert is_everything(RealSubset.all(real.test, real.description), real.test)


def test_another_difficulty_is_another_data_set() -> None:
    one, other = (data.load(name).description for name in ("ring:d2gan", "ring:unrolled"))
    with pytest.raises(UserError, match="was made for the points of 'ring:d2gan', and those of 'ring:unrolled' lie"):
        check_fits(one, other)
    check_fits(one, one)


@pytest.mark.parametrize(
    "values",
    [
        {"centres": [], "sigma": 1.0, "extent": 1.0},
        {"centres": [[0.0, float("nan")]], "sigma": 1.0, "extent": 1.0},
        {"centres": [[0.0, 0.0]], "sigma": 0.0, "extent": 1.0},
        {"centres": [[0.0, 0.0]], "sigma": 1.0, "extent": float("inf")},
        {"centres": [[3.0, 0.0]], "sigma": 1.0, "extent": 1.0},
        {"centres": [[0.0]], "sigma": 1.0, "extent": 1.0},
        {"centres": 3, "sigma": 1.0, "extent": 1.0},
        {"sigma": 1.0},
        [1],
    ],
)
def test_what_a_file_says_of_points_is_checked(values: object) -> None:
    described = data.load("ring:d2gan").description
    with pytest.raises(UserError):
        Description.from_dict(described.to_dict() | {"points": values})


def test_modes_and_classes_must_agree() -> None:
    described = data.load("ring:d2gan").description
    with pytest.raises(UserError, match="8 classes for 1 modes"):
        replace(described, cloud=Cloud(((0.0, 0.0),), 1.0, 1.0))
    with pytest.raises(UserError, match="holds points, which have the shape"):
        replace(described, image_shape=(2, 2, 1))


def test_what_is_for_pictures_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="whitening is for pictures; 'ring:d2gan' holds points, leave it out"):
        data.load("ring:d2gan", whitening=0.1)
    with pytest.raises(UserError, match="are for folders of images; 'ring:d2gan' has its own"):
        data.load("ring:d2gan", image_size=8)
    with pytest.raises(UserError, match="did you mean 'ring:d2gan'"):
        data.load("ring:d2gam")
    with pytest.raises(UserError, match="is for pictures, and these are points"):
        augment(torch.zeros(3, *SHAPE), "crop", torch.Generator())
    assert main(["evaluate", "real:subset=40", "--dataset", "ring:d2gan", "--augment", "dsa", "--no-fidelity"]) == 2
    assert "'ring:d2gan' holds points, set it to none" in capsys.readouterr().err
    assert main(["evaluate", "real:subset=40", "--dataset", "ring:d2gan", "--extractor", "inception"]) == 2
    assert "holds points, which inception cannot see; use classifier" in capsys.readouterr().err


def shows(picture: torch.Tensor, colour: tuple[float, float, float]) -> int:
    return int(((picture[0] - torch.tensor(colour).view(3, 1, 1)).abs().amax(0) < 0.02).sum())


def test_a_scatter_plot_shows_points_where_they_are_and_what_is_missed() -> None:
    cloud = CLOUDS["ring:d2gan"]

    def pixels(*points: tuple[float, float]) -> torch.Tensor:
        return ((torch.tensor(points) / cloud.extent + 1) / 2).view(-1, *SHAPE)

    every = scatter(pixels(*cloud.centres), cloud)
    assert every.shape == (1, 3, SIDE, SIDE) and every.min() >= 0 and every.max() <= 1
    assert shows(every, MISSED) == 0 and shows(every, BAD) == 0 and shows(every, GOOD) > 0
    one = scatter(pixels(cloud.centres[2]), cloud)  # (0, 2): above the middle, a quarter from the top
    rows, columns = ((one[0] - torch.tensor(GOOD).view(3, 1, 1)).abs().amax(0) < 0.3).nonzero().double().mean(0)
    assert abs(rows - SIDE / 4) < 1.5 and abs(columns - SIDE / 2) < 1.5
    assert shows(one, MISSED) > 0
    bad = scatter(pixels((0.0, 0.0), (100.0, 0.0), (float("nan"), 0.0)), cloud)
    assert shows(bad, BAD) > 0 and shows(bad, GOOD) == 0
    assert (bad[0, :, SIDE // 2 - 3 : SIDE // 2 + 3, -2:] < 0.9).any()  # what lies outside stands at the edge
    assert shows(scatter(torch.empty(0, *SHAPE), cloud), GOOD) == 0
