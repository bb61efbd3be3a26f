from __future__ import annotations

from pathlib import Path

import pytest

from gendistill.config.command_line import assemble, take_apart
from gendistill.config.experiment import Experiment
from gendistill.errors import UserError
from gendistill.yaml_file import dump_yaml

SOURCE = '''
from trainers.trainer import Trainer

class Plain(Trainer):
    """A trainer that a user wrote.

    Args:
        rate: Learning rate, positive.
        network: Spec of a network.
    """
    def __init__(self, rate: float = 1e-3, betas: tuple[float, float] = (0.0, 0.9), verbose: bool = False,
                 network: dict | str | None = None, **kwargs):
        super().__init__(**kwargs)
        self.rate, self.betas = rate, betas
    def build(self): ...
    def train_step(self, batch): return {}
    def teacher(self): ...

class Needy(Plain):
    def __init__(self, source: str, **kwargs):
        super().__init__(**kwargs)

class Other(Trainer):
    def build(self): ...
    def train_step(self, batch): return {}
    def teacher(self): ...
'''
CONFIG = """
trainer: {class_path: users_trainer.Plain, init_args: {rate: 1e-4, batch_size: 8}}
data: {name: digits}
run: {name: mine, steps: 100}
scales:
  smoke: {run: {steps: 2}, trainer: {init_args: {rate: 1}}}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "users_trainer.py").write_text(SOURCE)
    (tmp_path / "c.yaml").write_text(CONFIG)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def read(*words: str, default: str | None = None) -> Experiment:
    return assemble(take_apart(words), default)


def test_a_config_is_completed_and_repeats_itself(folder: Path) -> None:
    complete = read("--config", "c.yaml").to_dict()
    assert complete["trainer"]["init_args"] == {
        "rate": 1e-4, "betas": [0.0, 0.9], "verbose": False, "network": None, "batch_size": 8, "terms": None,
    }  # fmt: skip
    assert complete["run"]["steps"] == 100 and complete["run"]["save_every"] == 500
    (folder / "again.yaml").write_text(dump_yaml(complete))
    assert read("--config", "again.yaml").to_dict() == complete


def test_scale_then_options_win() -> None:
    words = [
        "--config",
        "c.yaml",
        "--scale",
        "smoke",
        "--seed=7",
        "--trainer.betas",
        "[0.5, 0.6]",
        "--verbose",
        "--run.fresh",
    ]
    found = read(*words)
    assert found.options.steps == 2 and found.options.seed == 7 and found.options.fresh
    assert found.init_args["rate"] == 1.0 and isinstance(found.init_args["rate"], float)
    assert found.init_args["betas"] == (0.5, 0.6) and found.init_args["verbose"] is True
    assert found.build_trainer().betas == (0.5, 0.6)


@pytest.mark.parametrize("option", ["--trainer.rate", "--trainer.init_args.rate", "--rate"])
def test_three_ways_to_write_an_option(option: str) -> None:
    assert read("--config", "c.yaml", option, "3e-2").init_args["rate"] == 0.03


def test_data_and_nested_options() -> None:
    found = read("--config", "c.yaml", "--data-root", "files", "--dataset", "mnist", "--trainer.network", "a.Net",
                 "--trainer.network.init_args.width", "3")  # fmt: skip
    assert found.data == {"name": "mnist", "root": "files"}
    assert found.init_args["network"] == {"class_path": "a.Net", "init_args": {"width": 3}}


@pytest.mark.parametrize("prefix", ["--data.", "--"])
def test_a_folder_of_images_has_a_size_and_channels(prefix: str) -> None:
    found = read("--config", "c.yaml", f"{prefix}image_size", "16", f"{prefix}channels=1")
    assert found.data == {"name": "digits", "image_size": 16, "channels": 1}
    assert found.to_dict()["data"] == {"name": "digits", "root": None, "image_size": 16, "channels": 1}
    with pytest.raises(UserError, match="leave them out"):
        found.load_data()
    with pytest.raises(UserError, match="image_size is 'big', expected a whole number or null"):
        read("--config", "c.yaml", f"{prefix}image_size", "big")


def test_later_configs_lie_over_earlier_ones(folder: Path) -> None:
    (folder / "over.yaml").write_text("run: {seed: 9}\n")
    options = read("--config", "c.yaml", "--config", "over.yaml").options
    assert (options.seed, options.steps) == (9, 100)


def test_another_trainer_keeps_what_it_takes_too(capsys: pytest.CaptureFixture[str]) -> None:
    found = read("--config", "c.yaml", "--trainer", "users_trainer.Other")
    assert found.init_args == {"batch_size": 8}
    assert "left out: rate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ("run: {step: 3}", "c.yaml: unknown key 'run.step'; did you mean 'steps'?"),
        ("trainer: {init_args: {raet: 3}}", "unknown key 'trainer.init_args.raet'; did you mean 'rate'?"),
        ("trainr: {}", "unknown key 'trainr'; did you mean 'trainer'?"),
        ("data: {nmae: digits}", "unknown key 'data.nmae'; did you mean 'name'?"),
        ("trainer: {zzz: 1}", "unknown key 'trainer.zzz'; it may be: class_path, init_args"),
        ("run: {steps: lots}", "c.yaml: run.steps is 'lots', expected a whole number"),
        ("trainer: {init_args: {rate: fast}}", "trainer.init_args.rate is 'fast', expected a number"),
        ("run: 3", "run must hold keys and values, got 3"),
        ("trainer: {class_path: users_trainer.Plan}", "did you mean 'Plain'?"),
        ("trainer: {class_path: trainers.trainer.Trainer}", "is a base that cannot train by itself"),
        ("trainer: {class_path: pathlib.Path}", "not a subclass of trainers.trainer.Trainer"),
        ("trainer: {class_path: no_such_module.X}", "cannot be imported"),
        ("trainer: {class_path: 5}", "expected a dotted path"),
    ],
)
def test_mistakes_in_a_config(folder: Path, changed: str, said: str) -> None:
    (folder / "over.yaml").write_text(changed)
    with pytest.raises(UserError, match=".") as caught:
        read("--config", "c.yaml", "--config", "over.yaml")
    assert said.replace("c.yaml", "over.yaml") in str(caught.value)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run.stesp", "3"], "no option '--run.stesp'; did you mean '--run.steps'?"),
        (["--trainer.raet", "3"], "did you mean '--trainer.rate'?"),
        (["--trainer.init_args.raet", "3"], "did you mean '--trainer.rate'?"),
        (["--stpes", "3"], "did you mean '--steps'?"),
        (["--xqz", "3"], "see --help"),
        (["--run", "3"], "no option '--run'"),
        (["--steps"], "--steps needs a value"),
        (["--steps", "1.5"], "--steps is '1.5', expected a whole number"),
        (["--verbose", "perhaps"], "expected true or false"),
        (["--trainer.rate", "fast"], "--trainer.rate is 'fast', expected a number"),
        (["--config"], "--config needs a value"),
        (["--scale", "smok"], "has no scale 'smok'; did you mean 'smoke'?"),
    ],
)
def test_mistakes_on_the_command_line(words: list[str], said: str) -> None:
    with pytest.raises(UserError, match=".") as caught:
        read("--config", "c.yaml", *words)
    assert said in str(caught.value)


def test_what_is_missing_is_named() -> None:
    with pytest.raises(UserError, match="give --config FILE.yaml or --trainer"):
        read("--steps", "3")
    with pytest.raises(UserError, match="needs a value for: source; give --trainer.source VALUE"):
        read("--trainer", "users_trainer.Needy").to_dict()
    assert read("--trainer", "users_trainer.Needy", "--source", "x").to_dict()["trainer"]["init_args"]["source"] == "x"


def test_a_file_without_a_trainer(folder: Path) -> None:
    (folder / "bare.yaml").write_text("run: {steps: 1}\n")
    with pytest.raises(UserError, match="bare.yaml names no trainer"):
        read("--config", "bare.yaml")
    assert read("--config", "bare.yaml", default="users_trainer.Plain").options.steps == 1


def test_no_class_is_guessed_for_a_word_that_is_none() -> None:
    words = ["--trainer", "trainers.distribution_matching.DistributionMatchingTrainer", "--trainer.labeller"]
    with pytest.raises(UserError, match=r"labeller is 'true', expected keys and values or null$"):
        read(*words, "true")
    with pytest.raises(UserError, match="'gendistill.teacher.labeller.Labeller'"):
        read(*words, "labeler")
