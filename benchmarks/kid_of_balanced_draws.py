"""What KID gives for two sets of different real images, by how they are drawn and how it is estimated: it should be 0.

Not a matter of time. Images are scikit-learn's digits, in the features of their classifier. Every draw of fidelity has
the same number of every class; the usual estimate assumes that images are drawn independently of each other. The
Fréchet distance of the same draws stands beside it, since balanced draws change it, too.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.data.load import load
from gendistill.data.real import Split
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import extract
from gendistill.evaluation.frechet import frechet_distance_from_features
from gendistill.evaluation.kernel import kernel_distance
from gendistill.seeds import stream
from gendistill.teacher.draw import draw_once

THREADS = 1
CLASSES = 10
Draw = Callable[[Tensor, torch.Generator], tuple[Tensor, Tensor]]


def measure(
    counts: Sequence[int] = (100, 300),
    repetitions: int = 200,
    features: str = "classifier",
    images: int | None = None,
) -> dict[str, Any]:
    """Measure each kind of draw.

    Args:
        counts: Images a side.
        repetitions: Pairs of disjoint sets.
        features: ``classifier``, or ``pixels``.
        images: Training images that are drawn from; None: all.

    Returns:
        By draw, the usual and the stratified estimate: ``mean`` over the repetitions and its standard ``error``, the
        ``spread`` of one estimate and the root mean square of what is given as its ``std``; and mean and spread of the
        Fréchet distance.
    """
    data = load("digits")
    split, normalisation = Split(data.train.images[:images], data.train.labels[:images]), data.description.normalisation
    if features == "pixels":
        vectors = split.images.flatten(1).float() / 255
    else:
        vectors = extract(choose_extractor(features, data), split.images, normalisation)
    draws: dict[str, Draw] = {}
    for count in counts:
        draws[f"{count} independent images against {count}"] = _independent(count)
        draws[f"{count} images, balanced, against {count}, balanced"] = _balanced(count, count)
    few = min(counts)
    draws["one image a class against the others"] = _against_others(CLASSES)
    draws[f"{few} images, balanced, against the others"] = _against_others(few)
    draws[f"{few} images, balanced, against classes of {few // CLASSES} to {5 * few // CLASSES} images"] = _uneven(few)
    return {
        name: _repeated(vectors, split.labels, draw, repetitions) | {"repetitions": repetitions}
        for name, draw in draws.items()
    }


def _repeated(vectors: Tensor, labels: Tensor, draw: Draw, repetitions: int) -> dict[str, Any]:
    generator = stream(0, "kid of balanced draws")
    found: dict[str, list[dict[str, Any]]] = {"usual": [], "stratified": []}
    distances = []
    for _ in range(repetitions):
        mine, real = draw(labels, generator)
        first, second = vectors[mine], vectors[real]
        classes = {"first_classes": labels[mine], "second_classes": labels[real]}
        found["usual"].append(kernel_distance(first, second))
        found["stratified"].append(kernel_distance(first, second, **classes))
        distances.append(frechet_distance_from_features(first, second))
    result: dict[str, Any] = {}
    for name, ones in found.items():
        values, errors = [one["value"] for one in ones], [one["std"] for one in ones if one["std"] is not None]
        spread = statistics.stdev(values)
        result[name] = {
            "mean": statistics.fmean(values),
            "error": spread / repetitions**0.5,
            "spread": spread,
            "given_std": statistics.fmean(error**2 for error in errors) ** 0.5 if errors else None,
        }
    return result | {"frechet": {"mean": statistics.fmean(distances), "spread": statistics.stdev(distances)}}


def _independent(count: int) -> Draw:
    """Two disjoint sets, drawn without regard to classes."""

    def draw(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        order = torch.randperm(len(labels), generator=generator)
        return order[:count], order[count : 2 * count]

    return draw


def _balanced(count: int, other: int) -> Draw:
    """Two disjoint sets, each with the same number of every class."""

    def draw(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mine = draw_once(labels, CLASSES, count, generator)
        others = _without(len(labels), mine)
        return mine, others[draw_once(labels[others], CLASSES, other, generator)]

    return draw


def _against_others(count: int) -> Draw:
    """A balanced set and all other images."""

    def draw(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mine = draw_once(labels, CLASSES, count, generator)
        return mine, _without(len(labels), mine)

    return draw


def _uneven(count: int) -> Draw:
    """A balanced set, and one in which the largest class has five times the images of the smallest."""

    def draw(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        mine = draw_once(labels, CLASSES, count, generator)
        others = _without(len(labels), mine)
        others = others[torch.randperm(len(others), generator=generator)]
        sizes = torch.linspace(count / CLASSES, 5 * count / CLASSES, CLASSES).round().long().tolist()
        return mine, torch.cat([others[labels[others] == label][:size] for label, size in enumerate(sizes)])

    return draw


def _without(count: int, taken: Tensor) -> Tensor:
    free = torch.ones(count, dtype=torch.bool)
    free[taken] = False
    return free.nonzero().flatten()
