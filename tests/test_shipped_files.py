from __future__ import annotations

import os
from pathlib import Path

import pytest

from gendistill import shipped
from gendistill.config.base import read_config
from gendistill.errors import UserError
from gendistill.teacher import load
from gendistill.teacher.reference import open_teacher

ROOT = Path(__file__).resolve().parents[1]
CONFIG = ROOT / "configs" / "gan" / "mnist-cgan-pd.yaml"
GENERATOR = ROOT / "checkpoints" / "digits-gan.safetensors"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "given",
    ["gan/mnist-cgan-pd", "gan/mnist-cgan-pd.yaml", "configs/gan/mnist-cgan-pd", "configs/gan/mnist-cgan-pd.yaml"],
)
def test_a_config_is_found_by_its_name(given: str) -> None:
    assert shipped.config(given) == CONFIG
    assert read_config(given) == read_config(CONFIG)


@pytest.mark.parametrize("given", ["digits-gan", "checkpoints/digits-gan", "checkpoints/digits-gan.safetensors"])
def test_a_generator_is_found_by_its_name(given: str) -> None:
    assert shipped.teacher(given) == GENERATOR
    assert open_teacher(given).header() == load(given).header() == load(GENERATOR).header()


def test_a_shipped_teacher_is_known_by_each_of_its_names() -> None:
    for given in ("digits-gan", "checkpoints/digits-gan", "checkpoints/digits-gan.safetensors", str(GENERATOR)):
        assert shipped.name_of(given) == "digits-gan"
    for given in ("nothing", "real", "real:ipc=1", "../checkpoints/digits-gan", str(ROOT / "digits-gan.safetensors")):
        assert shipped.name_of(given) is None
    assert shipped.generators() == ["digits-gan", "mnist-gan"]


def test_a_file_that_is_no_teacher_is_neither_set_nor_generator(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shipped, "INSTALLED", tmp_path)
    (tmp_path / "checkpoints").mkdir()
    for name, content in (("a", b""), ("b", b"\xff" * 64), ("c", (2).to_bytes(8, "little") + b"{}")):
        (tmp_path / "checkpoints" / f"{name}.safetensors").write_bytes(content)
    os.mkfifo(tmp_path / "checkpoints" / "d.safetensors")
    assert shipped.sets() == {} and shipped.generators() == []


def test_what_lies_there_goes_before_what_is_shipped(tmp_path: Path) -> None:
    for path in (Path("gan/mnist-cgan-pd"), Path("checkpoints/digits-gan")):
        path.mkdir(parents=True)
    assert shipped.config("gan/mnist-cgan-pd") == Path("gan/mnist-cgan-pd")
    assert shipped.teacher("checkpoints/digits-gan") == Path("checkpoints/digits-gan")
    assert shipped.config_folder("quickstart") == ROOT / "configs" / "quickstart"
    Path("configs/quickstart").mkdir(parents=True)
    assert shipped.config_folder("quickstart") == Path("configs/quickstart")


@pytest.mark.parametrize(
    "given",
    ["", ".", "..", "../configs/gan/mnist-cgan-pd", "gan/../gan/mnist-cgan-pd", "gan", "nothing", "a" * 5000, "x\0y",
     str(ROOT / "checkpoints" / "nothing")],
)  # fmt: skip
def test_other_words_stay_what_they_are(given: str) -> None:
    assert shipped.config(given) == Path(given) and shipped.teacher(given) == Path(given)


def test_a_link_to_nothing_is_no_name(tmp_path: Path) -> None:
    os.symlink(tmp_path / "gone", "digits-gan")
    assert shipped.teacher("digits-gan") == Path("digits-gan")


def test_what_is_called_almost_so_is_named() -> None:
    with pytest.raises(UserError, match="did you mean 'gan/mnist-cgan-pd'.*gendistill configs lists"):
        read_config("configs/gan/mnist-cgan-p.yaml")


def test_what_is_installed_goes_before_folders_beside_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "INSTALLED", tmp_path)
    assert shipped.folder("configs") == ROOT / "configs"
    (tmp_path / "configs").mkdir()
    assert shipped.folder("configs") == tmp_path / "configs" and shipped.names("configs") == []


def test_runs_in_the_folder_of_checkpoints_are_not_shipped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(shipped, "INSTALLED", tmp_path)
    (tmp_path / "checkpoints" / "run").mkdir(parents=True)
    (tmp_path / "checkpoints" / "run" / "teacher.safetensors").touch()
    (tmp_path / "checkpoints" / "a.b.safetensors").touch()
    assert shipped.names("checkpoints") == ["a.b"]
