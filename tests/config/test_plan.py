from __future__ import annotations

import pytest

from gendistill.config.plan import Plan, Reported, plan, reported
from gendistill.errors import UserError


def test_sections_are_read_and_may_be_missing() -> None:
    evaluation = {"seeds": 2, "teacher": "real", "beside": {"a": "b"}, "learning": {"protocol": "thesis", "epochs": 1}}
    assert plan({"evaluation": evaluation}, "c.yaml") == Plan(**evaluation)
    assert plan({}, "c.yaml") == Plan()
    assert reported({}, "c.yaml") is None
    said = {"source": "Somebody 2020, Table 1", "accuracy": 0.5, "fid": 14}
    assert reported({"reported": said}, "c.yaml") == Reported("Somebody 2020, Table 1", 0.5, None, 14.0)


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"evaluation": {"seed": 2}}, "c.yaml: unknown key 'evaluation.seed'; did you mean 'seeds'?"),
        ({"evaluation": {"seeds": "two"}}, "c.yaml: evaluation.seeds is 'two', expected a whole number"),
        ({"evaluation": {"seeds": 0}}, "c.yaml: evaluation.seeds is 0; give at least 1"),
        ({"evaluation": {"learning": {"epoch": 1}}}, "learning has no option 'epoch'; did you mean 'epochs'?"),
        ({"evaluation": {"learning": {"protocol": "thesys"}}}, "did you mean 'thesis'?"),
        ({"evaluation": {"fidelity": {"counts": 1}}}, "fidelity has no option 'counts'; did you mean 'count'?"),
        ({"evaluation": 3}, "evaluation must hold keys and values, got 3"),
        ({"reported": {"accuracy": 0.5}}, "c.yaml: reported needs a source"),
        ({"reported": {"source": "x", "accuracy": 75.13}}, "write it as a fraction"),
        ({"reported": {"source": "x", "acuracy": 0.5}}, "did you mean 'accuracy'?"),
    ],
)
def test_mistakes_name_the_key(config: dict, said: str) -> None:
    with pytest.raises(UserError, match=".") as caught:
        (plan if "evaluation" in config else reported)(config, "c.yaml")
    assert said in str(caught.value)


def test_a_learner_is_found_before_anything_is_trained() -> None:
    made = plan({"evaluation": {"learning": {"learner": "ConvNet", "seeds": 1}}}, "a.yaml")
    assert made.learning == {"learner": "gendistill.nets.learners.ConvNet", "seeds": 1}
    spec = {"class_path": "MLP", "init_args": {"widths": [8]}}
    made = plan({"evaluation": {"learning": {"learner": spec}}}, "a.yaml")
    assert made.learning == {"learner": spec | {"class_path": "gendistill.nets.learners.MLP"}}
    with pytest.raises(UserError, match="did you mean 'gendistill.nets.learners.ConvNet'"):
        plan({"evaluation": {"learning": {"learner": "ConvNett"}}}, "a.yaml")
