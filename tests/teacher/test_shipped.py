"""The teachers that come with the project: small, whole, and fit to be searched or compared at once."""

from __future__ import annotations

import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import pytest
import torch

from gendistill import shipped
from gendistill.cli import main
from gendistill.commands.output import read_results
from gendistill.data.load import load as load_data
from gendistill.evaluation.learning import learning_curve
from gendistill.teacher import StoredImages, load, save

CHECKPOINTS = Path(__file__).parents[2] / "checkpoints"
SHIPPED = {"digits-gan": (1, 8, 8), "mnist-gan": (1, 28, 28)}


@pytest.mark.parametrize("name", SHIPPED)
def test_is_small_and_makes_images_of_every_class(name: str) -> None:
    file = CHECKPOINTS / f"{name}.safetensors"
    assert file.stat().st_size < 2_000_000
    teacher = load(file)
    images, labels = teacher.sample(20, torch.Generator().manual_seed(0))
    assert images.shape == (20, *SHIPPED[name]) and teacher.description.name == name.removesuffix("-gan")
    assert sorted(set(labels.tolist())) == list(range(10))
    pixels = teacher.description.normalisation.invert(images)
    assert float(pixels.min()) > -0.05 and float(pixels.max()) < 1.05 and float(pixels.std()) > 0.2


def test_learners_of_the_generated_digits_know_real_ones() -> None:
    teacher = load(CHECKPOINTS / "digits-gan.safetensors")
    result = learning_curve(teacher, load_data("digits"), updates=(100,), lr=(0.1,), seeds=[0, 1])
    assert result["accuracy"]["mean"][0] > 0.88


def test_the_example_of_the_readme(tmp_path: Path) -> None:
    generator = str(CHECKPOINTS / "digits-gan.safetensors")
    words = ["latent-search", generator, "--images-per-class", "2", "--run.root", str(tmp_path), "--run.steps", "2"]
    assert main([*words, "--no_evaluate"]) == 0
    assert load(tmp_path / "latent-search/teacher.safetensors").images_stored == 20


# -- sets -------------------------------------------------------------------------------------------------------------


def shipping() -> ModuleType:
    spec = importlib.util.spec_from_file_location("ship", CHECKPOINTS.parent / "tools" / "ship.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_what_ships_is_small_measured_and_names_no_place() -> None:
    ship, page = shipping(), (CHECKPOINTS / "README.md").read_text()
    assert ship.table() in page, "python tools/ship.py writes it anew"
    for name in shipped.sets():
        assert (CHECKPOINTS / f"{name}.safetensors").stat().st_size < 2_000_000
        file = shipped.results(name)
        assert file is not None, f"{name} was not measured"
        found, teacher = read_results(file)["teachers"], load(name)
        (own,) = (one for one in found if one["name"] == name)
        assert own["teacher"]["bytes"] == teacher.bytes_stored and own["teacher"]["path"] == name
        assert [*ship.places(teacher.metadata), *ship.places(found)] == [] and teacher.metadata[ship.MADE_BY]


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation whose only teachers are a generator and what a test ships, and a run to be shipped."""
    there = tmp_path / "installed" / "checkpoints"
    there.mkdir(parents=True)
    shutil.copy(CHECKPOINTS / "digits-gan.safetensors", there)
    (there / "README.md").write_text(f"before\n{shipping().table()}\nafter\n")
    monkeypatch.setattr(shipped, "INSTALLED", there.parent)
    monkeypatch.chdir(tmp_path)
    data = load_data("digits")
    images = torch.cat([data.train.images[data.train.labels == label][:1] for label in range(10)])
    noted = {"data": {"options": {"name": "digits", "root": "/somewhere/else"}}, "making": {"cpu_seconds": 90.0}}
    teacher = StoredImages(
        data.description.normalisation.apply(images), torch.arange(10), data.description, metadata=noted
    )
    Path("run").mkdir()
    save(teacher, "run/teacher.safetensors")
    return there


JUDGE = ["--updates", "2", "--seeds", "2", "--lr", "0.1", "--learner", "MLP", "--no-fidelity", "--device", "cpu"]


def test_a_set_is_shipped_shown_judged_and_exported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ship = shipping()
    assert main(["compare"]) == 2 and "no set comes with this copy" in capsys.readouterr().err
    words = ["compare", str(Path("run").resolve()), "real:ipc=1", "--dataset", "digits", "--data-root", "/tmp"]
    assert main([*words, *JUDGE, "--output", "all.json"]) == 0
    made_by = "gendistill train --config own.yaml"
    assert ship.main(["run", "digits-1", "--made-by", made_by, "--results", "all.json"]) == 0
    teacher = load(place / "digits-1.safetensors")
    assert teacher.metadata["data"] == {"options": {"name": "digits"}} and teacher.metadata["made_by"] == made_by
    assert torch.equal(teacher.tensors()["images"], load("run/teacher.safetensors").tensors()["images"])
    kept = (place / "digits-1.json").read_text()
    assert "/tmp" not in kept and str(Path.cwd()) not in kept
    commands = {one["command"].partition(" --seeds")[0] for one in json.loads(kept)["teachers"]}
    assert commands == {"gendistill compare digits-1 real:ipc=1 --dataset digits --updates 2"}
    line = next(line for line in (place / "README.md").read_text().splitlines() if "digits-1" in line)
    assert "| 10 |" in line and "| 1.5 |" in line and "2 learners" in line and "`real:ipc=1` " in line

    capsys.readouterr()
    assert main(["compare"]) == 0  # as it was measured, without data
    captured = capsys.readouterr()
    assert "digits-1" in captured.out and "real:ipc=1" in captured.out and "judging" not in captured.err
    assert "judge anew: gendistill compare digits-1" in captured.err
    assert main(["compare", *JUDGE, "--json"]) == 0
    captured = capsys.readouterr()
    judged = {one["name"] for one in json.loads(captured.out)["teachers"]}
    assert judged == {"digits-1", "real:ipc=1", "real:herding=1", "real:kcenter=1"}
    assert main(["compare", "--dataset", "mnist"]) == 2
    assert "no set of 'mnist' comes with the project, only of digits" in capsys.readouterr().err
    assert main(["latent-search", "digits-1"]) == 2
    said = capsys.readouterr().err
    assert "has no latent space; generators that come with the project are digits-gan" in said
    assert main(["configs"]) == 0
    *_, generators, sets = capsys.readouterr().out.splitlines()
    assert "by name: digits-gan (" in generators and "by name: digits-1 (" in sets
    assert main(["export", "digits-1", "--output", "card"]) == 0
    assert "| test accuracy after 2 updates |" in Path("card/README.md").read_text()


def test_a_set_with_updates_of_its_own_stands_in_a_table_of_its_own(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ship, made_by = shipping(), ["--made-by", "gendistill train --config own.yaml"]
    epochs = ["--protocol", "condensation", "--epochs", "1", "--seeds", "1", "--learner", "MLP", "--no-fidelity"]
    for name, how in (("digits-1", JUDGE), ("digits-2", [*epochs, "--device", "cpu"])):
        assert main(["evaluate", "run", "--dataset", "digits", *how, "--output", f"{name}.json"]) == 0
        assert ship.main(["run", name, *made_by, "--results", f"{name}.json"]) == 0
    assert "2 updates" in next(line for line in ship.table().splitlines() if "digits-1" in line)
    capsys.readouterr()
    assert main(["compare"]) == 0
    captured = capsys.readouterr()
    first, second = captured.out.split("\n\nteacher ")
    assert "digits-2" in first and "digits-1" not in first and "digits-1" in second and "digits-2" not in second
    assert "compare digits-2 --protocol condensation --epochs 1 --learner" in captured.err
    assert "compare digits-1 --updates 2 --batch-size" in captured.err and '"MLP"' not in captured.err
    assert main(["compare", "--json"]) == 0
    assert {one["name"] for one in json.loads(capsys.readouterr().out)["teachers"]} == {"digits-1", "digits-2"}
    assert main(["compare", *epochs, "--device", "cpu", "--json", "--no-baselines"]) == 0
    captured = capsys.readouterr()
    assert {one["name"] for one in json.loads(captured.out)["teachers"]} == {"digits-2"}
    assert "'digits-1' brings a number of updates of its own; name it to judge it, too: gendistill" in captured.err


def test_real_images_are_judged_as_the_set_was_or_the_table_says_so(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ship = shipping()
    for name, file, more in (("run", "run.json", []), ("real:ipc=1", "real.json", ["--batch-size", "7"])):
        assert main(["evaluate", name, "--dataset", "digits", *JUDGE, *more, "--output", file]) == 0
    words = ["run", "digits-1", "--made-by", "gendistill train", "--results", "run.json", "real.json"]
    assert ship.main(words) == 2
    assert "the results are of different judges (batch size" in capsys.readouterr().err
    assert not (place / "digits-1.json").exists()
    assert ship.main([*words, "--other-judges"]) == 0
    line = next(line for line in (place / "README.md").read_text().splitlines() if "digits-1" in line)
    assert "(judged with another batch size)" in line


def test_how_to_judge_anew_says_what_is_not_as_the_protocol_has_it(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ship = shipping()
    learner = "{class_path: ConvNet, init_args: {width: 4, depth: 1}}"
    judge = ["--protocol", "condensation", "--epochs", "2", "--learner", learner, "--seeds", "1", "--no-fidelity"]
    assert main(["evaluate", "run", "--dataset", "digits", *judge, "--output", "run.json"]) == 0
    assert ship.main(["run", "digits-1", "--made-by", "gendistill train", "--results", "run.json"]) == 0
    capsys.readouterr()
    assert main(["compare"]) == 0
    said = capsys.readouterr().err
    line = next(line for line in said.splitlines() if line.startswith("judge anew:"))
    assert "--protocol condensation --epochs 2 --learner" in line and "width" in line


def test_what_names_a_place_or_is_too_large_is_not_shipped(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ship = shipping()
    assert main(["evaluate", "run", "--dataset", "digits", *JUDGE, "--output", "own.json"]) == 0
    assert main(["evaluate", "real:ipc=1", "--dataset", "digits", *JUDGE, "--output", "other.json"]) == 0
    words = ["run", "digits-1", "--made-by", "gendistill train --config own.yaml", "--results"]
    assert ship.main([*words, "other.json"]) == 2 and "0 of the results are of" in capsys.readouterr().err
    assert ship.main([*words, "own.json", "--largest", "99"]) == 2 and "--largest" in capsys.readouterr().err
    teacher = load("run/teacher.safetensors")
    teacher.metadata["start"] = "/home/somebody/teacher.safetensors"
    save(teacher, "run/teacher.safetensors")
    assert ship.main([*words, "own.json"]) == 2
    assert "are left: metadata.start: /home/somebody" in capsys.readouterr().err
    assert not (place / "digits-1.safetensors").exists() and shipped.sets() == {}
