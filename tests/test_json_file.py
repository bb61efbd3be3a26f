"""The reader of JSON: what is no JSON of ours is one sentence that names file, key and what was expected."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill import notes
from gendistill.json_file import (
    Each,
    Is,
    JsonError,
    Keys,
    check,
    fraction,
    is_whole,
    list_of,
    mapping,
    maybe,
    number,
    parse_json,
    read_json,
    read_kept,
    sealed,
    size,
    table_of,
    text,
    truth,
    whole,
)

SHAPE = Keys(
    required={"name": Is(text, "a name"), "points": Each(Keys(required={"x": Is(number, "a number")}), at_least=1)},
    optional={"sizes": Keys(others=Is(whole, "a number of images"))},
)
GOOD = {"name": "a", "points": [{"x": 1}, {"x": 2.5}], "sizes": {"train": 3}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty, expected JSON"),
        (b" \n", "Expecting value"),
        (b'{"name": "a", "poi', "is not a readable JSON file: Unterminated string"),
        (b'{"name": "a"} x', "Extra data"),
        (b"\x00\x01\x80\xff" * 20, "is not UTF-8"),
        ('{"name": "é"}'.encode("latin-1"), "is not UTF-8"),
        (json.dumps(GOOD).encode("utf-16"), "byte 0 is not UTF-8"),
        (b'{"name": NaN}', "NaN is no JSON number"),
        (b'{"name": -Infinity}', "-Infinity is no JSON number"),
        (b'{"name": 1e999}', "1e999' is out of range"),
        (b'{"name": ' + b"9" * 30 + b"}", "is out of range"),
        (b'{"name": ' + b"9" * 100_000 + b"}", "is out of range"),
        (b'{"name": "a", "name": "b"}', "the key 'name' is given twice"),
        (b'{"name": "\\ud800"}', "holds half a character"),
        (b'{"\\udfff": 1}', "holds half a character"),
        (b"[" * 100_000, "more than 64 deep"),
        (b"[" * 80 + b"]" * 80, "more than 64 deep"),
        (b'{"a":' * 300 + b"1" + b"}" * 300, "more than 64 deep"),
        (b"null", "is None, expected an object of keys and values"),
        (b"[]", "is [], expected an object of keys and values"),
        (b'{"name": "a"}', "lacks 'points', expected a list"),
        (b'{"name": null, "points": [{"x": 1}]}', "name is None, expected a name"),
        (b'{"name": "a", "points": {}}', "points is {}, expected a list"),
        (b'{"name": "a", "points": []}', "points has 0 entries, expected at least 1"),
        (b'{"name": "a", "points": [{"x": 1}, {"x": "2"}]}', "points: entry 1: x is '2', expected a number"),
        (b'{"name": "a", "points": [{"x": true}]}', "entry 0: x is True, expected a number"),
        (b'{"name": "a", "points": [{"x": 1}], "sizes": {"train": -1}}', "sizes: 'train' is -1, expected a number of"),
        (b'{"name": "a", "points": [{"x": 1}], "sizes": [1]}', "sizes is [1], expected an object"),
    ],
)
def test_what_is_damaged_is_one_sentence(content: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_bytes(content)
    with pytest.raises(JsonError) as caught:
        read_json(path, SHAPE)
    sentence = str(caught.value)
    assert said in sentence and str(path) in sentence and "\n" not in sentence and len(sentence) < 400
    assert caught.value.exit_code == 2


def test_what_is_whole_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    for content in (json.dumps(GOOD).encode(), json.dumps(GOOD).encode("utf-8-sig")):
        path.write_bytes(content)
        assert read_json(path, SHAPE) == GOOD
    path.write_text(json.dumps(GOOD | {"sizes": None, "more": [2**63, -1.5e300]}))
    assert read_json(path, SHAPE)["more"] == [2**63, -1.5e300]
    with pytest.raises(FileNotFoundError):
        read_json(tmp_path / "none.json")


def test_what_is_no_regular_file_is_refused_without_waiting(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, said in ((tmp_path / "pipe", "not a regular file"), (tmp_path, "cannot be read (is a directory)")):
        with pytest.raises(JsonError) as caught:
            read_json(path)
        assert said in str(caught.value).lower()
    with pytest.raises(JsonError, match="cannot be read"):
        read_json(tmp_path / ("a" * 300))
    with pytest.raises(JsonError, match="cannot be read"):
        read_json("a\0b")
    (tmp_path / "a.json").write_text("[" + "1," * 600 + "1]")
    with pytest.raises(JsonError, match="has 1,203 bytes, more than the 1,000"):
        read_json(tmp_path / "a.json", most_bytes=1000)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*GOOD, "x", "train"]), inner),
    max_leaves=10,
)


@given(VALUES)
@settings(max_examples=200, deadline=None)
def test_any_json_has_the_shape_or_is_one_sentence(value: Any) -> None:
    try:
        found = parse_json(json.dumps(value), "it", SHAPE)
    except JsonError as error:
        assert "\n" not in str(error)
    else:
        assert isinstance(found["name"], str) and all(isinstance(point["x"], int | float) for point in found["points"])


@given(st.binary(max_size=60) | st.text(max_size=60))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_json_or_one_sentence(content: bytes | str) -> None:
    try:
        parse_json(content, "it", Is(lambda value: True, "anything"))
    except JsonError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("fits", "good", "bad"),
    [
        (text, ["", "x"], [None, 1, []]),
        (truth, [True, False], [0, 1, None, "true"]),
        (number, [0, -1.5, 2**62], [True, None, "1", float("nan"), float("inf"), 2**63, 10**400]),
        (size, [0, 1.5], [-1e-9, float("nan"), None]),
        (whole, [0, 7], [-1, 1.0, True, 2**63, None]),
        (fraction, [0, 1, 0.5], [1.1, -0.1, True, float("nan")]),
        (mapping, [{}], [[], None, "x"]),
        (maybe(whole), [None, 3], ["3"]),
        (list_of(whole), [[], [1]], [[1.5], {}, "12", None]),
        (table_of(whole), [{}, {"a": 1}], [{"a": None}, [1]]),
    ],
)
def test_checks_take_any_value(fits: Any, good: list[Any], bad: list[Any]) -> None:
    assert all(fits(value) for value in good)
    assert not any(fits(value) for value in bad)


def test_a_seal_finds_damage_that_is_still_json() -> None:
    made = sealed({"a": 0.1, "b": [1, None]})
    assert is_whole(json.loads(json.dumps(made))) and is_whole({"a": 1})
    assert not is_whole(made | {"a": 0.2}) and not is_whole(made | {"c": 1}) and not is_whole(made | {"sha256": None})


def test_kept_work_that_is_damaged_is_none_with_a_note(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes.begin()
    path = tmp_path / "kept.json"
    shape = Keys(required={"a": Is(number, "a number")})
    assert read_kept(path, shape, "it is made anew") is None and capsys.readouterr().err == ""
    path.write_text(json.dumps(sealed({"a": 1})))
    assert read_kept(path, shape, "it is made anew") == {"a": 1}
    for content in ("", "{", '{"a": "x"}', path.read_text().replace("1", "2", 1)):
        notes.begin()
        path.write_text(content)
        assert read_kept(path, shape, "it is made anew") is None
        said = capsys.readouterr().err
        assert said.startswith("note: ") and said.endswith("; it is made anew\n") and said.count("\n") == 1
    path.write_text('{"a": 1}')  # of an earlier version
    assert read_kept(path, shape, "it is made anew") == {"a": 1}


def test_checks_name_the_way_to_the_value() -> None:
    with pytest.raises(JsonError, match="^it: points: entry 0: x is 'long"):
        check({"name": "a", "points": [{"x": "long" * 50}]}, SHAPE, "it")
