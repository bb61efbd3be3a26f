"""The rows of Wu 2022, chapter 4, and of the comparison asked here: all are there, open, and run at the scale smoke."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "replication"
# The tables and figures of the source, typed again here.
CIFAR = ["t4.1-cifar", "t4.2-cifar", "t4.3-dcwgan", "t4.3-wdcgan", "fig4.9-cifar", "fig4.10-cifar", "fig4.11-dcwgan",
         "fig4.11-wdcgan", "eq4.1-4.3", "A9", "A10", "A13", "A14"]  # fmt: skip
FACES = ["t4.1-lfw", "t4.2-lfw", "fig4.9-lfw", "fig4.10-lfw", "A11", "A12"]
ROWS = [f"bpgan-{name}" for name in (*CIFAR, *FACES, "extra")]
EPOCHS = {"A9": 300, "A10": 600, "A13": 600, "A14": 1000, "A11": 600, "A12": 1000}
OURS = "ours-bpgan-quality"


def every_row() -> list[str]:
    return [name for name in Replications(FOLDER).ids() if "bpgan" in name]


def test_every_row_is_known_and_opens_at_every_scale() -> None:
    assert {*ROWS, OURS} <= set(every_row())
    for scale in ("reduced", "paper"):
        known = Replications(FOLDER, scale if scale == "reduced" else None)
        for name in every_row():
            row = known.open(name)
            assert row.plan.processes == 4 and row.plan.learning is None and row.maker.experiment(0).options.steps > 100
            assert all(known.open(other) for other in row.plan.beside.values())
    data = {name: known.open(f"bpgan-{name}").experiment(0).data["name"] for name in (*CIFAR, *FACES)}
    assert data == dict.fromkeys(CIFAR, "cifar10") | dict.fromkeys(FACES, "folder:lfw")


def test_pictures_are_after_the_epochs_of_the_appendix() -> None:
    known = Replications(FOLDER, "paper")
    for name, epochs in EPOCHS.items():
        images = 45000 if known.open(f"bpgan-{name}").experiment(0).data["name"] == "cifar10" else 11904
        assert known.open(f"bpgan-{name}").experiment(0).options.steps == epochs * (images // 128)


def test_a_hybrid_has_the_critic_of_one_and_the_generator_of_the_other() -> None:
    known = Replications(FOLDER, "paper")
    for name, judge, maker in (("dcwgan", "wgan.WGAN", "gan.GAN"), ("wdcgan", "gan.GAN", "wgan.WGAN")):
        given = known.open(f"bpgan-t4.3-{name}").experiment(0).init_args
        assert given["base"]["class_path"] == f"trainers.{judge}Trainer"
        assert given["generator_base"]["class_path"] == f"trainers.{maker}Trainer"


def test_all_runs_of_the_comparison_are_equally_long() -> None:
    known = Replications(FOLDER, "reduced")
    rows = [OURS, *known.open(OURS).plan.beside.values()]
    assert len(rows) == 8 and known.open(OURS).plan.seeds == 3
    assert {known.open(name).experiment(0).options.steps for name in rows} == {600}
    assert {known.open(name).experiment(0).data["name"] for name in rows} == {"mnist"}


def test_a_run_of_several_processes_is_started_by_torchrun() -> None:
    command = Replications(FOLDER, "reduced").open(OURS).command(1)
    assert command[:3] == ["torchrun", "--nproc-per-node=4", "train"] and "--run.seed=1" in command
    assert Replications(FOLDER, "smoke").open(OURS).command(1)[0] == "train"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("rows")  # runs that several rows share are made once


@pytest.mark.parametrize("name", [*ROWS, OURS])
def test_the_scale_smoke_of_a_row_runs(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--run.device", "cpu", "--root", str(root), "--json"]
    assert main(["replicate", name, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == name and found["dataset"] == "digits" and found["seeds"] == [0]
    assert len(found["teachers"]) == 1 + len(Replications(FOLDER, "smoke").open(name).plan.beside)
    assert all(teacher["fidelity"] for teacher in found["teachers"])
