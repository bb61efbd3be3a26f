from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gendistill.data.description import Description, Normalisation
from gendistill.decodes import Formation
from gendistill.errors import UserError

LABELS = torch.tensor([2, 0])


def described(height: int = 4, width: int = 4, channels: int = 1) -> Description:
    normalisation = Normalisation((0.25,) * channels, (0.5,) * channels)
    return Description("sheets", ("a", "b", "c"), (channels, height, width), normalisation)


def published(pixels: Tensor, factor: int) -> Tensor:
    """Decode pixels as the papers' code does: all first cells, then all second ones, of sheets widened by 0.5."""
    high, wide = pixels.shape[-2:]
    more = (-high) % factor, (-wide) % factor
    sheets = F.pad(pixels, (0, more[1], 0, more[0]), value=0.5)
    h, w = sheets.shape[-2] // factor, sheets.shape[-1] // factor
    cells = [sheets[:, :, i * h : (i + 1) * h, j * w : (j + 1) * w] for i in range(factor) for j in range(factor)]
    return torch.nn.Upsample(size=(high, wide), mode="bilinear")(torch.cat(cells))


def test_factor_1_is_the_identity_to_the_bit() -> None:
    decode, images = Formation(1).prepare(described()), torch.randn(2, 1, 4, 4)
    assert decode(images, LABELS) is images and decode.encode(images) is images
    assert torch.equal(decode.pick(images, LABELS, torch.tensor([1, 0])), images.flip(0))
    assert torch.equal(decode.labels(LABELS), LABELS) and decode.cells == 1


def test_factor_2_by_hand() -> None:
    decode = Formation(2).prepare(described())
    sheet = torch.arange(16.0).view(1, 1, 4, 4)
    shown = decode(sheet, LABELS[:1])
    assert shown.shape == (4, 1, 4, 4) and decode.labels(LABELS).tolist() == [2, 2, 2, 2, 0, 0, 0, 0]
    # Two values a, b along a line become a, (3a + b) / 4, (a + 3b) / 4, b: half a pixel from the edges nothing is new.
    line = torch.tensor([[1.0, 0.0], [0.75, 0.25], [0.25, 0.75], [0.0, 1.0]])
    for place, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)]):
        cell = sheet[0, 0, row : row + 2, column : column + 2]
        torch.testing.assert_close(shown[place, 0], line @ cell @ line.T)


@given(st.integers(2, 3), st.integers(6, 9), st.integers(6, 9), st.integers(1, 3))
def test_it_is_the_published_decode_also_of_sides_that_do_not_divide(
    factor: int, height: int, width: int, channels: int
) -> None:
    described_as = described(height, width, channels)
    generator = torch.Generator().manual_seed(factor + height)
    pixels = torch.rand(2, channels, height, width, generator=generator)
    decode, own = Formation(factor).prepare(described_as), described_as.normalisation
    shown = own.invert(decode(own.apply(pixels), LABELS))
    expected = published(pixels, factor).unflatten(0, (factor**2, 2)).transpose(0, 1).flatten(0, 1)
    torch.testing.assert_close(shown, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("size", [4, 7])
def test_picked_cells_are_those_of_the_whole(size: int) -> None:
    decode = Formation(2).prepare(described(size, size))
    sheets, index = torch.randn(2, 1, size, size), torch.tensor([7, 0, 3, 4, 4])
    assert torch.equal(decode.pick(sheets, LABELS, index), decode(sheets, LABELS)[index])
    rows = decode.rows(sheets[:, None], LABELS[:, None])
    assert torch.equal(rows.flatten(0, 1), decode(sheets, LABELS)) and rows.shape[:2] == (2, 4)


@pytest.mark.parametrize("size", [4, 7])
def test_the_gradient_agrees_with_finite_differences(size: int) -> None:
    decode = Formation(2).prepare(described(size, size))
    sheets = torch.randn(2, 1, size, size, dtype=torch.float64, requires_grad=True)
    index = torch.tensor([0, 5, 2])
    assert torch.autograd.gradcheck(lambda values: decode(values, LABELS).square(), sheets)
    assert torch.autograd.gradcheck(lambda values: decode.pick(values, LABELS, index).square(), sheets)


def test_a_sheet_of_real_images_holds_each_reduced() -> None:
    decode = Formation(2).prepare(described())
    images = torch.arange(8 * 16.0).view(8, 1, 4, 4)
    sheets = decode.encode(images)
    assert sheets.shape == (2, 1, 4, 4)
    # Nearest: every second row and column of each image, in its quarter.
    torch.testing.assert_close(sheets[1, 0, :2, 2:], images[5, 0, ::2, ::2])
    assert decode.encode(images.to(torch.uint8)).dtype == torch.uint8
    # What is constant is shown as it was.
    flat = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 4, 4)
    torch.testing.assert_close(decode(decode.encode(flat), LABELS), flat)
    odd = Formation(2).prepare(described(7, 7))
    constant = torch.arange(8.0).view(8, 1, 1, 1).expand(8, 1, 7, 7)
    torch.testing.assert_close(odd(odd.encode(constant), LABELS)[0], constant[0])  # no grey comes in


@pytest.mark.parametrize("factor", [0, -1, 2.0, True, "2", None])
def test_a_factor_is_a_whole_number_from_1(factor: object) -> None:
    with pytest.raises(UserError, match="give a whole number from 1, such as 2"):
        Formation(factor)  # type: ignore[arg-type]


def test_a_factor_leaves_two_pixels_a_side() -> None:
    Formation(2).prepare(described())
    with pytest.raises(UserError, match="is 3; images of 'sheets' are 4x4 pixels, which a factor up to 2 can share"):
        Formation(3).prepare(described())


def test_whitened_images_are_widened_by_the_mean_image() -> None:
    from gendistill.data.whitening import Whitening

    size = 49
    whitening = Whitening(torch.zeros(size), torch.eye(size))
    own = described(7, 7)
    decode = Formation(2).prepare(replace(own, normalisation=replace(own.normalisation, whitening=whitening)))
    assert torch.equal(decode.fill, torch.zeros(1, 1, 1, 1))
