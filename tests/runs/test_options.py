from __future__ import annotations

import re
from typing import Any

import pytest

from gendistill.errors import UserError
from gendistill.runs.options import RunOptions


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"steps": 0}, "run.steps is 0; give a whole number from 1"),
        ({"steps": 1.5}, "run.steps is 1.5"),
        ({"steps": True}, "run.steps is True"),
        ({"save_every": 0}, "run.save_every is 0"),
        ({"log_every": -1}, "run.log_every is -1"),
        ({"sample_every": -1}, "run.sample_every is -1; give a whole number from 0"),
        ({"seed": -1}, "run.seed is -1"),
        ({"precision": "float16"}, "run.precision is 'float16'; choose one of float32, bfloat16"),
        ({"name": ""}, "run.name is ''"),
        ({"name": "../other"}, "run.name is '../other'"),
        ({"name": "/place"}, "run.name is '/place'"),
    ],
)
def test_wrong_values_are_said(wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        RunOptions(**wrong)


def test_every_option_is_documented() -> None:
    for name in RunOptions().to_dict():
        assert f"        {name}: " in (RunOptions.__doc__ or "")


def test_a_name_may_have_parts() -> None:
    assert RunOptions(name="study/one", sample_every=0).name == "study/one"
