"""What runs showed over their steps, as one picture."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from gendistill.errors import UserError
from gendistill.report.over_steps import over_steps, sampled, write


def run(root: Path, name: str, steps: list[int], kind: str = "points") -> Path:
    folder = root / name / "samples"
    folder.mkdir(parents=True)
    for step in steps:
        Image.fromarray(np.full((8, 8, 3), step % 256, np.uint8)).save(folder / f"{kind}-{step:07d}.png")
    return root / name


def test_a_row_a_run_and_a_column_a_common_step(tmp_path: Path) -> None:
    runs = {"T = 0": run(tmp_path, "a", [10, 20, 30]), "T = 25": run(tmp_path, "b", [20, 30, 40])}
    figure = over_steps(runs)
    axes = figure.axes
    assert len(axes) == 4 and [place.get_title() for place in axes[:2]] == ["step 20", "step 30"]
    assert [axes[0].get_ylabel(), axes[2].get_ylabel()] == ["T = 0", "T = 25"]
    assert int(np.asarray(axes[3].images[0].get_array())[0, 0, 0]) == 30


def test_of_many_steps_six_at_even_distances_and_the_last(tmp_path: Path) -> None:
    figure = over_steps({"one": run(tmp_path, "a", list(range(1, 22)))})
    assert [place.get_title() for place in figure.axes] == [f"step {step}" for step in (1, 5, 9, 13, 17, 21)]


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    one, other = run(tmp_path, "a", [1]), run(tmp_path, "b", [2])
    with pytest.raises(UserError, match="no step in common"):
        over_steps({"a": one, "b": other})
    with pytest.raises(UserError, match="no pictures 'generator'; it has: points"):
        sampled(one, "generator")
    with pytest.raises(UserError, match="sample_every=N"):
        sampled(tmp_path)


@pytest.mark.parametrize("kind", ["png", "svg", "pdf"])
def test_it_is_written_as_its_name_says(tmp_path: Path, kind: str) -> None:
    write(over_steps({"one": run(tmp_path, "a", [1])}), tmp_path / f"figure.{kind}")
    head = (tmp_path / f"figure.{kind}").read_bytes()[:200]
    assert {"png": b"PNG", "svg": b"<?xml", "pdf": b"%PDF"}[kind] in head
    with pytest.raises(UserError, match=r"end it in \.png"):
        write(over_steps({"one": tmp_path / "a"}), tmp_path / "figure.txt")
