from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest

from gendistill.config import typed
from gendistill.config.typed import check_value
from gendistill.declared import allows, declared_types, describe
from gendistill.errors import UserError


class Base:
    def __init__(self, size: int = 1, *, name: str | None = None) -> None: ...


class Middle(Base):
    def __init__(self, rate: float, **kwargs: Any) -> None: ...


class Last(Middle):
    def __init__(self, size: float = 2.0, untyped=3, **kwargs: Any) -> None: ...  # type: ignore[no-untyped-def]


def test_types_are_followed_up_the_bases_and_the_lowest_wins() -> None:
    assert declared_types(Last) == {"size": float, "untyped": Any, "rate": float, "name": str | None}


@pytest.mark.parametrize(
    ("value", "hint", "result"),
    [
        (5, float, 5.0),
        (1e-4, float, 1e-4),
        (None, float | None, None),
        ([0, 0.9], tuple[float, float], (0.0, 0.9)),
        ("hinge", Literal["hinge", "ns"], "hinge"),
        ({"class_path": "a.B"}, dict[str, Any] | str | None, {"class_path": "a.B"}),
        ("anything", Any, "anything"),
    ],
)
def test_values_that_fit(value: object, hint: object, result: object) -> None:
    found = check_value(value, hint, "k")
    assert found == result and type(found) is type(result)


HINTS: list[Any] = [bool, int, float, str, int | None, float | None, bool | None, list[int], list[float], list[str]]
HINTS += [list[int] | None, list[list[int]], str | None, int | float, float | int | None, tuple[int, int], list[Any]]
VALUES: list[Any] = [True, False, 0, 3, -1, 2.5, -0.0, 1e300, "", "text", "3", "null", "true", [], [1, 2], [1.5], ["a"]]
VALUES += [["1", "2"], [[1], [2]], [True], [None], [1, 2.5], ["null"], {"a": 1}]


@pytest.mark.parametrize("hint", HINTS, ids=str)
def test_what_needs_no_parser_is_what_the_parser_would_make_of_it(hint: Any) -> None:
    plain = [value for value in VALUES if typed._is_plainly(value, hint)]
    for value in plain:
        found = typed._parsed(value, hint, UserError("refused"), written_as_text=False)
        assert repr(found) == repr(value)
    assert plain or hint in (str | None, int | float, float | int | None, tuple[int, int], list[Any])


@pytest.mark.parametrize(
    ("value", "hint", "expected"),
    [
        ("fast", float, "a number"),
        (True, float, "a number"),
        (1.5, int, "a whole number"),
        (None, int, "a whole number"),
        (3, str, "text"),
        ("perhaps", bool, "true or false"),
        ([1], tuple[float, float], "a list of 2 values"),
        ("x", Literal["hinge", "ns"], "one of hinge, ns"),
        ("x", float | None, "a number or null"),
        (4, list[int], "a list"),
    ],
)
def test_values_that_do_not_fit_name_key_value_and_type(value: object, hint: object, expected: str) -> None:
    with pytest.raises(UserError, match=".") as caught:
        check_value(value, hint, "c.yaml: run.key")
    assert str(caught.value) == f"c.yaml: run.key is {value!r}, expected {expected}"


@pytest.mark.parametrize(
    ("text", "hint", "result"),
    [
        ("1e-4", float, 1e-4),
        ("5", str, "5"),
        ("5", int, 5),
        ("false", bool, False),
        ("null", float | None, None),
        ("[1, 2]", tuple[int, int], (1, 2)),
        ("-3", int, -3),
    ],
)
def test_words_of_the_command_line(text: str, hint: object, result: object) -> None:
    found = check_value(text, hint, "--k", written_as_text=True)
    assert found == result and type(found) is type(result)


def test_helpers() -> None:
    assert allows(bool | None, bool) and allows(Any, int) and not allows(str, bool)
    assert describe(dict[str, int]) == "keys and values" and describe(Path) == "a path"


def test_a_class_named_inside_a_mapping_stays_a_mapping() -> None:
    learner = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 3}}
    value = {"learner": learner, "list": [learner]}
    for hint in (dict[str, Any], Mapping[str, Any] | None, Any):
        found = check_value(value, hint, "c.yaml: x")
        assert found == value and type(found["learner"]) is dict
    assert check_value([value], Sequence[Mapping[str, Any]], "c.yaml: x") == [value]
    with pytest.raises(UserError, match="expected keys and values"):
        check_value([1], dict[str, Any], "c.yaml: x")
    with pytest.raises(UserError, match="expected a list"):
        check_value([1], Sequence[Mapping[str, Any]], "c.yaml: x")


def test_what_is_typed_holds_no_objects_of_the_parser_at_any_depth() -> None:
    learner = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4}}
    text = "[{state: pool, learner: {class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4}}}]"
    for hint in (list[dict[str, Any]] | None, Sequence[Mapping[str, Any]], Any):
        found = check_value(text, hint, "k", written_as_text=True)
        assert repr(found) in (repr([{"state": "pool", "learner": learner}]), repr(text))
    for hint in (dict[str, Any] | None, Mapping[str, Any]):
        found = check_value(f"{{state: pool, terms: {text}}}", hint, "k", written_as_text=True)
        assert repr(found) == repr({"state": "pool", "terms": [{"state": "pool", "learner": learner}]})
