"""Classes by their names alone: understood where one is meant, suggested where it is near, listed where several are."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from gendistill import cli
from gendistill.class_names import paths_of, suggestion
from gendistill.config.command_line import assemble, take_apart
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import Extractor
from gendistill.nets.spaces import LearnerSpace
from gendistill.objects import build, full_path, full_paths, locate
from trainers.latent_objectives.assemble import WORDS, build_objectives
from trainers.terms.term import Term

CONVNET = "gendistill.nets.learners.ConvNet"
SIZES: dict[str, Any] = {"num_classes": 3, "image_shape": (1, 8, 8)}


def test_a_name_that_one_class_has_is_its_path() -> None:
    assert full_path("ConvNet", nn.Module) == CONVNET == full_path("ConvNet")
    assert full_path(CONVNET) == CONVNET and full_path("adam") == "adam" and full_path("NoSuchClass") == "NoSuchClass"
    spec = {"class_path": "ConvNet", "init_args": {"width": 4, "inner": [{"class_path": "MLP"}, 3]}}
    assert full_paths(spec) == {
        "class_path": CONVNET,
        "init_args": {"width": 4, "inner": [{"class_path": "gendistill.nets.learners.MLP"}, 3]},
    }


def test_what_the_class_must_be_decides_between_several() -> None:
    assert len(paths_of("MetaLoss")) == 2 and paths_of("ConvNet", Term) == []
    with pytest.raises(UserError, match="'MetaLoss' may be trainers.* or trainers.*; write the whole dotted path"):
        full_path("MetaLoss")
    assert full_paths({"class_path": "MetaLoss"}) == {"class_path": "MetaLoss"}
    with pytest.raises(UserError, match=r"did you mean 'trainers.*MetaLoss' or 'trainers.*MetaLoss'\?"):
        locate("MetaLoss", Term)


@pytest.mark.parametrize(
    ("path", "base", "meant"),
    [
        ("ConvNet", nn.Module, CONVNET),
        ("convnet", nn.Module, CONVNET),
        ("conv_net", nn.Module, CONVNET),
        ("ConvNett", nn.Module, CONVNET),
        ("nets.learners.ConvNet", nn.Module, CONVNET),
        ("gendistill.learners.ConvNet", nn.Module, CONVNET),
        ("gendistill.nets.resnet.ConvNet", nn.Module, CONVNET),
        ("ConvNetSpaces", LearnerSpace, "gendistill.nets.spaces.convnets.ConvNetSpace"),
        ("GradientDiference", Term, "trainers.terms.gradients.GradientDifference"),
        ("trainers.terms.GradientDifference", Term, "trainers.terms.gradients.GradientDifference"),
        ("TrainedClassifier", Extractor, None),
    ],
)
def test_the_right_path_is_suggested(path: str, base: type, meant: str | None) -> None:
    with pytest.raises(UserError) as caught:
        locate(path, base)
    if meant is not None:
        assert f"did you mean '{meant}'?" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_nothing_near_is_nothing_said() -> None:
    assert suggestion("xyzzy", nn.Module) == "" and suggestion("ConvNet", Term) == ""


def options(*words: str) -> dict[str, Any]:
    return assemble(take_apart(words)).to_dict()["trainer"]  # type: ignore[no-any-return]


def test_configs_keep_the_whole_path_of_what_was_named(tmp_path: Path) -> None:
    trainer = options("--trainer", "DistributionMatchingTrainer", "--trainer.learner", "ConvNet")
    assert trainer["class_path"] == "trainers.distribution_matching.DistributionMatchingTrainer"
    assert trainer["init_args"]["learner"] == {"class_path": CONVNET}
    trainer = options(
        "--trainer", "GradientMatchingTrainer", "--learner", CONVNET, "--trainer.learner.init_args.width", "4"
    )
    assert trainer["init_args"]["learner"] == {"class_path": CONVNET, "init_args": {"width": 4}}
    deep = options("--trainer", "GradientMatchingTrainer", "--trainer.learner.class_path", "MLP")
    assert deep["init_args"]["learner"] == {"class_path": "gendistill.nets.learners.MLP"}
    path = tmp_path / "a.yaml"
    path.write_text("trainer:\n  class_path: ConditionalGANTrainer\n  init_args:\n    generator: SNGANGenerator\n"
                    "    terms: [{class_path: GradientDifference, init_args: {weight: 0.5}}]\n")  # fmt: skip
    trainer = options("--config", str(path))
    assert trainer["class_path"] == "trainers.gan.ConditionalGANTrainer"
    assert trainer["init_args"]["generator"] == {"class_path": "gendistill.nets.sngan.SNGANGenerator"}
    assert trainer["init_args"]["terms"][0]["class_path"] == "trainers.terms.gradients.GradientDifference"
    with pytest.raises(UserError, match=f"learner is 'ConvNett', expected .* did you mean '{CONVNET}'"):
        options("--trainer", "GradientMatchingTrainer", "--trainer.learner", "ConvNett")
    with pytest.raises(UserError, match="did you mean 'trainers.gtn.GTNTrainer'"):
        options("--trainer", "GTNTrainerr")


def test_commands_understand_names(capsys: pytest.CaptureFixture[str]) -> None:
    short = ["evaluate", "real", "--updates", "1", "--seeds", "1", "--lr", "0.1", "--no-fidelity", "--json"]
    assert cli.main([*short, "--learner", "MLP"]) == 0
    assert '"gendistill.nets.learners.MLP"' in capsys.readouterr().out
    assert cli.main([*short, "--learner", "ConvNett"]) == 2
    assert f"did you mean '{CONVNET}'?" in capsys.readouterr().err
    assert cli.main(["nas", "real:ipc=1", "--space", "CondensationGrids"]) == 2
    assert "did you mean 'gendistill.nets.spaces.convnets.CondensationGrid'?" in capsys.readouterr().err


def test_extractors_and_objectives(tiny_data: Any) -> None:
    with pytest.raises(UserError, match="did you mean 'gendistill.evaluation.inception.InceptionExtractor'"):
        choose_extractor("InceptionExtracter", tiny_data)
    for name, path in (("Confidence", WORDS["confidence"]), ("MetaLoss", WORDS["meta_loss"])):
        assert build_objectives(name)[0].spec["class_path"] == path  # type: ignore[attr-defined]


def test_help_does_not_look_for_classes() -> None:
    code = "import sys; from gendistill.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
    code += "assert 'torch' not in sys.modules and 'gendistill.class_names' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_a_name_is_built_only_with_its_path() -> None:
    with pytest.raises(UserError, match=f"'ConvNet' is not a dotted path; did you mean '{CONVNET}'"):
        build("ConvNet", nn.Module, **SIZES)
