"""Folders of pictures at the commands: what is said, where it is said, and advice that can be followed as it stands."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.cli import main

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "quickstart" / "gan.yaml"
QUICK = ("--no-fidelity", "--seeds", "1", "--updates", "1", "--learner", "gendistill.nets.learners.MLP", "--lr", "0.1")


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Forty grey pictures of 17x17 pixels in two classes."""
    drawn = np.random.default_rng(0)
    for label, name in enumerate(("dark", "light")):
        (tmp_path / "odd" / name).mkdir(parents=True)
        for number in range(20):
            levels = drawn.integers(0, 100, (17, 17), dtype=np.uint8) + 100 * label
            Image.fromarray(levels.astype(np.uint8)).save(tmp_path / "odd" / name / f"{number}.png")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "odd"


def test_the_size_that_is_advised_trains_and_the_command_that_is_printed_judges(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", str(CONFIG), "--dataset", "odd", "--trainer.batch_size", "8", "--run.steps", "1"]
    words += ["--run.root", "runs", "--run.name", "a gan", "--run.device", "cpu"]
    assert main(words) == 2
    said = capsys.readouterr().err
    assert "bring the images of a folder to 16 or 32 pixels with --data.image_size" in said
    advised = re.findall(r"to (\d+) or (\d+) pixels with (\S+)", said)[0]
    assert main([*words, advised[2], advised[0]]) == 0
    captured = capsys.readouterr()
    assert "40 brought to 16x16" in captured.err and "brought" not in captured.out
    assert "'odd': a folder for each class" in (Path("runs") / "a gan" / "log.txt").read_text()
    judge = next(line for line in captured.out.splitlines() if line.startswith("judge"))
    assert judge.endswith("--dataset odd --image-size 16")
    assert main([*shlex.split(judge)[2:], *QUICK, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["dataset"] == "odd"
    assert main(["evaluate", "runs/a gan", "--dataset", "odd", *QUICK]) == 0  # the size is remembered
    capsys.readouterr()
    assert main(["evaluate", "runs/a gan", "--image-size", "none", *QUICK]) == 2
    assert "(of images of a folder --image-size and --channels change the shape)" in capsys.readouterr().err


def test_a_folder_of_another_size_is_judged_and_what_was_done_is_said(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for digit in range(10):
        (odd.parent / "made" / str(digit)).mkdir(parents=True)
        Image.new("RGBA", (20, 20), (20 * digit, 0, 0, 255)).save(odd.parent / "made" / str(digit) / "a.png")
    assert main(["evaluate", "made", *QUICK, "--json"]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["teacher"]["images"] == 10
    assert "pictures of the teacher 'made': 10 brought to 8x8, the middle cut out (the last from 20x20)" in captured.err
    assert main(["evaluate", "made", "--dataset", "odd", *QUICK]) == 2
    assert "choose the data set that the images stand for (--dataset)" in capsys.readouterr().err
    # Without real data there is no shape to bring them to.
    Image.new("L", (9, 9), 3).save(odd.parent / "made" / "3" / "b.png")
    assert main(["export", "made", "--output", "out"]) == 2
    assert "say which data set they stand for (--dataset), to whose shape they are brought" in capsys.readouterr().err
    assert main(["export", "made", "--output", "out", "--dataset", "digits"]) == 0


def test_a_report_of_results_on_a_folder_has_pictures_where_the_folder_is_named(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = odd.rename(odd.parent / "deeper")
    assert main(["evaluate", "real:ipc=2", "--dataset", str(folder), *QUICK, "--output", "results.json"]) == 0
    capsys.readouterr()
    (odd.parent / "kept").mkdir()
    folder = folder.rename(odd.parent / "kept" / "deeper")
    assert main(["report", "results.json"]) == 0
    said = capsys.readouterr().err
    assert "no images of real:ipc=2 in the report: 'results.json' was made from" in said
    assert "which is not there any more; say with --dataset where it is now" in said
    assert "data:image/png" not in Path("report.html").read_text()
    assert main(["report", "results.json", "--dataset", str(folder), "--image-size", "8"]) == 0
    assert "data:image/png" in Path("report.html").read_text()


def test_names_of_files_that_are_missing_say_the_option_of_the_place(
    odd: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["--data.name", "mhist", "--data.root", str(odd)]
    assert main(["train", "--config", str(CONFIG), *missing]) == 2
    assert "name another folder with --data.root or GENDISTILL_DATA" in capsys.readouterr().err
    assert main(["evaluate", "real", "--dataset", "mhist", "--data-root", str(odd)]) == 2
    assert "name another folder with --data-root or GENDISTILL_DATA" in capsys.readouterr().err


def test_of_few_classes_few_rows_are_shown() -> None:
    from gendistill.commands.report import grid_of
    from gendistill.data import load
    from gendistill.data.real import RealData, Split
    from gendistill.teacher import open_teacher

    whole = load("digits")
    names = whole.description.class_names

    def of(classes: int) -> RealData:
        def part(split: Split) -> Split:
            kept = split.labels < classes
            return Split(split.images[kept], split.labels[kept])

        described = replace(whole.description, class_names=names[:classes])
        return RealData(described, part(whole.train), part(whole.validation), part(whole.test))

    shown = [
        int((~grid_of(open_teacher("real", of(classes))).pixels.isnan().flatten(1)[:, 0]).sum())
        for classes in (2, 3, 10)
    ]
    assert shown == [20, 30, 100]
