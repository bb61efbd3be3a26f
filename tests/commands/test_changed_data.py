"""A folder of images that changes between two calls of the same command: no command goes on in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from gendistill.cli import main
from gendistill.data.fingerprint import fingerprint
from gendistill.data.load import load
from gendistill.yaml_file import dump_yaml

CONFIG: dict[str, Any] = {
    "trainer": {
        "class_path": "trainers.dataset_distillation.DatasetDistillationTrainer",
        "init_args": {
            "inner_steps": 1,
            "inner_epochs": 1,
            "learner": {"class_path": "gendistill.nets.learners.MLP"},
            "batch_size": 16,
        },
    },
    "data": {"name": "folder:pictures"},
    "run": {"name": "r", "steps": 2, "save_every": 1, "sample_every": 0, "device": "cpu", "progress": False},
    "evaluation": {
        "seeds": 1,
        "learning": {"learner": "gendistill.nets.learners.MLP", "updates": [2], "lr": [0.1], "seeds": 1},
        "beside": {"real": "real"},
    },
}


@pytest.fixture
def pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two classes of 40 pictures of 8x8, and a config that reads them."""
    monkeypatch.chdir(tmp_path)
    generator = np.random.default_rng(0)
    for place, name in enumerate(("ant", "bee")):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for number in range(40):
            values = generator.integers(0, 60, (8, 8), dtype=np.uint8)
            values[2 * place : 2 * place + 2] += 180
            Image.fromarray(values).save(tmp_path / "pictures" / name / f"{number:02d}.png")
    (tmp_path / "small.yaml").write_text(dump_yaml(CONFIG))
    return tmp_path / "pictures"


def overwrite(pictures: Path) -> None:
    Image.fromarray(np.full((8, 8), 7, dtype=np.uint8)).save(pictures / "ant" / "05.png")


def delete(pictures: Path) -> None:
    (pictures / "bee" / "05.png").unlink()


@pytest.mark.parametrize("change", [overwrite, delete])
def test_train_and_what_is_made_of_its_runs(
    change: Callable[[Path], None], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["train", "--config", "small.yaml", "--run.root", "runs"]
    assert main([*words, "--run.steps", "1"]) == 0
    # The same pictures at another place, and written anew, are the same data.
    for path in pictures.glob("*/*.png"):
        path.write_bytes(path.read_bytes())
    assert main(words) == 0
    change(pictures)
    capsys.readouterr()
    assert main([*words, "--run.steps", "3"]) == 2
    said = capsys.readouterr().err
    assert "holds a run on data that changed since: " in said and "images" in said and "run.fresh" in said
    assert main([*words, "--run.steps", "3", "--run.name", "other"]) == 0
    capsys.readouterr()
    judged = ["evaluate", "runs/r", "--dataset", "pictures", "--updates", "1", "--seeds", "1", "--lr", "0.1"]
    assert main([*judged, "--no-fidelity", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["dataset_fingerprint"] == fingerprint(load("folder:pictures"))
    assert any("are other ones than when the teacher was made" in note for note in result["notes"])
    assert main(["evaluate", "runs/other", *judged[2:], "--no-fidelity", "--json"]) == 0
    assert not any("when the teacher was made" in note for note in json.loads(capsys.readouterr().out)["notes"])


@pytest.mark.parametrize("change", [overwrite, delete])
def test_a_sweep(change: Callable[[Path], None], pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["sweep", "small.yaml", "--root", "runs", "--over"]
    assert main([*words, "trainer.images_per_class=1"]) == 0
    assert main([*words, "trainer.images_per_class=1,2"]) == 0
    change(pictures)
    capsys.readouterr()
    assert main([*words, "trainer.images_per_class=1,2,3"]) == 2
    said = capsys.readouterr().err
    assert "holds an evaluation on data that changed since: " in said and "choose another --root" in said
    assert main(["sweep", "small.yaml", "--root", "others", "--over", "trainer.images_per_class=1"]) == 0


def test_real_data_that_is_read_otherwise_is_not_what_was_judged(pictures: Path) -> None:
    words = ["sweep", "small.yaml", "--root", "runs", "--over", "trainer.images_per_class=1"]
    assert main(words) == 0 and main([*words, "--data.image_size", "6"]) == 2  # its run has other settings
    kept = [path.name for path in Path("runs/replication/default/pictures/evaluations").glob("real-*")]
    assert len(kept) == 1
    assert main([*words[:-1], "trainer.images_per_class=2", "--data.image_size", "6"]) == 0
    found = [json.loads(path.read_text()) for path in Path("runs").glob("**/evaluations/real-*")]
    assert sorted(one["data"]["image_shape"][1] for one in found) == [6, 8]


@pytest.mark.parametrize("change", [overwrite, delete])
def test_a_search_of_architectures(
    change: Callable[[Path], None], pictures: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    space = "{class_path: gendistill.nets.spaces.MLPSpace, init_args: {depths: [1], widths: [4, 8]}}"
    words = ["nas", "real:ipc=2", "--dataset", "pictures", "--space", space, "--updates", "1", "--lr", "0.1"]
    words += ["--truth", "none", "--no-baselines", "--device", "cpu", "--output", "found"]
    assert main([*words, "--count", "1"]) == 0
    assert main([*words, "--count", "2"]) == 0
    change(pictures)
    capsys.readouterr()
    assert main([*words, "--count", "2"]) == 2
    said = capsys.readouterr().err
    assert "holds results of a search" in said
    assert main([*words, "--count", "2", "--fresh"]) == 0
    # Results that were kept before data was noted go on.
    ledger = Path("found/architectures.json")
    content = json.loads(ledger.read_text())
    del content["data"]
    ledger.write_text(json.dumps(content))
    assert main([*words, "--count", "3"]) == 0
    assert json.loads(ledger.read_text())["data"]["train"]["images"] > 0


def test_experts_of_other_images_are_refused(pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from gendistill.experts import Recipe, expert_buffer

    learner = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 4}}

    def experts(folder: str | None = None) -> Path:
        recipe = Recipe(batch_size=16, updates=1)
        return expert_buffer(learner, load("folder:pictures"), recipe, 1, 1, root="runs", folder=folder).folder

    assert experts("mine") == Path("mine")
    own = experts()
    overwrite(pictures)  # of which the training split has the picture, or not
    changed = load("folder:pictures").train.images
    overwritten = bool((changed == 7).flatten(1).all(1).any())
    torch.manual_seed(0)
    if overwritten:
        with pytest.raises(Exception, match="is an expert of other training images"):
            experts("mine")
        assert experts() != own
    else:
        raise AssertionError("the picture that changes must be a training image, or this test shows nothing")
