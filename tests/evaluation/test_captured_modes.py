"""Modes captured: closed forms on real and on planted samples, and the way to the terminal and the page."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch

from gendistill import data
from gendistill.cli import main
from gendistill.data.points import CLOUDS
from gendistill.errors import UserError
from gendistill.evaluation.diagnosis import diagnose
from gendistill.evaluation.modes import COUNT, divergence, point_modes, scores, wasserstein
from gendistill.evaluation.result_form import check_results
from gendistill.nets.mixture import GeneratorMixture
from gendistill.nets.points import PointGenerator
from gendistill.objects import build
from gendistill.report.modes import mode_cells, mode_sentences
from gendistill.report.page import write_report
from gendistill.teacher import GeneratorTeacher, RealSubset

RING = CLOUDS["ring:d2gan"]


def drawn(count: int, *, modes: int = 8, seed: int = 0) -> torch.Tensor:
    """Return points from the first modes of the ring, by lot."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(modes, (count,), generator=generator)
    noise = torch.randn(count, 2, generator=generator, dtype=torch.float64)
    return RING.positions()[labels] + RING.sigma * noise


def test_real_samples_give_the_closed_forms() -> None:
    found = [scores(drawn(COUNT, seed=seed), RING) for seed in range(40)]
    assert all(one["captured"] == one["covered"] == 8 for one in found)

    def mean(name: str) -> float:
        return sum(one[name] for one in found) / len(found)

    # Within three standard deviations: 1 - exp(-9 / 2). A multinomial histogram: (K - 1) / (2 n).
    assert mean("high_quality") == pytest.approx(1 - math.exp(-4.5), abs=1e-3)
    assert mean("kl_all") == pytest.approx(7 / (2 * COUNT), rel=0.25)
    assert mean("kl") == pytest.approx(7 / (2 * COUNT), rel=0.25)


def test_one_mode_is_ln_8_and_its_reverse_infinite() -> None:
    found = scores(drawn(COUNT, modes=1), RING)
    assert (found["captured"], found["covered"]) == (1, 1)
    assert found["kl"] == found["kl_all"] == pytest.approx(math.log(8), abs=1e-12)
    assert found["kl_real"] == found["kl_real_all"] == math.inf
    half = scores(drawn(COUNT, modes=4), RING)
    assert half["captured"] == 4 and half["kl"] == pytest.approx(math.log(2), abs=0.01)


def test_a_sample_is_good_within_three_standard_deviations_of_the_nearest_mode() -> None:
    centre = RING.positions()[0]
    inside, outside = (centre + torch.tensor([0.0, factor * RING.sigma]) for factor in (2.999, 3.001))
    lost = torch.tensor([math.nan, 0.0], dtype=torch.float64)
    found = scores(torch.stack((inside, outside, lost)), RING)
    assert found["high_quality"] == pytest.approx(1 / 3) and found["captured"] == 1


def test_a_lone_sample_captures_a_mode_and_does_not_cover_it() -> None:
    others = drawn(999, modes=7)
    found = scores(torch.cat((others, RING.positions()[7:])), RING)
    assert (found["captured"], found["covered"]) == (8, 7)
    tenth = scores(torch.cat((others[:987], RING.positions()[7:].expand(13, 2))), RING)  # 1000 / 8 / 10 = 12.5
    assert tenth["covered"] == 8


def test_nothing_good_has_no_divergence() -> None:
    found = scores(torch.zeros(10, 2), RING)
    assert found["captured"] == 0 and math.isnan(found["kl"]) and found["high_quality"] == 0
    assert math.isfinite(found["kl_all"]) or found["kl_real_all"] == math.inf


def test_divergence_against_the_sum() -> None:
    one = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    other = torch.tensor([0.25, 0.25, 0.25, 0.25], dtype=torch.float64)
    assert divergence(one, other) == pytest.approx(0.5 * math.log(2))
    assert divergence(other, one) == math.inf and divergence(one, one) == 0


def test_wasserstein_of_a_shift_is_the_shift() -> None:
    points = drawn(300)
    shift = torch.tensor([0.3, -0.4], dtype=torch.float64)
    assert wasserstein(points, points[torch.randperm(300)] + shift) == pytest.approx(0.5, abs=1e-9)
    assert wasserstein(points, points.flip(0)) == 0
    line, other = (torch.sort(torch.randn(50, 1, dtype=torch.float64), 0).values for _ in range(2))
    assert wasserstein(line, other[torch.randperm(50)]) == pytest.approx(float((line - other).abs().mean()))
    with pytest.raises(UserError, match="cannot be matched"):
        wasserstein(points, points[1:])


def at(place: tuple[float, float]) -> PointGenerator:
    """Return a generator that makes one point, and a little around it."""
    network = build(
        {"class_path": "gendistill.nets.points.PointGenerator", "init_args": {"nz": 2, "widths": [2]}},
        PointGenerator,
        image_shape=(2, 1, 1),
    )
    with torch.no_grad():
        last = network.trunk[-1]
        last.weight.mul_(0.01)  # type: ignore[union-attr, operator]
        last.bias.copy_(torch.tensor(place))  # type: ignore[union-attr, arg-type, operator]
    return network


def test_a_mixture_is_seen_whole_and_part_by_part() -> None:
    real = data.load("ring:d2gan")
    mixture = GeneratorMixture([at(RING.centres[1]), at(RING.centres[4])], [3.0, 1.0])
    found = point_modes(GeneratorTeacher(mixture, real.description), real, count=600)
    views = {view["name"]: view for view in found["views"]}
    assert list(views) == ["whole", "generator 0", "generator 1", "real"]
    assert [views[name]["captured"] for name in views] == [2, 1, 1, 8]
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert views["whole"]["kl"] == pytest.approx(math.log(8) - entropy, abs=0.05)
    assert views["generator 0"]["kl"] == pytest.approx(math.log(8))
    # The mean distance of real points to one place on the ring: of its eight modes, nearly.
    apart = (RING.positions() - RING.positions()[1]).norm(dim=1).mean()
    assert views["generator 0"]["wasserstein"] == pytest.approx(float(apart), abs=0.15)
    assert views["real"]["wasserstein"] < 0.25 and views["real"]["high_quality"] == pytest.approx(0.989, abs=0.02)
    assert found["per_generator"]["captured"] == {"mean": 1.0, "std": 0.0}


def test_it_needs_points_and_some_of_them() -> None:
    digits, real = data.load("digits"), data.load("ring:d2gan")
    with pytest.raises(UserError, match="holds pictures, whose modes are not known"):
        point_modes(RealSubset.all(digits.test, digits.description), digits)
    with pytest.raises(UserError, match="at least 2"):
        point_modes(RealSubset.all(real.test, real.description), real, count=1)


def test_evaluate_prints_and_keeps_them_and_the_page_shows_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "result.json"
    words = ["--dataset", "ring:d2gan", "--updates", "2", "--seeds", "1", "--lr", "0.1", "--no-fidelity"]
    assert main(["evaluate", "real:ipc=20", *words, "--output", str(kept)]) == 0
    printed = capsys.readouterr().out
    assert "captured" in printed and "8 of 8" in printed and "real samples" in printed and "Of 160 samples" in printed
    result = json.loads(kept.read_text())
    assert result["modes"]["total"] == 8 and result["modes"]["n"] == 160
    results = {"teachers": [result]}
    check_results(results, "it")
    cells = mode_cells(results)
    assert cells[0][0] == "modes of" and cells[1][0] == "real:ipc=20" and cells[-1][0] == "real samples"
    page = write_report(results, tmp_path / "page.html").read_text()
    assert "Modes captured" in page and mode_sentences(results)[0][:40] in page
    result["modes"]["views"][0]["captured"] = "all"
    with pytest.raises(UserError, match="modes"):
        check_results(results, "it")


def test_what_is_missed_is_shown_as_infinite() -> None:
    view = {"name": "whole", "n": 9, "captured": 1, "covered": 1, "high_quality": 1.0, "kl": 2.0794, "kl_real": None}
    view |= {"kl_all": None, "kl_real_all": None, "wasserstein": None}
    cells = mode_cells({"teachers": [{"name": "it", "modes": {"total": 8, "of": "points", "n": 9, "views": [view]}}]})
    assert cells[1] == ["it", "1 of 8", "1", "100.0", "2.0794", "∞"]
    assert mode_cells({"teachers": [{"name": "it"}]}) == []


def test_a_collapsed_generator_of_points_is_diagnosed_and_plotted() -> None:
    real = data.load("ring:d2gan")
    result, pictures = diagnose(GeneratorTeacher(at(RING.centres[1]), real.description), real, count=400)
    assert result["collapsed"]
    assert pictures.samples.shape == pictures.missed.shape == (1, 3, 420, 420)
    assert not len(pictures.repeated) and not len(pictures.memorised)
