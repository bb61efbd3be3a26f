"""Training, judging and drawing from Python."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import matplotlib
import pytest
import torch
from torch import Tensor

import gendistill as gd
from gendistill.cli import main
from gendistill.teacher import StoredImages
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.trainer import Trainer

QUICK: dict[str, Any] = {"progress": False, "sample_every": 0, "device": "cpu", "log_every": 2, "tune": "off"}
JUDGED: dict[str, Any] = {"seeds": 2, "updates": [2, 5], "lr": 0.05, "fidelity": False, "progress": False}


class Few(Trainer):
    """Learns nothing: its images are the step's mean."""

    def __init__(self, *, level: float = 0.5, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.level = level

    def build(self) -> None:
        self.images = torch.zeros(10, *self.data.description.image_shape)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        if self.step == getattr(self, "stop_at", None):
            os.kill(os.getpid(), signal.SIGINT)
        self.images += 0.1 * (batch[0].mean(0) - self.images) + 0.01 * self.noise(10, *self.images.shape[1:])
        return {"loss": self.images.mean() * self.level}

    def teacher(self) -> StoredImages:
        return StoredImages(self.images.clone(), torch.arange(10), self.data.description)


@pytest.fixture(scope="module")
def data() -> gd.RealData:
    return gd.load_data("Digits")


def test_data_is_taken_in_every_form(data: gd.RealData, tmp_path: Path) -> None:
    for given in ("digits", {"name": "digits"}, data):
        assert torch.equal(gd.load_data(given).train.images, data.train.images)
    with pytest.raises(gd.UserError, match="did you mean 'digits'"):
        gd.load_data("digitz")
    with pytest.raises(gd.UserError, match="whitening is for data that is still to be loaded"):
        gd.load_data(data, whitening=0.1)
    with pytest.raises(gd.UserError, match="data is 5; give a name"):
        gd.load_data(5)  # type: ignore[arg-type]


def test_a_class_an_object_and_a_name_train_the_same(data: gd.RealData, tmp_path: Path) -> None:
    ways = [
        (DistributionMatchingTrainer, {"images_per_class": 1, "real_batch": 16}),
        (DistributionMatchingTrainer(images_per_class=1, real_batch=16), {}),
        ("DistributionMatchingTrainer", {"images_per_class": 1, "real_batch": 16}),
        ("trainers.distribution_matching.DistributionMatchingTrainer", {"images_per_class": 1, "real_batch": 16}),
    ]
    runs = [
        gd.train(trainer, data, steps=2, directory=tmp_path / str(place), **options, **QUICK)
        for place, (trainer, options) in enumerate(ways)
    ]
    first = runs[0].teacher.everything()[0]
    assert all(torch.equal(run.teacher.everything()[0], first) for run in runs)
    # The command makes the same.
    words = [
        "--trainer",
        "DistributionMatchingTrainer",
        "--images_per_class",
        "1",
        "--real_batch",
        "16",
        "--steps",
        "2",
    ]
    more = ["--run.root", str(tmp_path), "--run.name", "command", "--tune", "off", "--progress", "false"]
    assert main(["train", *words, *more, "--sample_every", "0", "--log_every", "2", "--device", "cpu"]) == 0
    assert torch.equal(gd.load(tmp_path / "command").everything()[0], first)
    configs = [gd.Run(tmp_path / name).config for name in ("0", "command")]
    assert configs[0]["trainer"] == configs[1]["trainer"] and configs[0]["data"]["name"] == "digits"


def test_a_run_goes_on_to_the_bit(data: gd.RealData, tmp_path: Path) -> None:
    whole = gd.train(Few, data, steps=7, directory=tmp_path / "whole", **QUICK)
    gd.train(Few, data, steps=3, directory=tmp_path / "parts", **QUICK)
    parts = gd.train(Few, data, steps=5, directory=tmp_path / "parts", **QUICK).resume(7, progress=False)
    assert (parts.step, parts.steps) == (7, 7)
    assert torch.equal(parts.teacher.everything()[0], whole.teacher.everything()[0])
    assert "step 7 of 7" in repr(parts) and "Few on 'digits'" in repr(parts)
    assert [step for step, _ in parts.curves()["train/loss"]] == [2, 3, 4, 5, 6, 7]
    with pytest.raises(gd.UserError, match="holds a run with other settings: trainer.init_args.level"):
        gd.train(Few, data, steps=7, level=0.25, directory=tmp_path / "parts", **QUICK)


def test_the_best_step_goes_on_in_another_directory_to_the_bit(data: gd.RealData, tmp_path: Path) -> None:
    keep = {"metric": f"{__name__}.brightness", "every": 2, "higher": False}
    run = gd.train(Few, data, steps=6, directory=tmp_path / "run", keep_best=keep, **QUICK)
    assert run.best_step in (2, 4, 6) and run.best_value == pytest.approx(brightness(run.best, data), rel=1e-5)
    again = run.branch(tmp_path / "branch")
    assert again.step == run.best_step
    assert torch.equal(again.resume(progress=False).teacher.everything()[0], run.teacher.everything()[0])
    with pytest.raises(gd.UserError, match="is not empty"):
        run.branch(tmp_path / "branch")
    with pytest.raises(gd.UserError, match="kept no best teacher; train it with keep_best=True"):
        gd.train(Few, data, steps=2, directory=tmp_path / "none", **QUICK).best  # noqa: B018


def brightness(teacher: gd.Teacher, data: gd.RealData) -> float:
    return abs(float(teacher.everything()[0].mean()) + 0.1)


def test_ctrl_c_keeps_the_state_and_says_how_to_go_on(data: gd.RealData, tmp_path: Path) -> None:
    trainer = Few(batch_size=32)
    trainer.stop_at = 3  # type: ignore[attr-defined]
    stopping = type("Stopping", (Few,), {"stop_at": 3})
    stopping.__module__ = __name__
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        gd.train(stopping, data, steps=9, directory=tmp_path / "run", **QUICK)
    place = str(tmp_path / "run")
    said = f"interrupted after step 4 of 9; give the same call with directory='{place}' again to continue"
    assert str(stopped.value).startswith(said)
    assert gd.Run(tmp_path / "run").step == 4 and signal.getsignal(signal.SIGINT) is before
    assert gd.train(stopping, data, steps=9, directory=tmp_path / "run", **QUICK).step == 9


def test_a_run_without_a_directory_goes_with_its_object(data: gd.RealData) -> None:
    run = gd.train(Few, data, steps=2, **QUICK)
    place, teacher = run.directory, run.teacher
    assert place.is_dir()
    del run
    assert not place.exists() and teacher.images_stored == 10


@pytest.mark.parametrize(
    ("trainer", "options", "said"),
    [
        ("DistributionMatchingTrainr", {}, "did you mean 'trainers.distribution_matching.DistributionMatchingTrainer'"),
        (Few, {"levle": 1.0}, "there is no option 'levle'; did you mean 'level'"),
        (Few, {"level": "high"}, "level is 'high', expected a number"),
        (Few, {"steps": 0}, "run.steps is 0; give a whole number from 1"),
        (dict, {}, "is not a subclass of trainers.trainer.Trainer"),
        (Trainer, {}, "is a base that cannot train by itself"),
        (7, {}, "trainer is 7; give a trainer's class"),
        (Few, {"callbacks": [3]}, "run.callbacks holds 3"),
        (Few, {"image_size": 8}, "image_size is for data that is still to be loaded"),
    ],
)
def test_mistakes_are_raised_as_sentences(
    trainer: Any, options: dict[str, Any], said: str, data: gd.RealData, tmp_path: Path
) -> None:
    with pytest.raises(gd.UserError, match=said):
        gd.train(trainer, data, directory=tmp_path / "run", **QUICK | options)
    assert not (tmp_path / "run").exists()


def test_a_config_is_trained_at_a_scale(tmp_path: Path) -> None:
    config = tmp_path / "few.yaml"
    config.write_text(
        f"trainer: {{class_path: {__name__}.Few, init_args: {{level: 0.25}}}}\nrun: {{steps: 50}}\n"
        "scales: {smoke: {run: {steps: 2}}}\n"
    )
    run = gd.train(config, scale="smoke", directory=tmp_path / "run", **QUICK)
    assert run.step == 2 and run.config["trainer"]["init_args"]["level"] == 0.25


def test_a_config_of_the_project_is_trained_by_its_name(data: gd.RealData, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    for number, name in enumerate(("quickstart/gan", "configs/quickstart/gan.yaml")):
        run = gd.train(name, data, scale="smoke", directory=tmp_path / f"run-{number}", **QUICK | {"steps": 2})
        assert run.step == 2 and run.config["trainer"]["class_path"] == "trainers.gan.ConditionalGANTrainer"
    with pytest.raises(gd.UserError, match="'quickstart/gann'"):
        gd.train("quickstart/gann", data, **QUICK)
    # A config that names its run, and not where: as the command, below checkpoints/.
    run = gd.train("quickstart/gan", data, scale="smoke", **QUICK | {"steps": 2})
    assert run.directory == Path("checkpoints") / run.config["run"]["name"] and run.directory.is_dir()


def test_data_is_shown_in_a_line(data: gd.RealData) -> None:
    shown = "<RealData of 'digits', 10 classes; pictures (1, 8, 8); 1,197 train, 200 validation, 400 test>"
    assert repr(data) == shown


def test_an_evaluation_is_that_of_the_command(data: gd.RealData, tmp_path: Path, capsys: Any) -> None:
    words = ["--seeds", "2", "--updates", "2,5", "--lr", "0.05", "--no-fidelity", "--json"]
    assert main(["evaluate", "real:ipc=2", "--dataset", "digits", *words]) == 0
    told = json.loads(capsys.readouterr().out)
    result = gd.evaluate("real:ipc=2", "digits", output=tmp_path / "r.json", **JUDGED)
    values = result.to_dict()
    told["learning"].pop("seconds"), values["learning"].pop("seconds"), told.pop("command")
    assert json.loads(json.dumps(values)) == told
    assert result.accuracies == dict(zip([2, 5], told["learning"]["accuracy"]["mean"], strict=True))
    assert result.accuracy == result.accuracies[5] and result.updates == [2, 5] and result.distance is None
    assert gd.Result.read(tmp_path / "r.json").accuracy == result.accuracy
    assert "real:ipc=2" in repr(result) and "<table>" in result._repr_html_()
    assert json.loads(result.to_json())["learning"]["updates"] == [2, 5]


def test_a_learner_is_a_class_its_name_or_a_spec(data: gd.RealData) -> None:
    from gendistill.nets.learners import MLP

    spec = {"class_path": "gendistill.nets.learners.MLP"}
    found = [gd.evaluate("real:ipc=1", data, learner=one, **JUDGED).accuracies for one in (MLP, "MLP", spec)]
    assert found[0] == found[1] == found[2]
    for learner, said in (("ConvNot", "learner is 'ConvNot'; did you mean .*ConvNet'"), (3, "learner is 3; give a")):
        with pytest.raises(gd.UserError, match=said):
            gd.evaluate("real:ipc=1", data, learner=learner, **JUDGED)
    with pytest.raises(gd.UserError, match="learning has no option 'update'; did you mean 'updates'"):
        gd.evaluate("real:ipc=1", data, update=[3])
    with pytest.raises(gd.UserError, match="there is no protocol 'condensatoin'"):
        gd.evaluate("real:ipc=1", data, protocol="condensatoin")


@pytest.fixture(scope="module")
def comparison(data: gd.RealData, tmp_path_factory: pytest.TempPathFactory) -> gd.Comparison:
    place = tmp_path_factory.mktemp("comparison")
    run = gd.train(Few, data, steps=4, directory=place / "few", **QUICK | {"sample_every": 2})
    earlier = gd.evaluate("real:ipc=2", data, **JUDGED)
    found = gd.compare(
        {"few": run, "two": earlier, "all": "real"}, data, output=place / "r.json", report=place / "r.html", **JUDGED
    )
    assert "data:image/png" in (place / "r.html").read_text()
    assert gd.Comparison.read(place / "r.json").names == found.names
    assert main(["report", str(place / "r.json"), "--no-images", "--output", str(place / "o.html")]) == 0
    found.directory = run.directory  # type: ignore[attr-defined]
    return found


def test_a_comparison_ranks_and_shows(comparison: gd.Comparison) -> None:
    accuracies = [one.accuracy for one in comparison.results.values()]
    assert accuracies == sorted(accuracies, reverse=True) and set(comparison.names) == {"few", "two", "all"}
    assert comparison.best.name == comparison.names[0] and comparison["two"].accuracy in accuracies
    assert "Ranked by accuracy after 5 updates" in repr(comparison) == str(comparison)
    assert comparison._repr_html_().count("<tr>") == 4
    with pytest.raises(KeyError, match="no teacher is called 'tow'; did you mean 'two'"):
        comparison["tow"]


def test_figures_are_matplotlibs_and_pyplot_knows_nothing_of_them(comparison: gd.Comparison, tmp_path: Path) -> None:
    import sys

    place: Path = comparison.directory  # type: ignore[attr-defined]
    loaded = "matplotlib.pyplot" in sys.modules
    figures = [
        gd.plot.images(place),
        gd.plot.images(torch.rand(12, 3, 8, 8), torch.arange(12) % 3, columns=3),
        gd.plot.curves(comparison),
        gd.plot.curves(comparison, error=True),
        gd.plot.curves(comparison["few"]),
        gd.plot.curves(place.parent / "r.json"),
        gd.plot.differences(comparison),
        gd.plot.training(place),
        gd.plot.film(place, path=tmp_path / "film.gif"),
    ]
    for figure in figures:
        assert isinstance(figure, matplotlib.figure.Figure)
        assert figure._repr_png_().startswith(b"\x89PNG")  # type: ignore[attr-defined]
    assert ("matplotlib.pyplot" in sys.modules) == loaded
    assert [axes.get_title() for axes in figures[-1].axes] == ["step 2", "step 4"]
    assert (tmp_path / "film.gif").read_bytes()[:3] == b"GIF"
    drawn = {line.get_label() for line in figures[2].axes[0].lines}
    assert {"few", "two", "all"} <= drawn
    with pytest.raises(gd.UserError, match="has logged no train/los"):
        gd.plot.training(place, "train/losss")
    with pytest.raises(gd.UserError, match="has no pictures 'teahcer'; did you mean 'teacher'"):
        gd.plot.film(place, "teahcer")
    with pytest.raises(gd.UserError, match="nothing is held against all real data"):
        gd.plot.differences(comparison["few"])
    assert drawn == {line.get_label() for line in figures[5].axes[0].lines}
    with pytest.raises(gd.UserError, match="returned, or a file of it; got a int"):
        gd.plot.curves([1])  # type: ignore[list-item]
    with pytest.raises(gd.UserError, match="none.json"):
        gd.plot.front(str(place / "none.json"))
