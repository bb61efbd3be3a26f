"""Images in every layout and unit: recognised, or asked for."""

from __future__ import annotations

import pytest
import torch

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.teacher.image_forms import lay_out, outside, understand_values

COLOUR = Description("colour", ("a", "b"), (3, 2, 4), symmetric(3))
GREY = Description("grey", ("a", "b"), (1, 2, 4), symmetric(1))


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(5, 3, 2, 4, generator=torch.Generator().manual_seed(0))


def test_axes_are_brought_to_those_of_the_data_set(images: torch.Tensor) -> None:
    for stored, words in (
        (images, None),
        (images.permute(0, 2, 3, 1), "channels last"),
        (images.flatten(1), "flattened, channel by channel"),
    ):
        laid = lay_out(stored, COLOUR)
        assert torch.equal(laid.images, images) and laid.words == words
    grey = images[:, :1]
    for stored in (grey, grey[:, 0], grey.permute(0, 2, 3, 1), grey.flatten(1)):
        assert torch.equal(lay_out(stored, GREY).images, grey)


@pytest.mark.parametrize(
    ("stored", "message"),
    [
        (torch.zeros(5, 3, 4, 2), r"must have shape \(N, 3, 2, 4\), got \(5, 3, 4, 2\)"),
        (torch.zeros(5), "must have shape"),
        (torch.zeros(0, 3, 2, 4), "there are no images"),
        (torch.zeros(5, 3, 2, 4, dtype=torch.complex64), "complex64"),
        (torch.zeros(5, 3, 2, 4, dtype=torch.bool), "bool"),
        (torch.full((5, 3, 2, 4), torch.inf), "NaN or infinite"),
    ],
)
def test_other_shapes_and_types_are_refused(stored: torch.Tensor, message: str) -> None:
    with pytest.raises(UserError, match=message):
        lay_out(stored, COLOUR)


def test_units_are_told_by_the_values(images: torch.Tensor) -> None:
    pixels = images.sigmoid()
    scaled = (pixels * 255).round()
    assert understand_values(images, "auto", "normalised") == "normalised"
    assert understand_values(pixels, "auto", "normalised") == "pixels"
    assert understand_values(scaled.to(torch.uint8), "auto", "normalised") == "bytes"
    assert understand_values(scaled.to(torch.int64), "pixels", "pixels") == "bytes"
    assert understand_values(scaled, "auto", "normalised") == "bytes"
    assert understand_values(images, "auto", "whitened") == "whitened"
    # Unclipped pixels leave [0, 1] a little.
    assert understand_values(pixels * 1.4 - 0.2, "auto", "pixels") == "pixels"
    assert understand_values(images, "normalised", "pixels") == "normalised"


@pytest.mark.parametrize(
    ("stored", "given", "usual", "message"),
    [
        (torch.tensor([[-1, 3]]), "auto", "normalised", "int64 from -1 to 3; whole numbers are pixels in 0..255"),
        (torch.tensor([[0, 300]]), "auto", "normalised", "int64 from 0 to 300"),
        (torch.tensor([[0, 200]]), "normalised", "normalised", "whole numbers are pixels"),
        (torch.tensor([[0.0, 200.5]]), "auto", "normalised", "too far for normalised ones"),
        (torch.tensor([[-2.0, 2.5]]), "auto", "pixels", "100% of them far outside the pixels .* --values normalised"),
        (torch.tensor([[-2.0, 2.5]]), "bytes", "pixels", "no bytes in 0..255"),
    ],
)
def test_units_that_cannot_be_are_refused(stored: torch.Tensor, given: str, usual: str, message: str) -> None:
    with pytest.raises(UserError, match=message):
        understand_values(stored, given, usual)


def test_rounding_is_not_outside() -> None:
    pixels = torch.rand(4, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    pixels[0, 0, 0, :2] = torch.tensor([0.0, 1.0])
    half = symmetric(3).invert(symmetric(3).apply(pixels).half().float())
    assert outside(half) == 0 and outside(half + 2) == 1
