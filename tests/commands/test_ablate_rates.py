from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.cli import main
from gendistill.data.load import load
from gendistill.report.verdict import verdict
from gendistill.teacher import RealSubset, StoredImages, save

LEARNER = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 4, depth: 1}}"
QUICK = ["--json", "--no-fidelity", "--learner", LEARNER, "--seeds", "2", "--device", "cpu"]


@pytest.fixture
def learned(tmp_path: Path) -> str:
    """Thirty real digits with rates that were not learned, but might have been."""
    data = load("digits")
    real = RealSubset.all(data.train, data.description)
    images, labels = real.pick(torch.arange(30))
    rates = torch.tensor([0.2, 0.1])
    save(StoredImages(images, labels, data.description, learning_rates=rates), tmp_path / "t.safetensors")
    return str(tmp_path / "t.safetensors")


def test_two_rows_tell_the_images_from_the_rates(learned: str, run_json) -> None:
    words = ["compare", "real", f"mtt={learned}", "--ablate-rates", "--updates", "3", *QUICK]
    results = run_json(*words)
    found = {one["name"]: one for one in results["teachers"]}
    assert set(found) == {"real", "mtt", "mtt at grid rates", "real at the rates of mtt"}
    assert "ablation" not in found["real"] and "ablation" not in found["mtt"]
    images, rates = found["mtt at grid rates"], found["real at the rates of mtt"]
    assert images["ablation"] == {"of": "mtt", "keeps": "images"} and images["teacher"]["images"] == 30
    assert images["learning"]["selection"]["candidates"] == [0.01, 0.03, 0.1, 0.3]
    assert rates["ablation"] == {"of": "mtt", "keeps": "rates"} and rates["teacher"]["images"] > 1000
    assert rates["learning"]["lr"] == ["teacher"] and rates["learning"]["images_seen"] == [90]
    # They stand beside the others under equal settings, and are not what the others are held against.
    concluded = verdict(results)
    assert concluded.reference.name == "real" and not concluded.differing
    assert {row.name for row in concluded.others} == set(found) - {"real"}


def test_with_mtts_protocol_real_images_stand_beside_at_the_papers_rate(learned: str, run_json) -> None:
    protocol = ["--protocol", "condensation-mtt", "--epochs", "2", "--seeds", "1"]
    found = run_json("compare", f"mtt={learned}", "real:ipc=3", "--no-baselines", "--ablate-rates", *QUICK, *protocol)
    by_name = {one["name"]: one["learning"] for one in found["teachers"]}
    assert by_name["mtt"]["learned_rate"] == pytest.approx(0.1)
    assert by_name["real:ipc=3"]["learned_rate"] is None and by_name["real:ipc=3"]["lr"] == [0.01]
    assert {one["protocol"] for one in by_name.values()} == {"condensation-mtt"}
    assert {one["learner_updates"] for one in by_name.values()} == {2}
    # The real images' two updates are as long as two passes over the teacher, and say so.
    assert {one["epochs"] for one in by_name.values()} == {2}
    assert not verdict(found).differing


def test_nothing_to_ablate_is_said_before_anything_is_trained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "real", "real:ipc=2", "--ablate-rates", *QUICK]) == 2
    assert "--ablate-rates needs a teacher that learned" in capsys.readouterr().err
