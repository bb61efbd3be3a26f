from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.learning import cross_architecture, learner_name, learning_curve, updates_to
from gendistill.teacher import RealSubset, StoredImages

SMALL = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 1}}
QUICK = {"learner": SMALL, "batch_size": 16, "seeds": 2}


@pytest.fixture
def real(tiny_data) -> RealSubset:
    return RealSubset.all(tiny_data.train, tiny_data.description)


def learned(tiny_data, rates) -> StoredImages:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    return StoredImages(images, labels, tiny_data.description, learning_rates=torch.tensor(rates))


def same(one, other) -> bool:
    ignored = {"seconds"}
    return {k: v for k, v in one.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def test_a_learner_learns_and_the_result_is_plain(tiny_data, real):
    seen = []
    result = learning_curve(
        real, tiny_data, updates=(40, 0, 10, 10), lr=0.1, progress=lambda *done: seen.append(done), **QUICK
    )
    assert json.loads(json.dumps(result)) == result
    assert result["updates"] == [0, 10, 40]
    assert result["images_seen"] == [0, 160, 640]
    assert result["learner_updates"] == 40
    assert result["lr"] == [0.1] * 3
    assert result["selection"] is None
    assert seen[-1] == (40, 40)
    runs = torch.tensor(result["accuracy"]["runs"], dtype=torch.float64)
    assert runs.shape == (3, 2)
    assert result["accuracy"]["mean"] == pytest.approx(runs.mean(1).tolist())
    assert result["accuracy"]["std"] == pytest.approx(runs.std(1, correction=1).tolist())
    # Bands of three rows are easy: guesses at first, all right after 40 updates.
    assert runs[0].max() < 0.7
    assert runs[2].min() > 0.95


def test_seeds_are_paired_and_do_not_depend_on_their_company(tiny_data, real):
    subset = RealSubset.random(
        tiny_data.train, tiny_data.description, generator=torch.Generator().manual_seed(0), images_per_class=4
    )
    options = QUICK | {"updates": (0, 5), "lr": 0.05}
    all_real = learning_curve(real, tiny_data, **options | {"seeds": 3})
    some = learning_curve(subset, tiny_data, **options | {"seeds": [2, 0]})
    alone = learning_curve(real, tiny_data, **options | {"seeds": [2]})
    runs = all_real["accuracy"]["runs"]
    assert some["accuracy"]["runs"][0] == [runs[0][2], runs[0][0]]
    assert alone["accuracy"]["runs"] == [[runs[0][2]], [runs[1][2]]]
    assert alone["accuracy"]["std"] == [None, None]


def test_a_grid_is_its_rates_tried_one_by_one(tiny_data, real):
    options = QUICK | {"updates": (3, 8), "schedule": "step"}
    grid = [0.001, 0.003, 0.01]
    single = {lr: learning_curve(real, tiny_data, lr=lr, **options) for lr in grid}
    on_validation = {lr: learning_curve(real, tiny_data, lr=lr, split="validation", **options) for lr in grid}
    result = learning_curve(real, tiny_data, lr=grid, **options)
    validation = [[on_validation[lr]["accuracy"]["mean"][place] for lr in grid] for place in range(2)]
    assert result["selection"]["candidates"] == grid
    torch.testing.assert_close(torch.tensor(result["selection"]["validation"]), torch.tensor(validation))
    best = [grid[scores.index(max(scores))] for scores in validation]
    assert result["lr"] == best
    expected = [single[lr]["accuracy"]["runs"][place] for place, lr in enumerate(best)]
    torch.testing.assert_close(torch.tensor(result["accuracy"]["runs"]), torch.tensor(expected))
    last = learning_curve(real, tiny_data, lr=grid, select="last", **options)
    assert last["lr"] == [best[-1]] * 2
    torch.testing.assert_close(
        torch.tensor(last["accuracy"]["runs"]), torch.tensor(single[best[-1]]["accuracy"]["runs"])
    )


@pytest.mark.parametrize("select", ["each", "last"])
def test_the_test_split_has_no_say_in_the_selection(tiny_data, real, select):
    options = QUICK | {"updates": (2, 8), "lr": [1e-4, 0.003, 0.01], "select": select}
    # With wrong labels on the test split, the worst rate looks best there.
    wrong = Split(tiny_data.test.images, (tiny_data.test.labels + 1) % 3)
    one = learning_curve(real, tiny_data, **options)
    other = learning_curve(real, dataclasses.replace(tiny_data, test=wrong), **options)
    assert one["lr"] == other["lr"]
    assert one["selection"] == other["selection"]
    assert one["accuracy"] != other["accuracy"]


def test_by_default_a_teacher_is_followed_in_its_rates(tiny_data):
    options = QUICK | {"updates": (1, 5), "momentum": 0.0, "weight_decay": 0.0}
    followed = learning_curve(learned(tiny_data, [0.01]), tiny_data, **options)
    assert followed["lr"] == ["teacher"] * 2
    fixed = learning_curve(learned(tiny_data, [0.3]), tiny_data, lr=0.01, **options)
    assert followed["accuracy"]["runs"] == fixed["accuracy"]["runs"]
    changing = learning_curve(learned(tiny_data, [0.01, 1e-6]), tiny_data, **options)
    assert changing["accuracy"]["runs"][0] == followed["accuracy"]["runs"][0]
    assert changing["accuracy"]["runs"][1] != followed["accuracy"]["runs"][1]


def test_strategies_agree(tiny_data, real):
    options = QUICK | {"updates": (0, 4, 10), "lr": [0.003, 0.01], "augment": "scale"}
    separate = learning_curve(real, tiny_data, batched=False, **options)
    stacked = learning_curve(real, tiny_data, batched=True, **options)
    torch.testing.assert_close(
        torch.tensor(separate["accuracy"]["runs"]), torch.tensor(stacked["accuracy"]["runs"]), rtol=0, atol=0.02
    )


def test_repeatable_and_without_touching_the_global_generator(tiny_data, real):
    options = QUICK | {"updates": (4,), "lr": 0.05, "augment": "scale"}
    before = torch.random.get_rng_state()
    first = learning_curve(real, tiny_data, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert same(first, learning_curve(real, tiny_data, **options))


def test_a_diverged_learner_counts_as_wrong_and_is_not_chosen(tiny_data, real):
    options = QUICK | {"updates": (12,), "learner": "gendistill.nets.learners.MLP"}
    assert learning_curve(real, tiny_data, lr=1e12, **options)["accuracy"]["mean"] == [0.0]
    assert learning_curve(real, tiny_data, lr=[1e12, 0.03], **options)["lr"] == [0.03]


def test_cross_architecture_names_each_learner(tiny_data, real):
    results = cross_architecture(real, tiny_data, updates=(2,), seeds=1, lr=0.05, batch_size=8)
    assert list(results) == ["ConvNet(width=32, depth=2)", "MLP", "LeNet"]
    assert results["LeNet"]["learner"] == {"class_path": "gendistill.nets.learners.LeNet"}
    direct = learning_curve(
        real, tiny_data, learner="gendistill.nets.learners.MLP", updates=(2,), seeds=1, lr=0.05, batch_size=8
    )
    assert same(results["MLP"], direct)
    assert learner_name(SMALL) == "ConvNet(width=4, depth=1)"


def test_updates_to_is_the_first_measured_count_that_reaches_the_target():
    result = {"updates": [0, 10, 30, 100], "accuracy": {"mean": [0.1, 0.8, 0.7, 0.9]}}
    assert [updates_to(result, target) for target in (0.1, 0.5, 0.8, 0.85, 0.91)] == [0, 10, 10, 100, None]
    with pytest.raises(UserError, match="fraction between 0 and 1"):
        updates_to(result, 90)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"updates": ()}, "one or more"),
        ({"updates": (-1, 3)}, "at least 0"),
        ({"updates": (1.5,)}, "whole numbers"),
        ({"seeds": 0}, "at least 1"),
        ({"seeds": [1, 1]}, "different seeds"),
        ({"optimizer": "sdg"}, "did you mean 'sgd'"),
        ({"select": "first"}, "each, last"),
        ({"split": "tset"}, "did you mean 'test'"),
        ({"augment": "scael"}, "did you mean 'scale'"),
        ({"learner": "gendistill.nets.learners.ConvNett"}, "did you mean 'ConvNet'"),
    ],
)
def test_bad_options_are_explained(tiny_data, real, options, message):
    with pytest.raises(UserError, match=message):
        learning_curve(real, tiny_data, **QUICK | {"updates": (1,), "lr": 0.1} | options)


def test_a_grid_needs_a_validation_split(tiny_data, real):
    nothing = Split(tiny_data.validation.images[:0], tiny_data.validation.labels[:0])
    data = dataclasses.replace(tiny_data, validation=nothing)
    assert isinstance(data, RealData)
    learning_curve(real, data, lr=0.1, updates=(0,), **QUICK)
    with pytest.raises(UserError, match="no validation images"):
        learning_curve(real, data, lr=[0.1, 0.2], updates=(0,), **QUICK)


def test_a_result_says_what_was_asked_and_how_large_the_splits_are(tiny_data, real):
    sizes = {"train": len(tiny_data.train), "validation": len(tiny_data.validation), "test": len(tiny_data.test)}
    options = {"learner": "gendistill.nets.learners.MLP", "updates": [1], "seeds": 1, "batch_size": 8}
    for asked, told in ((0.1, 0.1), ("grid", "grid"), (None, None), ((0.1, 0.3), [0.1, 0.3])):
        found = learning_curve(real, tiny_data, lr=asked, **options)
        assert found["split_sizes"] == sizes and found["lr_asked"] == told
