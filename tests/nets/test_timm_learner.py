"""Learners of timm: any of its classifiers, for images of a data set's size."""

from __future__ import annotations

import pytest
import torch

from gendistill.commands.judge import learner_spec
from gendistill.errors import UserError
from gendistill.evaluation.learning import learner_name
from gendistill.nets.learners import Learner, build_learner
from gendistill.nets.timm_learner import TimmLearner
from gendistill.report.rows import learner_name as short_name
from gendistill.seeds import initialisation
from gendistill.untrusted import UntrustedSpec

timm = pytest.importorskip("timm")


@pytest.mark.parametrize(
    ("model", "shape"),
    [("resnet18", (1, 8, 8)), ("vit_tiny_patch16_224", (3, 32, 32)), ("mobilenetv3_small_050", (3, 32, 32))],
)
def test_it_takes_images_of_the_data_sets_shape(model: str, shape: tuple[int, int, int]) -> None:
    learner = build_learner(learner_spec(f"timm:{model}"), num_classes=7, image_shape=shape).eval()
    images = torch.rand(3, *shape, generator=torch.Generator().manual_seed(0))
    features = learner.features(images)
    assert isinstance(learner, Learner) and features.shape == (3, learner.classifier.in_features)
    assert learner(images).shape == (3, 7)
    # The same as timm's own network.
    assert torch.equal(learner(images), learner.classifier(features))
    assert torch.allclose(learner(images), learner.model(images), atol=1e-5)
    assert len(list(learner.parameters())) == len(list(learner.model.parameters()))


def test_the_same_seed_draws_the_same_weights_and_nothing_is_drawn_by_looking() -> None:
    weights = []
    for _ in range(2):
        with initialisation(3, "test"):
            weights.append(TimmLearner(2, (3, 32, 32), "vit_tiny_patch16_224").state_dict())
    assert all(torch.equal(one, weights[1][name]) for name, one in weights[0].items())


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("resnet81", "timm has no network 'resnet81'; did you mean 'resnet18'?"),
        ("hf_hub:someone/model", "timm has no network 'hf_hub:someone/model'"),
        ("vit_tiny_patch16_224", "does not take images of 8x8 pixels and 1 channels"),
    ],
)
def test_what_does_not_fit_is_one_sentence(model: str, said: str) -> None:
    with pytest.raises(UserError, match=said.replace("?", r"\?")):
        TimmLearner(10, (1, 8, 8), model)


def test_without_timm_the_extra_is_named(monkeypatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(UserError, match=r"'timm:resnet18' needs timm; pip install 'gendistill\[timm\]'"):
        TimmLearner(10, (1, 8, 8))


def test_it_is_called_as_it_is_typed() -> None:
    spec = learner_spec("timm:resnet10t")
    assert learner_name(spec) == short_name(spec) == "timm:resnet10t"


def test_a_file_may_name_it_as_any_learner() -> None:
    said = {"class_path": "gendistill.nets.timm_learner.TimmLearner", "init_args": {"model": "resnet10t"}}
    spec = UntrustedSpec(said, "the teacher 'x'")
    assert isinstance(build_learner(spec, num_classes=2, image_shape=(1, 8, 8)), TimmLearner)
