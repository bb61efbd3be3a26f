"""Several kinds of learners at once, and the bytes of labels beside those of images."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.commands.judge import learner_specs
from gendistill.data import load
from gendistill.errors import UserError
from gendistill.teacher import RealSubset, save
from tests.commands.conftest import QUICK

WORDS = [*QUICK, "--no-fidelity"]
SMALL = "{class_path: ConvNet, init_args: {width: 4, depth: 1}}"


def test_a_table_across_architectures_in_one_command(run_json, tmp_path: Path, capsys) -> None:
    one = run_json("evaluate", "real:ipc=2", "--learner", f"{SMALL},MLP", *WORDS, "--json")
    names = [curve["name"] for curve in one["architectures"]]
    assert names == ["ConvNet(width=4, depth=1)", "MLP"]
    assert one["architectures"][0]["accuracy"] == one["learning"]["accuracy"]
    # Each is what the command says of that learner alone.
    alone = run_json("evaluate", "real:ipc=2", "--learner", "MLP", *WORDS, "--json")
    assert one["architectures"][1]["accuracy"] == alone["learning"]["accuracy"] and "architectures" not in alone
    page, file = tmp_path / "r.html", tmp_path / "r.json"
    words = ["compare", "real:ipc=1", "real:ipc=2", "--learner", f"{SMALL},MLP", *WORDS]
    assert main([*words, "--report", str(page), "--output", str(file)]) == 0
    said = capsys.readouterr().out
    assert "ConvNet(width=4, depth=1) n=" in said and "of several kinds of learners" in said
    assert "Several kinds of learners" in page.read_text() and "MLP 10" not in page.read_text()
    # Results that are read again show it, too.
    assert main(["compare", str(file)]) == 0
    assert "of several kinds of learners" in capsys.readouterr().out


def test_a_learner_that_does_not_take_the_images_is_refused_before_any_is_trained(monkeypatch, capsys) -> None:
    pytest.importorskip("timm")
    monkeypatch.setattr("gendistill.evaluation.evaluate.learning_curve", lambda *_, **__: pytest.fail("trained"))
    words = ["--dataset", "digits", "--learner", "MLP,timm:vit_tiny_patch16_224", "--no-fidelity"]
    for given in (["evaluate", "real:ipc=1"], ["compare", "real:ipc=1", "real"]):
        assert main([*given, *words]) == 2
        assert "'vit_tiny_patch16_224' does not take images of 8x8 pixels" in capsys.readouterr().err


def test_lists_of_learners_are_read_as_they_are_typed() -> None:
    found = learner_specs("ConvNet,timm:resnet10t, {class_path: MLP, init_args: {width: 3, depth: 1}}")
    assert found[0] == "gendistill.nets.learners.ConvNet" and found[1]["init_args"] == {"model": "resnet10t"}
    assert found[2]["init_args"] == {"width": 3, "depth": 1} and learner_specs(None) == [None]
    for wrong in ("ConvNet,ConvNet", "ConvNet,", ","):
        with pytest.raises(UserError, match="different ones with commas between"):
            learner_specs(wrong)
    with pytest.raises(UserError, match="did you mean"):
        learner_specs("ConvNet,MLPP")


def test_a_learner_of_timm_judges(run_json) -> None:
    pytest.importorskip("timm")
    words = ["--learner", "timm:test_resnet", "--updates", "1", "--seeds", "1", "--lr", "0.05", "--device", "cpu"]
    found = run_json("evaluate", "real:ipc=2", *words, "--no-fidelity", "--json")
    assert found["learning"]["learner"]["init_args"] == {"model": "test_resnet"}


def test_bytes_of_labels_stand_beside_those_of_images(run_json, tmp_path: Path, capsys) -> None:
    data = load("digits")
    teacher = RealSubset.random(
        data.train, data.description, images_per_class=1, generator=torch.Generator().manual_seed(0)
    )
    save(teacher, tmp_path / "t.safetensors")
    cost = teacher.budget()
    assert cost["label_bytes"] == 80 and cost["image_bytes"] == cost["bytes"] - 80
    page = tmp_path / "r.html"
    words = ["compare", str(tmp_path / "t.safetensors"), *WORDS, "--report", str(page)]
    assert main(words) == 0
    said = capsys.readouterr().out
    assert "of images  of labels" in said and "80 B" in said and "labeller" not in said
    assert "of labels" in page.read_text() and "80 B of labels)" in page.read_text()
    assert main(["export", str(tmp_path / "t.safetensors"), "--format", "pt", "--output", str(tmp_path / "out")]) == 0
    assert f"| bytes as a teacher | {cost['image_bytes']:,} of images, 80 of labels |" in (
        (tmp_path / "out/README.md").read_text()
    )
