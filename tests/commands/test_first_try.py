"""What a newcomer tries first: own small data, other spellings, refused commands, options without their class."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.config.plan import at_smoke
from tests.commands.test_printed_commands import DM, FOLDER, QUICK, TRAIN
from tests.data.test_recorded import make

GAN = ["train", "--trainer", "trainers.gan.ConditionalGANTrainer", "--generator.ngf", "4", "--discriminator.ndf", "4",
       "--run.sample_every", "0", "--run.progress", "false", "--run.save_every", "1"]  # fmt: skip


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    make(tmp_path / FOLDER)
    return tmp_path


def said(capsys: pytest.CaptureFixture[str], words: list[str], code: int) -> str:
    capsys.readouterr()
    assert main(words) == code
    return capsys.readouterr().err


@pytest.mark.parametrize(
    "words",
    [
        [*TRAIN, "--dataset", FOLDER],  # pictures of mixed sizes
        [*TRAIN, "--dataset", FOLDER, "--image-size", "8", "--trainer.images_per_class", "50"],
        [*TRAIN, "--trainer.learner.widht", "3"],
        [*GAN, "--dataset", FOLDER, "--image-size", "8", "--batch_size", "1000"],
        [*GAN, "--dataset", FOLDER, "--image-size", "7"],
        ["latent-search", "nothing.safetensors"],
        ["sweep", "c.yaml", "--over", "trainer.batch_size=0,1"],
        ["nas", "nothing.safetensors", "--dataset", "digits"],
        ["replicate", "c", "--configs", ".", "--scale", "smoke"],
    ],
    ids=lambda words: " ".join(words[:1] + words[-2:]),
)
def test_a_refused_command_leaves_nothing(words: list[str], here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    refused = "trainer: {class_path: %s, init_args: {lr_images: 0}}\nscales: {smoke: {run: {steps: 1}}}\n"
    (here / "c.yaml").write_text(refused % DM)
    before = sorted(here.iterdir())
    assert said(capsys, words, 2).splitlines()[-1].startswith("error: ")
    assert sorted(here.iterdir()) == before


def test_a_refused_command_leaves_what_was_there(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "checkpoints" / "mine").mkdir(parents=True)
    (here / "checkpoints" / "mine" / "notes.txt").touch()
    assert "choose 1 to" in said(capsys, [*GAN, "--batch_size", "9999", "--run.name", "mine"], 2)
    assert [path.name for path in (here / "checkpoints" / "mine").iterdir()] == ["notes.txt"]


def test_two_spellings_are_refused_and_each_is_read(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for first, second in (
        ("--image-size", "--data.image_size"), ("--dataset", "--data.name"), ("--data-root", "--data.root"),
        ("--image_size", "--data.image-size"),
    ):  # fmt: skip
        for words in (TRAIN, ["evaluate", "real"], ["latent-search", "t"], ["replicate", "x"], ["sweep", "c.yaml"]):
            error = said(capsys, [*words, first, "8", second, "8"], 2)
            assert f"{first} and {second} are two spellings of one option" in error
    for first, second in (("--steps", "--run.steps"), ("--images_per_class", "--trainer.init_args.images-per-class")):
        assert "two spellings of one option" in said(capsys, ["train", "--trainer", DM, first, "1", second, "1"], 2)
    assert main(["evaluate", "real:ipc=2", "--data.name", FOLDER, "--data.image_size", "8", "--data.channels=1", *QUICK,
                 "--output", "r.json"]) == 0  # fmt: skip
    measured = json.loads((here / "r.json").read_text())["data"]["options"]
    assert measured == {"name": FOLDER, "image_size": 8, "channels": 1}


def test_a_data_set_has_one_name_however_it_is_spelt(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--dataset", "Digits", "--run.name", "a"]) == 0
    assert yaml.safe_load((here / "checkpoints/a/config.yaml").read_text())["data"]["name"] == "digits"
    said(capsys, [*TRAIN, "--dataset", "DIGITS", "--run.name", "a"], 0)  # is no run with other settings
    assert "is finished" in (here / "checkpoints/a/log.txt").read_text()


def test_a_longer_run_under_a_falling_rate_says_what_that_does(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = here / "checkpoints" / "run" / "log.txt"
    for steps in (2, 4, 4):
        assert main([*GAN, "--run.steps", str(steps)]) == 0
    expected = "at step 2 the learning rates, which were at 0% of those at the start, go on at 50%"
    assert log.read_text().count(expected) == log.read_text().count("lr_decay is linear") == 1
    for steps in ("1", "2"):
        assert main([*GAN, "--lr_decay", "none", "--run.name", "constant", "--run.steps", steps]) == 0
    assert "lr_decay" not in (here / "checkpoints" / "constant" / "log.txt").read_text()


def test_arguments_without_a_class_are_laid_over_the_default(here: Path) -> None:
    (here / "c.yaml").write_text(
        f"trainer: {{class_path: {DM}, init_args: {{learner: {{width: 4, depth: 1}}, images_per_class: 1}}}}\n"
    )
    assert main(["train", "--config", "c.yaml", "--run.steps", "1", "--run.name", "a"]) == 0
    assert main([*TRAIN, "--run.name", "b"]) == 0
    from gendistill.teacher import load

    for name in ("a", "b"):
        learner = load(here / "checkpoints" / name / "teacher.safetensors").metadata["learner"]
        assert learner == {
            "class_path": "gendistill.nets.learners.ConvNet",
            "init_args": {"width": 4, "depth": 1},
        }


def test_one_name_for_two_teachers_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "two teachers are called 'a'" in said(capsys, ["compare", "a=real", "a=real", *QUICK], 2)


def test_the_smoke_scale_judges_little_where_a_config_does_not_say(here: Path) -> None:
    assert at_smoke(None) == {"seeds": 2, "learning": {"updates": [5, 10], "seeds": 2}}
    assert at_smoke({"seeds": 3, "learning": {"epochs": 1}}) == {"seeds": 3, "learning": {"epochs": 1}}
    assert at_smoke({"learning": None}) == {"seeds": 2, "learning": None}
    (here / "c.yaml").write_text(f"trainer: {{class_path: {DM}}}\nscales: {{smoke: {{run: {{steps: 1}}}}}}\n")
    plan = Replications(here, "smoke").open("c").plan
    assert plan.seeds == 2 and plan.learning == {"updates": [5, 10], "seeds": 2}
    assert Replications(here).open("c").plan.seeds == 3
