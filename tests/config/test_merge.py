from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendistill.config.merge import at_scale, merge
from gendistill.errors import UserError

keys = st.sampled_from("abcd")
nested = st.recursive(st.integers(), lambda inner: st.dictionaries(keys, inner, max_size=3), max_leaves=8)
mappings = st.dictionaries(keys, nested, max_size=4)


def flat(values: dict, prefix: tuple = ()) -> dict:
    found = {}
    for key, value in values.items():
        found |= flat(value, (*prefix, key)) if isinstance(value, dict) and value else {(*prefix, key): value}
    return found


@given(mappings, mappings)
def test_every_leaf_of_the_overlay_wins_and_others_stay(base: dict, overlay: dict) -> None:
    merged = merge(base, overlay)
    result, above = flat(merged), flat(overlay)
    for path, value in above.items():
        if value != {}:
            assert result[path] == value
    for path, value in flat(base).items():
        touched = any(path[: len(other)] == other or other[: len(path)] == path for other in above)
        if not touched:
            assert result[path] == value


def test_merging_changes_neither_side() -> None:
    base, overlay = {"a": {"b": [1]}}, {"a": {"c": [2]}}
    merge(base, overlay)["a"]["b"].append(3)
    assert base == {"a": {"b": [1]}} and overlay == {"a": {"c": [2]}}


def test_another_class_replaces_arguments_and_all() -> None:
    base = {"net": {"class_path": "a.A", "init_args": {"width": 3}}}
    assert merge(base, {"net": {"class_path": "a.B"}}) == {"net": {"class_path": "a.B"}}
    same = merge(base, {"net": {"class_path": "a.A", "init_args": {"depth": 1}}})
    assert same["net"]["init_args"] == {"width": 3, "depth": 1}
    unnamed = merge({"net": {"init_args": {"width": 3}}}, {"net": {"class_path": "a.B", "init_args": {"depth": 1}}})
    assert unnamed == {"net": {"class_path": "a.B", "init_args": {"width": 3, "depth": 1}}}


def test_a_scale_is_laid_over_and_the_others_vanish() -> None:
    config = {"run": {"steps": 1000, "seed": 1}, "scales": {"smoke": {"run": {"steps": 2}}, "paper": None}}
    assert at_scale(config, "smoke", "c") == {"run": {"steps": 2, "seed": 1}}
    assert at_scale(config, "paper", "c") == at_scale(config, None, "c") == {"run": {"steps": 1000, "seed": 1}}


def test_an_unknown_scale_names_those_there_are() -> None:
    with pytest.raises(UserError, match="no scale 'smok'; did you mean 'smoke'[?] it has: smoke, paper"):
        at_scale({"scales": {"smoke": {}, "paper": {}}}, "smok", "c.yaml")
    with pytest.raises(UserError, match="has no scales"):
        at_scale({}, "smoke", "c.yaml")
    with pytest.raises(UserError, match="scales.smoke must hold keys"):
        at_scale({"scales": {"smoke": 3}}, None, "c.yaml")
