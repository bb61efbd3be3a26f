"""The rows of Wu 2022, chapter 5, and of what is asked here: all are there, open, and run at the scale smoke."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.federated.sanitise import epsilon_of

FOLDER = Path(__file__).resolve().parents[2] / "configs" / "replication"
# The register's ids, typed again here.
TABLES = [f"pgan-t5.{number}" for number in (1, 2, 3, 4, 5, 6)]
FIGURES = [*(f"pgan-fig5.{number}" for number in (3, 4, 5, 6, 7, 8)), "pgan-A15", "pgan-A16"]
OURS = [f"ours-pgan-{name}" for name in ("split", "feedback", "dp", "mia", "mnist")]
ALPHAS = [f"0.{tenth}" for tenth in range(9, 0, -1)]


def every_row() -> list[str]:
    return [name for name in Replications(FOLDER).ids() if "pgan" in name and "bpgan" not in name]


def test_every_row_is_known_and_opens() -> None:
    assert set(TABLES) | set(FIGURES) | set(OURS) <= set(every_row())
    known = Replications(FOLDER, "paper")
    shown = {name: known.open(name).plan.beside for name in every_row()}
    assert {other for beside in shown.values() for other in beside.values()} - {"real"} <= set(shown)
    known = Replications(FOLDER, "reduced")
    for name in OURS:
        assert known.open(name).maker.experiment(0).options.steps >= 500 and known.open(name).plan.beside


def test_rows_have_the_alphas_and_images_of_the_tables() -> None:
    known = Replications(FOLDER, "paper")
    for table, images in (("pgan-t5.4", 6000), ("pgan-t5.6", 1000)):
        shown = known.open(table).plan.beside
        assert list(shown) == ["local", *(f"alpha {alpha}" for alpha in ALPHAS)]
        for label, name in [*shown.items()][:3]:
            given = known.open(name).experiment(0).init_args
            assert given["alpha"] == (1.0 if label == "local" else float(label.removeprefix("alpha ")))
            assert (given["client_images"], given["clients"], given["global_split"]) == (images, 1, "superset")
            base = given["base"]["init_args"]
            assert base["lr_generator"] == 1e-4 and tuple(base["betas"]) == (0.0, 0.99)
            assert (known.open(name).start is None) == (label == "local")


def test_noise_of_the_private_rows_is_what_their_epsilon_asks() -> None:
    known = Replications(FOLDER, "paper")
    for name, epsilon in (("ours-pgan-dp-eps10", 10.0), ("ours-pgan-dp-eps1", 1.0)):
        experiment = known.open(name).experiment(0)
        sigma, base = experiment.init_args["noise_multiplier"], experiment.init_args["base"]["init_args"]
        rho = 2 * base["batch_size"] * experiment.options.steps / sigma**2
        assert 0.99 * epsilon < epsilon_of(rho, 1e-5) <= epsilon


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    yield tmp_path_factory.mktemp("rows")  # runs that several rows share are made once


@pytest.mark.parametrize("name", [*TABLES, *FIGURES, *OURS])
def test_the_scale_smoke_of_a_row_runs(name: str, root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--scale", "smoke", "--run.device", "cpu", "--root", str(root), "--json"]
    assert main(["replicate", name, *words]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["id"] == name and found["dataset"] == "digits"
    assert len(found["teachers"]) == 1 + len(Replications(FOLDER, "smoke").open(name).plan.beside)
