"""Right answers by class as scores, against closed forms and a slow obvious count."""

from __future__ import annotations

import statistics
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.evaluate import learning_notes
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.pooled import pooled
from gendistill.evaluation.rates import Candidate
from gendistill.evaluation.scores import at_chance, chance_limit, score, summary
from gendistill.evaluation.stacked import Stacked
from gendistill.evaluation.workers import Workers
from gendistill.teacher import RealSubset

MLP = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 12}}


def test_a_summary_is_what_its_words_say() -> None:
    sizes = torch.tensor([6, 0, 2])
    found = summary([torch.tensor([[3, 0, 2], [6, 0, 1]]), torch.tensor([[6, 0, 2], [6, 0, 0]])], sizes)
    assert found["runs"] == [[5 / 8, 7 / 8], [1.0, 6 / 8]]
    assert found["mean"] == [6 / 8, 7 / 8] and found["std"][0] == pytest.approx(statistics.stdev([5 / 8, 7 / 8]))
    assert found["balanced"]["runs"] == [[(1 / 2 + 1) / 2, (1 + 1 / 2) / 2], [1.0, 1 / 2]]
    assert found["balanced"]["mean"] == [0.75, 0.75] and found["balanced"]["std"][0] == 0.0
    assert found["per_class"] == [[0.75, None, 0.75], [1.0, None, 0.5]]
    one = summary([torch.tensor([[3, 0, 2]])], sizes)
    assert one["std"] == [None] and one["balanced"]["std"] == [None]


@given(st.lists(st.integers(1, 20), min_size=1, max_size=6), st.data())
def test_balanced_is_accuracy_where_classes_are_even(sizes: list[int], data: st.DataObject) -> None:
    right = torch.tensor([[data.draw(st.integers(0, size)) for size in sizes]])
    both = [float(score(name, right, torch.tensor(sizes))) for name in ("accuracy", "balanced")]
    assert both[0] == pytest.approx(sum(right[0].tolist()) / sum(sizes))
    assert both[1] == pytest.approx(statistics.fmean(r / n for r, n in zip(right[0].tolist(), sizes, strict=True)))
    if len(set(sizes)) == 1:
        assert both[0] == pytest.approx(both[1])


def uneven(data: RealData) -> RealData:
    """Keep 60, 20 and 4 test images of the three classes (and of the last none in validation)."""
    labels = torch.tensor([0] * 60 + [1] * 20 + [2] * 4)
    index = torch.cat([(data.train.labels == label).nonzero().flatten()[:20] for label in range(3)])
    images = data.train.images[index]
    test = Split(torch.cat([images[:20].repeat(3, 1, 1, 1), images[20:40], images[40:44]]), labels)
    few = data.validation.labels != 2
    return replace(data, test=test, validation=Split(data.validation.images[few], data.validation.labels[few]))


@pytest.mark.parametrize("strategy", [Separate, Stacked])
def test_right_answers_by_class_equal_a_slow_count(tiny_data: RealData, strategy: type[Any]) -> None:
    data = uneven(tiny_data)
    way = Candidate(0.1, (0.1,), (0.0,), 0.0)
    ensemble = strategy(
        MLP, data.description, (3, 4), [way], optimizer="sgd", device=torch.device("cpu"), workers=Workers(1)
    )
    found = ensemble.right_by_class([1, 0], data.test)
    slow = torch.zeros(2, 3, dtype=torch.int64)
    for row, seed in enumerate((4, 3)):
        from gendistill.evaluation.ensemble import build_learner

        network = build_learner(MLP, data.description, seed).eval()
        for image, label in zip(data.test.images, data.test.labels.tolist(), strict=True):
            answer = network(data.description.normalisation.apply(image[None])).argmax()
            slow[row, label] += int(answer == label)
    assert torch.equal(found, slow)
    assert torch.equal(ensemble.accuracy([1, 0], data.test), slow.sum(1).double() / 84)


def test_a_curve_reports_each_class(tiny_data: RealData) -> None:
    data = uneven(tiny_data)
    curve = learning_curve(
        RealSubset.all(data.train, data.description), data, learner=MLP, updates=[0, 20], seeds=2, lr=0.1, split="test"
    )
    assert curve["split_sizes"] == {"train": 96, "validation": 20, "test": 84} and curve["class_sizes"] == [60, 20, 4]
    accuracy = curve["accuracy"]
    assert list(accuracy) == ["mean", "std", "runs", "balanced", "per_class"]
    for place in (0, 1):
        each = accuracy["per_class"][place]
        assert accuracy["balanced"]["mean"][place] == pytest.approx(statistics.fmean(each))
        assert accuracy["mean"][place] == pytest.approx((60 * each[0] + 20 * each[1] + 4 * each[2]) / 84)
    missing = learning_curve(
        RealSubset.all(data.train, data.description), data, learner=MLP, updates=[1], seeds=1, lr=0.1,
        split="validation",
    )  # fmt: skip
    assert missing["accuracy"]["per_class"][0][2] is None
    assert missing["accuracy"]["balanced"]["mean"][0] == pytest.approx(
        statistics.fmean(missing["accuracy"]["per_class"][0][:2])
    )


def test_the_rate_may_be_the_best_in_balanced_accuracy(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    """One candidate knows the large class alone, the other knows the small ones: each is best in its own measure."""
    labels = torch.tensor([0] * 20 + [1, 2])
    split = Split(torch.zeros(22, 1, 8, 8, dtype=torch.uint8), labels)
    data = replace(tiny_data, validation=split, test=split)
    rows = {0: torch.tensor([20, 0, 0]), 1: torch.tensor([10, 1, 1])}  # by candidate
    monkeypatch.setattr(
        Separate, "right_by_class", lambda self, members, split: torch.stack([rows[member % 2] for member in members])
    )
    teacher = RealSubset.all(data.train, data.description)
    for measure, best, balanced in (("accuracy", 0.5, 1 / 3), ("balanced", 0.25, (0.5 + 1 + 1) / 3)):
        curve = learning_curve(
            teacher, data, learner=MLP, updates=[1], seeds=2, lr=[0.5, 0.25], batched=False, measure=measure
        )
        assert curve["lr"] == [best] and curve["measure"] == measure
        assert curve["accuracy"]["balanced"]["mean"] == [pytest.approx(balanced)]
    with pytest.raises(UserError, match="measure is 'balance'; did you mean 'balanced'"):
        learning_curve(teacher, data, learner=MLP, updates=[1], measure="balance")


def test_runs_are_pooled_with_their_classes() -> None:
    def run(right: list[int]) -> dict[str, Any]:
        accuracy = summary([torch.tensor([right])], torch.tensor([4, 0, 2]))
        learning = {"updates": [9], "accuracy": accuracy, "seeds": [0], "lr": [1], "seconds": 1.0}
        return {"learning": learning, "fidelity": None}

    accuracy = pooled([run([4, 0, 0]), run([2, 0, 2])])["learning"]["accuracy"]
    assert accuracy["balanced"]["mean"] == [0.625] and accuracy["balanced"]["runs"] == [[0.5, 0.75]]
    assert accuracy["per_class"] == [[0.75, None, 0.5]]


def test_chance_is_told_from_knowledge() -> None:
    # Ten classes of 40: 1/10 and twice sqrt(0.09 * 10 / 40) / 10.
    assert chance_limit([40] * 10) == pytest.approx(0.1 + 2 * 0.015)
    assert chance_limit([40, 0, 40]) == chance_limit([40, 40]) == pytest.approx(0.5 + 2 * (0.25 * 2 / 40) ** 0.5 / 2)

    def curve(
        value: float, updates: int = 10, sizes: tuple[int, ...] = (40,) * 10, plain: float | None = None
    ) -> dict[str, Any]:
        scores = {"mean": [value if plain is None else plain], "balanced": {"mean": [value]}}
        return {"class_sizes": list(sizes), "updates": [updates], "accuracy": scores}

    assert at_chance(curve(0.0)) and at_chance(curve(0.12)) and not at_chance(curve(0.14))
    assert not at_chance(curve(0.1, updates=0)) and not at_chance(curve(1.0, sizes=(40,)))
    # 19 of 20 right is no guessing, though the one image of the rare class is missed; always the largest class is.
    assert not at_chance(curve(2 / 3, sizes=(11, 8, 1), plain=0.95))
    assert at_chance(curve(1 / 3, sizes=(11, 8, 1), plain=0.55))


def test_images_too_few_to_tell_are_said(tiny_data: RealData) -> None:
    accuracy = {"mean": [1.0], "balanced": {"mean": [1.0]}}
    learning: dict[str, Any] = {"class_sizes": [1, 1, 1], "updates": [3], "split": "test", "accuracy": accuracy}
    assert chance_limit(learning["class_sizes"]) < 1
    assert learning_notes(learning, tiny_data) == []
    learning["class_sizes"] = [1, 1, 0]
    absent, few = learning_notes(learning, tiny_data)
    assert "has no image of" in absent
    assert few == "the 2 images of the test split are too few to tell learning from guessing"


def test_guessers_are_at_chance_as_often_as_the_rule_says() -> None:
    """Guessers with any preference stay below the limit in about 97.7 % of test sets or more."""
    sizes, draws = torch.tensor([60, 40, 4]), 4000
    generator = torch.Generator().manual_seed(0)
    for preference in ((1 / 3, 1 / 3, 1 / 3), (0.8, 0.1, 0.1), (0.0, 1.0, 0.0), (0.3, 0.3, 0.4)):
        right = torch.stack(
            [
                (torch.rand(draws, int(size), generator=generator) < share).sum(1)
                for size, share in zip(sizes, preference, strict=True)
            ],
            1,
        )
        below = (score("balanced", right, sizes) <= chance_limit(sizes.tolist())).double().mean()
        assert below > 0.96
