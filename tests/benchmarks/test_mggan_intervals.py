"""The table of intervals between exchanges, from runs whose distances are known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from benchmarks.mggan_intervals import curves, draw, lines, reached, table

CURVES = {  # by row, then by seed: the distance at each third of the steps
    "ours-mggan-mnist-gan": [(9.0, 6.0, 4.0), (8.0, 6.0, 5.0), (8.0, 4.0, 4.0)],
    "ours-mggan-mnist": [(4.0, 3.0, 2.0), (9.0, 5.0, 2.0), (5.0, 5.0, 3.0)],
    "ours-mggan-mnist-t0": [(9.0, 8.0, 8.0), (9.0, 7.0, 5.0), (9.0, 8.0, 6.0)],
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from torch.utils.tensorboard import SummaryWriter

    place = tmp_path_factory.mktemp("runs")
    (place / "evaluations").mkdir()
    for name, seeds in CURVES.items():
        for seed, values in enumerate(seeds):
            every = 20 if name.endswith("gan") else 10  # the same compute in twice the steps
            with SummaryWriter(str(place / name / f"seed-{seed}")) as writer:
                for number, value in enumerate(values, 1):
                    writer.add_scalar("measured/fd", value, number * every)
            seen = {"result": {"fidelity": {"value": values[-1] / 2, "recall": 0.25 * (seed + 1)}}}
            (place / "evaluations" / f"{name}-seed-{seed}-0a0a0a0a.json").write_text(json.dumps(seen))
    return place


def test_shares_gains_and_intervals_are_those_of_the_curves(folder: Path) -> None:
    found = table(folder)
    assert found["seeds"] == [0, 1, 2] and list(found["rows"]) == ["gan", "t0", "t100"]
    rows = found["rows"]
    assert rows["gan"]["reached"] == pytest.approx([1, 1, 2 / 3])
    assert rows["t100"]["reached"] == pytest.approx([1 / 3, 2 / 3, 1])
    assert rows["t0"]["reached"] == [None, 1, None]
    assert rows["t100"]["judged_fd"] == [1, 1, 1.5] and rows["t0"]["recall"] == [0.25, 0.5, 0.75]
    for name, gains in {"t100": [50, 60, 25], "t0": [-100, 0, -50]}.items():
        p = stats.ttest_1samp(gains, 0).pvalue
        assert 2 * p > 0.05  # nobody is decided, so that both share the first step's division
        low, high = stats.t.interval(1 - 0.05 / 2, 2, np.mean(gains), stats.sem(gains))
        row = rows[name]
        assert row["gain"] == pytest.approx([np.mean(gains), low, high])
    assert rows["t100"]["gain_of_steps"][0] == pytest.approx(100 * np.mean([1 - 2 / 6, 1 - 2 / 6, 1 - 3 / 4]))
    said = lines(found).splitlines()
    assert said[-1].split()[:4] == ["t100", "2.3", "±", "0.6"] and "never, 100%, never" in said[-2]


def test_a_distance_is_reached_at_the_first_step_that_is_near_enough() -> None:
    run = ([0.25, 0.5, 0.75, 1.0], [8.0, 3.0, 5.0, 2.0])
    assert reached(run, 3.0) == 0.5 and reached(run, 2.5) == 1.0 and reached(run, 1.0) is None


def test_the_picture_is_drawn_and_one_seed_is_refused(folder: Path, tmp_path: Path) -> None:
    draw(folder, tmp_path / "intervals.png")
    assert (tmp_path / "intervals.png").read_bytes().startswith(b"\x89PNG")
    assert set(curves(folder)) == {"gan", "t0", "t100"}
    with pytest.raises(SystemExit, match="no two seeds"):
        table(tmp_path)
