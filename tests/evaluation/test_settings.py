from __future__ import annotations

from typing import Any

import pytest

from gendistill.data.real import RealData
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.settings import SETTINGS, differing, own_rates, planned_length, rates_tried
from gendistill.teacher import RealSubset

LEARNING: dict[str, Any] = {
    "learner": {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}},
    "updates": (2, 5),
    "seeds": 2,
    "lr": [0.05, 0.1],
    "batch_size": 8,
}


def judged(data: RealData, **options: Any) -> dict[str, Any]:
    teacher = RealSubset.all(data.train, data.description)
    return evaluate(teacher, data, learning=LEARNING | options, fidelity=None)


CHANGED: dict[str, dict[str, Any]] = {
    "split": {"split": "validation"},
    "learner": {"learner": "gendistill.nets.learners.MLP"},
    "batch size": {"batch_size": 9},
    "optimizer": {"optimizer": "adam"},
    "momentum": {"momentum": 0.0},
    "weight decay": {"weight_decay": 0.0},
    "schedule": {"schedule": "cosine"},
    "learning rates tried": {"lr": [0.05]},
    "select": {"select": "last"},
    "augment": {"augment": "crop"},
    "cutmix": {"cutmix": 0.5},
    "labels": {"labels": "hard"},
    "normalisation": {"normalisation": "teacher"},
    "generated": {"generated": "train"},
    "epochs": {"epochs": 1},
}


def test_what_an_evaluation_writes_is_read_setting_by_setting(tiny_data: RealData) -> None:
    first = judged(tiny_data)
    assert differing([first, judged(tiny_data)]) == [] and differing([first]) == [] and differing([]) == []
    for name, options in CHANGED.items():
        found = {one.name: one for one in differing([first, judged(tiny_data, **options)])}
        assert name in found, name
        assert len(set(found[name].values)) == 2 and found[name].odd(1) and not found[name].odd(0)
    assert differing([first, judged(tiny_data, seeds=3, updates=(2, 4, 5))]) == []
    augmented = {"augment": "rotate"}
    for name, options in (
        ("augment mode", {"augment_mode": "all"}),
        ("augment strength", {"augment_strength": {"rotate": 9.0}}),
    ):
        found = {
            one.name: one
            for one in differing([judged(tiny_data, **augmented), judged(tiny_data, **augmented, **options)])
        }
        assert list(found) == [name]


def test_a_setting_is_what_it_says_and_not_how_it_is_written() -> None:
    def learning(**options: Any) -> dict[str, Any]:
        return {"learning": {"batch_size": 8, "split": "test"} | options}

    path = "gendistill.nets.learners.MLP"
    assert not differing([learning(learner=path), learning(learner={"class_path": path})])
    assert not differing([learning(learner={"class_path": path, "init_args": {}}), learning(learner=path)])
    order = [{"width": 8, "depth": 2}, {"depth": 2, "width": 8}]
    specs = [{"class_path": path, "init_args": arguments} for arguments in order]
    assert not differing([learning(learner=spec) for spec in specs])
    assert not differing([learning(augment=None), learning(augment="none")])
    assert not differing([learning(momentum=0), learning(momentum=0.0)])
    assert differing([learning(momentum=[0.85, 0.95]), learning(momentum=0.95)])
    # What is not said may be anything; what later versions say is compared where both say it.
    missing = learning()
    del missing["learning"]["batch_size"]
    assert [one.values for one in differing([learning(), missing])] == [("8", "not said")]
    sizes = {"train": 96, "validation": 30, "test": 60}
    assert not differing([learning(split_sizes=sizes), learning()])
    assert not differing([learning() | {"dataset_fingerprint": "a"}, learning()])
    both = [learning() | {"dataset_fingerprint": print_} for print_ in "ab"]
    assert [one.name for one in differing(both)] == ["data (fingerprint)"]
    assert [one.name for one in differing([learning() | {"dataset": name} for name in "ab"])] == ["data set"]
    # A private teacher is judged on the test images alone: what others saw beside them is no setting of its results.
    private = learning(split_sizes={"train": 10, "validation": 10, "test": 60})
    private |= {"dataset_fingerprint": "b", "test_fingerprint": "t", "privacy": {"epsilon": 1.0}}
    public = learning(split_sizes=sizes) | {"dataset_fingerprint": "a", "test_fingerprint": "t"}
    assert not differing([public, private])
    assert [one.name for one in differing([public, private | {"test_fingerprint": "u"}])] == [
        "test images (fingerprint)"
    ]
    other = learning(split_sizes=sizes | {"test": 61}) | {"test_fingerprint": "t"}
    assert [one.name for one in differing([private, other])] == ["test images"]
    assert not differing([learning(), {"learning": None}])


def test_rates() -> None:
    own = {"lr": ["teacher", "teacher"], "schedule": "cosine", "learner_updates": 9}
    assert own_rates(own) and planned_length(own) is None
    assert own_rates({"lr": [["teacher"], ["teacher"]]}) and not own_rates({"lr": ["teacher", 0.1]})
    assert not own_rates({}) and rates_tried({}) == [] and rates_tried({"lr": [0.1, 0.1]}) == [0.1]
    assert rates_tried({"lr": [0.1], "selection": {"candidates": [0.1, 0.3]}}) == [0.1, 0.3]
    assert planned_length({"schedule": "cosine", "learner_updates": 9}) == 9
    assert planned_length({"schedule": "constant", "learner_updates": 9}) is None


@pytest.mark.parametrize("name", SETTINGS)
def test_every_setting_reads_results_that_say_nothing(name: str) -> None:
    value = SETTINGS[name]({}, {})
    assert value is None or isinstance(value, str)


def test_to_say_what_a_network_takes_anyway_is_no_difference() -> None:
    def of(path: str, **arguments: Any) -> dict[str, Any]:
        return {"learning": {"learner": {"class_path": path, "init_args": arguments}}}

    mlp, convnet = "gendistill.nets.learners.MLP", "gendistill.nets.learners.ConvNet"
    assert not differing([of(convnet), of(convnet, width=128), of(convnet, depth=3, width=128)])
    (found,) = differing([of(convnet, width=64, depth=3), of(convnet)])
    assert found.values == (f"{convnet}(width=64)", convnet)
    assert differing([of(convnet), of(mlp)])
    # Networks of others are not looked at, and what is none has no defaults.
    for path in ("elsewhere.Net", "gendistill.nets.learners.Nothing", "gendistill.nets.nowhere.Net"):
        assert differing([of(path), of(path, width=128)]) and not differing([of(path), of(path)])
