"""The register: every id is known and can be assembled, kinds of rows run, the list says where each stands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gendistill.cli import main
from gendistill.commands import register
from gendistill.commands.further import MEASURES
from gendistill.commands.replication import Replications
from gendistill.commands.standing import STATUSES, natural
from gendistill.config.plan import FURTHER
from gendistill.errors import DivergenceError, StorageError, UserError

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs" / "replication"
READ: dict = {}
"""Configs that were read: many stand on few."""
REGISTER = (Path(__file__).parent / "register.txt").read_text().split()
# Numbers of the sources, typed again here: accuracy in %, or further scores.
SAID = {
    "bradley-2.3-dd-fixed-mnist": 96.0,
    "bradley-2.3-dd-fixed-cifar": 54.0,
    "bradley-2.3-dd-random-mnist": 79.5,
    "bradley-2.3-dd-random-cifar": 36.8,
    "dd-fixed-mnist": 93.76,
    "dd-fixed-cifar": 54.03,
    "dd-random-mnist": 79.5,
    "dd-random-cifar": 36.79,
    "ece-t3-lenet": 88.27,
}
SCORES = {
    "bradley-3.1-enas-mnist": {"found": 0.886},
    "bradley-3.1-enas-cifar": {"found": 0.521},
    "dd-svhn-mnist": {"before": 0.52, "distilled": 0.85},
    "dd-attack": {"source before": 0.82, "source accuracy": 0.07},
    "bradley-2.3-dd-attack": {},
    "dd-poison-single": {},
    "gtn-nas": {"spearman of the top half": 0.5582},
}
WORDS_ALONE = [
    "bradley-2.3-dd-voc",
    "bradley-2.3.1-text",
    "dd-compress",
    "dd-multi-step",
    "bradley-figB.1",
    "ece-fig1-4",
]
WORDS_ALONE += ["bradley-fw-l2", "ours-4.1-seeds", "bradley-alg2", "ece-fig5-6", "ece-fig7-8", "gtn-mnist"]


def test_every_id_of_the_register_is_known_and_says_where_it_comes_from() -> None:
    known = Replications(CONFIGS, read=READ)
    assert len(REGISTER) == len(set(REGISTER)) == 155 and set(REGISTER) <= set(known.ids())
    for name in REGISTER:
        said = known.open(name).reported
        assert said is not None and ", " in said.source, name
        assert said.accuracy is not None or said.fid is not None or said.scores or said.claim, name


@pytest.mark.parametrize("scale", ["smoke", "paper"])
def test_every_id_can_be_assembled(scale: str, tmp_path: Path) -> None:
    known = Replications(CONFIGS, scale, tmp_path, read=READ)
    new = [*SAID, *SCORES, *WORDS_ALONE]
    others = [name for name in REGISTER if "pgan" not in name]  # those have tests of their own
    for name in others if scale == "smoke" else new:
        row = known.open(name)
        experiment = row.experiment(0)
        if name in new:  # the others are built where their chapters are tested
            row.maker.experiment(0).build_trainer()
        data = experiment.data["name"]
        assert scale != "smoke" or data in ("digits", "toytext"), name
        if name in new and row.start is not None:
            assert row.start.experiment(0).data["name"] == data
        assert all(other.startswith("real") or known.open(other) for other in row.plan.beside.values())


def test_reported_numbers_are_those_of_the_sources() -> None:
    known = Replications(CONFIGS, read=READ)
    for name, accuracy in SAID.items():
        said = known.open(name).reported
        assert said is not None and said.accuracy == pytest.approx(accuracy / 100)
    for name, scores in SCORES.items():
        said = known.open(name).reported
        assert said is not None and said.scores == scores and said.accuracy is None
    for name in WORDS_ALONE:
        said = known.open(name).reported
        assert said is not None and said.accuracy is said.fid is None and not said.scores and said.claim


def test_measures_have_one_name_in_both_rooms() -> None:
    assert tuple(MEASURES) == FURTHER


def test_numbers_in_names_are_ordered_as_numbers() -> None:
    assert sorted(["Table 10", "Table 9", "a-10", "a-2.5", "²"], key=natural) == sorted(
        ["²", "Table 9", "Table 10", "a-2.5", "a-10"], key=natural
    )
    assert sorted(["t-10", "t-9"], key=natural) == ["t-9", "t-10"]


SAMPLE = {
    "dd-svhn-mnist": {"before", "distilled", "random real"},
    "dd-attack": {"attack success", "source accuracy", "clean accuracy", "source before"},
    "bradley-3.1-enas-mnist": {"found", "random"},
    "gtn-nas": {"spearman", "spearman of the top half", "times faster"},
    "bradley-2.3-dd-fixed-mnist": set(),
    "bradley-2.3.1-text": set(),
}


@pytest.mark.filterwarnings("ignore")
def test_all_run_in_one_command_and_again_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--run.device", "cpu", "--root", str(tmp_path), "--json"]
    assert main(["replicate", "--all", *SAMPLE, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["done"] == sorted(SAMPLE) and found["left_out"] == {}
    for name, scores in SAMPLE.items():
        standing = found["standing"][name]
        assert standing["status"] == "runs at the scale smoke" and standing["measured"]["cpu_seconds"] > 0
        further = standing["measured"]["further"]
        assert set(further) == scores
        for key, value in further.items():
            assert value["mean"] is None or value["mean"] >= (-1 if "spearman" in key else 0)
            assert value["mean"] is None or key == "times faster" or value["mean"] <= 1
    assert main(["replicate", "--all", *SAMPLE, *words]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == found and "done already" in again.err and "training" not in again.err
    # The shared run lies once.
    assert not (tmp_path / "replication/smoke/digits/bradley-2.3-dd-fixed-mnist/seed-0").exists()
    assert main(["replicate", "--list", "dd-svhn-mnist", "gtn-*", "--root", str(tmp_path)]) == 0
    listed = capsys.readouterr().out
    assert "Isaev's and Bartyzal's slides, adaptation" in listed and "smoke, digits, 2 runs" in listed
    assert "4 replications: 2 runs at the scale smoke and 2 " in listed


def test_what_cannot_be_run_is_said_and_the_rest_goes_on(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    empty = tmp_path / "nothing"
    empty.mkdir()
    (tmp_path / "configs").mkdir()
    base = "trainer: {class_path: trainers.gan.ConditionalGANTrainer}\nrun: {steps: 1, progress: false}\n"
    judged = "evaluation: {seeds: 1, teacher: real, learning: {updates: [1], seeds: 1, lr: 0.1}}\nscales: {smoke: {}}\n"
    said = "reported: {source: 'A, Table 1', accuracy: 0.5, lacks: 'a telescope'}\n"
    (tmp_path / "configs" / "near.yaml").write_text(base + judged + said + "data: {name: digits}\n")
    (tmp_path / "configs" / "far.yaml").write_text(base + judged + "data: {name: 'folder:/nowhere/at/all'}\n")
    words = ["--configs", str(tmp_path / "configs"), "--root", str(tmp_path), "--data.root", str(empty)]
    assert main(["replicate", "--all", "--scale", "smoke", "--run.device", "cpu", *words]) == 1
    out = capsys.readouterr().out
    assert "left out: far: " in out and "1 of 2 run" in out and "/nowhere/at/all" in out
    assert "cannot be run here (2)" in out and "(2) 1 row: the files of 'folder:/nowhere" in out
    assert main(["replicate", "--list", "--json", *words]) == 0
    standing = json.loads(capsys.readouterr().out)["standing"]
    assert standing["far"]["status"] == "cannot be run here"
    assert standing["far"]["missing"] == [
        "the files of 'folder:/nowhere/at/all' are not there (--data.name folder:DIR)"
    ]
    assert standing["near"]["missing"] == ["it lacks a telescope"]
    assert all(one["status"] in STATUSES for one in standing.values())


def test_one_that_fails_does_not_stop_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "configs").mkdir()
    text = "trainer: {class_path: trainers.gan.ConditionalGANTrainer}\nrun: {steps: 1}\ndata: {name: digits}\n"
    text += "evaluation: {seeds: 1, teacher: real, learning: {updates: [1], seeds: 1, lr: 0.1}}\nscales: {smoke: {}}\n"
    for name in ("a-diverges", "b-breaks", "c-lacks"):
        (tmp_path / "configs" / f"{name}.yaml").write_text(text)

    def replicate(replication: Any) -> Any:
        if replication.name == "a-diverges":
            raise DivergenceError("the loss is NaN at step 3; the last good state is kept")
        if replication.name == "b-breaks":
            raise ZeroDivisionError("a bug")
        raise UserError("its files are not there")

    monkeypatch.setattr(register, "replicate", replicate)
    words = ["--configs", str(tmp_path / "configs"), "--root", str(tmp_path), "--scale", "smoke", "--run.device", "cpu"]
    assert main(["replicate", "--all", *words]) == 1
    found = capsys.readouterr()
    assert "0 of 3 run" in found.out and "left out: c-lacks: its files are not there" in found.out
    assert "failed: a-diverges: the loss is NaN at step 3" in found.out
    assert "failed: b-breaks: ZeroDivisionError: a bug" in found.out and "Traceback" in found.err
    monkeypatch.setattr(register, "replicate", lambda replication: (_ for _ in ()).throw(StorageError("disk full")))
    assert main(["replicate", "--all", *words]) == 1
    assert "disk full" in capsys.readouterr().err  # nothing else could be written, either


@pytest.mark.parametrize(
    ("section", "said"),
    [
        ("further: {adaption: {}}", "did you mean 'adaptation'?"),
        ("further: {attack: {victms: 3}}", "did you mean 'victims'?"),
        ("further: {attack: 3}", "write its options as keys and values"),
    ],
)
def test_mistakes_are_explained(section: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        "trainer: {class_path: trainers.gan.ConditionalGANTrainer}\n"
        f"run: {{steps: 1}}\nevaluation: {{{section}}}\nscales: {{smoke: {{}}}}\n"
    )
    words = ["--scale", "smoke", "--configs", str(tmp_path), "--root", str(tmp_path)]
    assert main(["replicate", "mine", *words]) == 2
    assert said in capsys.readouterr().err
    assert main(["replicate", "--all", "your*", *words]) == 2
    assert "there is no replication 'your*'" in capsys.readouterr().err
