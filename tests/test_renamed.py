"""Options by their old names: read, said once, and no difference between two configs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from gendistill import notes
from gendistill import teacher as teachers
from gendistill.cli import main
from gendistill.config.merge import at_scale, lay
from gendistill.errors import UserError
from gendistill.renamed import at_new_names, modern, reads_old_names
from trainers.gtn import GTNTrainer

DD = "trainers.dataset_distillation.DatasetDistillationTrainer"


@reads_old_names({"count": "number", "inner_steps": "inner.steps"})
class Renamed:
    def __init__(self, *, number: int = 1, inner: dict[str, int] | None = None) -> None:
        self.number, self.inner = number, inner


class Derived(Renamed):
    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)


def test_a_class_takes_both_names_and_says_so_once(capsys: pytest.CaptureFixture[str]) -> None:
    notes.begin()
    for kind in (Renamed, Derived):
        made = kind(count=3, inner_steps=4)
        assert (made.number, made.inner) == (3, {"steps": 4})
    assert capsys.readouterr().err.count("'count' of Renamed is now called 'number'") == 1
    assert Renamed(inner_steps=4, inner={"steps": 4, "window": 2}).inner == {"steps": 4, "window": 2}
    with pytest.raises(UserError, match="inner.steps is 5, and inner_steps, as it was called before, is 4; give inner"):
        Renamed(inner_steps=4, inner={"steps": 5})


def test_a_trainer_takes_old_arguments_in_python() -> None:
    old = GTNTrainer(inner_steps=4, inner_batch_size=8, window=2, batched_learners=True, inner_optimizer="adam")
    new = GTNTrainer(inner={"steps": 4, "batch_size": 8, "window": 2, "batched": True, "optimizer": "adam"})
    assert old.inner.options == new.inner.options


def spec(**init_args: Any) -> dict[str, Any]:
    return {"trainer": {"class_path": DD, "init_args": init_args}}


def test_layers_by_either_name_are_laid_over_each_other() -> None:
    old = {"inner_steps": 4, "inner_epochs": 2, "window": 3}
    for below in (old, {"inner": {"steps": 4, "epochs": 2, "window": 3}}):
        for above in ({"inner_epochs": 5}, {"inner": {"epochs": 5}}):
            overlay = {"trainer": {"init_args": above}}  # which does not name the class
            for merged in (lay(spec(**below), overlay), at_scale(spec(**below) | {"scales": {"s": overlay}}, "s", "")):
                assert merged == spec(inner={"steps": 4, "epochs": 5, "window": 3})


def test_what_is_nested_in_lists_and_named_by_words_is_found() -> None:
    term = {"class_path": "trainers.terms.meta_loss.MetaLoss", "init_args": {"inner_steps": 3, "weight": 2.0}}
    objective = {"class_path": "trajectory_matching", "init_args": {"student_lr": 0.1}}
    whole = {
        "class_path": "trainers.latent_search.LatentSearchTrainer",
        "init_args": {"objective": [objective, term], "memory": "sqrt"},
    }
    found = modern(whole)["init_args"]
    assert found["inner"] == {"memory": "sqrt"}
    assert [one["init_args"] for one in found["objective"]] == [
        {"inner": {"learning_rate": 0.1}},
        {"inner": {"steps": 3}, "weight": 2.0},
    ]
    assert at_new_names(int, {"memory": 1}) == {"memory": 1}


def run(root: Path, *words: str) -> int:
    shared = ["--run.root", str(root), "--run.name", "run", "--run.device", "cpu", "--run.progress", "false"]
    return main(["train", *words, *shared, "--run.save_every", "1", "--run.sample_every", "0"])


def test_a_run_by_old_names_goes_on_by_new_ones(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config, old, new = (tmp_path / name for name in ("c.yaml", "old", "new"))
    given = {"batch_size": 16, "learner": {"class_path": "Linear"}}
    by_old = spec(inner_steps=2, inner_epochs=1, memory="recompute", **given)
    by_old["trainer"]["init_args"]["learner"] = {"class_path": "gendistill.nets.learners.MLP"}
    config.write_text(yaml.safe_dump(by_old))
    assert run(old, "--config", str(config), "--run.steps", "1") == 0
    assert "'inner_steps' of DatasetDistillationTrainer is now called 'inner.steps'" in capsys.readouterr().err
    stored = old / "run" / "config.yaml"
    written = yaml.safe_load(stored.read_text())
    block = written["trainer"]["init_args"].pop("inner")
    assert (block["steps"], block["epochs"], block["memory"]) == (2, 1, "recompute")
    # As a run of an earlier version left it: old names, and none of the options that came later.
    late = ("augment", "augment_real", "augment_mode", "average_clip")
    args = {key: value for key, value in written["trainer"]["init_args"].items() if key not in late}
    args |= {"inner_steps": 2, "inner_epochs": 1, "memory": "recompute", "window": None}
    written["trainer"]["init_args"] = args
    stored.write_text(yaml.safe_dump(written))
    by_new = spec(inner={"steps": 2, "epochs": 1, "memory": "recompute"}, batch_size=16)
    by_new["trainer"]["init_args"]["learner"] = {"class_path": "gendistill.nets.learners.MLP"}
    config.write_text(yaml.safe_dump(by_new))
    assert run(old, "--config", str(config), "--run.steps", "2") == 0
    assert run(new, "--config", str(config), "--run.steps", "2") == 0
    one, other = (teachers.load(root / "run" / "teacher.safetensors").tensors() for root in (old, new))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    capsys.readouterr()
    assert run(old, "--config", str(config), "--run.steps", "2", "--trainer.inner.epochs", "2") == 2
    assert "trainer.init_args.inner.epochs (stored 1, given 2)" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--trainer.inner.window", "--trainer.window", "--window"])
def test_the_command_line_takes_either_name(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "--trainer", DD, option, "20", "--print_config"]) == 0
    assert yaml.safe_load(capsys.readouterr().out)["trainer"]["init_args"]["inner"]["window"] == 20


def test_the_command_line_sets_a_whole_block_or_says_what_is_wrong(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--trainer", DD, "--trainer.inner.steps", "5"]
    assert main([*words, "--trainer.inner", "{window: 3}", "--print_config"]) == 0
    block = yaml.safe_load(capsys.readouterr().out)["trainer"]["init_args"]["inner"]
    assert (block["steps"], block["window"], block["optimizer"]) == (5, 3, "sgd")
    for option, value, sentence in (
        ("--trainer.inner.windw", "3", "did you mean '--trainer.inner.window'"),
        ("--trainer.inner.window", "x", "--trainer.inner.window is 'x', expected a whole number or null"),
        ("--trainer.inner", "{windw: 3}", "--trainer.inner has no option 'windw'; did you mean 'window'"),
        ("--trainer.inner", "3", "expected keys and values"),
    ):
        assert main([*words, option, value, "--print_config"]) == 2
        assert sentence in capsys.readouterr().err
    assert main(["train", "--trainer", DD, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "--trainer.inner.window" in shown and "--trainer.inner_steps" not in shown


def test_another_trainer_takes_what_it_knows_of_the_block(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    config = tmp_path / "c.yaml"
    config.write_text(yaml.safe_dump(spec(inner={"steps": 4, "epochs": 2})))
    assert main(["train", "--config", str(config), "--trainer", "GTNTrainer", "--print_config"]) == 0
    said = capsys.readouterr()
    assert yaml.safe_load(said.out)["trainer"]["init_args"]["inner"]["steps"] == 4
    assert "left out: inner.epochs" in said.err
