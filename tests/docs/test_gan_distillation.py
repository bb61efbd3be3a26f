"""The page on GANs that shall teach: its figures follow from its own table, and its examples are true."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from scipy import stats

from trainers.gan import ConditionalGANTrainer

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "methods" / "gan-distillation.md").read_text(encoding="utf-8")
FAMILIES = ("difference, new R", "difference, trained R", "magnitude")


def table() -> dict[str, list[tuple[float, float, float]]]:
    """Return (lambda, accuracy, FID) of every run, by family."""
    rows: dict[str, list[tuple[float, float, float]]] = {}
    for family, *numbers in re.findall(
        r"^\| ([a-zA-Z ,]+) \| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \|$", PAGE, re.MULTILINE
    ):
        weight, accuracy, fid = map(float, numbers)
        rows.setdefault(family, []).append((weight, accuracy, fid))
    return rows


def test_the_runs_of_the_thesis_are_one_population() -> None:
    rows = table()
    assert [len(rows[family]) for family in FAMILIES] == [6, 6, 8]
    for column, mean, deviation, p_families in ((1, 76.69, 1.35, 0.52), (2, 13.90, 0.58, 0.94)):
        groups = [[row[column] for row in rows[family]] for family in FAMILIES]
        together = [value for group in groups for value in group]
        assert stats.tmean(together) == pytest.approx(mean, abs=0.005)
        assert stats.tstd(together) == pytest.approx(deviation, abs=0.005)
        assert stats.f_oneway(*groups).pvalue == pytest.approx(p_families, abs=0.005)
        for family in FAMILIES:
            assert (
                stats.spearmanr([row[0] for row in rows[family]], [row[column] for row in rows[family]]).pvalue >= 0.2
            )
        assert f"{mean:.2f} ± {deviation}" in PAGE
    accuracies = [row[1] for family in FAMILIES for row in rows[family]]
    (plain,) = rows["GAN without a term"]
    spread = stats.tstd(accuracies) * (1 + 1 / len(accuracies)) ** 0.5
    t = (plain[1] - stats.tmean(accuracies)) / spread
    assert t == pytest.approx(-1.13, abs=0.005)
    assert 2 * stats.t.cdf(t, len(accuracies) - 1) == pytest.approx(0.27, abs=0.005)
    assert max(accuracies) == 78.44


def examples() -> list[Any]:
    return [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]


def test_the_examples_build() -> None:
    first, second = examples()
    for options in (first["trainer"]["init_args"], second):
        trainer = ConditionalGANTrainer(**options)
        assert [term.name for term in trainer.terms] == ["gradient_difference"] * len(options["terms"])
    assert [(term.apply_to, term.weight) for term in trainer.terms] == [("generator", 0.1), ("discriminator", -0.1)]
