from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.yaml_file import dump_yaml, parse_yaml, read_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("1E5", 1e5),
        ("-2e+3", -2e3),
        ("1.5e-3", 1.5e-3),
        (".5e1", 5.0),
        ("3", 3),
        ("1e", "1e"),
        ("e5", "e5"),
    ],
)
def test_numbers_read_as_a_person_means_them(text: str, value: object) -> None:
    found = parse_yaml(f"lr: {text}", "x")["lr"]
    assert found == value and type(found) is type(value)


# Line separators and control characters are PyYAML's own affair.
words = st.text(st.characters(exclude_categories=("C", "Zl", "Zp")), max_size=8)
plain_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | words,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(words, inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(words, plain_values, max_size=4))
def test_what_is_written_reads_back_equal(values: dict[str, object]) -> None:
    assert parse_yaml(dump_yaml(values), "x") == values


@pytest.mark.parametrize("text", ["1e-4", "1e5", "12e3"])
def test_text_that_looks_like_a_number_stays_text(text: str) -> None:
    assert parse_yaml(dump_yaml({"name": text}), "x") == {"name": text}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("run:\n  steps: 1\n  steps: 2\n", "line 3: not valid YAML: the key 'steps' is given twice"),
        ("run: {steps: 1\nx: [", "line 2"),
        ("a: 1\n\tb: 2\n", "line 2"),
        ("a: !!python/object/apply:os.system ['true']", "line 1"),
    ],
)
def test_a_mistake_names_its_line(text: str, said: str) -> None:
    with pytest.raises(UserError, match=".") as caught:
        parse_yaml(text, "some.yaml")
    assert said in str(caught.value) and str(caught.value).startswith("some.yaml")


def test_files_that_are_no_config(tmp_path) -> None:
    (tmp_path / "near.yaml").write_text("run: {}\n")
    (tmp_path / "list.yaml").write_text("- 1\n")
    (tmp_path / "bytes.yaml").write_bytes(b"\xff\xfe\x00\x81")
    (tmp_path / "empty.yaml").write_text("# nothing\n")
    for name, said in [("nor.yaml", "near.yaml"), ("list.yaml", "holds a list"), ("bytes.yaml", "not a text file")]:
        with pytest.raises(UserError, match=".") as caught:
            read_yaml(tmp_path / name)
        assert said in str(caught.value)
    with pytest.raises(UserError, match="is a folder"):
        read_yaml(tmp_path)
    assert read_yaml(tmp_path / "empty.yaml") == {}


def test_a_text_with_nul_is_refused_for_it_can_be_no_name() -> None:
    with pytest.raises(UserError, match="line 2.*character NUL"):
        parse_yaml('run:\n  name: "a\\0b"\n', "x")
