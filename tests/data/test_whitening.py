"""ZCA whitening against the formula by singular values, and all the ways it is carried along."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.data import load
from gendistill.data.description import Description, Normalisation
from gendistill.data.whitening import Whitening
from gendistill.errors import UserError


@pytest.fixture(scope="module")
def images() -> Tensor:
    generator = torch.Generator().manual_seed(0)
    mixing = torch.randn(24, 24, generator=generator) / 8
    return (torch.randn(300, 24, generator=generator) @ mixing + 0.5).view(300, 2, 3, 4)


def by_singular_values(images: Tensor, epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return mean, matrix and whitened images as Kornia's ZCAWhitening computes them, in double precision."""
    flat = images.double().flatten(1)
    mean = flat.mean(0, keepdim=True)
    covariance = (flat - mean).T @ (flat - mean) / (len(flat) - 1)
    vectors, values, _ = torch.linalg.svd(covariance)
    matrix = vectors @ (torch.rsqrt(values + epsilon)[:, None] * vectors.T)
    return mean[0], matrix, ((flat - mean) @ matrix).view(images.shape)


@pytest.mark.parametrize("epsilon", [0.1, 1e-3])
def test_it_is_the_formula_by_singular_values(images: Tensor, epsilon: float) -> None:
    mean, matrix, whitened = by_singular_values(images, epsilon)
    fitted = Whitening.fit(images, epsilon)
    torch.testing.assert_close(fitted.mean.double(), mean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(fitted.matrix.double(), matrix, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(fitted.apply(images).double(), whitened, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(fitted.invert(fitted.apply(images)), images, rtol=1e-4, atol=1e-4)


def test_whitened_images_are_uncorrelated_and_bytes_are_unit_floats(images: Tensor) -> None:
    flat = Whitening.fit(images, 1e-6).apply(images).flatten(1)
    torch.testing.assert_close(torch.cov(flat.T), torch.eye(24), rtol=1e-2, atol=1e-2)
    pixels = (images.clamp(0, 1) * 255).to(torch.uint8)
    from_bytes, from_floats = Whitening.fit(pixels, scale=255.0), Whitening.fit(pixels / 255)
    torch.testing.assert_close(from_bytes.matrix, from_floats.matrix, rtol=1e-4, atol=1e-4)


def test_what_cannot_be_whitened_is_refused(images: Tensor) -> None:
    with pytest.raises(UserError, match="epsilon of a whitening is 0"):
        Whitening.fit(images, 0)
    with pytest.raises(UserError, match="2 or more"):
        Whitening.fit(images[:1])
    with pytest.raises(UserError, match="150528x150528"):
        Whitening.fit(torch.zeros(1, 3, 224, 224, dtype=torch.uint8).expand(2, -1, -1, -1))
    with pytest.raises(UserError, match="images of 24 values, these have 4"):
        Whitening.fit(images).apply(torch.zeros(1, 1, 2, 2))
    with pytest.raises(UserError, match="mean \\(D,\\) and a matrix"):
        Whitening(torch.zeros(3), torch.eye(2))
    with pytest.raises(UserError, match="finite"):
        Whitening(torch.zeros(2), torch.full((2, 2), torch.nan))
    with pytest.raises(UserError, match="no inverse"):
        Whitening(torch.zeros(2), torch.ones(2, 2)).invert(torch.zeros(1, 2, 1, 1))


def test_a_normalisation_whitens_after_mean_and_deviation(images: Tensor) -> None:
    plain = Normalisation((0.2, 0.4), (0.5, 2.0))
    whitening = Whitening.fit(plain.apply(images))
    normalisation = Normalisation(plain.mean, plain.std, whitening)
    torch.testing.assert_close(normalisation.apply(images), whitening.apply(plain.apply(images)))
    torch.testing.assert_close(normalisation.invert(normalisation.apply(images)), images, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        normalisation.convert(normalisation.apply(images), plain), plain.apply(images), rtol=1e-3, atol=1e-3
    )
    again = Normalisation(plain.mean, plain.std, Whitening(whitening.mean, whitening.matrix))
    other = Normalisation(plain.mean, plain.std, Whitening(whitening.mean, 2 * whitening.matrix))
    assert again == normalisation != other and hash(again) == hash(normalisation)
    assert normalisation.plain() == plain and repr(normalisation) != repr(other)


def test_a_description_names_its_whitening_by_checksum(images: Tensor) -> None:
    whitening = Whitening.fit(images)
    whitened = Description("set", ("a", "b"), (2, 3, 4), Normalisation((0.0, 0.0), (1.0, 1.0), whitening))
    values = whitened.to_dict()
    assert values["normalisation"]["whitening"] == {"values": 24, "sha256": whitening.sha256}
    assert Description.from_dict(values, whitening) == whitened
    with pytest.raises(UserError, match="names a whitening, none is there"):
        Description.from_dict(values)
    with pytest.raises(UserError, match="names no whitening, one is there"):
        Description.from_dict(whitened.with_normalisation(whitened.normalisation.plain()).to_dict(), whitening)
    with pytest.raises(UserError, match="another whitening"):
        Description.from_dict(values, Whitening(whitening.mean, 2 * whitening.matrix))
    with pytest.raises(UserError, match="have 12 values, its whitening 24"):
        Description("set", ("a", "b"), (2, 3, 2), whitened.normalisation)


def test_a_data_set_is_whitened_by_all_its_training_images() -> None:
    plain, whitened = load("digits"), load("digits", whitening=0.1)
    pixels = torch.cat((plain.train.images, plain.validation.images)) / 255
    expected = by_singular_values(pixels, 0.1)[2]
    index = torch.arange(50)
    seen, labels = whitened.train.batch(index, whitened.description.normalisation)
    torch.testing.assert_close(seen.double(), expected[:50], rtol=1e-3, atol=1e-4)
    assert torch.equal(labels, plain.train.labels[index])
    assert torch.equal(whitened.test.images, plain.test.images)
