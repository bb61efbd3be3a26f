"""The rows of Wu 2022, chapter 3, and of the comparison asked here: all are there, open, and run at the scale smoke."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "replication"
# The figures of the source, typed again here.
CIFAR = ["3.3", "3.10a", "3.10b", "3.10c", "3.10d", "3.11"]
FACES = ["3.12a", "3.12b", "3.12c", "3.13"]
RING = ["3.4", "3.5", "3.6", "3.7", "3.8"]
ROWS = [f"mggan-fig{figure}" for figure in (*CIFAR, *FACES, *RING, "3.1", "3.9")]
APPENDIX = {"A1": (2, 50), "A2": (2, 65), "A3": (2, 100), "A4": (4, 80), "A5": (4, 300), "A6": (4, 50), "A7": (4, 100)}
APPENDIX["A8"] = (4, 150)
ROWS += [f"mggan-{name}" for name in APPENDIX]
OURS = [f"ours-mggan-{name}" for name in ("ring", "stacked", "mnist", "ablation")]
DATA = dict.fromkeys([f"mggan-fig{figure}" for figure in CIFAR], "cifar10")
DATA |= dict.fromkeys([f"mggan-fig{figure}" for figure in FACES], "folder:lfw")
DATA |= dict.fromkeys([f"mggan-fig{figure}" for figure in RING], "ring:d2gan")
DATA |= {"ours-mggan-ring": "ring:d2gan", "ours-mggan-stacked": "stacked-mnist", "ours-mggan-mnist": "mnist"}
DATA |= {"ours-mggan-ablation": "fashion-mnist"}


def every_row() -> list[str]:
    return [name for name in Replications(FOLDER).ids() if "mggan" in name]


def test_every_row_is_known() -> None:
    assert set(ROWS) | set(OURS) <= set(every_row())


@pytest.mark.parametrize("scale", ["reduced", "paper"])
def test_rows_open_at_every_scale(scale: str) -> None:
    known = Replications(FOLDER, scale)
    for name in every_row() if scale == "paper" else OURS:
        row = known.open(name)
        assert row.plan.learning is None and row.plan.fidelity is not None
        assert row.maker.experiment(0).options.steps > 100
        if scale == "paper" and name in DATA:
            assert row.experiment(0).data["name"] == DATA[name]
        assert all(known.open(other) for other in row.plan.beside.values())


def test_groups_and_intervals_are_those_of_the_figures() -> None:
    known = Replications(FOLDER, "paper")
    for name, (groups, interval) in APPENDIX.items():
        given = known.open(f"mggan-{name}").experiment(0).init_args
        assert (given["groups"], given["schedule"]["interval"]) == (groups, interval)
        assert given["schedule"]["interval_unit"] == "epoch" and given.get("preset", "mggan") == "mggan"
    shown = known.open("mggan-fig3.10a").plan.beside
    assert list(shown) == [f"T-{interval}" for interval in (0, 25, 50, 65, 85, 100, 200, 300, 500)]
    for label, name in shown.items():
        given = known.open(name).experiment(0).init_args
        assert (given["groups"], f"T-{given['schedule']['interval']}") == (2, label)
    assert [int(label[2:]) for label in known.open("mggan-fig3.12a").plan.beside] == [0, 25, 50, 100, 150]
    assert known.open("mggan-ring-t300").experiment(0).options.steps == 30_000
    assert known.open("ours-mggan-ring").plan.seeds == 10


@pytest.mark.parametrize("family", OURS[:2])
def test_groups_make_fewer_steps_for_the_same_compute(family: str) -> None:
    known = Replications(FOLDER, "paper")
    gan = known.open(f"{family}-gan").experiment(0).options.steps
    for name in (family, *(f"{family}-{part}" for part in ("ensemble", "gap", "mggan4"))):
        experiment = known.open(name).experiment(0)
        assert experiment.init_args["groups"] * experiment.options.steps == gan
    kinds = {part: known.open(f"{family}-{part}").experiment(0) for part in ("unrolled", "d2gan", "pacgan2")}
    assert kinds["unrolled"].options.steps < kinds["d2gan"].options.steps < kinds["pacgan2"].options.steps == gan


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("rows")  # runs that several rows share are made once


@pytest.mark.parametrize("name", [*ROWS, *OURS])
def test_the_scale_smoke_of_a_row_runs(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--run.device", "cpu", "--root", str(root), "--json"]
    assert main(["replicate", name, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == name and found["dataset"] == "digits" and found["seeds"] == [0]
    assert len(found["teachers"]) == 1 + len(Replications(FOLDER, "smoke").open(name).plan.beside)
    assert all(teacher["fidelity"] for teacher in found["teachers"])
