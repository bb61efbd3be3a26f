"""Damaged JSON of our own: what a person gives is refused in one sentence, what a command has kept is done anew."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gendistill.cli import main
from gendistill.commands import quickstart

from .conftest import QUICK


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Results that the program has written: two teachers, one of them all real images."""
    place = tmp_path_factory.mktemp("real")
    words = ["compare", "real", "few=real:ipc=2", *QUICK, "--no-fidelity", "--output", str(place / "results.json")]
    assert main(words) == 0
    found: dict[str, Any] = json.loads((place / "results.json").read_text())
    for one in found["teachers"]:
        one["fidelity"] = {"name": "FD", "value": 0.5, "std": 0.1, "draws": 5, "n": 320, "reference": "train",
                           "kid": {"name": "KID", "value": None}, "whole": {"n": 1197, "value": 0.25}}  # fmt: skip
    found["curves"] = {"norm": {"x": [0, 1, 2], "y": [1.0, None, 2.0], "lower": [0.5] * 3, "upper": [2.5] * 3}}
    return found


DAMAGED: dict[str, Callable[[bytes], bytes]] = {
    "empty": lambda good: b"",
    "cut": lambda good: good[: len(good) // 2],
    "binary": lambda good: bytes(range(256)) * 4,
    "UTF-16": lambda good: good.decode().encode("utf-16"),
    "NaN": lambda good: good.replace(b'"std": [', b'"std": [NaN, ', 1),
    "a key twice": lambda good: good.replace(b'"teachers"', b'"teachers": [], "teachers"', 1),
    "deep": lambda good: b'{"teachers": ' + b"[" * 50_000,
    "a list": lambda good: b"[" + good + b"]",
    "null": lambda good: b"null",
    "a number": lambda good: b"17",
    "no teachers": lambda good: b'{"teachers": null}',
    "teachers that are text": lambda good: b'{"teachers": ["a", "b"]}',
    "huge number": lambda good: good.replace(b'"bytes": ', b'"bytes": 1' + b"0" * 5000, 1),
    "text for a curve": lambda good: good.replace(b'"mean": [', b'"mean": ["high", ', 1),
    "a list too long": lambda good: good.replace(b'"mean": [', b'"mean": [0.5, ', 1),
    "negative": lambda good: good.replace(b'"updates": [\n', b'"updates": [\n-', 1),
}


@pytest.mark.parametrize("damage", DAMAGED)
@pytest.mark.parametrize("command", ["report", "compare"])
def test_results_that_are_damaged_are_refused_in_one_sentence(
    damage: str, command: str, real: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = json.dumps(real, indent=2).encode()
    bad = DAMAGED[damage](good)
    assert bad != good
    (place / "r.json").write_bytes(bad)
    words = ["report", "r.json", "--no-images"] if command == "report" else ["compare", "r.json", "--no-fidelity"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert said.startswith("error: ") and said.count("\n") == 1 and "r.json" in said and len(said) < 500
    assert not (place / "report.html").exists()


def test_a_byte_order_mark_is_no_damage(real: dict[str, Any], place: Path) -> None:
    (place / "r.json").write_bytes(json.dumps(real).encode("utf-8-sig"))
    assert main(["report", "r.json", "--no-images"]) == 0


ODD = st.sampled_from(
    [None, True, -1, 0, 1, 2.5, 10**30, 2**62, 9e18, 1e-320, "", "x", "a\0b", "x" * 5000, "../..", [], {}, [1], ["x"],
     {"x": 1}, [[0.5]], [None]]
)  # fmt: skip


def ways(value: Any, way: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [way] * bool(way) + [found for key, entry in inner for found in ways(entry, (*way, key))]


def mutated(results: Any, changes: list[tuple[int, Any, str]]) -> Any:
    """Return results with something else in some places: another value, nothing, or an entry more or less."""
    made = copy.deepcopy(results)
    for number, value, how in changes:
        there = ways(made)
        way = there[number % len(there)]
        at = made
        for key in way[:-1]:
            at = at[key]
        if how == "remove":
            del at[way[-1]]
        elif how == "shorten" and isinstance(at[way[-1]], list):
            at[way[-1]] = at[way[-1]][:-1]
        elif how == "repeat" and isinstance(at[way[-1]], list):
            at[way[-1]] = at[way[-1]] + copy.deepcopy(at[way[-1]])
        else:
            at[way[-1]] = copy.deepcopy(value)
        if not ways(made):
            break
    return made


CHANGES = st.lists(
    st.tuples(st.integers(0, 10**6), ODD, st.sampled_from(["put", "put", "remove", "shorten", "repeat"])),
    min_size=1,
    max_size=3,
)


@given(CHANGES)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_results_with_anything_in_any_place_are_shown_or_refused(
    real: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str], changes: list[tuple[int, Any, str]]
) -> None:
    (place / "r.json").write_text(json.dumps(mutated(real, changes)))
    for words in (["report", "r.json"], ["compare", "r.json", "--no-fidelity", "--report", "c.html"]):
        capsys.readouterr()
        code = main(words)
        said = capsys.readouterr().err
        assert code in (0, 2) and "Traceback" not in said, (changes, said)
        assert code == 0 or said.splitlines()[-1].startswith("error: ")


# What a command has kept ------------------------------------------------------------------------------------------


REPLICATED = """
trainer: {class_path: users_picker.Picker, init_args: {batch_size: 8}}
data: {name: digits}
run: {steps: 2, log_every: 2, sample_every: 0, device: cpu, progress: false}
evaluation:
  seeds: 1
  learning: {updates: [2, 4], seeds: 2, lr: 0.05, learner: gendistill.nets.learners.MLP, batch_size: 8}
  beside: {few: "real:ipc=2"}
"""
KEPT: dict[str, Callable[[dict[str, Any]], bytes | dict[str, Any]]] = {
    "empty": lambda kept: b"",
    "cut": lambda kept: json.dumps(kept).encode()[:-40],
    "binary": lambda kept: bytes(range(256)),
    "null": lambda kept: b"null",
    "nothing in it": lambda kept: {},
    "no result": lambda kept: {key: value for key, value in kept.items() if key != "result"},
    "another number": lambda kept: mutate(kept, 0.99, "result", "learning", "accuracy", "mean", 0),
    "text for a number": lambda kept: mutate(kept, "x", "result", "learning", "accuracy", "mean", 0),
    "no curve, no checksum": lambda kept: mutate(kept, {}, "result", "learning") | {"sha256": None},
    "of another evaluation": lambda kept: unsealed(mutate(kept, 7, "what", "seed")),
    "no learning, no checksum": lambda kept: unsealed(mutate(kept, "x", "result", "learning")),
    "no mean, no checksum": lambda kept: unsealed(mutate(kept, None, "result", "learning", "accuracy", "mean")),
    "no seeds, no checksum": lambda kept: unsealed(mutate(kept, None, "result", "learning", "seeds")),
    "balanced is text, no checksum": lambda kept: unsealed(
        mutate(kept, "x", "result", "learning", "accuracy", "balanced")
    ),
}


def mutate(kept: dict[str, Any], value: Any, *way: Any) -> dict[str, Any]:
    made = copy.deepcopy(kept)
    at: Any = made
    for key in way[:-1]:
        at = at[key]
    at[way[-1]] = value
    return made


def unsealed(kept: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in kept.items() if key != "sha256"}


def test_a_kept_evaluation_that_is_damaged_is_judged_anew_with_a_note(
    place: Path, run_json: Callable[..., dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "configs").mkdir()
    (place / "configs" / "pick.yaml").write_text(REPLICATED)
    words = ["replicate", "pick", "--configs", "configs", "--scale", "smoke", "--root", "runs", "--json"]
    (place / "configs" / "pick.yaml").write_text(REPLICATED + "scales: {smoke: {}}\n")
    first = run_json(*words)
    files = sorted(place.glob("runs/replication/*/*/evaluations/*.json"))
    assert len(files) == 2
    good = {path: path.read_bytes() for path in files}
    kept = json.loads(good[files[0]])

    def timeless(results: Any) -> Any:
        if isinstance(results, dict):
            return {key: timeless(value) for key, value in results.items() if "seconds" not in key}
        return [timeless(value) for value in results] if isinstance(results, list) else results

    for name, damage in KEPT.items():
        bad = damage(kept)
        files[0].write_bytes(bad if isinstance(bad, bytes) else json.dumps(bad).encode())
        capsys.readouterr()
        assert main(words) == 0, name
        out, said = capsys.readouterr()
        assert f"'{files[0].relative_to(place)}'" in said and said.count("it is judged anew") == 1, (name, said)
        assert timeless(json.loads(out)) == timeless(first), name
        again = json.loads(files[0].read_text())
        assert timeless(again["result"]) == timeless(kept["result"]), name
    # One of an earlier version, without a checksum, is taken as it is.
    files[0].write_text(json.dumps(unsealed(kept)))
    assert main(words) == 0
    assert "judged anew" not in capsys.readouterr().err


def test_a_kept_evaluation_of_the_quickstart_is_judged_anew(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from gendistill.data import load

    data = load("digits")
    one = quickstart.Made("few", "real:ipc=2", None)
    learning = {"updates": [2], "seeds": 1, "lr": [0.05], "learner": "gendistill.nets.learners.MLP"}
    first = quickstart._judge(one, data, place, 0, learning, {"count": 20})
    file = place / "evaluations" / "few.json"
    for bad in (b"", b"{", b"[]", file.read_bytes().replace(b'"few"', b'"fee"', 1), b'{"fingerprint": 3}'):
        file.write_bytes(bad)
        capsys.readouterr()
        again = quickstart._judge(one, data, place, 0, learning, {"count": 20})
        assert again["learning"]["accuracy"] == first["learning"]["accuracy"]
        out, said = capsys.readouterr()
        assert "it is judged anew" in said and "judged already" not in out
    quickstart._judge(one, data, place, 0, learning, {"count": 20})
    assert "judged already" in capsys.readouterr().out


def test_a_band_may_have_a_gap(real: dict[str, Any], place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gap = copy.deepcopy(real)
    gap["curves"]["norm"]["lower"][1] = None
    (place / "r.json").write_text(json.dumps(gap))
    assert main(["report", "r.json", "--no-images"]) == 0
    assert "<svg" in (place / "report.html").read_text()
