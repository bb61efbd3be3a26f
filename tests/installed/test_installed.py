"""The wheel in a fresh environment, outside any checkout."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import contents
import tour

from gendistill import __version__

THEIRS = "raise SystemExit('this is the trainers of somebody else')\n"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tour.build_wheel(tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def made(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> tour.Installed:
    return tour.install(wheel, tmp_path_factory.mktemp("environment") / "venv")


@pytest.fixture
def overwritten(made: tour.Installed) -> Iterator[tour.Installed]:
    """Another distribution has written its package over ours, as pip lets it."""
    kept = {}
    for name in ("__init__.py", "gan.py", "trainer.py"):
        file = made.packages / "trainers" / name
        kept[file] = file.read_bytes()
        file.write_text(THEIRS)
    yield made
    for file, content in kept.items():
        file.write_bytes(content)


def test_the_wheel_is_whole_and_holds_nothing_else(wheel: Path) -> None:
    assert wheel.name == f"gendistill-{__version__}-py3-none-any.whl"
    assert contents.faults(wheel) == []


def test_what_is_missing_or_strange_is_found(wheel: Path, tmp_path: Path) -> None:
    import zipfile

    lacking = tmp_path / wheel.name
    with zipfile.ZipFile(wheel) as whole, zipfile.ZipFile(lacking, "w") as made:
        for name in whole.namelist():
            if not name.endswith("gan/mnist-cgan-pd.yaml"):
                made.writestr(name, whole.read(name) + (b"#" if name == "trainers/gan.py" else b""))
        made.writestr("tests/test_cli.py", "")
        made.writestr("gendistill/shipped_files/checkpoints/mine.safetensors", "")
    said = "\n".join(contents.faults(lacking))
    assert "tests/test_cli.py has no place" in said and "mine.safetensors is no teacher" in said
    assert "mnist-cgan-pd.yaml is missing" in said and "trainers/gan.py is not that of the checkout" in said
    assert len(said.splitlines()) == 4


def test_what_is_shipped_is_found_by_name_without_a_checkout(made: tour.Installed, tmp_path: Path) -> None:
    said = made.run(["gendistill", "--version"], tmp_path)
    assert said.stdout == f"gendistill {__version__}\n"
    listed = json.loads(made.run(["gendistill", "configs", "--json"], tmp_path).stdout)["configs"]
    assert {"gan/mnist-cgan-pd", "quickstart/gtn"} <= set(listed) and all(listed.values())
    replications = made.run(["gendistill", "replicate", "--list"], tmp_path)
    assert replications.returncode == 0 and "ours-4.1-gan" in replications.stdout
    printed = made.run(["gendistill", "train", "--config", "gan/mnist-cgan-pd", "--print_config"], tmp_path)
    assert printed.returncode == 0 and "class_path: trainers.gan.ConditionalGANTrainer" in printed.stdout
    assert str(made.packages / "gendistill" / "shipped_files") in printed.stderr


def test_another_package_of_the_name_trainers_breaks_nothing(overwritten: tour.Installed, tmp_path: Path) -> None:
    for name in ("__init__.py", "latent_search.py", "mine.py"):
        (tmp_path / "trainers").mkdir(exist_ok=True)
        (tmp_path / "trainers" / name).write_text(THEIRS)
    # -m puts the folder in front of everything else.
    program = [str(overwritten.python), "-m", "gendistill.cli"]
    words = ["latent-search", "digits-gan", "--run.steps", "1", "--images-per-class", "1", "--no_evaluate", "--json"]
    done = overwritten.run([*program, *words], tmp_path)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["run"] == "checkpoints/latent-search"
    asked = overwritten.run([*program, "train", "--trainer", "trainers.mine.Mine"], tmp_path)
    assert asked.returncode == 2 and len(asked.stderr.splitlines()) == 1
    assert f"'trainers.mine' is in {tmp_path / 'trainers'}" in asked.stderr and "rename that folder" in asked.stderr


def test_the_newcomers_path(made: tour.Installed, tmp_path: Path) -> None:
    said = tour.walk(made, tmp_path)
    assert (tmp_path / "report.html").is_file() and (tmp_path / "checkpoints/quickstart/report.html").is_file()
    rows = json.loads((tmp_path / "results.json").read_text())["teachers"]
    assert sorted(row["name"] for row in rows) == ["gan", "latent", "real", "real:ipc=3"]
    assert all(row["dataset"] == "my pictures" for row in rows)
    log = (tmp_path / "checkpoints/bright/config.yaml").read_text()
    assert "class_path: bright_gan.BrightGAN" in log
    assert "9 images, loss" in said and "gendistill tensorboard" in said
