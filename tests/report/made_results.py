"""Results of evaluations, made up: with the form that the evaluators give them, and numbers that a test chooses."""

from __future__ import annotations

import copy
import random
import statistics
from collections.abc import Sequence
from typing import Any

TEST_IMAGES = 400


def runs_around(means: Sequence[float], seeds: int, spread: float, images: int, name: str) -> list[list[float]]:
    """Draw accuracies on so many images around each mean, the same for the same name."""
    generator = random.Random(name)
    return [
        [round(min(1.0, max(0.0, generator.gauss(mean, spread))) * images) / images for _ in range(seeds)]
        for mean in means
    ]


def accuracy_of(runs: Sequence[Sequence[float]]) -> dict[str, Any]:
    """Return what an evaluation says of the accuracies of every seed."""
    return {
        "mean": [statistics.fmean(row) for row in runs],
        "std": [statistics.stdev(row) if len(row) > 1 else None for row in runs],
        "runs": [list(row) for row in runs],
    }


def result(
    name: str,
    means: Sequence[float] = (0.5, 0.9),
    *,
    updates: Sequence[int] = (10, 100),
    seeds: int = 5,
    spread: float = 0.01,
    runs: Sequence[Sequence[float]] | None = None,
    fidelity: dict[str, Any] | None = None,
    **learning: Any,
) -> dict[str, Any]:
    """Return a teacher's result; what is given by name stands in its section ``learning``."""
    images = learning.get("split_sizes", {"test": TEST_IMAGES})["test"]
    drawn = runs_around(means, seeds, spread, images, name) if runs is None else runs
    return {
        "name": name,
        "teacher": {"kind": "stored-images", "path": None, "images": 20, "bytes": 5120},
        "dataset": "digits",
        "learning": {
            "protocol": None,
            "learner": {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8}},
            "initialisation": None,
            "updates": list(updates),
            "accuracy": accuracy_of(drawn),
            "split": "test",
            "split_sizes": {"train": 1197, "validation": 200, "test": TEST_IMAGES},
            "seeds": list(range(len(drawn[0]) if drawn else seeds)),
            "batch_size": 64,
            "optimizer": "sgd",
            "momentum": 0.9,
            "weight_decay": 5e-4,
            "schedule": "constant",
            "augment": None,
            "augment_mode": "single",
            "augment_strength": None,
            "labels": "given",
            "normalisation": "data",
            "generated": "fresh",
            "epoch": {"images": 20, "updates": 1},
            "epochs": None,
            "lr_asked": 0.1,
            "lr": [0.1] * len(updates),
            "selection": None,
            "learner_updates": max(updates, default=0),
            "images_seen": [64 * count for count in updates],
            "seconds": 1.5,
        }
        | learning,
        "fidelity": fidelity,
    }


def real(means: Sequence[float] = (0.3, 0.95), **options: Any) -> dict[str, Any]:
    """Return the result of all real data, called ``real`` unless another name is given."""
    made = result(options.pop("name", "real"), means, **options)
    made["teacher"] = {"kind": "real-subset", "path": "real", "images": 1197, "bytes": 86_184, "everything": True}
    return made


def distance(value: float = 3.25, n: int | None = 20, **more: Any) -> dict[str, Any]:
    """Return a section ``fidelity``."""
    return {"name": "FD[digits classifier]", "value": value, "n": n, "reference": "train", "extractor": "c-1"} | more


def chosen(rates: Sequence[float | str], select: str, lr: Sequence[float | str]) -> dict[str, Any]:
    """Return the entries of ``learning`` for rates among which the validation split chose."""
    return {
        "lr_asked": list(rates),
        "lr": list(lr),
        "selection": {"select": select, "candidates": list(rates), "validation": []},
    }


def table(*teachers: dict[str, Any], **more: Any) -> dict[str, Any]:
    """Return results of several teachers; each is a copy of its own."""
    return {"teachers": [copy.deepcopy(one) for one in teachers], **more}
