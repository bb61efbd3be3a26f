"""Files of others that are not quite results: one sentence, or a table, and never anything else."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.errors import UserError
from gendistill.evaluation.result_form import check_results
from gendistill.report import page
from gendistill.report.terminal import text_table

GOOD: dict[str, Any] = {
    "teachers": [
        {
            "name": name,
            "teacher": {"kind": "real-subset", "path": path, "images": 1197, "bytes": 86_184},
            "dataset": "digits",
            "software": {"torch": "2.15"},
            "learning": {
                "learner": {"class_path": "a.B", "init_args": {"width": 8}},
                "updates": [2, 8],
                "accuracy": {"mean": [0.5, 0.75], "std": [0.1, None], "runs": [[0.25, 0.75], [0.5, 1.0]]},
                "split": "test",
                "split_sizes": {"train": 1197, "validation": 200, "test": 400},
                "seeds": [0, 1],
                "batch_size": 64,
                "momentum": [0.85, 0.95],
                "weight_decay": 0.0005,
                "augment_strength": {"rotate": 45.0},
                "generated": "train",
                "epoch": {"images": 64, "updates": 1},
                "epochs": 3,
                "learner_updates": 8,
                "lr": [0.1, "teacher"],
                "selection": {"select": "each", "candidates": [0.1, "teacher"], "validation": [[0.5, 0.6]]},
                "images_seen": [128, 512],
                "seconds": 1.5,
            },
            "fidelity": {
                "name": "FD", "value": 0.5, "std": 0.1, "draws": 5, "n": 320, "reference": "train",
                "kid": {"name": "KID", "value": None}, "whole": {"n": 1197, "value": 0.25},
            },
            "seconds": 12.5,
        }
        for name, path in (("real", "real"), ("few", "real:ipc=10"))
    ],
    "columns": [2, 8],
    "notes": ["A note."],
    "rank_at": 8,
    "curves": {"norm": {"x": [0, 1], "y": [1.0, 2.0]}},
}  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the way to every value inside a nested one."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [found for key, entry in inner for found in places(entry, (*path, key))]


PLACES = places(GOOD)
ODD = st.sampled_from(
    [
        None,
        True,
        False,
        -1,
        0,
        1,
        2.5,
        1e400,
        10**400,
        -(10**400),
        float("nan"),
        "",
        "x",
        [],
        {},
        [1],
        ["x"],
        {"x": 1},
        [[0.5]],
        [None],
    ]
)


def changed(path: tuple[Any, ...], value: Any, *, remove: bool = False) -> dict[str, Any]:
    made = copy.deepcopy(GOOD)
    at: Any = made
    for key in path[:-1]:
        at = at[key]
    if remove:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made


def test_what_evaluators_write_is_let_through() -> None:
    assert check_results(GOOD, "file") == GOOD["teachers"]
    assert "A note." in text_table(GOOD)


@given(st.sampled_from(PLACES), ODD, st.booleans())
@settings(max_examples=120, deadline=None)
def test_one_wrong_value_is_one_sentence_or_no_trouble(path: tuple[Any, ...], value: Any, remove: bool) -> None:
    results = changed(path, value, remove=remove)
    try:
        text_table(results)
        with pytest.MonkeyPatch.context() as patch:
            for name in ("learning_curves", "differences", "line_figure"):
                patch.setattr(page, name, lambda *given, **options: "")
            page.render(results, {}, results.get("curves") or {})
    except UserError as error:
        assert "\n" not in str(error) and 10 < len(str(error)) < 400


LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
KEYS = st.sampled_from(["teachers", "teacher", "learning", "accuracy", "name"])


def nested(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner)


@given(st.recursive(LEAVES, nested, max_leaves=12))
@settings(max_examples=200, deadline=None)
def test_anything_else_is_refused_or_shown(value: Any) -> None:
    try:
        text_table(value)
    except UserError as error:
        assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("path", "value", "said"),
    [
        (("teachers",), "x", "holds no list of teachers"),
        (("teachers", 1, "learning", "updates"), [2, "8"], "updates is"),
        (("teachers", 1, "learning", "accuracy", "mean"), [0.5], "accuracy.mean has 1 entries"),
        (("teachers", 1, "learning", "accuracy", "mean", 0), 50.0, "fractions from 0 to 1"),
        (("teachers", 1, "learning", "accuracy", "mean", 0), 0.9, "that of its runs is 0.5"),
        (("teachers", 1, "learning", "seeds"), [0, 1, 2], "3 seeds, but 2 runs"),
        (("teachers", 1, "learning", "updates"), [2, 2], "names a number twice"),
        (("teachers", 1, "teacher", "images"), "many", "images is 'many'"),
        (("teachers", 1, "fidelity"), [1], "fidelity is [1]"),
        (("notes",), "A note.", "a list of sentences"),
        (("columns",), {"a": 1}, "numbers of updates"),
    ],
)
def test_sentences_say_what_is_wrong(path: tuple[Any, ...], value: Any, said: str) -> None:
    with pytest.raises(UserError) as caught:
        check_results(changed(path, value), "old.json")
    assert said in str(caught.value) and str(caught.value).startswith("old.json")
    with pytest.raises(UserError, match="lacks 'learning'"):
        check_results(changed(("teachers", 0, "learning"), None, remove=True), "old.json")


def test_json_knows_numbers_that_are_none() -> None:
    text = json.dumps(GOOD).replace('"mean": [0.5', '"mean": [NaN')
    with pytest.raises(UserError, match="fractions"):
        check_results(json.loads(text), "old.json")
