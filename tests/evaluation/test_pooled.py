from __future__ import annotations

import math
import statistics

import pytest
from scipy import stats

from gendistill.errors import UserError
from gendistill.evaluation.pooled import pooled
from gendistill.evaluation.result_form import check_result
from gendistill.report.modes import against_first, mode_cells


def result(means: list[float], distance: float | None, seconds: float, seeds: list[int]) -> dict:
    return {
        "name": "x",
        "teacher": {"kind": "generator"},
        "learning": {
            "updates": [1, 9],
            "seeds": seeds,
            "lr": [0.1, 0.1],
            "selection": None,
            "schedule": "cosine",
            "accuracy": {"mean": means, "std": [0.5, 0.5], "runs": [[m, m] for m in means]},
            "seconds": 2.0,
        },
        "fidelity": None if distance is None else {"name": "FD", "value": distance, "n": 5},
        "seconds": seconds,
    }


def test_means_and_spreads_are_over_runs() -> None:
    runs = [result([0.1, 0.5], 3.0, 10.0, [0, 1]), result([0.3, 0.9], 5.0, 20.0, [2, 3])]
    found = pooled(runs)
    accuracy = found["learning"]["accuracy"]
    assert accuracy["mean"] == pytest.approx([0.2, 0.7])
    assert accuracy["std"] == pytest.approx([statistics.stdev([0.1, 0.3]), statistics.stdev([0.5, 0.9])])
    assert accuracy["runs"] == [[0.1, 0.3], [0.5, 0.9]]
    assert found["fidelity"] == {
        "name": "FD",
        "n": 5,
        "value": 4.0,
        "std": statistics.stdev([3, 5]),
        "runs": [3.0, 5.0],
    }
    assert runs[0]["fidelity"]["value"] == 3.0  # what was given stays as it was
    assert found["seconds"] == 15.0 and found["learning"]["seconds"] == 4.0
    assert found["learning"]["seeds"] == [[0, 1], [2, 3]] and found["learning"]["schedule"] == "cosine"


def test_all_scores_of_fidelity_are_means_over_runs() -> None:
    runs = [result([0.1, 0.5], distance, 1.0, [0]) for distance in (3.0, 5.0)]
    for place, run in enumerate(runs):
        run["fidelity"] |= {"kid": {"name": "KID", "value": float(place), "std": 0.3}, "precision": 0.5 + 0.2 * place}
    found = pooled(runs)["fidelity"]
    assert found["kid"] == {"name": "KID", "value": 0.5, "std": statistics.stdev([0, 1]), "runs": [0.0, 1.0]}
    assert found["precision"] == pytest.approx(0.6)


def test_one_run_has_no_spread_and_what_was_not_measured_stays_out() -> None:
    found = pooled([result([0.1, 0.5], None, 1.0, [0])])
    assert found["learning"]["accuracy"]["std"] == [None, None] and found["fidelity"] is None
    unknown = pooled([result([0.1, 0.5], 3.0, 1.0, [0]), result([0.1, 0.5], 3.0, 1.0, [1]) | {"learning": None}][:1])
    assert unknown["fidelity"]["std"] is None


def test_runs_must_match() -> None:
    other = result([0.1, 0.5], None, 1.0, [1])
    other["learning"]["updates"] = [1, 8]
    with pytest.raises(UserError, match="different numbers of updates"):
        pooled([result([0.1, 0.5], None, 1.0, [0]), other])
    fewer = result([0.1, 0.5], 3.0, 1.0, [1])
    fewer["fidelity"]["n"] = 4
    with pytest.raises(UserError, match=r"differ in n of fidelity: 4, 5"):
        pooled([result([0.1, 0.5], 3.0, 1.0, [0]), fewer])
    with pytest.raises(UserError, match="no run"):
        pooled([])


def test_runs_of_other_settings_are_not_pooled() -> None:
    other = result([0.1, 0.5], None, 1.0, [1])
    other["learning"]["schedule"] = "constant"
    with pytest.raises(UserError, match="runs differ in schedule: cosine, constant"):
        pooled([result([0.1, 0.5], None, 1.0, [0]), other])


def test_what_the_runs_chose_among_is_kept() -> None:
    runs = [result([0.1, 0.5], None, 1.0, [seed]) for seed in (0, 1)]
    for place, one in enumerate(runs):
        found = [[0.1 * place, 0.2]]
        one["learning"]["selection"] = {"select": "each", "candidates": [0.1, 0.3], "validation": found}
    assert pooled(runs)["learning"]["selection"] == {"select": "each", "candidates": [0.1, 0.3]}
    assert pooled([result([0.1, 0.5], None, 1.0, [0])])["learning"]["selection"] is None


def test_distances_of_different_draws_have_no_common_mean() -> None:
    other = result([0.1, 0.5], 4.0, 1.0, [1])
    other["fidelity"]["n"] = 6
    with pytest.raises(UserError, match="runs differ in n of fidelity: 5, 6"):
        pooled([result([0.1, 0.5], 3.0, 1.0, [0]), other])


def test_nothing_of_the_first_run_alone_stands_for_all() -> None:
    """What a table shows of all images, and every note, is of all runs."""
    runs = [result([0.1, 0.5], 3.0, 1.0, [seed]) for seed in range(3)]
    for place, run in enumerate(runs):
        run["notes"] = ["few images"] + (["at chance"] if place == 2 else [])
        run["fidelity"] |= {
            "whole": {"n": 9, "value": 1.0 + place},
            "inception_score": {"name": "IS", "mean": 2.0 * place, "std": 0.5, "splits": 1},
            "notes": ["one is missing"] if place else [],
        }
    found = pooled(runs)
    assert found["notes"] == ["few images", "run 2: at chance"]
    fidelity = found["fidelity"]
    assert fidelity["whole"] == {"n": 9, "value": 2.0, "std": 1.0, "runs": [1.0, 2.0, 3.0]}
    assert fidelity["inception_score"]["mean"] == 2.0 and fidelity["inception_score"]["std"] == 2.0
    assert fidelity["notes"] == ["runs 1 and 2: one is missing"]
    runs[1]["fidelity"]["whole"]["n"] = 8
    assert "whole" not in pooled(runs)["fidelity"]


def captured(whole: dict, *generators: dict) -> dict:
    views = [{"name": "whole", **whole}, *({"name": f"generator {n}", **one} for n, one in enumerate(generators))]
    return {
        "name": "x",
        "teacher": {},
        "learning": None,
        "modes": {"total": 8, "of": "points", "n": 100, "views": views},
    }


def test_modes_are_means_over_runs_and_over_the_generators_of_all_runs() -> None:
    keys = ("captured", "covered", "high_quality", "kl", "kl_real")
    rows = [[8, 8, 0.5, 0.1, 0.2], [7, 5, 0.7, 0.3, None], [8, 7, 0.9, 0.2, math.inf]]
    runs = [captured(*[dict(zip(keys, row, strict=True))] * 3) for row in rows]
    modes = pooled(runs)["modes"]
    (view,) = modes["views"]
    assert view["name"] == "whole" and view["kl_real"] is None  # infinite in two of the runs
    assert [view[key] for key in keys[:4]] == pytest.approx([23 / 3, 20 / 3, 0.7, 0.2])
    spread = modes["spread"]["whole"]
    assert spread["captured"] == {"std": pytest.approx(statistics.stdev([8, 7, 8])), "runs": [8, 7, 8]}
    assert spread["kl_real"]["runs"] == [0.2, None, None]
    each = modes["per_generator"]["covered"]
    assert each == {"mean": pytest.approx(20 / 3), "std": pytest.approx(statistics.stdev([8, 8, 5, 5, 7, 7]))}
    check_result(pooled(runs), "it")
    assert mode_cells({"teachers": [pooled(runs)]})[1][:5] == [
        "x",
        "7.67 ± 0.58 of 8",
        "6.67 ± 1.5",
        "70 ± 20",
        "0.2 ± 0.1",
    ]
    assert pooled(runs[:1])["modes"] == runs[0]["modes"]
    assert mode_cells({"teachers": runs[:1]})[1][:4] == ["x", "8 of 8", "8", "50.0"]


def test_teachers_are_held_against_the_first_run_by_run() -> None:
    distances = {"first": [0.5, 0.3, 0.4], "near": [0.7, 0.4, 0.6], "far": [0.6, 0.2, 0.5], "odd": [0.1, math.nan, 0.2]}
    rows = [
        pooled([captured({"captured": 8, "covered": 8, "wasserstein": one}) for one in values]) | {"name": name}
        for name, values in distances.items()
    ]
    (said,) = against_first({"teachers": rows})
    wanted = "W1 against first, run by run (3 runs; 95 % intervals, corrected for 2 comparisons): near +0.167 ["
    assert said.startswith(wanted)  # nothing is said of a distance that a run does not know
    for name in ("near", "far"):
        moved = [one - other for one, other in zip(distances[name], distances["first"], strict=True)]
        low, high = stats.t.interval(1 - 0.05 / 2, 2, statistics.fmean(moved), stats.sem(moved))
        assert f"{name} {statistics.fmean(moved):+.3f} [{low:.3f}, {high:.3f}]" in said
    assert against_first({"teachers": rows[:1]}) == against_first({"teachers": []}) == []


def test_a_thousand_modes_are_counted() -> None:
    runs = [captured({"captured": number, "covered": 435}) for number in (1000, 984, 601)]
    for run in runs:
        run["modes"] |= {"total": 1000, "of": "stacked digits"}
    assert mode_cells({"teachers": [pooled(runs)]})[1] == ["x", "862 ± 226 of 1000", "435 ± 0"]
