from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data.description import Description, Normalisation, symmetric
from gendistill.errors import UserError

numbers = st.floats(0.05, 1.0)


@given(st.lists(st.tuples(numbers, numbers), min_size=3, max_size=3))
@settings(max_examples=30, deadline=None)
def test_invert_undoes_apply_and_uint8_is_the_same_as_unit_floats(values: list[tuple[float, float]]) -> None:
    normalisation = Normalisation(tuple(mean for mean, _ in values), tuple(std for _, std in values))
    pixels = torch.randint(0, 256, (4, 3, 5, 6), dtype=torch.uint8)
    normalised = normalisation.apply(pixels)
    torch.testing.assert_close(normalised, normalisation.apply(pixels / 255), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(normalisation.invert(normalised), pixels / 255, rtol=1e-4, atol=1e-5)


def test_apply_is_mean_and_std_for_each_channel() -> None:
    normalisation = Normalisation((0.5, 0.1), (0.5, 2.0))
    images = normalisation.apply(torch.tensor([1.0, 0.3]).view(1, 2, 1, 1))
    torch.testing.assert_close(images.flatten(), torch.tensor([1.0, 0.1]))


def test_convert_goes_through_pixels() -> None:
    given_in, wanted = symmetric(1), Normalisation((0.2,), (0.4,))
    pixels = torch.rand(3, 1, 2, 2)
    torch.testing.assert_close(given_in.convert(given_in.apply(pixels), wanted), wanted.apply(pixels))
    images = given_in.apply(pixels)
    assert given_in.convert(images, symmetric(1)) is images


def test_a_description_survives_plain_values() -> None:
    description = Description("set", ("a", "b"), (3, 8, 9), Normalisation((0.1, 0.2, 0.3), (1.0, 2.0, 3.0)))
    assert Description.from_dict(description.to_dict()) == description


@pytest.mark.parametrize(
    "change", [{"image_shape": [1, 8]}, {"class_names": None}, {"normalisation": {"mean": [0.5]}}, {"name": ...}]
)
def test_an_incomplete_description_is_refused(change: dict[str, object]) -> None:
    values = Description("set", ("a", "b"), (1, 8, 8)).to_dict() | change
    values = {key: value for key, value in values.items() if value is not ...}
    with pytest.raises(UserError, match="not complete"):
        Description.from_dict(values)


def test_a_normalisation_must_fit_the_channels() -> None:
    with pytest.raises(UserError, match="3 channels"):
        Description("set", ("a", "b"), (3, 8, 8), symmetric(1))
    with pytest.raises(UserError, match="positive std"):
        Normalisation((0.5,), (0.0,))


@pytest.mark.parametrize(("mean", "std"), [((float("nan"),), (1.0,)), ((0.0,), (float("inf"),)), ((0.0,), (0.0,))])
def test_a_normalisation_of_no_numbers_is_refused(mean: tuple[float], std: tuple[float]) -> None:
    with pytest.raises(UserError, match="normalisation needs"):
        Normalisation(mean, std)


@pytest.mark.parametrize(("mean", "std"), [(1e308, 1.0), (-1e10, 1.0), (0.0, 1e308), (0.0, 1e-320)])
def test_a_normalisation_that_single_precision_cannot_hold_is_refused(mean: float, std: float) -> None:
    with pytest.raises(UserError, match="normalisation needs means up to"):
        Normalisation((mean,), (std,))
