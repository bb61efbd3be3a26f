"""IDC in one file outside the package, and RDED, trained and judged beside real images as a user would."""

from __future__ import annotations

import io
import json
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.cli import main
from gendistill.decodes import Formation
from gendistill.teacher import Labeller, StoredImages, load

EXAMPLES = Path(__file__).resolve().parents[2] / "docs" / "examples"
RDED = EXAMPLES.parents[1] / "configs" / "rded" / "digits.yaml"
PIXELS, STORED = 64, 20


def command(place: Path, *words: str) -> str:
    """Run the program in a folder and return what it prints."""
    printed = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(printed):
        patch.chdir(place)
        patch.syspath_prepend(str(place))
        assert main(list(words)) == 0
    return printed.getvalue()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both methods, trained and judged beside random real images."""
    place = tmp_path_factory.mktemp("methods")
    for end in (".py", ".yaml"):
        (place / f"idc_like{end}").write_text((EXAMPLES / f"idc_like{end}").read_text())
    command(place, "train", "--config", "idc_like.yaml", "--scale", "smoke")
    command(place, "train", "--config", str(RDED), "--scale", "smoke", "--run.name", "rded")
    labels = "labels=checkpoints/rded"
    words = ["--updates", "5,10", "--seeds", "1", "--lr", "0.1", "--augment", "crop_scale", "--no-fidelity"]
    teachers = ["checkpoints/idc-like", "checkpoints/rded", "real:ipc=2", f"real:ipc=2,{labels}"]
    command(
        place,
        "compare",
        *teachers,
        "--dataset",
        "digits",
        *words,
        "--output",
        "results.json",
        "--report",
        "report.html",
    )
    return place


def judged(place: Path) -> dict[str, dict[str, Any]]:
    results = json.loads((place / "results.json").read_text())
    return {one["teacher"]["path"]: one for one in results["teachers"]}


def test_idc_stores_sheets_and_shows_four_images_of_each(place: Path) -> None:
    teacher = load(place / "checkpoints" / "idc-like" / "teacher.safetensors")
    assert isinstance(teacher, StoredImages) and isinstance(teacher.decode, Formation)
    budget = judged(place)["checkpoints/idc-like"]["budget"]
    assert budget == {
        "images": STORED, "distinct_images": STORED, "decoded_images": 4 * STORED,
        "bytes": STORED * (4 * PIXELS + 8), "image_bytes": STORED * 4 * PIXELS, "label_bytes": STORED * 8,
        "labeller_bytes": 0, "learner_updates": 10,
    }  # fmt: skip


def test_idc_moved_the_images_that_it_started_from(place: Path) -> None:
    log = (place / "checkpoints" / "idc-like" / "log.txt").read_text()
    assert "loss/gradient" in log and "loss/network" in log


def test_rded_stores_crops_and_the_network_that_labels_them(place: Path) -> None:
    teacher = load(place / "checkpoints" / "rded" / "teacher.safetensors")
    assert isinstance(teacher, StoredImages) and isinstance(teacher.labeller, Labeller)
    weights = sum(4 * weight.numel() for weight in teacher.labeller.network.parameters())
    assert teacher.labeller.temperature == 4 and teacher.decoded_images == 4 * STORED
    found = judged(place)
    budget = found["checkpoints/rded"]["budget"]
    assert (budget["image_bytes"], budget["label_bytes"]) == (STORED * 4 * PIXELS, STORED * 8)
    assert budget["labeller_bytes"] == weights and budget["bytes"] == STORED * (4 * PIXELS + 8) + weights
    # The honest column: real images with the same labels, and with none but their own.
    honest = found["real:ipc=2,labels=checkpoints/rded"]["budget"]
    assert honest["labeller_bytes"] == weights and honest["image_bytes"] == STORED * PIXELS
    assert found["real:ipc=2"]["budget"]["labeller_bytes"] == 0


def test_rded_took_what_its_observer_finds_easy(place: Path) -> None:
    teacher = load(place / "checkpoints" / "rded" / "teacher.safetensors")
    images, labels = teacher.everything()
    assert teacher.labeller is not None
    answers = teacher.labeller(images, teacher.description.normalisation)
    assert float((answers.argmax(1) == labels).float().mean()) > 0.6  # of 4x4 pixels, enlarged
    assert torch.equal(labels.bincount(), torch.full((10,), 8))


def test_the_table_and_the_page_say_what_is_stored_and_what_is_shown(place: Path) -> None:
    page = (place / "report.html").read_text()
    assert "20 (shows 80)" in page and "of labeller" in page and "as stored" in page
    assert "A labeller is a network that is handed over with the images" in page


def test_a_run_without_its_labeller_is_judged_by_stored_labels(place: Path) -> None:
    words = ["--updates", "5", "--seeds", "1", "--lr", "0.1", "--no-fidelity", "--dataset", "digits", "--json"]
    given, stored = (
        json.loads(command(place, "evaluate", "checkpoints/rded", *words, "--labels", labels))["learning"]
        for labels in ("given", "stored")
    )
    assert given["accuracy"] != stored["accuracy"] and stored["labels"] == "stored"
