from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from gendistill.cli import main
from gendistill.commands.compare import named_reference, rank
from gendistill.commands.judge import PROTOCOLS, learner_spec, short_name
from gendistill.errors import UserError
from gendistill.evaluation.protocols import SUMMARIES

from .conftest import QUICK


def test_the_result_has_what_is_promised(place: Path, run_json) -> None:
    result = run_json("evaluate", "real:subset=50", "--dataset", "digits", "--json", "--no-fidelity", *QUICK)
    parts = {"image_bytes": 50 * 64, "label_bytes": 50 * 8, "labeller_bytes": 0}
    size = {"images": 50, "decoded_images": 50, "bytes": 50 * (64 + 8)} | parts
    assert re.fullmatch("[0-9a-f]{64}", result["teacher"].pop("checksum"))
    assert result["teacher"] == {"kind": "real-subset", "path": "real:subset=50"} | size
    assert result["dataset"] == "digits" and result["fidelity"] is None
    learning = result["learning"]
    assert learning["updates"] == [2, 4]
    for place_, runs in enumerate(learning["accuracy"]["runs"]):
        assert len(runs) == 2
        assert learning["accuracy"]["mean"][place_] == pytest.approx(sum(runs) / 2)


def test_a_run_keeps_its_result(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--config", "c.yaml"]) == 0
    assert main(["evaluate", "runs/picked", "--no-fidelity", *QUICK]) == 0
    said = capsys.readouterr().out
    assert "images" in said and "bytes" in said and "n=4" in said
    kept = json.loads((place / "runs/picked/results.json").read_text())
    assert kept["name"] == "picked" and kept["teacher"]["images"] == 20


def test_compare_ranks_and_reads_earlier_results(place: Path, run_json) -> None:
    quick = ["--no-fidelity", *QUICK]
    run_json("evaluate", "real:ipc=1", "--json", "--output", "one.json", *quick)
    compared = run_json("compare", "real", "few=one.json", "sub=real:subset=20", "--json", "--output", "all.json",
                        "--report", "all.html", *quick)  # fmt: skip
    names = [one["name"] for one in compared["teachers"]]
    assert sorted(names) == ["few", "real", "sub"]
    last = [one["learning"]["accuracy"]["mean"][-1] for one in compared["teachers"]]
    assert last == sorted(last, reverse=True)
    assert json.loads((place / "all.json").read_text()) == compared
    page = (place / "all.html").read_text()
    assert page.count("data:image/png") == 3
    assert main(["report", "all.json", "--no-images", "--output", "bare.html"]) == 0
    assert "data:image/png" not in (place / "bare.html").read_text()


def test_baselines_are_as_many_real_images_of_each_class(place: Path, run_json) -> None:
    compared = run_json("compare", "real", "real:ipc=2", "--baselines", "--json", "--no-fidelity", *QUICK)
    found = {one["name"]: one["teacher"]["images"] for one in compared["teachers"]}
    assert found.pop("real") > 1000
    assert found == {"real:ipc=2": 20, "real:herding=2": 20, "real:kcenter=2": 20}


def test_baselines_come_with_a_protocol_of_condensed_sets(place: Path, run_json) -> None:
    condensed = ["--json", "--no-fidelity", "--protocol", "condensation-dsa", "--epochs", "1", *QUICK]
    names = [one["name"] for one in run_json("compare", "real:ipc=2", *condensed)["teachers"]]
    assert sorted(names) == ["real:herding=2", "real:ipc=2", "real:kcenter=2"]
    thesis = [word.replace("condensation-dsa", "thesis") for word in condensed]
    for words in (["--no-baselines", *condensed], thesis):
        assert len(run_json("compare", "real:ipc=2", *words)["teachers"]) == 1


def test_evaluate_tells_where_the_baselines_are(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    condensed = ["--no-fidelity", "--protocol", "shi-chen", "--epochs", "1", *QUICK]
    assert main(["train", "--config", "c.yaml"]) == 0
    for teacher, told in (("runs/picked", True), ("real:ipc=2", False)):
        capsys.readouterr()
        assert main(["evaluate", teacher, *condensed]) == 0
        assert ("herding" in capsys.readouterr().err) == told


def test_ranking() -> None:
    def result(name: str, means: list[float]) -> dict:
        return {
            "name": name,
            "teacher": {},
            "learning": {"updates": [1, 9], "accuracy": {"mean": means, "std": [0, 0]}},
        }

    results = [result("slow", [0.1, 0.9]), result("fast", [0.6, 0.7])]
    assert [one["name"] for one in rank(results, None)] == ["slow", "fast"]
    assert [one["name"] for one in rank(results, 1)] == ["fast", "slow"]
    with pytest.raises(UserError, match="--rank-at is 5, but accuracy was measured at 1, 9 updates"):
        rank(results, 5)


def test_names() -> None:
    assert named_reference("gan=runs/x") == ("gan", "runs/x")
    assert named_reference("real:subset=5") == (None, "real:subset=5")
    assert named_reference("runs/a=b") == (None, "runs/a=b")
    assert short_name("runs/gan/teacher.safetensors") == "gan"
    assert short_name("runs/gan,labels=runs/rded/teacher.safetensors") == "gan,labels=rded"
    assert short_name("runs/gan,labels=runs/rded/teacher.safetensors@stored") == "gan,labels=rded@stored"
    assert short_name("real:ipc=1") == "real:ipc=1" and short_name("some/found.safetensors") == "found"


def test_learners() -> None:
    assert learner_spec("a.B") == "a.B" and learner_spec(None) is None
    assert learner_spec("{class_path: a.B, init_args: {width: 3}}") == {"class_path": "a.B", "init_args": {"width": 3}}
    assert learner_spec("MLP") == "gendistill.nets.learners.MLP"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("convnet", "learner is 'convnet'; did you mean 'gendistill.nets.learners.ConvNet'"),
        ("ConvNett", "did you mean 'gendistill.nets.learners.ConvNet'"),
        ("Generatr", "learner is 'Generatr'; write the name of a learner such as ConvNet"),
        ("Generator", "'gendistill.nets.base.Generator', which is no learner; write the name"),
        ("", "learner is ''; write the name"),
        ("GTNGenerator", "'gendistill.nets.gtn.GTNGenerator', which is no learner; write the name"),
        ("gendistill.nets.dcgan.DCGANDiscriminator", "DCGANDiscriminator', which is no learner"),
        ("{class_path: GTNGenerator}", "GTNGenerator', which is no learner"),
    ],
)
def test_what_is_no_learner_is_refused(given: str, words: str) -> None:
    with pytest.raises(UserError, match=words):
        learner_spec(given)


@pytest.fixture
def pictures(place: Path) -> Path:
    """A folder of two classes, whose images have several sizes, half of them in colour."""
    generator = np.random.default_rng(0)
    for label, name in enumerate(("dark", "bright")):
        (place / "pictures" / name).mkdir(parents=True)
        for number in range(20):
            height, width = generator.integers(8, 14, 2)
            shape = (height, width, 3) if number % 2 else (height, width)
            pixels = generator.integers(0, 100, shape) + 120 * label
            Image.fromarray(pixels.astype(np.uint8)).save(place / "pictures" / name / f"{number}.png")
    return place / "pictures"


def test_images_of_unequal_size_are_made_equal(pictures: Path, run_json, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["evaluate", "real", "--dataset", "pictures", *QUICK]) == 2
    assert "give --image-size" in capsys.readouterr().err
    equal = ["--dataset", str(pictures), "--image-size", "8", "--channels", "1"]
    quick = ["--no-fidelity", "--learner", "gendistill.nets.learners.MLP", *QUICK]
    result = run_json("evaluate", "real:ipc=1", "--json", "--output", "one.json", *equal, *quick)
    del result["teacher"]["checksum"]
    assert result["dataset"] == "pictures" and result["teacher"] == {
        "kind": "real-subset", "path": "real:ipc=1", "images": 2, "decoded_images": 2, "bytes": 2 * (64 + 8),
        "image_bytes": 2 * 64, "label_bytes": 2 * 8, "labeller_bytes": 0,
    }  # fmt: skip
    compared = run_json("compare", "one.json", "real", "--json", "--report", "page.html", *equal, *quick)
    assert len(compared["teachers"]) == 2 and Path("page.html").read_text().count("data:image/png") == 2
    exported = run_json("export", "real:ipc=3", "--output", "out", "--json", *equal)
    assert exported["images"] == 6


def test_training_on_images_of_unequal_size(pictures: Path, run_json, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--config", "c.yaml", "--dataset", "pictures", "--image-size", "8", "--channels", "3"]
    run_json(*words, "--json")
    assert main(["train", "--config", "runs/picked/config.yaml", "--print_config"]) == 0
    printed = yaml.safe_load(capsys.readouterr().out)
    assert printed["data"] == {"name": "pictures", "root": None, "image_size": 8, "channels": 3}


def test_the_reference_and_the_device_are_chosen(place: Path, monkeypatch: pytest.MonkeyPatch, run_json) -> None:
    asked: dict[str, object] = {}

    def noted(teacher: object, data: object, **options: object) -> dict[str, object]:
        asked.update(options)
        return {"learning": {}, "fidelity": {}}

    monkeypatch.setattr("gendistill.evaluation.judging.evaluate", noted)
    run_json("evaluate", "real", "--reference", "test", "--device", "cpu", "--json")
    fidelity, learning = asked["fidelity"], asked["learning"]
    assert isinstance(fidelity, dict) and isinstance(learning, dict)
    assert fidelity["reference"] == "test" and fidelity["device"] == learning["device"] == torch.device("cpu")
    run_json("evaluate", "real", "--json")
    assert isinstance(asked["fidelity"], dict) and asked["fidelity"]["reference"] == "train"


def test_a_protocol_and_what_is_given_beside_it(place: Path, run_json) -> None:
    words = ["--protocol", "shi-chen", "--epochs", "3", "--seeds", "1", "--batch-size", "20", "--device", "cpu"]
    found = run_json("evaluate", "real:subset=40", "--json", "--no-fidelity", "--updates", "1,2", *words)["learning"]
    assert (found["protocol"], found["schedule"], found["lr"][0]) == ("shi-chen", "cosine", 0.01)
    assert (found["epochs"], found["batch_size"], found["updates"]) == (3, 20, [1, 2, 6])
    assert found["learner"]["init_args"]["width"] == 128
    plain = run_json("evaluate", "real:subset=40", "--json", "--no-fidelity", *QUICK)["learning"]
    assert plain["protocol"] is None and plain["schedule"] == "constant"


def test_the_named_protocols_are_those_there_are() -> None:
    assert set(PROTOCOLS) == set(SUMMARIES)


def test_momentum_may_be_cycled(place: Path, run_json) -> None:
    words = ["--momentum", "0.8,0.9", "--schedule", "one-cycle", "--augment", "crop", "--augment-mode", "all"]
    found = run_json("evaluate", "real:subset=40", "--json", "--no-fidelity", *words, *QUICK)["learning"]
    assert found["momentum"] == [0.8, 0.9] and found["augment_mode"] == "all"
