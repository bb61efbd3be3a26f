"""Values that are not finite are refused by name."""

from __future__ import annotations

import pytest
import torch

from gendistill.errors import UserError
from gendistill.finite import check_finite, is_finite


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64, torch.complex64])
def test_one_bad_value_is_named(value: float, dtype: torch.dtype) -> None:
    tensor = torch.zeros(3, 4, dtype=dtype)
    tensor[1, 2] = value
    assert not is_finite(tensor)
    with pytest.raises(UserError, match="'features' holds values that are NaN or infinite; take others"):
        check_finite("features", tensor, "take others")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float8_e5m2, torch.int64, torch.uint8, torch.bool])
def test_sound_values_come_back(dtype: torch.dtype) -> None:
    tensor = torch.ones(2, 2, dtype=dtype)
    assert check_finite("x", tensor) is tensor
