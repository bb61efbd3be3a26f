from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendistill.evaluation.resolution import resolution


@given(st.integers(1, 2000), st.lists(st.integers(0, 10**6), min_size=1, max_size=30))
def test_accuracies_on_n_images_are_multiples_of_what_is_found(images: int, right: list[int]) -> None:
    values = [one % (images + 1) / images for one in right]
    step = resolution(values)
    assert step >= 1 / images - 1e-12  # never finer than it is
    assert all(abs(value / step - round(value / step)) < 1e-4 for value in values)


def test_the_grid_of_many_accuracies_is_that_of_the_images() -> None:
    assert resolution([place / 400 for place in range(380, 400)]) == 1 / 400
    assert resolution([1.0, 0.5]) == 1 / 2 and resolution([]) == 0.0
    assert resolution([0.123456789, 0.98765432101, 0.314159265358979]) == 0.0
    assert resolution([9999 / 10000, 9998 / 10000]) == pytest.approx(1 / 5000, rel=1.01)
