"""Teachers beside as many real images: differences against plain numbers, and who is held against whom."""

from __future__ import annotations

import copy
import csv
from pathlib import Path
from typing import Any

import pytest
from made_results import real, result, table
from scipy import stats

from gendistill.errors import UserError
from gendistill.report.architectures import learner_cells
from gendistill.report.chosen import chosen
from gendistill.report.export import export
from gendistill.report.page import render
from gendistill.report.terminal import text_table
from gendistill.report.verdict import verdict


def choice(reference: str, images: int, runs: list[list[float]], labeller: int = 0) -> dict[str, Any]:
    one = result(reference, runs=runs)
    one["teacher"] |= {"kind": "real-subset", "path": reference, "images": images, "everything": False}
    one["teacher"] |= {"image_bytes": 1, "label_bytes": 1, "labeller_bytes": labeller}
    return one


def stored(name: str, images: int | None, runs: list[list[float]], labeller: int = 0) -> dict[str, Any]:
    one = result(name, runs=runs)
    one["teacher"] |= {"images": images, "path": name, "image_bytes": 1, "label_bytes": 1, "labeller_bytes": labeller}
    return one


OURS, THEIRS = [[0.50, 0.52, 0.51], [0.90, 0.93, 0.91]], [[0.40, 0.44, 0.42], [0.90, 0.90, 0.90]]


def test_differences_are_paired_and_one_family(tmp_path: Path) -> None:
    results = table(stored("dm", 20, OURS), choice("real:ipc=2", 20, THEIRS), choice("real:herding=3", 30, THEIRS))
    found = chosen(verdict(results))
    assert found.pairs == [("dm", "real:ipc=2")]  # herding is of more images
    one = found.differences["dm", "real:ipc=2", 10]
    plain = stats.ttest_rel(OURS[0], THEIRS[0])
    assert one.p == pytest.approx(plain.pvalue) and one.mean == pytest.approx(0.09) and one.decided
    low, high = plain.confidence_interval(1 - 0.05 / 2)  # the clearest of two, by Holm
    assert (one.low, one.high) == pytest.approx((low, high))
    text = text_table(results)
    assert "dm − real:ipc=2" in text and "▲ decided to be ahead, ▼ behind: 1 and 0 of 2." in text
    assert "3 seeds are too few to decide any but enormous leads for 2 comparisons" in text
    assert "<h2>Beside as many real images</h2>" in render(results, {}, {})
    export(results, tmp_path)
    (first, _) = csv.DictReader((tmp_path / "baselines.csv").open())
    assert first["held against"] == "real:ipc=2" and first["decided"] == "yes" and float(first["low"]) == one.low
    assert r"dm $-$ real:ipc=2" in (tmp_path / "baselines.tex").read_text()
    assert [*chosen(verdict(results | {"rank_at": 100})).differences] == [("dm", "real:ipc=2", 100)]


def test_labels_of_a_labeller_are_held_against_those_who_have_them() -> None:
    results = table(
        stored("rded", 20, OURS, labeller=9),
        stored("dm", 20, OURS),
        stored("gan", None, OURS),
        choice("real:ipc=2", 20, THEIRS),
        choice("real:ipc=2,labels=rded", 20, THEIRS, labeller=9),
        real((0.3, 0.95)),
    )
    labelled = "real:ipc=2,labels=rded"
    assert chosen(verdict(results)).pairs == [("rded", "real:ipc=2"), ("rded", labelled), ("dm", "real:ipc=2")]
    for one in results["teachers"]:
        curve = {"updates": one["learning"]["updates"], "accuracy": one["learning"]["accuracy"], "parameters": 1}
        one["architectures"] = [{"name": "MLP", "seen": False} | curve]
    beside = {cell.teacher: cell.beside for cell in learner_cells(results)}
    # Of several choices only one of as many images says something: nothing is held against any other.
    assert beside == {"rded": labelled, "dm": "real:ipc=2", "gan": None, "real": None} | dict.fromkeys(
        ("real:ipc=2", labelled)
    )


def test_nothing_is_compared_between_different_settings() -> None:
    other = copy.deepcopy(choice("real:ipc=2", 20, THEIRS))
    other["learning"]["batch_size"] = 32
    results = table(stored("dm", 20, OURS), other)
    assert not chosen(verdict(results)).differences and "dm − " not in text_table(results)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one["accuracy"].update(mean=[0.5]), "accuracy.mean has 1 entries, expected one for each of 2"),
        (lambda one: one["accuracy"].pop("mean"), "accuracy.mean is missing"),
        (lambda one: one["accuracy"].update(runs=[[0.51], [0.913]]), "3 seeds, but 1 run"),
    ],
)
def test_curves_of_further_learners_are_checked_as_the_first_ones_are(change: Any, said: str) -> None:
    one = stored("dm", 20, OURS)
    curve = copy.deepcopy({"updates": one["learning"]["updates"], "accuracy": one["learning"]["accuracy"]})
    one["architectures"] = [{"name": "MLP", "seen": False, "parameters": 1} | copy.deepcopy(curve)]
    text_table(table(one))
    change(one["architectures"][0])
    with pytest.raises(UserError, match=f"architectures: entry 0.*{said}"):
        text_table(table(one))
    one["architectures"] = [{"name": "MLP", "parameters": 1} | curve] * 2
    with pytest.raises(UserError, match="architectures names 'MLP' twice"):
        text_table(table(one))
