"""Values of a wrong type are refused by the name of their option, whoever builds of them."""

from __future__ import annotations

from typing import Any

import pytest

from gendistill.config.typed import check_value
from gendistill.declared import require_types
from gendistill.errors import UserError
from gendistill.evaluation.learning import learning_curve
from gendistill.experts import Recipe
from gendistill.inner import InnerOptions
from gendistill.nets.learners import ConvNet, Learner
from gendistill.objects import build
from trainers.labellers import LabellerPlan
from trainers.regrouping import Schedule
from trainers.terms.assemble import build_terms
from trainers.terms.probe_kinds import make_probes

REFUSED: list[tuple[Any, Any, str]] = [
    (Recipe.of, {"lr": "fast"}, "expert.lr is 'fast'; give a number"),
    (Recipe.of, {"weight_decay": None}, "expert.weight_decay is None; give a number"),
    (Recipe.of, {"augment": 3}, "expert.augment is 3; give text or null"),
    (LabellerPlan.of, {"updates": "two"}, "labeller.updates is 'two'; give a whole number"),
    (LabellerPlan.of, {"updates": 2.5}, "labeller.updates is 2.5; give a whole number"),
    (LabellerPlan.of, {"learner": 5}, "labeller.learner is 5; give keys and values or null"),
    (LabellerPlan.of, {"teacher": 5}, "labeller.teacher is 5; give text or null"),
    (InnerOptions.of, {"batched": "maybe"}, "inner.batched is 'maybe'; give true or false or null"),
    (InnerOptions.of, {"steps": True}, "inner.steps is True; give a whole number"),
    (Schedule.of, {"interval": [2]}, r"schedule.interval is \[2\]; give"),
    (make_probes, {"state": "pool", "size": "two"}, "Pool.size is 'two'; give a whole number"),
    (
        build_terms,
        [{"class_path": "trainers.terms.meta_loss.MetaLoss", "init_args": {"learning_rate": "x"}}],
        "MetaLoss.learning_rate is 'x'; give a number",
    ),
    (
        build_terms,
        [{"class_path": "trainers.terms.gradients.GradientDifference", "init_args": {"probe": 3}}],
        "GradientDifference.probe is 3; give keys and values",
    ),
]


@pytest.mark.parametrize(("make", "given", "sentence"), REFUSED)
def test_a_wrong_type_is_refused_by_its_name(make: Any, given: Any, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        make(given)


def test_what_is_built_of_a_config_too() -> None:
    spec = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": "wide"}}
    with pytest.raises(UserError, match=r"ConvNet.width is 'wide'; give a whole number"):
        build(spec, Learner, num_classes=3, image_shape=(1, 8, 8))


def test_what_fits_or_cannot_stand_in_a_file_is_let_through() -> None:
    require_types(ConvNet, {"width": 3, "image_shape": [1, 8, 8], "unknown": "x", "depth": object()}, "here")
    require_types(Recipe, {"lr": 1, "updates": None}, "expert")
    with pytest.raises(UserError, match="here.image_shape is 3"):
        require_types(ConvNet, {"image_shape": 3}, "here")


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learner": 5}, "protocol.learner is 5"),
        ({"updates": "2"}, "protocol.updates is '2'; give a list"),
        ({"updates": 2}, "protocol.updates is 2; give a list"),
        ({"updates": ["a"]}, r"updates is \['a'\]; give one or more whole numbers"),
        ({"batch_size": "8"}, "protocol.batch_size is '8'; give a whole number"),
        ({"weight_decay": "x"}, "protocol.weight_decay is 'x'; give a number"),
        ({"seeds": "x"}, "seeds is x; give a number"),
        ({"device": "x"}, "device is 'x'; choose cpu"),
        ({"batched": "x"}, "batched is 'x'"),
    ],
)
def test_a_protocol_of_wrong_types_is_refused(tiny_data: Any, changes: dict[str, Any], sentence: str) -> None:
    from gendistill.teacher import open_teacher

    with pytest.raises(UserError, match=sentence):
        learning_curve(
            open_teacher("real:ipc=1", tiny_data), tiny_data, **{"updates": [2], "lr": 0.1, "seeds": 1} | changes
        )


@pytest.mark.parametrize("value", [float("inf"), float("nan"), -float("inf")])
def test_numbers_without_end_are_refused(value: float) -> None:
    with pytest.raises(UserError, match=r"expert\.lr is .*; give numbers that are finite"):
        require_types(Recipe, {"lr": value}, "expert")
    with pytest.raises(UserError, match=r"trainer\.betas is .*; give numbers that are finite"):
        check_value([0.5, value], tuple[float, float], "trainer.betas")
    with pytest.raises(UserError, match=r"trainer\.lr is .*; give numbers that are finite"):
        check_value(value, float, "trainer.lr")
