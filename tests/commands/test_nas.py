"""``gendistill nas``: options from a file, the files it writes, a table of true accuracies, what another run found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.cli import main
from gendistill.commands.nas import open_space, parser
from gendistill.commands.option_file import options_of_file
from gendistill.data import load
from gendistill.errors import UserError
from gendistill.nets.spaces import CellSpace, MLPSpace
from gendistill.teacher import RealSubset, save

CONFIG = """
teacher: real:ipc=2
space:
  class_path: gendistill.nets.spaces.MLPSpace
  init_args: {depths: [1], widths: [4, 16], activations: [relu, tanh]}
count: 4
updates: 3
lr: [0.03, 0.1]
pilots: 1
truth_epochs: 1
truth_lr: 0.1
device: cpu
output: out
"""
DEEP = (
    "{class_path: gendistill.nets.spaces.ConvNetSpace, "
    "init_args: {depths: [4], widths: [4], kernels: [1], poolings: [max]}}"
)


@pytest.fixture
def config(place: Path) -> Path:
    (place / "nas.yaml").write_text(CONFIG)
    return place


def test_a_search_writes_its_files_and_goes_on(config: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    result = run_json("nas", "--config", "nas.yaml", "--json")
    assert len(result["architectures"]) == 4
    assert result["splits"] == {"scores": "validation", "truth": "test"}
    assert result["space"]["size"] == 4
    assert json.loads((config / "out/results.json").read_text()) == result
    assert (config / "out/scatter.png").read_bytes().startswith(b"\x89PNG")
    assert (config / "out/table.md").read_text().startswith("| score | Spearman, all |")
    ledger = (config / "out/architectures.json").read_bytes()
    again = run_json("nas", "--config", "nas.yaml", "--json")
    assert again == result
    assert (config / "out/architectures.json").read_bytes() == ledger
    assert main(["nas", "--config", "nas.yaml", "--seeds", "2"]) == 2


def test_a_table_of_accuracies_and_no_baselines(config: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    space = open_space("{class_path: gendistill.nets.spaces.MLPSpace, init_args: {depths: [1], widths: [4, 16]}}")
    lines = [f"{name},{50 + place}" for place, name in enumerate(space.names())]
    (config / "t.csv").write_text("\n".join(["architecture,accuracy", *lines]))
    result = run_json("nas", "--config=nas.yaml", "--truth", "t.csv", "--no-baselines", "--json")
    assert list(result["rankings"]) == ["real:ipc=2"]
    assert result["rankings"]["real:ipc=2"]["best"]["best"] > 0.5
    assert result["truth"]["seconds"] is None
    # What another run has found is looked up in the same table, and not trained: only like stands beside like.
    data = load("digits")
    found = RealSubset(data.train.images[:2], torch.tensor([0, 1]), data.description)
    found.metadata["architecture"] = lines[-1].partition(",")[0]
    save(found, config / "found.safetensors")
    words = ["--truth", "t.csv", "--no-baselines", "--found", "found.safetensors", "--output", "other", "--json"]
    other = run_json("nas", "--config=nas.yaml", *words)["others"]["found.safetensors"]
    assert other["truth"] == pytest.approx((50 + len(lines) - 1) / 100)


def test_only_the_best_is_trained_and_what_a_run_found(config: Path, run_json: Callable[..., dict[str, Any]]) -> None:
    data = load("digits")
    found = RealSubset(data.train.images[:2], torch.tensor([0, 1]), data.description)
    found.metadata["architecture"] = "mlp-d1-w4-relu"
    save(found, config / "found.safetensors")
    words = ["nas", "--config", "nas.yaml", "--truth", "best", "--found", "found.safetensors", "--json"]
    result = run_json(*words)
    trained = [name for name, entry in result["architectures"].items() if "truth" in entry]
    assert set(trained) <= {result["found"]["architecture"], "mlp-d1-w4-relu"}
    assert result["found"]["truth"] is not None
    assert result["others"]["found.safetensors"]["architecture"] == "mlp-d1-w4-relu"
    assert main(["nas", "--config", "nas.yaml", "--found", "real:ipc=1", "--output", "other"]) == 2


def test_words_of_a_person(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nas", "--config", "nas.yaml", "--truth-seeds", "2", "--output", "people"]) == 0
    said = capsys.readouterr().out
    assert "top half by score (2 architectures)" in said
    assert "Spearman of two seeds of the truth" in said


def test_the_command_line_wins_over_the_file(config: Path) -> None:
    (config / "b.yaml").write_text("baselines: false\nfresh: true\nfound: [a, b]\nbudget: null\n")
    options = parser()
    found = options_of_file(["--config", "nas.yaml", "--config", "b.yaml"], options)
    given = options.parse([*found.words, "--count", "7"])
    assert found.positional == "real:ipc=2"
    assert (given.count, given.updates, given.baselines, given.fresh) == (7, 3, False, True)
    assert given.lr == [0.03, 0.1]
    assert given.found == ["a", "b"]
    assert isinstance(open_space(given.space), MLPSpace)
    assert isinstance(open_space("cells"), CellSpace)


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nas"], "needs a teacher"),
        (["nas", "real", "--space", "celsl"], "did you mean 'cells'"),
        (["nas", "real", "--truth", "nowhere.csv"], "which is no file"),
        (["nas", "real", "--search", "tpe", "--count", "3"], "choose among: random, optuna"),
        (
            ["nas", "real:ipc=1", "--space", DEEP, "--count", "1", "--lr", "0.1", "--updates", "1"],
            "use depth 3 or less",
        ),
        (["nas", "real", "--budget", "-1"], "not a positive number of seconds"),
        (["nas", "--config", "wrong.yaml"], "unknown key 'cuont'; did you mean 'count'"),
        (["nas", "--config", "flag.yaml"], "fresh is 3; it must be true or false"),
    ],
)
def test_mistakes_are_one_sentence(
    words: list[str], sentence: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "wrong.yaml").write_text("teacher: real\ncuont: 3\n")
    (place / "flag.yaml").write_text("teacher: real\nfresh: 3\n")
    assert main(words) == 2
    assert sentence in " ".join(capsys.readouterr().err.split())


def test_options_of_a_file_are_typed_as_on_the_command_line(place: Path) -> None:
    (place / "c.yaml").write_text("count: many\n")
    options = parser()
    with pytest.raises(UserError, match="'many' is not a whole number"):
        options.parse(options_of_file(["--config", "c.yaml"], options).words)
