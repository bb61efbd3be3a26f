"""``gendistill doctor``: what is there, what is missing and how to get it; the exit code says what is broken."""

from __future__ import annotations

import importlib.util
import time
from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.commands import doctor

GROUPS = {"versions", "extras", "devices", "data", "weights", "places"}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("GENDISTILL_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("GENDISTILL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def by_name(found: dict) -> dict[str, dict]:
    return {one["name"]: one for one in found["findings"]}


def test_it_says_what_is_there_and_what_is_not(run_json, elsewhere: Path) -> None:
    started = time.process_time()
    found = run_json("doctor", "--json")
    assert time.process_time() - started < 30
    assert {one["group"] for one in found["findings"]} == GROUPS
    named = by_name(found)
    assert named["torch"]["found"] == torch.__version__.partition("+")[0] and named["digits"]["state"] == "ok"
    assert named["mnist"]["state"] == "missing" and str(elsewhere / "data") in named["mnist"]["get"]
    assert named["inception"]["disables"] == "FID without a network"
    # Everything that is missing says what it disables and how it comes; nothing is made by looking.
    assert all((one["state"] == "ok") == (not one["get"]) == (not one["disables"]) for one in found["findings"])
    assert list(elsewhere.iterdir()) == []


def test_what_is_found_is_ok(run_json, elsewhere: Path) -> None:
    folder = elsewhere / "data/MNIST/raw"
    folder.mkdir(parents=True)
    for name in ("train-images", "t10k-images"):
        (folder / f"{name}-idx3-ubyte").write_bytes(b"")
    for name in ("train-labels", "t10k-labels"):
        (folder / f"{name}-idx1-ubyte").write_bytes(b"")
    checkpoints = elsewhere / "hub/checkpoints"
    checkpoints.mkdir(parents=True)
    (checkpoints / "pt_inception-2015-12-05-6726825d.pth").write_bytes(b"something else")
    (checkpoints / "dinov2_vits14_pretrain.pth").write_bytes(b"")
    named = by_name(run_json("doctor", "--json"))
    assert named["mnist"]["state"] == named["dinov2"]["state"] == "ok"
    assert named["inception"]["state"] == "missing" and "not the published file" in named["inception"]["found"]
    elsewhere_named = by_name(run_json("doctor", "--json", "--data-root", str(elsewhere / "other")))
    assert elsewhere_named["mnist"]["state"] == "missing"


def test_a_missing_extra_is_no_fault_and_a_missing_requirement_is_one(monkeypatch, capsys) -> None:
    real = importlib.util.find_spec
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "timm" else real(name))
    assert main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "extras: timm            missing  without timm" in said and "pip install 'gendistill[timm]'" in said
    assert said.rstrip().endswith("everything that is required is there")
    monkeypatch.setattr(doctor, "requirements", lambda: [("torch", "99.1"), ("no-such-package", "1")])
    assert main(["doctor"]) == 1
    said = capsys.readouterr().out
    assert "99.1 is needed" in said and said.rstrip().endswith("broken: torch, no-such-package")


def test_requirements_are_those_of_the_package() -> None:
    named = dict(doctor.requirements())
    assert "torch" in named and "optuna" not in named and "timm" not in named
    assert doctor._numbers("2.14.1+cpu") == (2, 14, 1) and doctor._numbers("2.11rc1") < doctor._numbers("2.11.1")
