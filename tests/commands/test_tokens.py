from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from gendistill import cli
from gendistill.data import load
from gendistill.data.text_files import read_corpora
from gendistill.runs.directory import RunDirectory

CONFIG = str(Path(__file__).parents[2] / "configs" / "dd" / "text.yaml")
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("text")
    words = ["train", "--config", CONFIG, "--scale", "smoke", "--run.root", str(root), "--run.device", "cpu"]
    assert cli.main(words) == 0
    return root / "dd" / "text-smoke"


def test_a_run_on_a_text_writes_its_sentences_and_no_pictures(run: Path) -> None:
    samples = sorted(path.name for path in (run / "samples").iterdir())
    assert samples == ["sentences-0000005.txt"]
    lines = (run / "samples" / samples[0]).read_text().splitlines()
    assert len(lines) == 3 and lines[0].startswith("nearest words by Euclidean distance") and "step 1" in lines[1]
    known = set(load("toytext").description.embedding.words)  # type: ignore[union-attr]
    assert set(lines[1].split("  ")[-1].split()) <= known


def test_another_process_prints_the_words_of_a_teacher(run: Path) -> None:
    words = [sys.executable, "-m", "gendistill.cli", "tokens", str(run), "--nearest", "2", "--count", "1"]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.startswith("nearest words by Euclidean") and len(done.stdout.splitlines()) == 2
    assert "negative" in done.stdout and "(" in done.stdout


def test_words_as_json_and_as_a_text_of_ones_own(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "nearest.tsv"
    assert cli.main(["tokens", str(run), "--metric", "cosine", "--output", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["metric"] == "cosine" and len(found["sentences"]) == 2
    assert len(found["sentences"][0]["nearest"]) == 19 and len(found["sentences"][0]["label"]) == 2
    assert read_corpora(file)["train"].classes == [one["class_name"] for one in found["sentences"]]


def test_real_sentences_and_what_a_run_is_worth(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tokens", "real:ipc=1", "--dataset", "toytext"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    judged = [
        "evaluate",
        str(run),
        "--dataset",
        "toytext",
        "--updates",
        "0,2",
        "--seeds",
        "1",
        "--no-fidelity",
        "--json",
    ]
    assert cli.main(judged) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["learning"]["initialisation"].startswith("fixed") and result["dataset"] == "toytext"


def test_pictures_and_other_vocabularies_get_one_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tokens", "real:ipc=1", "--dataset", "digits"]) == 2
    assert "holds pictures" in capsys.readouterr().err
    assert cli.main(["evaluate", str(run), "--dataset", "toytext", "--vocabulary", "20", "--updates", "1"]) == 2
    assert "another vocabulary" in capsys.readouterr().err


def test_a_run_on_a_text_resumes_exactly(run: Path, tmp_path: Path) -> None:
    words = ["train", "--config", CONFIG, "--scale", "smoke", "--run.root", str(tmp_path), "--run.device", "cpu"]
    assert cli.main([*words, "--run.steps", "2"]) == 0
    assert cli.main([*words, "--run.steps", "5"]) == 0
    whole, cut = (RunDirectory(root.parent, root.name).teacher for root in (run, tmp_path / "dd" / "text-smoke"))
    from gendistill.teacher import load as load_teacher

    one, two = load_teacher(whole), load_teacher(cut)
    assert torch.equal(one.everything()[0], two.everything()[0]) and torch.equal(
        one.everything()[1], two.everything()[1]
    )
