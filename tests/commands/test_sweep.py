from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from gendistill.cli import main
from gendistill.commands.replicated import replicate
from gendistill.commands.sweep import Sweep, say_what_adds_up, sweep, text
from gendistill.errors import UserError
from gendistill.notes import collected
from gendistill.privacy.ledger import Budget
from gendistill.report.sweep_figure import draw_sweep, positions
from gendistill.teacher import load
from gendistill.yaml_file import dump_yaml

CONFIG: dict[str, Any] = {
    "trainer": {
        "class_path": "trainers.dataset_distillation.DatasetDistillationTrainer",
        "init_args": {
            "inner_steps": 2,
            "inner_epochs": 1,
            "learner": {"class_path": "gendistill.nets.learners.MLP"},
            "batch_size": 32,
        },
    },
    "data": {"name": "digits"},
    "run": {"steps": 2, "save_every": 2, "sample_every": 0, "device": "cpu", "progress": False},
    "evaluation": {
        "seeds": 2,
        "learning": {
            "learner": {"class_path": "gendistill.nets.learners.MLP"},
            "updates": [2],
            "lr": [0.1],
            "seeds": 1,
        },
        "beside": {"random": "real:subset=same"},
    },
}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(dump_yaml(CONFIG))
    return path


def asked(words: list[str], root: Path) -> Sweep:
    from gendistill.commands.sweep import _own
    from gendistill.config.command_line import take_apart

    return _own(take_apart([*words, "--root", str(root)]))[0]


def test_every_value_is_trained_and_judged_and_nothing_twice(
    config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gendistill.counter.SECONDS_BETWEEN_LINES", 0.0)
    words = ["sweep", str(config), "--over", "trainer.images_per_class=1,3", "--root", str(tmp_path / "runs"), "--json"]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "learners: " in said.err
    found = json.loads(said.out)
    assert [point["value"] for point in found["points"]] == ["1", "3"] and found["seeds"] == [0, 1]
    assert found["split"] == "test" and found["differing"] == []
    assert [row["name"] for row in found["points"][0]["rows"]] == ["small", "random"]
    place = tmp_path / "runs/replication/default/digits/small-images_per_class"
    assert json.loads((place / "sweep.json").read_text()) == found
    assert Image.open(place / "sweep.png").size == (960, 600)
    for value, images in (("1", 20), ("3", 60)):
        taught = [load(place / value / f"seed-{seed}" / "teacher.safetensors") for seed in (0, 1)]
        assert [one.images_stored for one in taught] == [images, images]
    # Again, with one value more: what is done is read, the rest is made.
    before = {path: path.stat().st_mtime_ns for path in place.glob("[13]/seed-*/*") if path.is_file()}
    assert main([*words[:3], "trainer.images_per_class=1,3,2", *words[4:]]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out)["points"][:2] == found["points"]
    assert before == {path: path.stat().st_mtime_ns for path in before}
    assert again.err.count("done already") == 8 and (place / "2" / "seed-1" / "teacher.safetensors").is_file()


def test_a_point_is_what_the_experiment_gives_by_itself(config: Path, tmp_path: Path) -> None:
    one = asked([str(config), "--over", "trainer.fixed_layers=0,all", "--seeds", "1"], tmp_path / "runs")
    found = sweep(one)
    alone = Sweep(config, one.option, ["all"], one.known).at("all")
    assert alone.experiment(0).init_args["fixed_layers"] == "all"
    assert replicate(alone)["replicated"][0]["accuracy"] == found["points"][1]["rows"][0]["accuracy"]


def test_a_value_that_does_not_fit_is_found_before_anything_is_trained(config: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="inner.steps is 0"):
        sweep(asked([str(config), "--over", "trainer.inner_steps=2,0"], tmp_path / "runs"))
    with pytest.raises(UserError, match="inner_stps"):
        sweep(asked([str(config), "--over", "trainer.inner_stps=2"], tmp_path / "runs"))
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["small.yaml", "--over", "trainer.inner_steps"], "--over is"),
        (["small.yaml", "--over", "trainer.inner_steps=1,,2"], "--over is"),
        (["small.yaml", "--over", "trainer.inner_steps=1,1"], "different values"),
        (["small.yaml"], "--over is"),
        (["other.yaml", "--over", "a=1"], "no config 'other.yaml'"),
        (["--over", "a=1"], "takes one config"),
        (["small.yaml", "--over", "a=1", "--seeds", "0"], "--seeds"),
    ],
)
def test_wrong_words_are_one_sentence(
    config: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], message: str
) -> None:
    monkeypatch.chdir(config.parent)
    with pytest.raises(UserError, match=message):
        asked(words, config.parent)


def test_numbers_stand_where_they_belong_and_words_side_by_side() -> None:
    assert positions(["1", "2.5", "10"]) == ([1.0, 2.5, 10.0], None)
    assert positions(["0", "3", "all"]) == ([0.0, 1.0, 2.0], ["0", "3", "all"])


@pytest.mark.parametrize("values", [["1", "100"], ["0", "all"]])
def test_the_picture_takes_one_run_and_rows_that_are_missing(values: list[str], tmp_path: Path) -> None:
    accuracy = {"mean": 0.5, "std": None, "runs": [0.5]}
    points = [{"value": values[0], "rows": [{"name": "a", "accuracy": accuracy}, {"name": "b", "accuracy": accuracy}]}]
    points.append({"value": values[1], "rows": [{"name": "a", "accuracy": accuracy}]})
    draw_sweep({"over": "trainer.x", "seeds": [0], "points": points}, tmp_path / "x.png", "images")
    assert Image.open(tmp_path / "x.png").format == "PNG"


def test_words_are_made_from_the_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    accuracy = {"mean": 0.5, "std": 0.01, "runs": [0.49, 0.51]}
    points = [{"value": value, "rows": [{"name": "a", "accuracy": accuracy}]} for value in "12"]
    results = {"over": "trainer.x", "dataset": "digits", "split": "validation", "differing": [], "points": points}
    said = text(results | {"seeds": [0, 1]}).splitlines()[0]
    assert said == "accuracy in % of the validation images, mean ± std of 2 runs, digits"
    one = text(results | {"seeds": [0], "split": None, "differing": ["batch size: 8; 64"]})
    assert one.splitlines()[0] == "accuracy in %, 1 run, digits" and "cannot be compared" in one and "8; 64" in one
    labels: list[str] = []
    monkeypatch.setattr("matplotlib.axes.Axes.set_ylabel", lambda axes, label: labels.append(label))
    for options in ({"seeds": [0, 1]}, {"seeds": [0], "split": "train"}, {"seeds": [0], "split": None}):
        draw_sweep(results | options, tmp_path / "x.png")
    assert labels == ["validation accuracy in % (mean ± std of 2 runs)", "train accuracy in %", "accuracy in %"]


def test_private_teachers_of_a_sweep_add_up() -> None:
    class Private:
        def __init__(self, epsilon: float) -> None:
            self.budget = Budget(epsilon, 1e-5)

    with collected() as said:
        say_what_adds_up([object(), object()], 3)
        say_what_adds_up([Private(1.0)], 1)
    assert not said
    with collected() as said:
        say_what_adds_up([Private(1.0), Private(2.0)], 2)
    assert "4 private teachers of the same images" in str(said) and "epsilon 6 in sum" in str(said)
