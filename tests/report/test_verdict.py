"""Sentences, shading and bold: what they follow from, and when there are none."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest
from made_results import chosen, real, result, table
from scipy import stats

from gendistill.report.findings import findings
from gendistill.report.page import render
from gendistill.report.terminal import text_table
from gendistill.report.verdict import verdict


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Words, marks and shading are looked at here; drawing would take most of the time."""
    monkeypatch.setattr("gendistill.report.figures._twice", lambda draw, name, label: "")


def said(results: dict[str, Any]) -> list[str]:
    return findings(verdict(results))


def claims(results: dict[str, Any]) -> str:
    """Return everything in table and page that names a winner."""
    page = render(results, {}, {}).split('id="results">')[0]
    marks = re.findall(r'<td class="[^"]*(?:best|win)[^"]*"', page)
    sentences = [line for line in text_table(results).splitlines() if "beats" in line or "is ahead of" in line]
    return " ".join([*marks, *sentences])


RUNS = [[0.86, 0.84, 0.87, 0.85, 0.86], [0.90, 0.91, 0.90, 0.92, 0.91]]
BETTER = [[0.93, 0.94, 0.93, 0.92, 0.94], [0.91, 0.90, 0.91, 0.92, 0.90]]


def test_a_sentence_has_difference_interval_seeds_and_correction() -> None:
    results = table(real(runs=RUNS), result("gtn", runs=BETTER))
    differences = np.subtract(BETTER[0], RUNS[0])
    p = stats.ttest_rel(BETTER[0], RUNS[0]).pvalue
    assert 2 * p < 0.05
    reach = stats.t.isf(0.05 / 4, 4) * differences.std(ddof=1) / np.sqrt(5)  # the first of two steps
    low, high = 100 * (differences.mean() - reach), 100 * (differences.mean() + reach)
    assert said(results)[0] == (
        f"gtn beats training on all real data after 10 updates: +{100 * differences.mean():.1f} points, 95 % CI "
        f"{low:.1f} to {high:.1f}, 5 seeds, Holm over 2 comparisons (93.2 ± 0.8 % against 85.6 ± 1.1 %)."
    )
    assert said(table(real(), result("gtn")))[0].startswith(("gtn beats", "No lead"))
    assert said(table(result("gtn"))) == [] and said(table(real())) == []


def test_where_no_lead_is_decided_it_is_said() -> None:
    results = table(real(seeds=10), result("b", (0.1, 0.1), seeds=10))
    assert said(results) == [
        "No lead over training on all real data is decided at any number of updates measured "
        "(paired t over 10 seeds, Holm over 2 comparisons).",
        "Training on all real data is ahead of b at every number of updates measured.",
    ]


def test_real_data_is_known_by_what_it_is() -> None:
    impostor = result("real", (0.1, 0.1))
    assert said(table(impostor, result("gtn", (0.8, 0.9)))) == []
    renamed = real(name="everything", seeds=10)
    assert said(table(renamed, result("gtn", (0.8, 0.9), seeds=10)))[0].startswith(
        "gtn beats training on all real data"
    )
    older = real(seeds=10)
    del older["teacher"]["everything"], older["learning"]["split_sizes"]
    assert verdict(table(older)).reference is not None
    # As many real images as there are, under whatever path; fewer of them are not everything.
    subset = real(seeds=10)
    subset["teacher"] |= {"path": "real:subset=1197"}
    del subset["teacher"]["everything"]
    assert verdict(table(subset)).reference is not None
    subset["teacher"]["images"] = 1190
    assert verdict(table(subset)).reference is None


def test_learners_of_other_seeds_are_compared_by_welch() -> None:
    results = table(real(runs=RUNS), result("gtn", runs=BETTER, seeds=5))
    results["teachers"][1]["learning"]["seeds"] = [5, 6, 7, 8, 9]
    found = verdict(results)
    one = found.against["gtn", 10]
    assert not one.paired and one.p == pytest.approx(stats.ttest_ind(BETTER[0], RUNS[0], equal_var=False).pvalue)
    assert "5 against 5 seeds, Welch" in said(results)[0]


@pytest.mark.parametrize(("seeds", "words"), [(1, "one seed says nothing"), (2, "too few"), (3, "too few"), (5, "few")])
def test_few_seeds_are_said(seeds: int, words: str) -> None:
    means = (0.5,) * 8
    counts = (1, 2, 4, 8, 16, 32, 64, 128)
    teachers = [result(name, means, updates=counts, seeds=seeds) for name in "abcd"]
    results = table(real(means, updates=counts, seeds=seeds), *teachers)
    assert words in said(results)[-1] and "--seeds 10" in said(results)[-1]
    if seeds == 1:
        assert claims(results) == ""
    enough = [result(name, means, updates=counts, seeds=10) for name in "abcd"]
    assert not any("few" in one for one in said(table(real(means, updates=counts, seeds=10), *enough)))


def test_one_number_named_beforehand_is_the_whole_family() -> None:
    lead = [[round(value + 0.02 + 0.005 * (place % 2), 4) for place, value in enumerate(RUNS[0])], RUNS[1]]
    many = [result(name, runs=RUNS) for name in "abcdefgh"]
    results = table(real(runs=RUNS), result("gtn", runs=lead), *many)
    assert len(verdict(results).against) == 18 and len(verdict(results | {"rank_at": 10}).against) == 9
    assert all(count == 10 for _, count in verdict(results | {"rank_at": 10}).against)
    narrower, wide = (verdict(one).against["gtn", 10] for one in (results | {"rank_at": 10}, results))
    assert narrower.adjusted < wide.adjusted
    page = render(results | {"rank_at": 10}, {}, {})
    assert "n = 10 alone was named beforehand" in page
    assert "n = 7 was not measured for both" in said(results | {"rank_at": 7})[0]


def test_bold_is_ahead_of_every_other_and_not_only_highest() -> None:
    lower = [[value - 0.05 for value in row] for row in RUNS]
    clear = verdict(table(result("a", runs=BETTER), result("b", runs=RUNS), result("c", runs=lower)))
    assert clear.best == {10: "a"} and clear.pairs == 6
    page = render(table(result("a", runs=BETTER), result("b", runs=RUNS), result("c", runs=lower)), {}, {})
    assert page.count('class="best"') == 1 and "corrected over 6 pairs" in page
    # The highest of a column whose lead over the second is noise is not bold.
    close = [[value + 0.001 * (-1) ** place for place, value in enumerate(row)] for row in BETTER]
    assert verdict(table(result("a", runs=BETTER), result("b", runs=close), result("c", runs=lower))).best == {}
    # Nor one that a teacher with a single seed cannot be compared with.
    single = result("d", runs=[[0.2], [0.2]])
    assert 10 not in verdict(table(result("a", runs=BETTER), result("c", runs=lower), single)).best


DIFFERENT: list[tuple[str, dict[str, Any]]] = [
    ("batch size", {"batch_size": 8}),
    ("learner", {"learner": "gendistill.nets.learners.MLP"}),
    ("split", {"split": "validation"}),
    ("optimizer", {"optimizer": "adam"}),
    ("momentum", {"momentum": 0.5}),
    ("weight decay", {"weight_decay": 0.0}),
    ("schedule", {"schedule": "cosine"}),
    ("augment", {"augment": "crop_flip"}),
    ("labels", {"labels": "hard"}),
    ("normalisation", {"normalisation": "teacher"}),
    ("generated", {"generated": "train"}),
    ("protocol", {"protocol": "shi-chen"}),
    ("epochs", {"epochs": 3}),
    ("learning rates tried", {"lr_asked": 0.3, "lr": [0.3, 0.3]}),
    ("learning rates tried", chosen([0.1, 0.3], "each", [0.1, 0.3])),
    ("test images", {"split_sizes": {"train": 1197, "validation": 200, "test": 390}}),
]


@pytest.mark.parametrize(("name", "setting"), DIFFERENT)
def test_nothing_is_concluded_from_unequal_settings(name: str, setting: dict[str, Any]) -> None:
    alike = table(real(seeds=10), result("gan", (0.8, 0.99), seeds=10))
    assert claims(alike)
    results = table(real(seeds=10), result("gan", (0.8, 0.99), seeds=10, **setting))
    assert claims(results) == ""
    found = verdict(results)
    assert name in [one.name for one in found.differing] and not found.against and not found.best
    assert found.marked(1) and not found.marked(0)
    said_of = text_table(results)
    assert "gan *" in said_of and "under different settings" in said_of and name in said_of
    page = render(results, {}, {})
    assert "under different settings" in page and '<span class="mark"' in page


def test_what_belongs_to_a_teacher_withholds_nothing() -> None:
    own: list[dict[str, Any]] = [
        {"lr_asked": None, "lr": ["teacher", "teacher"]},
        {"lr_asked": "learned", "lr": [0.02, 0.02]},
        {"lr_asked": None, "lr": ["teacher"] * 2, "momentum": 0.5, "schedule": "cosine"},  # did not apply
        {"initialisation": "from one known network"},
        {"images_seen": [200, 2000]},
    ]
    for setting in own:
        results = table(real(seeds=10), result("gan", (0.8, 0.99), seeds=10, **setting))
        assert not verdict(results).differing and "beats" in claims(results), setting
    elsewhere = table(real(seeds=10), result("gan", (0.8, 0.99), seeds=10))
    elsewhere["teachers"][1]["learning"]["seeds"] = list(range(5, 15))
    assert not verdict(elsewhere).differing and "Welch" in claims(elsewhere)
    older = table(real(seeds=10), result("gan", (0.8, 0.99), seeds=10))
    for key in ("split_sizes", "augment_mode", "augment_strength", "normalisation", "labels", "generated", "lr_asked"):
        del older["teachers"][1]["learning"][key]
    assert not verdict(older).differing and "beats" in claims(older)


def test_trainings_planned_for_other_lengths_are_not_compared() -> None:
    epochs: dict[str, Any] = {"schedule": "cosine", "epochs": 3}
    short = result("small", (0.8, 0.99), seeds=10, learner_updates=100, **epochs)
    results = table(real(seeds=10, learner_updates=300, **epochs), short)
    assert not verdict(results).differing and claims(results) == ""
    assert "planned alike" in said(results)[0]
    equal = table(real(seeds=10, learner_updates=100, **epochs), short)
    assert "beats" in claims(equal)
    # Without epochs the length is an option, and options must be the same.
    cosine = {"schedule": "cosine"}
    unequal = table(real(learner_updates=300, **cosine), result("small", (0.8, 0.99), learner_updates=100, **cosine))
    assert [one.name for one in verdict(unequal).differing] == ["length of the training"]


def test_results_without_single_seeds_conclude_nothing() -> None:
    results = table(real(), result("gan", (0.9, 0.99)))
    for one in results["teachers"]:
        del one["learning"]["accuracy"]["runs"]
    assert claims(results) == "" and "lack the accuracies of single seeds" in said(results)[0]
