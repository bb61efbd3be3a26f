"""CPU minutes of making until learners reach an accuracy: every method, and what costs nothing, in one figure.

    python benchmarks/time_to_accuracy.py FOLDER --data-root DIRECTORY                      MNIST, all methods
    python benchmarks/time_to_accuracy.py FOLDER --dataset cifar10 --only DM,formation      some of them
    python benchmarks/time_to_accuracy.py FOLDER --dataset digits --scale smoke             shows that it runs

A method is a config of this project that is made step by step: trained to a number of steps, judged, gone on with. What
counts is the processor's time of the training processes, starts included, on one thread. Each finished point stands in
FOLDER; the same command goes on after the last one. Judges are the papers' (``condensation-dsa``) unless ``--epochs``,
``--width`` or ``--judges`` make them cheaper, which the figure says. Accuracies are of test images and no part of any
choice: points are all that were asked for.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.files import atomic_write  # noqa: E402

CONFIGS = HERE.parents[1] / "configs"
METHODS: dict[str, tuple[str, list[str], tuple[int, ...]]] = {
    "DM": ("dm/{data}.yaml", ["--scale", "reduced"], (250, 1000, 4000, 8000)),
    "DM, formation, pool": ("dm/{data}-10.yaml", [], (125, 500, 2000, 6000)),
    "IDM": ("dm/cifar10-idm.yaml", ["--scale", "reduced"], (125, 500, 2000, 6000)),
    "NCFM": ("dm/cifar10-ncfm.yaml", ["--scale", "reduced"], (125, 500, 2000, 6000)),
    "DREAM": ("dm/cifar10-dream.yaml", [], (125, 500, 2000, 6000)),
    "DSA": ("dc/{data}-dsa.yaml", ["--scale", "reduced"], (50, 200, 500)),
    "MTT": ("mtt/{data}.yaml", ["--scale", "reduced"], (50, 200, 500)),
    "easiest crops": ("rded/{data}-10.yaml", [], (1,)),
}
"""Name -> config below ``configs/``, options, and the numbers of steps after which it is judged."""
FREE = {"random": "real:ipc=10", "herding": "real:herding=10", "k-center": "real:kcenter=10"}
"""What is chosen and not made, beside them."""
TARGETS = {"mnist": (95, 96, 97, 98), "cifar10": (40, 45, 50)}


def command(words: Sequence[str]) -> float:
    """Give a command of this project in a process of its own, and return the seconds of processor that it took."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(HERE.parents[1])}
    subprocess.run([sys.executable, "-m", "gendistill.cli", *words], check=True, env=environment)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime


def judged(teacher: str, place: Path, given: argparse.Namespace) -> list[float]:
    """Return the accuracies of learners of a teacher in percent, one a learner; the file is kept."""
    if not place.exists():
        learner = []
        if given.width:
            learner = [
                "--learner",
                f"{{class_path: gendistill.nets.learners.ConvNet, init_args: {{width: {given.width}}}}}",
            ]
        length = ["--epochs", str(given.epochs)] if given.epochs else []
        command(["evaluate", teacher, *of_data(given), "--protocol", "condensation-dsa", *length, *learner,
                 "--seeds", str(given.judges), "--no-fidelity", "--precision", given.precision, "--output",
                 str(place)])  # fmt: skip
    found = json.loads(place.read_text(encoding="utf-8"))
    return [100 * one for one in found["learning"]["accuracy"]["runs"][-1]]


def of_data(given: argparse.Namespace) -> list[str]:
    """Return the words that name the real data to a command that judges."""
    return ["--dataset", given.dataset, *(["--data-root", given.data_root] if given.data_root else [])]


def made(name: str, given: argparse.Namespace) -> list[dict[str, Any]]:
    """Return a method's points, those that are there and those that are missing."""
    config, words, every = METHODS[name]
    short = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    place = given.folder / f"{short}.json"
    points: list[dict[str, Any]] = json.loads(place.read_text(encoding="utf-8")) if place.exists() else []
    data = ["--data.name", given.dataset, *(["--data.root", given.data_root] if given.data_root else [])]
    if given.scale == "smoke":
        words, every = ["--scale", "smoke"], (2, 4)
    file = CONFIGS / config.format(data=given.dataset if given.dataset in TARGETS else "mnist")
    for steps in every[len(points) :]:
        run = ["--run.name", short, "--run.root", str(given.folder), "--run.steps", str(steps), "--run.tune", "off",
               "--run.save_every", "100000", "--run.sample_every", "0", "--run.progress", "false", "--run.threads",
               "1"]  # fmt: skip
        seconds = command(["train", "--config", str(file), *words, *data, *run])
        accuracies = judged(str(given.folder / short), given.folder / f"{short}-{steps}.json", given)
        earlier = points[-1]["cpu_minutes"] if points else 0.0
        points.append({"steps": steps, "cpu_minutes": earlier + seconds / 60, "accuracies": accuracies})
        written = json.dumps(points, indent=1)
        atomic_write(place, lambda target, text=written: target.write(text.encode()))
    return points


def minutes_to(points: Sequence[Mapping[str, Any]], target: float) -> float | None:
    """Return the CPU minutes after which the mean accuracy was first seen to reach a target in percent, None: never."""
    for point in points:
        if mean(point["accuracies"]) >= target:
            return float(point["cpu_minutes"])
    return None


def mean(values: Sequence[float]) -> float:
    """Return the mean."""
    return sum(values) / len(values)


def table(found: Mapping[str, Sequence[Mapping[str, Any]]], free: Mapping[str, float], targets: Sequence[float]) -> str:
    """Return a table in Markdown: minutes to each target, and the best that was reached."""
    lines = [
        f"| method | {' | '.join(f'{target} %' for target in targets)} | best | after |",
        "|---" * (len(targets) + 3) + "|",
    ]
    for name, accuracy in free.items():
        cells = ["0" if accuracy >= target else "–" for target in targets]
        lines.append(f"| {name} | {' | '.join(cells)} | {accuracy:.1f} | 0 |")
    for name, points in found.items():
        times = [minutes_to(points, target) for target in targets]
        cells = ["–" if one is None else f"{one:.1f}" for one in times]
        best = max(points, key=lambda point: mean(point["accuracies"]))
        lines.append(f"| {name} | {' | '.join(cells)} | {mean(best['accuracies']):.1f} | {best['cpu_minutes']:.1f} |")
    return "\n".join(lines)


def figure(
    found: Mapping[str, Sequence[Mapping[str, Any]]], free: Mapping[str, float], targets: Sequence[float], judge: str
) -> Any:
    """Return the figure: accuracy by CPU minutes of making, a line a method and a level a choice that is free."""
    from gendistill.report.drawing import PRINT, new_axes, styles, with_legend

    drawing, axes = new_axes(PRINT, 4.2)
    looks = styles([*found, *free])
    for name, points in found.items():
        look = looks[name]
        axes.plot([point["cpu_minutes"] for point in points], [mean(point["accuracies"]) for point in points],
                  color=PRINT.colour(look), marker=look.marker, linestyle=look.dashes, label=name)  # fmt: skip
    for name, accuracy in free.items():
        look = looks[name]
        axes.axhline(
            accuracy, color=PRINT.colour(look), linestyle=look.dashes, linewidth=0.9, label=f"{name} ({accuracy:.1f})"
        )
    for target in targets:
        axes.axhline(target, color=PRINT.rule, linewidth=1.4, zorder=0)
    axes.set_xscale("log")
    axes.set_xlabel("CPU minutes of making, one core")
    axes.set_ylabel(f"test accuracy, % ({judge})")
    return with_legend(drawing, axes, PRINT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Make what is missing, and write ``time_to_accuracy.{json,md,png}``."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="where runs and results are kept")
    parser.add_argument("--dataset", default="mnist", help="mnist, cifar10, or any other")
    parser.add_argument("--data-root", help="where its files are")
    parser.add_argument("--only", help="methods, with commas between; those whose names contain one of these words")
    parser.add_argument("--judges", type=int, default=3, help="learners of each judgement")
    parser.add_argument("--epochs", type=int, help="of a judge (default: the protocol's 1,000)")
    parser.add_argument("--width", type=int, help="of a judge (default: the protocol's 128)")
    parser.add_argument("--precision", default="float32", help="of judges: float32 or bfloat16")
    parser.add_argument("--scale", choices=("smoke",), help="seconds, to see that it works")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.scale == "smoke":
        given.epochs, given.width, given.judges = given.epochs or 1, given.width or 4, 1
    words = [word.strip() for word in (given.only or "").split(",") if word.strip()]
    names = [name for name in METHODS if not words or any(word.lower() in name.lower() for word in words)]
    targets = TARGETS.get(given.dataset, (90, 95))
    free = {name: mean(judged(real, given.folder / f"{name}.json", given)) for name, real in FREE.items()}
    found = {}
    for name in names:
        found[name] = made(name, given)
        print(table(found, free, targets), flush=True)
    judge = f"{given.epochs or 1000} epochs, width {given.width or 128}, {given.judges} learners, {given.precision}"
    whole = {"dataset": given.dataset, "judge": judge, "targets": targets, "free": free, "methods": found}
    atomic_write(given.folder / "time_to_accuracy.json", lambda file: file.write(json.dumps(whole, indent=1).encode()))
    text = f"{table(found, free, targets)}\n\n{judge}\n"
    atomic_write(given.folder / "time_to_accuracy.md", lambda file: file.write(text.encode()))
    atomic_write(given.folder / "time_to_accuracy.png", lambda file: figure(found, free, targets, judge).savefig(
        file, format="png", dpi=160, facecolor="white"))  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
