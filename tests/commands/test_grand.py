"""The grand table by its command, at the scale that shows in seconds that everything fits together."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications, beside
from gendistill.config.command_line import assemble, take_apart
from gendistill.making import KEY
from gendistill.teacher import describe

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "replication"
TABLES = ["ours-grand-mnist-1", "ours-grand-mnist-10", "ours-grand-mnist-50", "ours-grand-cifar10-10"]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("scale", ["smoke", "reduced", "two-cores", "paper"])
def test_every_row_of_every_table_is_known(name: str, scale: str, tmp_path: Path) -> None:
    known = Replications(CONFIGS, scale, tmp_path)
    table = known.open(name)
    assert table.plan.images_per_class == int(name.rpartition("-")[2]) and len(table.plan.sized) == 11
    assert f"real:herding={table.plan.images_per_class}" in table.plan.beside.values()
    wanted = {"smoke": "digits", "reduced": "digits"}.get(scale, "cifar10" if "cifar10" in name else "mnist")
    assert table.experiment(0).data["name"] == wanted
    rows = [row for _, row in beside(table, None, 10**6) if not isinstance(row, str)]
    assert len(rows) > 11 and {row.experiment(0).data["name"] for row in rows} == {wanted}


@pytest.mark.filterwarnings("ignore")
def test_the_table_is_made_in_one_command_and_again_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["replicate", "ours-grand-mnist-1", "--scale", "smoke", "--seeds", "1", "--root", str(tmp_path), "--json"]
    assert main([*words, "--run.device", "cpu"]) == 0
    found = json.loads(capsys.readouterr().out)
    names = [one["name"] for one in found["teachers"]]
    assert len(names) == 17 and names[0] == "real" and {"RDED", "herding", "GAN"} < set(names)
    for one in found["teachers"]:
        assert len(one["architectures"]) == 2 and one["architectures"][0]["updates"] == [2, 5]
        made = one["teacher"].get("making")
        assert (made is None) == ("real" in one["teacher"]["kind"] and not str(one["teacher"]["path"]).startswith("/"))
        assert made is None or (made["cpu_seconds"] > 0 and made["peak_memory"] > 10**7 and made["processes"] == 1)
    runs = tmp_path / "replication/smoke/digits/grand"
    noted = describe(runs / "dm-sheets-1/seed-0/teacher.safetensors")["metadata"][KEY]
    assert noted["images"] == 10 and noted["steps"] == 2 and noted["learner_updates"] is None
    assert (runs / "gan/seed-0").is_dir() and not (runs / "gan-1").exists()  # a GAN stores no images a class
    assert main([*words, "--run.device", "cpu"]) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == found and "training" not in again.err


def test_what_a_person_types_is_meant_and_what_a_table_says_fits_the_data(tmp_path: Path) -> None:
    """Here and in a process of its own: what is typed is refused where it does not fit, the rest lowered."""
    table = Replications(CONFIGS, "smoke", tmp_path, overrides=[("--run.threads", "1")]).open("ours-grand-mnist-50")
    row = next(row for name, row in beside(table, None, 10**6) if name == "RDED" and not isinstance(row, str))
    row.of.overrides.append(("--trainer.crops", "2"))
    here = row.experiment(0)
    command, *words = row.command(0)
    there = assemble(take_apart(words))
    assert command == "train" and here.typed == there.typed == {"crops"}
    assert here.to_dict() == there.to_dict() and here.init_args["images_per_class"] == 50


def test_a_size_without_rows_and_rows_without_a_size(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "rows").mkdir()
    (tmp_path / "rows/one.yaml").write_text("trainer: {class_path: trainers.gan.ConditionalGANTrainer}\n")
    (tmp_path / "mine.yaml").write_text("evaluation: {teacher: real, sized: {one: rows/one}}\nscales: {smoke: {}}\n")
    words = ["replicate", "mine", "--scale", "smoke", "--configs", str(tmp_path), "--root", str(tmp_path)]
    assert main(words) == 2 and "needs evaluation.images_per_class, such as 10" in capsys.readouterr().err
    (tmp_path / "mine.yaml").write_text(
        "evaluation: {teacher: real, images_per_class: 1, sized: {one: rows/two}}\nscales: {smoke: {}}\n"
    )
    assert main(words) == 2 and "there is no replication 'rows/two'" in capsys.readouterr().err
    assert main(["replicate", "../mine", *words[2:]]) == 2 and "no replication '../mine'" in capsys.readouterr().err
