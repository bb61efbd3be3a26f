from __future__ import annotations

from pathlib import Path

import pytest

from gendistill import cli
from gendistill.config.command_line import assemble, take_apart
from gendistill.teacher import describe

FOLDER = Path(__file__).parents[2] / "configs" / "dd"


@pytest.mark.parametrize("name", ["text", "text-files"])
@pytest.mark.parametrize("scale", [None, "smoke", "reduced"])
def test_configs_of_texts_are_complete_and_their_trainers_can_be_built(name: str, scale: str | None) -> None:
    words = ["--config", str(FOLDER / f"{name}.yaml"), *(["--scale", scale] if scale else [])]
    experiment = assemble(take_apart(words))
    experiment.build_trainer()
    assert experiment.to_dict()["data"]["name"] == ("toytext" if name == "text" else "text")


def test_a_file_of_ones_own_is_distilled_by_the_published_settings(tmp_path: Path) -> None:
    lines = [f"{('no', 'yes')[number % 2]}\tfilm {number} was {('bad', 'good')[number % 2]}" for number in range(60)]
    (tmp_path / "own.tsv").write_text("\n".join(lines))
    words = ["train", "--config", str(FOLDER / "text-files.yaml"), "--scale", "smoke", "--run.root", str(tmp_path)]
    assert cli.main([*words, "--data.root", str(tmp_path / "own.tsv"), "--run.device", "cpu"]) == 0
    described = describe(tmp_path / "dd" / "text-files-smoke" / "teacher.safetensors")
    assert described["description"]["image_shape"] == [1, 10, 8] and described["soft_labels"]
    assert described["images_per_class"] == [1, 1]
