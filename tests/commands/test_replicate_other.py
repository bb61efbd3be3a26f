"""A replication that judges in another way what another one's trainer made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications

CONFIGS = Path(__file__).parents[2] / "configs/replication"
SMALL = ["--scale", "smoke", "--seeds", "1", "--run.device", "cpu", "--json"]
JUDGES = [
    "ece-2.3-vgg11",
    *(f"ece-t3-lenet-{data}-{start}" for data in ("cifar", "mnist") for start in ("noise", "real")),
    *(f"ece-t4-nas-d{depth}" for depth in (1, 2, 4)),
    *(f"ece-t6-gm-{start}" for start in ("noise", "real")),
]


@pytest.mark.parametrize("name", JUDGES)
def test_the_run_is_that_of_the_table_on_making(name: str, tmp_path: Path) -> None:
    replication = Replications(CONFIGS, "paper" if "2.3" not in name else "smoke", tmp_path).open(name)
    assert replication.maker.name.startswith("ece-t2") and replication.maker.plan.teacher == "run"
    again = name.startswith("ece-t6")  # the same recipe, judged in the same way
    assert (replication.plan.learning == replication.maker.plan.learning) == again


@pytest.mark.parametrize("jobs", ["1", "2"])
def test_images_are_made_once_and_judged_twice(
    jobs: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], lanes_here: None
) -> None:
    for name in ("ece-t2-mnist-real", "ece-t3-lenet-mnist-real"):
        assert main(["replicate", name, *SMALL, "--jobs", jobs, "--root", str(tmp_path)]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["teachers"][0]["name"] == found["replicated"][0]["name"] == name
        assert found["teachers"][0]["learning"]["learner"]["class_path"].endswith(
            "LeNet" if "lenet" in name else "ConvNet"
        )
    runs = tmp_path / "replication/smoke/digits"
    assert (runs / "ece-t2-mnist-real/seed-0/teacher.safetensors").is_file()
    assert not (runs / "ece-t3-lenet-mnist-real/seed-0").exists()
    assert len(list((runs / "evaluations").glob("ece-*"))) == 2


@pytest.mark.parametrize(("named", "said"), [("mine", "names the replication itself"), ("nobody", "no replication")])
def test_mistakes_are_explained(named: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(
        "trainer: {class_path: trainers.gan.ConditionalGANTrainer}\n"
        f"run: {{steps: 1}}\nevaluation: {{teacher: {named}}}\nscales: {{smoke: {{}}}}\n"
    )
    assert main(["replicate", "mine", *SMALL, "--configs", str(tmp_path), "--root", str(tmp_path)]) == 2
    assert said in capsys.readouterr().err
