"""The rows of the report's table on MHIST, on files laid out as MHIST's."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.teacher import load

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "replication"


def write_mhist(folder: Path) -> None:
    (folder / "images").mkdir(parents=True)
    rows = [["Image Name", "Majority Vote Label", "Number of Annotators who Selected SSA (Out of 7)", "Partition"]]
    pixels = np.random.default_rng(0).integers(0, 256, (40, 12, 12, 3), dtype=np.uint8)
    for number, image in enumerate(pixels):
        Image.fromarray(image).save(folder / "images" / f"{number}.png")
        rows.append([f"{number}.png", ("HP", "SSA")[number % 2], str(number % 8), "test" if number >= 30 else "train"])
    with (folder / "annotations.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize("start", ["real", "noise"])
def test_gradients_are_matched_on_mhist(start: str, tmp_path: Path) -> None:
    write_mhist(tmp_path / "mhist")
    words = ["--config", str(FOLDER / f"ece-t5-mhist-{start}.yaml"), "--scale", "smoke"]
    data = ["--data.name", "mhist", "--data.root", str(tmp_path), "--data.image_size", "8"]
    place = ["--run.root", str(tmp_path), "--run.name", "m", "--run.device", "cpu", "--run.progress", "false"]
    assert main(["train", *words, *data, *place]) == 0
    found = load(tmp_path / "m" / "teacher.safetensors")
    assert found.description.name == "mhist" and found.label_counts == [10, 10]
    assert found.description.image_shape == (3, 8, 8)


@pytest.mark.parametrize("scale", ["reduced", "paper"])
@pytest.mark.parametrize("start", ["real", "noise"])
def test_the_rows_are_there_with_what_was_reported(start: str, scale: str) -> None:
    row = Replications(FOLDER, scale).open(f"ece-t5-mhist-{start}")
    assert row.reported is not None and row.reported.accuracy == 0.0 and row.reported.claim is not None
    options = row.experiment(0).to_dict()
    expected = ("mhist", 64) if scale == "paper" else ("digits", None)
    assert (options["data"]["name"], options["data"]["image_size"]) == expected
    assert options["trainer"]["init_args"]["images"] == start
    assert row.plan.learning is not None and row.plan.learning["protocol"] == "shi-chen"
