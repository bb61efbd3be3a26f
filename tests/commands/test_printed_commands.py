"""Every command that the program prints works as it is pasted, and what was made knows its data."""

from __future__ import annotations

import ast
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.cli import COMMANDS, main
from gendistill.commands import tensorboard
from gendistill.teacher import load, save
from tests.data.test_recorded import FOLDER, make

ROOT = Path(__file__).resolve().parents[2]
DM = "trainers.distribution_matching.DistributionMatchingTrainer"
TRAIN = [
    "train", "--trainer", DM, "--run.steps", "2", "--run.sample_every", "0", "--run.progress", "false",
    "--trainer.learner.width", "4", "--trainer.learner.depth", "1", "--trainer.images_per_class", "2",
]  # fmt: skip
QUICK = ["--updates", "2", "--seeds", "2", "--lr", "0.1", "--no-fidelity"]
TABLE = "review,verdict\n" + "".join(
    f"{'good fine nice' if place % 2 else 'bad poor weak'} film {place},{'up' if place % 2 else 'down'}\n"
    for place in range(40)
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    make(tmp_path / FOLDER)
    return tmp_path


def printed(text: str) -> list[list[str]]:
    """Return the words of each command in a text, which ends its line."""
    return [shlex.split(line[line.index("gendistill ") :])[1:] for line in text.splitlines() if "gendistill " in line]


def run(words: list[str]) -> None:
    """Run a printed command, quickly."""
    if words[0] == "tensorboard":
        assert Path(tensorboard.parser().parse(words[1:]).logdir).is_dir()
        return
    assert main([*words, *(QUICK if words[0] in ("evaluate", "compare") else [])]) == 0


def out(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    capsys.readouterr()
    assert main(list(words)) == code
    said = capsys.readouterr()
    return said.out + said.err


@pytest.mark.parametrize(
    "data",
    [
        ["--dataset", FOLDER, "--image-size", "8", "--channels", "3", "--background", "black"],
        ["--data.name", FOLDER, "--data.image_size", "8", "--data.whitening", "0.1"],
        ["--dataset", "text", "--data-root", "my texts' $y.csv", "--data.text-column", "review", "--label_column", "2",
         "--length", "4", "--embedding", "6"],
    ],
)  # fmt: skip
def test_what_is_printed_runs_and_the_data_travel(
    data: list[str], here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "my texts' $y.csv").write_text(TABLE)
    own = ["--trainer.images", "noise"] if "text" in data else []
    training = [word for word in TRAIN if not own or word not in ("--trainer.learner.depth", "1")]
    said = out(capsys, *training, *own, *data, "--run.name", "my run's")
    words = printed(said)
    assert [one[0] for one in words] == ["evaluate", "tensorboard", *(["tokens"] if own else [])]
    for one in words:
        run(one)
    # And without any option of the data, by each command that is given a run.
    run_, result = "checkpoints/my run's", Path("checkpoints/my run's/results.json")
    said = out(capsys, "evaluate", run_, *QUICK)
    assert said.count("note: data as") == 1
    measured = json.loads(result.read_text())
    assert measured["data"]["options"]["name"] in (FOLDER, "text")
    said = out(capsys, "compare", f"a={run_}", f"b={run_}/teacher.safetensors", "real:ipc=2", str(result), *QUICK)
    assert said.count("note: data as") == 1 and "ranked" in said.lower()
    if not own:
        assert "no images of" not in out(capsys, "report", str(result))
        assert "data:image/png" in Path(run_, "report.html").read_text()
        out(capsys, "export", run_, "--output", "as pt", "--format", "pt")
        out(capsys, "evaluate", "as pt", *QUICK)
        out(capsys, "import", "as pt", "--output", "again.safetensors")
        out(capsys, "evaluate", "again.safetensors", *QUICK)
    assert "two spellings" in out(capsys, "evaluate", run_, "--image-size", "8", "--data.image_size", "8", code=2)


def test_a_run_of_an_earlier_version_has_its_config(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, *TRAIN, "--dataset", FOLDER, "--image-size", "8", "--run.name", "a")
    file = here / "checkpoints/a/teacher.safetensors"
    teacher = load(file)
    del teacher.metadata["data"]["options"]
    save(teacher, file)
    assert "data as 'checkpoints/a' says: --dataset" in out(capsys, "evaluate", "checkpoints/a", *QUICK)
    del teacher.metadata["data"]
    save(teacher, file)
    said = out(capsys, "evaluate", "checkpoints/a", *QUICK, code=2)
    assert "a file alone chooses no place; give --dataset" in said
    given = shlex.split(said.splitlines()[-1].rpartition("give ")[2])
    out(capsys, "evaluate", "checkpoints/a", *given, *QUICK)


def test_what_errors_and_hints_say_runs(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gan = ["train", "--trainer", "trainers.wgan.WGANTrainer", "--generator.ngf", "4", "--discriminator.ndf", "4"]
    out(capsys, *gan, "--dataset", FOLDER, "--image-size", "8", "--run.steps", "2", "--run.name", "a gan",
        "--run.sample_every", "0")  # fmt: skip
    said = out(capsys, "evaluate", "checkpoints/a gan", "--robust", *QUICK, code=2)
    for one in printed(said):
        run(one)
    (exported,) = here.glob("*-images")
    out(capsys, "evaluate", str(exported), *QUICK)
    said = out(capsys, *TRAIN, "--dataset", FOLDER, "--image-size", "8", "--images", "checkpoints/a gan", code=2)
    for one in printed(said):
        run(one)


def test_an_export_that_clips_says_so_and_what_keeps_the_values(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out(capsys, *TRAIN, "--run.name", "x y", "--trainer.images", "noise")
    said = out(capsys, "export", "checkpoints/x y", "--output", "my png")
    assert re.search(r"[\d.]+% of the values lie outside \[0, 1\], where pictures end: clipping changed one by", said)
    (one,) = printed(said)
    run(one)
    assert Path("my png-pt/images.pt").is_file()


def texts(node: ast.JoinedStr) -> Iterator[str]:
    """Yield the text before each value of an f-string that is put in."""
    so_far = ""
    for part in node.values:
        if isinstance(part, ast.Constant):
            so_far += str(part.value)
        else:
            yield so_far
            so_far += "{}"


def test_a_command_with_values_is_written_by_one_function() -> None:
    begun = re.compile(rf"gendistill (?:{'|'.join(COMMANDS)}) (?!takes)[^;:,()\n]*$")
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for top in ("gendistill", "trainers")
        for path in sorted((ROOT / top).rglob("*.py"))
        if path.name != "quickstart.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.JoinedStr) and any(begun.search(text) for text in texts(node))
    ]
    assert not found, f"written by hand, so not quoted: {found}; use gendistill.spelling.typed"
