"""At which share of its compute a pair of groups reaches the distance that one GAN ends with, by the interval between
exchanges: Wu 2022, Figure 3.10 (c), in small. No matter of speed: it reads the runs of a replication.

    gendistill replicate ours-mggan-mnist --data.root DIR
    python benchmarks/mggan_intervals.py checkpoints/replication/reduced/mnist --figure intervals.png

Both sides have the same compute, one GAN in twice the steps of two. Distances on the way are ``measured/fd``, which
``run.evaluate_every`` asks for, as often in every run; a seed's runs are compared with each other, and intervals are
Student's over seeds, corrected for the number of rows (Holm).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.report.terminal import aligned  # noqa: E402

PREFIX, GAN = "ours-mggan-mnist", "gan"
TAG = "measured/fd"
GAINS = {"gain": 1.0, "gain_of_steps": 0.5}
"""At which share of the GAN's compute it is held against the groups' end: all; where it has made as many steps."""
Curve = tuple[list[float], list[float]]


def curve(run: Path) -> Curve:
    """Return a run's distances while it trained: shares of its steps, and the distance at each."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(run), size_guidance={"scalars": 0}).Reload()
    found = {event.step: event.value for event in events.Scalars(TAG)}
    return [step / max(found) for step in sorted(found)], [found[step] for step in sorted(found)]


def reached(run: Curve, distance: float) -> float | None:
    """Return the first share of the steps at which a run is at most so far away; None: never."""
    return next((share for share, value in zip(*run, strict=True) if value <= distance), None)


def at(run: Curve, share: float) -> float:
    """Return a run's distance at a share of its steps, the nearest one that was measured."""
    place = int(np.abs(np.array(run[0]) - share).argmin())
    return run[1][place]


def curves(folder: Path) -> dict[str, dict[int, Curve]]:
    """Return the curves of all runs by row and seed; the row is what follows the replication's name."""
    rows: dict[str, dict[int, Curve]] = {}
    for place in sorted(folder.glob(f"{PREFIX}*")):
        name = place.name.removeprefix(PREFIX).removeprefix("-") or "t100"
        for run in sorted(place.glob("seed-*")):
            rows.setdefault(name, {})[int(run.name.removeprefix("seed-"))] = curve(run)
    return rows


def in_order(rows: Collection[str]) -> list[str]:
    """Return the names of rows: the GAN, then the groups by their interval."""
    return sorted(rows, key=lambda name: (name != GAN, 0 if name == GAN else int(name[1:])))


def judged(folder: Path) -> dict[str, list[Mapping[str, Any]]]:
    """Return what the replication's judge said of each row's teachers."""
    rows: dict[str, list[Mapping[str, Any]]] = {}
    for file in sorted((folder / "evaluations").glob(f"{PREFIX}*.json")):
        name = file.name.partition("-seed-")[0].removeprefix(PREFIX).removeprefix("-") or "t100"
        rows.setdefault(name, []).append(json.loads(file.read_text())["result"]["fidelity"])
    return rows


def table(folder: Path) -> dict[str, Any]:
    """Return a row each: the distance at the end, what it is better than the GAN's by, and the share of the compute."""
    from gendistill.evaluation.comparison import paired_intervals

    rows = curves(folder)
    if len(rows.get(GAN, {})) < 2 or len(rows) < 2:
        raise SystemExit(f"{folder} holds no two seeds of {PREFIX} and {PREFIX}-{GAN}; run the replication first")
    seen, base = judged(folder), rows[GAN]
    order = in_order(rows)
    told = {}
    for name in order:
        shares = [reached(rows[name][seed], base[seed][1][-1]) for seed in sorted(rows[name].keys() & base)]
        told[name] = {
            "fd": [run[1][-1] for run in rows[name].values()],
            "judged_fd": [one["value"] for one in seen.get(name, [])],
            "recall": [one["recall"] for one in seen.get(name, [])],
            "reached": shares,
        }
    for key, share in GAINS.items():
        gains = {
            name: [100 * (1 - run[1][-1] / at(base[seed], share)) for seed, run in rows[name].items() if seed in base]
            for name in order
            if name != GAN
        }
        for name, interval in zip(gains, paired_intervals(list(gains.values())), strict=True):
            told[name][key] = [float(value) for value in interval]
    return {"rows": told, "seeds": sorted(base)}


def lines(found: Mapping[str, Any]) -> str:
    """Return the table as text."""
    said = [
        [
            "T",
            "FD at the end",
            "FD, judged",
            "recall",
            "better than the GAN by, %",
            "than one of as many steps",
            "share",
        ]
    ]
    for name, row in found["rows"].items():
        gains = ["–" if name == GAN else "{:.0f} [{:.0f}, {:.0f}]".format(*row[key]) for key in GAINS]
        shares = ", ".join("never" if one is None else f"{one:.0%}" for one in row["reached"])
        said.append([name, _spread(row["fd"]), _spread(row["judged_fd"]), _spread(row["recall"], 3), *gains, shares])
    return "\n".join(aligned(said))


def _spread(values: Sequence[float], digits: int = 1) -> str:
    return f"{np.mean(values):.{digits}f} ± {np.std(values, ddof=1):.{digits}f}" if len(values) > 1 else "–"


def draw(folder: Path, file: Path) -> None:
    """Draw the distance over the share of the compute, a line a row: the mean over seeds, and all seeds as a band."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4), dpi=150, layout="constrained")
    place = figure.subplots()
    found = curves(folder)
    for name in in_order(found):
        runs = found[name]
        shares = next(iter(runs.values()))[0]
        values = np.array([run[1] for run in runs.values()])
        dashes = {"color": "black", "linewidth": 2} if name == GAN else {}
        (line,) = place.plot(shares, values.mean(0), label="one GAN" if name == GAN else f"T = {name[1:]}", **dashes)
        place.fill_between(shares, values.min(0), values.max(0), color=line.get_color(), alpha=0.12, linewidth=0)
    place.set(yscale="log", xlabel="share of the compute", ylabel="Fréchet distance (MNIST classifier)")
    place.legend()
    figure.savefig(file)


def main() -> None:
    """Print the table, and draw the picture if it is asked for."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--figure", type=Path)
    words.add_argument("--json", action="store_true")
    given = words.parse_args()
    found = table(given.folder)
    print(json.dumps(found) if given.json else lines(found))
    if given.figure is not None:
        draw(given.folder, given.figure)


if __name__ == "__main__":
    main()
