"""Numbers on the command line that ask for more memory than there is get a sentence that names them."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from valid_files import DESCRIPTION

from gendistill.cli import main
from gendistill.errors import UserError
from gendistill.evaluation.draws import pool
from gendistill.evaluation.epochs import with_images

HUGE = str(10**12)
TRAIN = ["train", "--run.steps", "1", "--run.progress", "false"]
LEARN = ["--no-fidelity", "--updates", "1", "--seeds", "1", "--lr", "0.1"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--trainer", "trainers.distribution_matching.DistributionMatchingTrainer", "--images", "noise",
          "--images_per_class", HUGE], "choose a smaller --trainer.images_per_class"),
        (["--trainer", "trainers.distribution_matching.DistributionMatchingTrainer", "--images", "noise",
          "--real_batch", HUGE], "choose a smaller --trainer.real_batch"),
        (["--trainer", "trainers.dataset_distillation.DatasetDistillationTrainer", "--images_per_class", HUGE],
         "choose a smaller --trainer.images_per_class"),
    ],
)  # fmt: skip
def test_numbers_of_trainers(words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*TRAIN, "--run.root", str(tmp_path), *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in last and "of memory" in last and "are free" in last


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--dataset", "toytext", "--length", HUGE], "give a smaller --length"),
        (["--dataset", "toytext", "--embedding", HUGE], "give a smaller --embedding or --vocabulary"),
        (["--seeds", HUGE], "give fewer seeds"),
        (["--epochs", HUGE], "give a larger measure_every"),
    ],
)
def test_numbers_of_an_evaluation(words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "real:subset=10", *LEARN, *words]) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert said in last and "of memory" in last and "are free" in last


def test_the_number_of_an_export(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", "real:subset=10", "--dataset", "digits", "--count", HUGE, "--output", str(tmp_path / "out")]
    assert main(words) == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert "1,000,000,000,000 images of shape (1, 8, 8) to export would take 512 TB of memory" in last


def test_numbers_of_images_that_a_generator_is_to_make() -> None:
    endless: Any = SimpleNamespace(images_stored=None, decoded_images=None, description=DESCRIPTION, device="cpu")
    with pytest.raises(UserError, match="1,000,000,000,000 generated images .* would take 128 TB of memory"):
        with_images(endless, 10**12, 100)
    with pytest.raises(UserError, match="kept of 1,000,000,000,000 drawn images would take 400 TB of memory"):
        pool(endless, endless, 10**12, 1, 0)
