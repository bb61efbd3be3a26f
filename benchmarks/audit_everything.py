"""The audit of everything on digits: what teachers of each method tell of the images that they were made from.

Every teacher is trained from a config of this project (a run that is there is gone on with, or kept), then audited with
the same attacks, shadows for those that are made in seconds. No matter of speed. Into a folder of your choice:

    python benchmarks/audit_everything.py FOLDER [--shadows 8]
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve()
if str(HERE.parents[1]) not in sys.path:
    sys.path.insert(0, str(HERE.parents[1]))

from gendistill.commands.audit import maker  # noqa: E402
from gendistill.commands.train import run_experiment  # noqa: E402
from gendistill.config.command_line import assemble, take_apart  # noqa: E402
from gendistill.data import load  # noqa: E402
from gendistill.evaluation.audit import audit  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.report.audit import attack_cells  # noqa: E402
from gendistill.report.terminal import aligned  # noqa: E402
from gendistill.teacher.reference import open_teacher  # noqa: E402

CONFIGS = HERE.parents[1] / "configs"
DIGITS = ["--data.name", "digits"]
SMALL = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 32, depth: 2}}"
MATCHING = ["--trainer.learner", SMALL, "--trainer.real_batch", "64", "--run.steps", "500"]
PRIVATE = ["--trainer.class_size", "120", "--trainer.networks", "50", "--trainer.learner", SMALL,
           "--trainer.delta", "1e-4", "--run.steps", "1000"]  # fmt: skip
ROWS: dict[str, tuple[str, list[str]]] = {
    "random, 10 a class": ("real:ipc=10", []),
    "k-center, 10 a class": ("real:kcenter=10", []),
    "DM from real images": ("dm/mnist.yaml", [*DIGITS, *MATCHING]),
    "DM from noise": ("dm/mnist.yaml", [*DIGITS, *MATCHING, "--trainer.images", "noise"]),
    "DC": ("dc/mnist.yaml", [*DIGITS, "--trainer.learner", SMALL, "--run.steps", "200"]),
    "MTT": ("mtt/digits.yaml", []),
    "GAN": ("quickstart/gan.yaml", []),
    "GTN": ("quickstart/gtn.yaml", []),
    "DP matching, epsilon 10": ("privacy/mnist-matching.yaml", [*DIGITS, *PRIVATE, "--trainer.epsilon", "10"]),
    "DP matching, epsilon 1": ("privacy/mnist-matching.yaml", [*DIGITS, *PRIVATE, "--trainer.epsilon", "1"]),
    "DP-MERF, epsilon 1": ("privacy/digits-embedding.yaml", []),
    "DP-GAN, epsilon 10": ("privacy/digits-gan.yaml", []),
    "DP gradients, epsilon 10": ("privacy/digits-gradients.yaml", []),
}
"""Name -> real data, or a config below ``configs/`` with options."""
QUICK = (
    "random, 10 a class",
    "k-center, 10 a class",
    "DM from real images",
    "DM from noise",
    "DP matching, epsilon 10",
)
"""Those of which shadows are made."""


def teacher_of(name: str, folder: Path) -> str:
    """Return how a row's teacher is named, trained where it is not."""
    source, words = ROWS[name]
    if source.startswith("real:"):
        return source
    run = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    place = ["--run.name", run, "--run.root", str(folder), "--run.sample_every", "0"]
    run_experiment(assemble(take_apart(["--config", str(CONFIGS / source), *words, *place])))
    return str(folder / run)


def measured(name: str, folder: Path, shadows: int) -> dict[str, Any]:
    """Return a row's audit, the one that is kept where there is one."""
    kept = folder / f"{''.join(letter if letter.isalnum() else '-' for letter in name.lower())}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    data = load("digits")
    reference = teacher_of(name, folder)
    wanted = shadows if name in QUICK else 0
    make = maker(reference) if wanted else None
    found, _ = audit(open_teacher(reference, data), data, make=make, shadows=wanted)
    atomic_write(kept, lambda file: file.write(json.dumps(found).encode()))
    return found


def main() -> None:
    """Audit all rows, and print a table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--shadows", type=int, default=8)
    words.add_argument("--only", nargs="*", default=list(ROWS))
    given = words.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    table: list[list[str]] = []
    for name in given.only:
        found = measured(name, given.folder, given.shadows)
        best = max(found["attacks"], key=lambda attack: found["attacks"][attack]["auc"])
        cells = attack_cells({"attacks": {best: found["attacks"][best]}})
        table += [["teacher", *cells[0], "images that are training images"]] if not table else []
        table.append([name, *cells[1], str(found["memorised"]["same"])])
    print("\n".join(aligned(table)))


if __name__ == "__main__":
    main()
