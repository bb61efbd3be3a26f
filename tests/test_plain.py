from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

from gendistill.errors import UserError
from gendistill.plain import plain

GIVEN = {
    1: (torch.tensor([1.0, 2.0]), np.float64(0.5), np.int64(3), np.zeros((1, 2), np.int8)),
    "path": Path("a"),
    "flags": [True, None],
    "nested": {"b": (2,)},
}
EXPECTED = {"1": [[1.0, 2.0], 0.5, 3, [[0, 0]]], "path": "a", "flags": [True, None], "nested": {"b": [2]}}


@pytest.mark.parametrize("strict", [False, True])
def test_containers_tensors_and_paths(strict: bool) -> None:
    result = plain(GIVEN, strict=strict)
    assert result == EXPECTED
    assert result["flags"][0] is True and type(result["1"][1]) is float
    assert yaml.safe_load(yaml.safe_dump(result)) == EXPECTED


def test_a_result_is_strict_json() -> None:
    given = {"x": (torch.tensor([1.0, float("inf")]), math.nan, np.float32("-inf"))}
    assert plain(given, strict=True) == {"x": [[1.0, None], None, None]}
    with pytest.raises(UserError, match="got a object"):
        plain({"x": [object()]}, strict=True)


def test_a_configuration_keeps_infinity_and_says_what_it_cannot_hold() -> None:
    assert plain({"clip": math.inf, "activation": torch.device("cpu")}) == {"clip": math.inf, "activation": "cpu"}
