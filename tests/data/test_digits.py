"""The digits are scikit-learn's, read without it."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import datasets

from gendistill.data import digits


@pytest.mark.parametrize("file_is_there", [True, False])
def test_the_table_is_that_of_scikit_learn(monkeypatch: pytest.MonkeyPatch, file_is_there: bool) -> None:
    if not file_is_there:
        monkeypatch.setattr(digits, "find_spec", lambda name: None)
    levels, classes = digits._table()
    bunch = datasets.load_digits()
    assert np.array_equal(levels, bunch.data) and np.array_equal(classes, bunch.target)
