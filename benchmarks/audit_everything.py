"""The audit of everything on digits: what teachers of each method tell of the images that they were made from.

Every teacher is trained from a config of this project (a run that is there is gone on with, or kept), then audited with
the same attacks, shadows for those that are made in seconds. About ten CPU minutes. Into a folder of your choice:

    python benchmarks/audit_everything.py FOLDER [--shadows 8]
"""

from __future__ import annotations

import argparse
import json
import sys
import time
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
from gendistill.evaluation.discriminators import scorers  # noqa: E402
from gendistill.files import atomic_write  # noqa: E402
from gendistill.report.audit import attack_cells  # noqa: E402
from gendistill.runs.discriminators import discriminators  # noqa: E402
from gendistill.teacher.reference import open_teacher  # noqa: E402

CONFIGS = HERE.parents[1] / "configs"
DIGITS = ["--data.name", "digits"]
LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 16, "depth": 2}}
SMALL = "{class_path: gendistill.nets.learners.ConvNet, init_args: {width: 16, depth: 2}}"
MATCHING = ["--trainer.learner", SMALL, "--trainer.real_batch", "64", "--trainer.lr_images", "5", "--run.steps", "200"]
PRIVATE = ["--trainer.class_size", "120", "--trainer.networks", "20", "--trainer.learner", SMALL,
           "--trainer.delta", "1e-4", "--run.steps", "300"]  # fmt: skip
ROWS: dict[str, tuple[str, list[str]]] = {
    "random, 10 a class": ("real:ipc=10", []),
    "k-center, 10 a class": ("real:kcenter=10", []),
    "DM from real images": ("dm/mnist.yaml", [*DIGITS, *MATCHING]),
    "DM from noise": ("dm/mnist.yaml", [*DIGITS, *MATCHING, "--trainer.images", "noise"]),
    "DC": ("dc/mnist.yaml", [*DIGITS, "--trainer.learner", SMALL, "--trainer.real_batch", "64", "--run.steps", "60"]),
    "MTT": ("mtt/digits.yaml", ["--run.steps", "100"]),
    "GAN": ("quickstart/gan.yaml", ["--run.steps", "1000"]),
    "GTN": ("quickstart/gtn.yaml", ["--run.steps", "100"]),
    "latents of the GAN": ("quickstart/latent.yaml", ["--run.steps", "60"]),
    "DP matching, epsilon 10": ("privacy/mnist-matching.yaml", [*DIGITS, *PRIVATE, "--trainer.epsilon", "10"]),
    "DP matching, epsilon 1": ("privacy/mnist-matching.yaml", [*DIGITS, *PRIVATE, "--trainer.epsilon", "1"]),
    "DP-MERF, epsilon 1": ("privacy/digits-embedding.yaml", ["--run.steps", "200"]),
    "DP-GAN, epsilon 10": ("privacy/digits-gan.yaml", ["--run.steps", "60"]),
    "DP gradients, epsilon 10": ("privacy/digits-gradients.yaml", ["--run.steps", "40"]),
}
"""Name -> real data, or a config below ``configs/`` with options."""
QUICK = ("random, 10 a class", "k-center, 10 a class", "DM from real images", "DM from noise")
"""Those of which shadows are made."""


def short(name: str) -> str:
    """Return a row's name as that of a file."""
    return "".join(letter if letter.isalnum() else "-" for letter in name.lower())


def teacher_of(name: str, folder: Path) -> str:
    """Return how a row's teacher is named, trained where it is not."""
    source, words = ROWS[name]
    if source.startswith("real:"):
        return source
    place = ["--run.name", short(name), "--run.root", str(folder), "--run.sample_every", "0", "--run.threads", "1"]
    if name.startswith("latents"):
        place += ["--trainer.generator", teacher_of("GAN", folder)]
    run_experiment(assemble(take_apart(["--config", str(CONFIGS / source), *words, *place])))
    return str(folder / short(name))


def measured(name: str, folder: Path, shadows: int) -> dict[str, Any]:
    """Return a row's audit, the one that is kept where there is one."""
    kept = folder / f"{short(name)}.json"
    if kept.exists():
        found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8"))
        return found
    began, data = time.process_time(), load("digits")
    reference = teacher_of(name, folder)
    wanted = shadows if name in QUICK else 0
    judges = discriminators(reference, data.description) if Path(reference).is_dir() else []
    found, _ = audit(
        open_teacher(reference, data),
        data,
        learner=LEARNER,
        make=maker(reference) if wanted else None,
        shadows=wanted,
        scorers=scorers(judges, data.description.of_generators),
    )
    found["cpu_seconds"] = time.process_time() - began
    atomic_write(kept, lambda file: file.write(json.dumps(found).encode()))
    return found


def row(name: str, found: dict[str, Any]) -> list[str]:
    """Return a row of the table: of all attacks the one of the largest area, and that of each kind."""
    attacks = found["attacks"]
    best = max(attacks, key=lambda attack: attacks[attack]["auc"])
    cells = attack_cells({"attacks": {best: attacks[best]}})[1]
    others = [attacks.get(attack) for attack in ("nearest, calibrated", "loss, calibrated", "lira", "discriminator")]
    areas = ["–" if one is None else f"{one['auc']:.3f}" for one in others]
    return [name, str(found["members"]), *cells, *areas, str(found["memorised"]["same"])]


def main() -> None:
    """Audit all rows, and print a table."""
    words = argparse.ArgumentParser(description=__doc__)
    words.add_argument("folder", type=Path)
    words.add_argument("--shadows", type=int, default=8)
    words.add_argument("--only", nargs="*", default=list(ROWS))
    given = words.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name in given.only:
        found[name] = measured(name, given.folder, given.shadows)
        print(f"{name}: done", file=sys.stderr, flush=True)
    head = attack_cells(next(iter(found.values())))[0]
    areas = ["nearest", "loss", "lira", "discriminator"]
    table = [["teacher", "members", *head, *areas, "images that are training images"]]
    table += [row(name, one) for name, one in found.items()]
    print("\n".join("| " + " | ".join(cells) + " |" for cells in [table[0], ["---"] * len(table[0]), *table[1:]]))


if __name__ == "__main__":
    main()
