"""Two of a command in one place, places that cannot be written, and what killed processes left: for every command."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gendistill.claims import claimed
from gendistill.cli import main

from .conftest import QUICK

REPLICATED = """
trainer: {class_path: users_picker.Picker, init_args: {batch_size: 8}}
data: {name: digits}
run: {steps: 2, log_every: 2, sample_every: 0, device: cpu, progress: false}
evaluation:
  seeds: 1
  learning: {updates: [2], seeds: 1, lr: 0.05, learner: gendistill.nets.learners.MLP, batch_size: 8}
scales: {smoke: {}}
"""
SEARCHED = """
teacher: real:ipc=2
space: {class_path: gendistill.nets.spaces.MLPSpace,
        init_args: {depths: [1], widths: [4, 16], activations: [relu, tanh]}}
count: 2
updates: 2
lr: [0.03]
truth: none
device: cpu
output: out
"""
BELOW = "runs/replication/smoke/digits"
COMMANDS = {
    "train": (["train", "--config", "c.yaml"], "runs/picked", "run.name"),
    "nas": (["nas", "--config", "nas.yaml", "--no-baselines"], "out", "--output"),
    "replicate": (
        ["replicate", "pick", "--configs", "configs", "--scale", "smoke", "--root", "runs"],
        f"{BELOW}/pick",
        "--root",
    ),
    "sweep": (
        ["sweep", "configs/pick.yaml", "--over", "trainer.images_per_class=1", "--scale", "smoke", "--root", "runs"],
        f"{BELOW}/pick-images_per_class",
        "--root",
    ),
    "quickstart": (["quickstart", "--root", "runs", "--configs", "quick"], "runs/quickstart", "--name"),
    "evaluate": (["evaluate", "real:ipc=2", *QUICK, "--output", "x.json"], ".x.json.parts", "--output"),
    "compare": (["compare", "real:ipc=2", *QUICK, "--output", "x.json"], ".x.json.parts", "--output"),
}


@pytest.fixture
def described(place: Path) -> Path:
    """The place with what each command's words name."""
    for folder in ("configs", "quick"):
        (place / folder).mkdir()
    (place / "configs" / "pick.yaml").write_text(REPLICATED)
    (place / "nas.yaml").write_text(SEARCHED)
    for stage in ("gan", "gtn", "latent"):
        source = Path(__file__).parents[2] / "configs" / "quickstart" / f"{stage}.yaml"
        (place / "quick" / f"{stage}.yaml").write_text(source.read_text())
    return place


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_one_in_the_same_place_is_refused(
    command: str, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, where, option = COMMANDS[command]
    with claimed(described / where, "working", "choose another"):
        before = sorted((described / where).rglob("*"))
        assert main(words) == 2
        said = capsys.readouterr().err
        assert "error: another process is" in said and f"'{where}'" in said and option in said
        assert sorted((described / where).rglob("*")) == before


@pytest.mark.parametrize("command", ["train", "nas", "replicate", "sweep"])
def test_what_killed_processes_left_is_taken_away_and_a_persons_files_stay(command: str, described: Path) -> None:
    words, where, _ = COMMANDS[command]
    name = ".results.json.0123456789ab.tmp"
    folders = [described / where]
    if command == "train":
        folders.append(described / where / "samples")
    if command == "replicate":
        folders.append(described / BELOW / "evaluations")
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / name).write_text("half")
        (folder / "notes.tmp").write_text("mine")
    assert main(words) == 0
    for folder in folders:
        assert not (folder / name).exists() and (folder / "notes.tmp").read_text() == "mine"
    # A claim ends with its command: the same one goes on, and says that all is done.
    assert main(words) == 0


OUTPUTS = {
    "evaluate": ["evaluate", "real:ipc=2", *QUICK, "--no-fidelity", "--output", "{}"],
    "compare": ["compare", "real:ipc=2", *QUICK, "--no-fidelity", "--output", "{}"],
    "compare's report": ["compare", "real:ipc=2", *QUICK, "--no-fidelity", "--report", "{}"],
    "condensation": ["condensation", "t.safetensors", "--output", "{}"],
    "poison": ["poison", "t.safetensors", "--output", "{}"],
    "adapt": ["adapt", "t.safetensors", "--output", "{}"],
    "verify": ["verify", "t.safetensors", "--output", "{}"],
    "tokens": ["tokens", "t.safetensors", "--output", "{}"],
    "import": ["import", "t.pt", "--dataset", "digits", "--output", "{}"],
    "export": ["export", "real:ipc=2", "--output", "{}"],
    "report": ["report", "r.json", "--output", "{}"],
    "nas": ["nas", "--config", "nas.yaml", "--output", "{}"],
    "train": ["train", "--config", "c.yaml", "--run.root", "{}"],
    "latent-search": ["latent-search", "t.safetensors", "--run.root", "{}"],
    "replicate": [*COMMANDS["replicate"][0][:-1], "{}"],
    "replicate's output": [*COMMANDS["replicate"][0], "--output", "{}"],
    "sweep": [*COMMANDS["sweep"][0][:-1], "{}"],
    "sweep's output": [*COMMANDS["sweep"][0], "--output", "{}"],
    "quickstart": ["quickstart", "--configs", "quick", "--root", "{}"],
}
PLACES = {
    "a file in the way": "in-the-way/out",
    "a name too long": "x" * 300,
    "nobody's to write": "/proc/none",
}


@pytest.mark.parametrize("place_name", PLACES)
@pytest.mark.parametrize("command", OUTPUTS)
def test_a_place_that_cannot_be_written_is_refused_before_the_work(
    command: str, place_name: str, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if command in ("latent-search",):
        from .test_latent_search import small_generator

        small_generator(described / "t.safetensors")
    (described / "in-the-way").write_text("mine")
    (described / "r.json").write_text('{"teachers": []}')
    words = [word.replace("{}", PLACES[place_name]) for word in OUTPUTS[command]]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()
    assert said[-1].startswith("error: ") and "could not be written" in said[-1], said
    assert not any("judging" in line or "seed 0" in line for line in said)
    assert (described / "in-the-way").read_text() == "mine"
    assert not (described / "runs").exists()


IN_THE_WAY = [
    *(
        ("train", name)
        for name in ("state.previous.pt", "teacher.safetensors", "log.txt", "config.yaml", "results.json")
    ),
    *(("nas", name) for name in ("architectures.json", "scatter.png", "table.md")),
    ("replicate", "report.html"),
    ("sweep", "sweep.png"),
    ("quickstart", "report.html"),
]


@pytest.mark.parametrize(("command", "name"), IN_THE_WAY)
@pytest.mark.parametrize("what", ["a pipe", "a folder", "a link to nothing"])
def test_what_lies_in_the_place_of_a_file_is_found_before_the_work(
    command: str, name: str, what: str, described: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words, where, option = COMMANDS[command]
    there = described / where / name
    there.parent.mkdir(parents=True)
    if what == "a pipe":
        os.mkfifo(there)
    elif what == "a folder":
        (there / "mine").mkdir(parents=True)
    else:
        there.symlink_to("nowhere")
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert (
        said.startswith(f"error: '{where}/{name}' is {what}, and a file is written there; take it away")
        and option in said
    )
    assert [path.name for path in there.parent.iterdir()] == [name]


def test_a_fresh_run_takes_nothing_away_that_no_run_has_written(described: Path) -> None:
    run = described / "runs" / "picked"
    for name in ("events.out.tfevents.1", "failure-1.txt", "samples/mine.png"):
        (run / name / "mine").mkdir(parents=True)
    words = [*COMMANDS["train"][0], "--run.fresh", "true"]
    assert main(words) == 0
    assert (run / "teacher.safetensors").is_file() and (run / "samples" / "mine.png" / "mine").is_dir()
    assert (run / "events.out.tfevents.1" / "mine").is_dir() and (run / "failure-1.txt" / "mine").is_dir()
