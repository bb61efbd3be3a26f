"""``gendistill compare`` and ``report``: who is said to be ahead, and of what nothing is said."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from gendistill.commands.compare import rank, rank_words
from gendistill.errors import UserError

from .conftest import QUICK

FAST = ["--no-fidelity", "--device", "cpu", "--learner", "gendistill.nets.learners.MLP", "--batch-size", "32"]


def claims(text: str) -> list[str]:
    """Return what names a winner in a table or on a page."""
    return re.findall(
        r"[^\n>]*(?:beats|is ahead of)[^\n<]*|class=\"[^\"]*(?:best|win)[^\"]*\"", text.split('id="results">')[0]
    )


def test_data_sets_that_are_the_same_have_no_winner(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    subsets = [f"real:subset={images}" for images in (1190, 1180, 1170, 1160)]
    words = ["compare", "real", *subsets, "--seeds", "3", "--updates", "1,2,4,8,16", "--lr", "0.1", *FAST]
    assert main([*words, "--output", "all.json", "--report", "all.html"]) == 0
    said = capsys.readouterr().out
    assert claims(said) == [] and "No lead over training on all real data is decided" in said
    assert "Holm over 20 comparisons" in said and "3 seeds are too few" in said
    assert claims((place / "all.html").read_text()) == []
    assert main(["report", "all.json", "--no-images", "--output", "again.html"]) == 0
    assert claims((place / "again.html").read_text()) == []


def test_a_teacher_that_teaches_worse_is_said_to_be_behind(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "real", "few=real:ipc=1", "--seeds", "5", "--updates", "1,60", "--lr", "0.1", *FAST]
    assert main(words) == 0
    assert "Training on all real data is ahead of few after 60 updates." in capsys.readouterr().out


def test_results_of_other_settings_are_shown_and_nothing_is_concluded(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old = [
        "evaluate",
        "real:ipc=10",
        "--seeds",
        "3",
        "--updates",
        "8",
        "--lr",
        "0.1",
        "--no-fidelity",
        "--device",
        "cpu",
    ]
    assert main([*old, "--output", "old.json"]) == 0
    capsys.readouterr()
    words = [
        "compare",
        "real",
        "old.json",
        "--seeds",
        "2",
        "--updates",
        "8",
        "--lr",
        "0.001",
        "--split",
        "validation",
        *FAST,
    ]
    assert main([*words, "--report", "r.html"]) == 0
    said = capsys.readouterr()
    early = said.err.splitlines()[0]  # before anything is trained
    assert "old.json: measured under other settings" in early and "batch size 64, not 32" in early
    page = (place / "r.html").read_text()
    for text in (said.out, re.sub(r"<[^>]+>", "\n", page.split('id="results">')[0])):
        assert claims(text) == [] and "under different settings" in text
        for name in ("learner", "batch size", "split", "learning rates tried"):
            assert f"{name} (" in text
        assert "over 2 to 3 seeds" in text.replace("\u00a0", " ") and "test accuracy" not in text
    assert claims(page) == [] and 'class="mark"' in page
    assert "In the order given: results of different settings are not ranked." in said.out
    assert re.search(r"real:ipc=10 \*", said.out)


def test_results_of_the_same_settings_are_not_warned_of(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    same = ["--seeds", "2", "--updates", "2,4", "--lr", "0.05", *FAST]
    assert main(["evaluate", "real:ipc=1", "--output", "old.json", *same]) == 0
    capsys.readouterr()
    assert main(["compare", "real", "old.json", *same]) == 0
    said = capsys.readouterr()
    assert "other settings" not in said.err and "different settings" not in said.out
    protocol = ["--protocol", "shi-chen", "--epochs", "1", "--device", "cpu", "--no-fidelity", "--seeds", "2"]
    assert main(["evaluate", "real:ipc=1", "--output", "protocol.json", *protocol]) == 0
    assert main(["compare", "--no-baselines", "real:ipc=2", "protocol.json", *protocol]) == 0
    assert "settings" not in capsys.readouterr().err


def test_real_data_is_known_by_what_it_is(place: Path, run_json: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = run_json("compare", "real", "real:subset=1197", "real:subset=40", "--json", "--no-fidelity", *QUICK)
    everything = {one["name"]: one["teacher"].get("everything", False) for one in found["teachers"]}
    assert everything == {"real": True, "real:subset=1197": True, "real:subset=40": False}
    words = ["compare", "real=real:subset=40", "real:ipc=1", "--no-fidelity", *QUICK]
    assert main(words) == 0
    assert "real data" not in capsys.readouterr().out


def entry(name: str, updates: list[int], means: list[float], **learning: Any) -> dict[str, Any]:
    curve = {"updates": updates, "accuracy": {"mean": means, "std": [0.0] * len(means)}}
    return {"name": name, "teacher": {}, "learning": curve | learning}


def test_all_are_ranked_at_one_number() -> None:
    def names(results: list[dict[str, Any]], at: int | None) -> list[str]:
        return [one["name"] for one in rank(results, at)]

    slow, fast = entry("slow", [1, 9], [0.1, 0.7]), entry("fast", [1, 9], [0.6, 0.65])
    longer = entry("longer", [1, 9, 99], [0.2, 0.5, 0.99])
    assert names([longer, fast, slow], None) == ["slow", "fast", "longer"]  # at 9, not at its own 99
    assert "after 9 updates, the largest number that all share" in rank_words([longer, fast, slow], None)
    assert names([longer, fast, slow], 1) == ["fast", "longer", "slow"]
    assert names([slow, fast, longer], 99) == ["longer", "slow", "fast"]
    other = entry("other", [3], [0.9])
    assert names([slow, other, fast], None) == ["slow", "other", "fast"]
    assert rank_words([slow, other], None).startswith("In the order given: no number of updates")
    adam = entry("adam", [1, 9], [0.9, 0.95], optimizer="adam")
    assert names([slow, fast, adam], None) == names([slow, fast, adam], 9) == ["slow", "fast", "adam"]
    with pytest.raises(UserError, match="--rank-at is 5"):
        rank([slow, fast], 5)


def test_one_number_is_named_beforehand(place: Path, run_json: Any, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["compare", "real", "real:ipc=1", "--no-fidelity", *QUICK]
    found = run_json(*few, "--json", "--rank-at", "2", "--output", "at.json")
    assert found["rank_at"] == 2 and "named by --rank-at" in found["notes"][0]
    at_two = [one["learning"]["accuracy"]["mean"][0] for one in found["teachers"]]
    assert at_two == sorted(at_two, reverse=True)
    assert main(["report", "at.json", "--no-images"]) == 0
    assert "n = 2 alone was named beforehand" in (place / "report.html").read_text()
    assert main([*few, "--rank-at", "3"]) == 2
    said = capsys.readouterr().err
    assert "add 3 to --updates" in said and "judging" not in said  # before anything is trained


def test_distances_are_of_as_many_images_for_all(place: Path, run_json: Any) -> None:
    words = ["compare", "real", "real:subset=30", "real:ipc=2", "--json", *QUICK]
    assert {one["fidelity"]["n"] for one in run_json(*words)["teachers"]} == {20}
    assert [one["fidelity"]["n"] for one in run_json(*words, "--count", "25")["teachers"]].count(25) == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["learning"].update(updates="2,4"), "updates is '2,4'"),
        (lambda one: one["learning"]["accuracy"].update(mean=[90.0, 91.0]), "fractions from 0 to 1"),
        (lambda one: one["learning"]["accuracy"].pop("mean"), "accuracy.mean is missing"),
        (lambda one: one["learning"].update(seeds=[0]), "1 seed, but 2 runs"),
        (lambda one: one.pop("learning"), "lacks 'learning'"),
        (lambda one: one.update(teacher="real"), "teacher is 'real'"),
        (lambda one: one.update(fidelity={"value": "low"}), "value is 'low'"),
        (lambda one: one.update(name=["x"]), "name is ['x']"),
    ],
)
@pytest.mark.parametrize("command", ["compare", "report"])
def test_damaged_results_are_one_sentence(
    place: Path, command: str, change: Any, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = {"mean": [0.5, 0.75], "std": [0.1, 0.1], "runs": [[0.4, 0.6], [0.7, 0.8]]}
    one: dict[str, Any] = {"name": "x", "teacher": {"kind": "generator"}, "dataset": "digits"}
    one["learning"] = {"updates": [2, 4], "accuracy": runs, "seeds": [0, 1]}
    (place / "good.json").write_text(json.dumps({"teachers": [one]}))
    assert main([command, "good.json"]) == 0
    change(one)
    (place / "bad.json").write_text(json.dumps({"teachers": [one]}))
    capsys.readouterr()
    assert main([command, "bad.json"]) == 2
    sentence = capsys.readouterr().err.strip().splitlines()
    assert len(sentence) == 1 and said in sentence[0] and "bad.json" in sentence[0]
