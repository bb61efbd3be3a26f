"""What a person can get wrong, and the one sentence that it gets: exit code 2, no traceback, no damaged file."""

from __future__ import annotations

import json
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from gendistill.cli import main
from gendistill.data import load as load_data
from gendistill.data.description import Description, symmetric
from gendistill.teacher import RealSubset, StoredImages, save
from gendistill.teacher.files import KEY

ROOT = Path(__file__).resolve().parents[1]


class Trap:
    """Writes a file when it is unpickled."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return Path.write_text, (Path("trap_was_sprung"), "x")  # type: ignore[return-value]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("bad_input")
    data = load_data("digits")
    good = RealSubset.random(data.train, data.description, count=20, generator=torch.Generator().manual_seed(0))
    save(good, folder / "good.safetensors")
    content = (folder / "good.safetensors").read_bytes()
    (folder / "truncated.safetensors").write_bytes(content[: len(content) // 2])
    (folder / "header_only.safetensors").write_bytes(content[:6])
    (folder / "empty.safetensors").write_bytes(b"")
    (folder / "flipped.safetensors").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (folder / "text.safetensors").write_text("this is not a teacher")
    (folder / "pickle.safetensors").write_bytes(pickle.dumps(Trap()))
    torch.save({"weights": torch.zeros(2)}, folder / "torch.safetensors")
    save_file({"x": torch.zeros(2)}, folder / "stranger.safetensors")
    newer = json.loads(json.dumps({"format_version": 999, "kind": "real-subset"}))
    save_file({"x": torch.zeros(2)}, folder / "newer.safetensors", {KEY: json.dumps(newer)})
    other = Description("other", ("a", "b", "c"), (1, 8, 8), symmetric(1))
    save(StoredImages(torch.zeros(3, 1, 8, 8), torch.arange(3), other), folder / "three_classes.safetensors")
    big = Description("big", data.description.class_names, (3, 32, 32), symmetric(3))
    save(StoredImages(torch.zeros(10, 3, 32, 32), torch.arange(10), big), folder / "big_images.safetensors")
    (folder / "empty_folder").mkdir()
    (folder / "no_images" / "0").mkdir(parents=True)
    (folder / "broken_run").mkdir()
    (folder / "broken_run" / "teacher.safetensors").write_bytes(content[:100])
    (folder / "half.json").write_text('{"teachers": [')
    (folder / "none.json").write_text('{"teachers": []}')
    (folder / "other.json").write_text('{"teachers": [{"name": "x"}]}')
    for name, text in CONFIGS.items():
        (folder / name).write_text(text)
    return folder


GAN = "trainer: {class_path: trainers.gan.ConditionalGANTrainer"
CONFIGS = {
    "unknown_key.yaml": GAN + "}\nrunn: {steps: 3}\n",
    "unknown_option.yaml": GAN + ", init_args: {lr_generatr: 0.1}}\n",
    "unknown_run_key.yaml": GAN + "}\nrun: {stpes: 3}\n",
    "wrong_type.yaml": GAN + "}\nrun: {steps: many}\n",
    "wrong_trainer_type.yaml": GAN + ", init_args: {lr_generator: fast}}\n",
    "out_of_range.yaml": GAN + "}\nrun: {steps: 0}\n",
    "refused_value.yaml": GAN + ", init_args: {loss_type: hing}}\n",
    "unknown_data.yaml": GAN + "}\ndata: {name: digit}\n",
    "missing_data.yaml": GAN + "}\ndata: {name: mnist, root: nowhere}\n",
    "no_trainer.yaml": "run: {steps: 3}\n",
    "unknown_class.yaml": "trainer: {class_path: trainers.gan.ConditionalGanTrainer}\n",
    "not_a_trainer.yaml": "trainer: {class_path: torch.nn.Linear}\n",
    "broken.yaml": "trainer: [1, 2\nrun: 3\n",
    "list.yaml": "- 1\n",
    "twice.yaml": GAN + "}\nrun: {steps: 1}\nrun: {steps: 2}\n",
    "code.yaml": "trainer: !!python/object/apply:os.getcwd []\n",
}
EVALUATE = ["evaluate", "--dataset", "digits", "--updates", "1", "--seeds", "1", "--lr", "0.1"]
TRAIN = ["train", "--run.root", "runs", "--config"]

CASES: dict[str, tuple[list[str], str]] = {
    "missing checkpoint": ([*EVALUATE, "missing.safetensors"], "missing.safetensors"),
    "missing run": ([*EVALUATE, "no_such_run"], "no_such_run"),
    "misspelt real": ([*EVALUATE, "reel"], "did you mean 'real'"),
    "wrong subset": ([*EVALUATE, "real:subset=many"], "real:subset=K"),
    "zero images": ([*EVALUATE, "real:subset=0"], "0"),
    "too many images": ([*EVALUATE, "real:subset=99999"], "1197"),
    "truncated checkpoint": ([*EVALUATE, "truncated.safetensors"], "truncated.safetensors"),
    "only six bytes": ([*EVALUATE, "header_only.safetensors"], "header_only.safetensors"),
    "empty file": ([*EVALUATE, "empty.safetensors"], "empty.safetensors"),
    "one bit flipped": ([*EVALUATE, "flipped.safetensors"], "damaged"),
    "run with a truncated teacher": ([*EVALUATE, "broken_run"], "broken_run"),
    "wrong format version": ([*EVALUATE, "newer.safetensors"], "999"),
    "not safetensors": ([*EVALUATE, "text.safetensors"], "text.safetensors"),
    "pickle in disguise": ([*EVALUATE, "pickle.safetensors"], "pickle.safetensors"),
    "torch file in disguise": ([*EVALUATE, "torch.safetensors"], "torch.safetensors"),
    "safetensors of somebody else": ([*EVALUATE, "stranger.safetensors"], "stranger.safetensors"),
    "class count does not fit": ([*EVALUATE, "three_classes.safetensors"], "3 classes"),
    "image shape does not fit": ([*EVALUATE, "big_images.safetensors"], "(3, 32, 32)"),
    "folder without images": ([*EVALUATE, "no_images"], "no_images"),
    "empty folder": ([*EVALUATE, "empty_folder"], "empty_folder"),
    "unknown data set": (["evaluate", "real", "--dataset", "digit"], "did you mean 'digits'"),
    "data set without files": (["evaluate", "real", "--dataset", "mnist", "--data-root", "nowhere"], "nowhere"),
    "unknown learner": ([*EVALUATE, "real", "--learner", "gendistill.nets.learners.ConvNt"], "did you mean 'ConvNet'"),
    "learner with an unknown option": (
        [*EVALUATE, "real", "--learner", "{class_path: gendistill.nets.learners.ConvNet, init_args: {widht: 3}}"],
        "did you mean 'width'",
    ),
    "unknown augmentation": ([*EVALUATE, "real", "--augment", "shfit"], "shfit"),
    "unknown optimiser": ([*EVALUATE, "real", "--optimizer", "sgdd"], "sgdd"),
    "unknown device": ([*EVALUATE, "real", "--device", "abacus"], "abacus"),
    "unknown reference": (["evaluate", "real", "--reference", "tset"], "invalid choice: 'tset'"),
    "unknown extractor": ([*EVALUATE, "real", "--extractor", "classifer"], "classifer"),
    "negative learning rate": (["evaluate", "real", "--lr", "-1"], "--lr"),
    "no seeds": (["evaluate", "real", "--seeds", "0"], "--seeds"),
    "updates that are no numbers": (["evaluate", "real", "--updates", "ten"], "--updates"),
    "no teacher": (["evaluate"], "TEACHER"),
    "unknown command": (["evaluat", "real"], "did you mean 'evaluate'"),
    "unknown option of the program": (["--jsn"], "--jsn"),
    "unknown option of a command": (["evaluate", "real", "--datset", "digits"], "did you mean '--dataset'"),
    "two teachers for one": (["evaluate", "real", "real"], "real"),
    "compare with one missing": (["compare", "real", "missing.safetensors"], "missing.safetensors"),
    "compare ranks at nothing": (
        ["compare", "real", "--rank-at", "7", *EVALUATE[3:], "--no-fidelity"],
        "--rank-at is 7, but accuracy was measured at 1 updates",
    ),
    "a strength without a number": (
        ["evaluate", "real", "--augment-strength", "rotate", *EVALUATE[1:]],
        "'rotate' is not a name",
    ),
    "baselines of no choice": (["compare", "real", "--baselines", *EVALUATE[1:]], "--baselines needs a teacher"),
    "report of half a file": (["report", "half.json"], "half.json"),
    "report of no teachers": (["report", "none.json"], "holds no teachers"),
    "report of something else": (["report", "other.json"], "lacks 'teacher'"),
    "report of nothing": (["report", "nothing.json"], "nothing.json"),
    "export to a full folder": (["export", "good.safetensors", "--output", "no_images"], "no_images"),
    "export to an unknown format": (["export", "good.safetensors", "--output", "x", "--format", "jpg"], "jpg"),
    "export without a place": (["export", "good.safetensors"], "--output"),
    "search without a generator": (["latent-search"], "generator"),
    "search in images": (["latent-search", "good.safetensors", "--run.root", "runs"], "no latent space"),
    "search with a missing file": (["latent-search", "gone.safetensors", "--run.root", "runs"], "gone.safetensors"),
    "search with an unknown objective": (
        ["latent-search", "good.safetensors", "--objective", "feature_matchin", "--run.root", "runs"],
        "feature_matching",
    ),
    "TensorBoard on nothing": (["tensorboard", "--logdir", "no_runs_here"], "no_runs_here"),
    "TensorBoard on an impossible port": (["tensorboard", "--logdir", ".", "--port", "99999"], "99999"),
    "config missing": ([*TRAIN, "gone.yaml"], "gone.yaml"),
    "config is a folder": ([*TRAIN, "empty_folder"], "is a folder"),
    "config with an unknown key": ([*TRAIN, "unknown_key.yaml"], "did you mean 'run'"),
    "config with an unknown option": ([*TRAIN, "unknown_option.yaml"], "did you mean 'lr_generator'"),
    "config with an unknown run key": ([*TRAIN, "unknown_run_key.yaml"], "did you mean 'steps'"),
    "config with a wrong type": ([*TRAIN, "wrong_type.yaml"], "run.steps is 'many', expected a whole number"),
    "config with a wrong trainer type": (
        [*TRAIN, "wrong_trainer_type.yaml"],
        "lr_generator is 'fast', expected a number",
    ),
    "config out of range": ([*TRAIN, "out_of_range.yaml"], "run.steps is 0"),
    "config with a refused value": ([*TRAIN, "refused_value.yaml"], "hing"),
    "config with unknown data": ([*TRAIN, "unknown_data.yaml"], "did you mean 'digits'"),
    "config with data that is not there": ([*TRAIN, "missing_data.yaml"], "nowhere"),
    "config without a trainer": ([*TRAIN, "no_trainer.yaml"], "names no trainer"),
    "config with an unknown class": ([*TRAIN, "unknown_class.yaml"], "did you mean 'ConditionalGANTrainer'"),
    "config with no trainer's class": ([*TRAIN, "not_a_trainer.yaml"], "not a subclass"),
    "config that is no YAML": ([*TRAIN, "broken.yaml"], "line 2"),
    "config that is a list": ([*TRAIN, "list.yaml"], "holds a list"),
    "config with a key twice": ([*TRAIN, "twice.yaml"], "'run' is given twice"),
    "config with code": ([*TRAIN, "code.yaml"], "not valid YAML"),
    "nothing to train": (["train"], "--config FILE.yaml"),
    "unknown scale": ([*TRAIN, "unknown_key.yaml", "--scale", "smoke"], "unknown_key.yaml"),
}


def one_sentence(said: str) -> str:
    lines = said.strip().splitlines()
    assert len(lines) == 1 and "Traceback" not in said, said
    assert lines[0].startswith("error: ")
    return lines[0]


def snapshot(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and "runs" not in path.relative_to(folder).parts
    }


@pytest.mark.parametrize("case", CASES)
def test_one_sentence_and_exit_code_two(
    case: str, files: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(files)
    words, said = CASES[case]
    before = snapshot(files)
    assert main(words) == 2
    found = capsys.readouterr()
    last = found.err.strip().splitlines()
    assert said in one_sentence(last[-1]) and "Traceback" not in found.err
    assert len([line for line in last if not line.startswith(("judging ", "training the ", "trained the "))]) == 1, (
        found.err
    )
    assert found.out == ""
    assert snapshot(files) == before
    assert not (files / "trap_was_sprung").exists()


def test_a_port_in_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("localhost", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert main(["tensorboard", "--logdir", str(tmp_path), "--port", port]) == 2
    assert f"port {port}" in one_sentence(capsys.readouterr().err)


@pytest.mark.parametrize("case", ["pickle in disguise", "config with an unknown option", "unknown command"])
def test_the_same_from_a_process_of_its_own(case: str, files: Path) -> None:
    words, said = CASES[case]
    done = subprocess.run(
        [sys.executable, "-c", "import sys; from gendistill.cli import main; sys.exit(main())", *words],
        capture_output=True, text=True, cwd=files, env={"PYTHONPATH": str(ROOT), "PATH": "", "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert done.returncode == 2 and said in one_sentence(done.stderr) and done.stdout == ""


def test_a_full_disk_is_the_programs_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text("kept")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    words = ["compare", "real", *EVALUATE[3:], "--no-fidelity", "--output", str(tmp_path / "results.json")]
    assert main(words) == 1
    assert "no space left" in capsys.readouterr().err.strip().splitlines()[-1]
    assert (tmp_path / "results.json").read_text() == "kept" and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="the system has no device that is always full")
@pytest.mark.parametrize("words", [["--version"], ["--help"]])
def test_output_that_does_not_fit_on_the_disk_is_said(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "gendistill.cli", *words], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT
        )
    assert done.returncode == 1 and "no space left on device" in one_sentence(done.stderr)
