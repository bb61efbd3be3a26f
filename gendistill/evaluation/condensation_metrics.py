"""Whether a condensed batch does what its real batch does: gradients, accuracy, and how it ranks hyper-parameters.

Bradley 2020, section 6.1, asks for data that mimics the behaviour of the original: "if changing a hyperparameter and
training on distilled data improves the accuracy then this hyperparameter change should also give a higher accuracy on
the original dataset". docs/methods/batch-condensation.md tells how the numbers are to be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from gendistill import unroll
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.condensation_controls import CONTROLS, control_teacher
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.learning import learning_curve
from gendistill.evaluation.ranking import ranking
from gendistill.evaluation.victims import trained_learners
from gendistill.finite import check_finite
from gendistill.losses.batch_gradients import batch_cosines, batch_gradients
from gendistill.nets.learners import default_learner
from gendistill.seeds import derive_seed
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import fitted
from gendistill.visible import visible

KEY = "condensation"
"""Where a teacher's metadata say how its batches were made."""

GRID: Mapping[str, Sequence[Any]] = {"lr": (0.01, 0.03, 0.1, 0.3), "momentum": (0.0, 0.9), "weight_decay": (0.0, 5e-3)}
"""Hyper-parameters whose ranking is asked for when no others are named: 16 ways to train."""


def condensation_report(
    teacher: Teacher,
    data: RealData,
    *,
    learner: str | Mapping[str, Any] | None = None,
    controls: Sequence[str] = CONTROLS,
    features: str = "pixels",
    ages: Sequence[int] = (0, 20, 200),
    networks: int = 2,
    updates: int = 200,
    seeds: int = 3,
    grid: Mapping[str, Sequence[Any]] | None = None,
    split: str = "test",
    seed: int = 0,
) -> dict[str, Any]:
    """Measure condensed batches, the controls of the same size and the real batches by the three measures.

    Args:
        teacher: What :class:`trainers.batch_condensation.BatchCondensationTrainer` made.
        data: The real data that it was made from.
        learner: Who learns and in whom gradients are compared; None: the data set's default learner.
        controls: Names of controls, see :mod:`gendistill.evaluation.condensation_controls`.
        features: Where herding and k-center measure.
        ages: Updates on real data of the networks in which gradients are compared.
        networks: Networks of each age, at least 1; none of them was met by condensation.
        updates: Length of a training, for real and smaller batches alike.
        seeds: Learners of each training.
        grid: Options of :func:`gendistill.evaluation.learning.learning_curve`, each with the values to try; the product
            of all is ranked. None: :data:`GRID`.
        split: Where accuracy is measured.
        seed: Of the controls and of the networks in which gradients are compared.

    Returns:
        Plain values: ``sizes``, ``batches``, ``settings`` (by name, the options tried), ``teachers``: by name
        (``condensed``, the controls, ``original``) ``images``, ``gradient`` (see :func:`gradient_agreement`),
        ``accuracy`` (by setting), ``best`` (the highest) and ``ranking`` against the original
        (:func:`gendistill.evaluation.ranking.ranking`); and ``cost`` (see :func:`break_even`).

    Raises:
        UserError: The teacher was not made by batch condensation, or from other data, or an option is out of range.
    """
    teacher = fitted(teacher, data.description)
    card = teacher.noted(KEY, dict)
    if card is None:
        raise UserError(
            "this teacher's metadata do not say which real batches it condenses; give one that "
            "trainers.batch_condensation.BatchCondensationTrainer made"
        )
    sizes, batches, first = card.get("sizes"), card.get("batches"), teacher.noted("seed", int) or 0
    made = list(sizes) if isinstance(sizes, list | tuple) and all(type(size) is int for size in sizes) else []
    if len(made) < 2 or min(made) < 1 or type(batches) is not int or not 1 <= batches * max(made) <= len(data.train):
        raise UserError(
            f"this teacher's '{KEY}' says that {_shown(batches)} batches of {_shown(sizes)} images were made of the "
            f"{len(data.train):,} training images; make it again, or give the data that it was made from"
        )
    spent = card.get("image_gradients")
    if type(spent) is not int or spent < 0:
        raise UserError(f"this teacher's '{KEY}' gives image_gradients as {_shown(spent)}; make it again")
    same = {"batch_size": made[0], "size": made[-1], "num_batches": batches, "features": features, "seed": first}
    original = control_teacher("original", data, **same)
    teachers: dict[str, Teacher] = {"condensed": teacher.to(data.train.labels.device)}
    teachers |= {name: control_teacher(name, data, **same) for name in controls}
    teachers["original"] = original
    spec: Any = learner or default_learner(data.description)
    known = {"class_path": spec} if isinstance(spec, str) else dict(spec)
    probes = held_out_networks(known, data, ages=ages, count=networks, seed=seed)
    ways = settings(GRID if grid is None else grid)
    results: dict[str, Any] = {}
    truth = trained_with(original, data, ways, learner=known, updates=updates, seeds=seeds, split=split)
    for name, one in teachers.items():
        own = one is original
        scores = (
            truth if own else trained_with(one, data, ways, learner=known, updates=updates, seeds=seeds, split=split)
        )
        results[name] = {
            "images": one.images_stored,
            "gradient": None if own else gradient_agreement(one, original, data, batches, probes),
            "accuracy": scores,
            "best": max(scores.values()),
            "ranking": None if own or len(ways) < 3 else ranking(scores, truth),
        }
    return {
        "sizes": made,
        "batches": batches,
        "learner": known,
        "updates": updates,
        "seeds": seeds,
        "split": split,
        "settings": ways,
        "teachers": results,
        "cost": break_even(spent, batches, made[0], made[-1]),
    }


def gradient_agreement(
    teacher: Teacher,
    original: Teacher,
    data: RealData,
    batches: int,
    networks: Mapping[str, Sequence[nn.Module]],
) -> dict[str, Any]:
    """Compare the gradients of smaller batches with those of the real ones, in networks that none was made for.

    Args:
        teacher: Smaller batches, as many as there are real ones, in their order.
        original: The real batches.
        data: The real data.
        batches: Number of batches T.
        networks: Networks by age.

    Returns:
        By age ``cosine`` and ``norm`` (of the smaller batch's gradient by that of the real one), each with the ``mean``
        over batches and networks and two sample standard deviations, since every batch meets the same networks and the
        pairs are not independent: ``std_batches`` of the batches' means over networks, ``std_networks`` of the
        networks' means over batches. Each is None where there is one batch or one network.

    Raises:
        UserError: The teacher does not show its batches in order.
    """
    pairs = list(zip(in_order(teacher, data, batches), in_order(original, data, batches), strict=True))
    result = {}
    for age, some in networks.items():
        cosines, norms = [], []
        for network in some:
            parameters = {name: value for name, value in network.named_parameters() if value.requires_grad}

            def logits(values: Mapping[str, Tensor], images: Tensor, network: nn.Module = network) -> Tensor:
                return unroll.call(network, dict(values), images)

            for small, real in pairs:
                left, right = (
                    batch_gradients(logits, parameters, images[None], labels[None], create_graph=False, at_once=False)
                    for images, labels in (real, small)
                )
                cosines.append(batch_cosines(left, right))
                norms.append(_norm(right) / _norm(left))
        result[age] = {
            name: crossed(torch.cat(values).view(len(some), len(pairs)))
            for name, values in (("cosine", cosines), ("norm", norms))
        }
    return result


def crossed(values: Tensor) -> dict[str, float | None]:
    """Return the mean of values (networks, batches), and how the means of either vary.

    Raises:
        UserError: A value is not finite.
    """
    check_finite("gradients", values, "give networks whose weights are finite")
    spread = {name: values.mean(over) for name, over in (("std_batches", 0), ("std_networks", 1))}
    return {"mean": float(values.mean())} | {
        name: float(means.std()) if len(means) > 1 else None for name, means in spread.items()
    }


def in_order(teacher: Teacher, data: RealData, batches: int) -> list[tuple[Tensor, Tensor]]:
    """Return the first batches of a teacher in the data set's normalisation.

    Raises:
        UserError: The order is random: then nobody knows which batch stands for which.
    """
    if getattr(teacher, "order", "fixed") != "fixed" or getattr(teacher, "shuffle", "none") != "none":
        raise UserError("gradients are compared batch by batch; condense with order: fixed, or give such a teacher")
    shown = teacher.batches(batches, 1, torch.Generator(device=teacher.device))
    convert = teacher.description.normalisation.convert
    return [(convert(images, data.description.normalisation), labels) for images, labels, _ in shown]


def held_out_networks(
    spec: Mapping[str, Any], data: RealData, *, ages: Sequence[int], count: int, seed: int
) -> dict[str, list[nn.Module]]:
    """Return networks by age, in evaluation mode: fresh ones (age 0) and ones trained on real images.

    Args:
        spec: The learner.
        data: The real data; only ``train`` is looked at.
        ages: Numbers of updates.
        count: Networks of each age, at least 1.
        seed: Of their first weights, which no run of a trainer draws.

    Raises:
        UserError: No age, a negative one, or no network.
    """
    if not ages or min(ages) < 0 or count < 1:
        raise UserError(f"give ages from 0 and at least 1 network of each, got {list(ages)} and {count}")
    found: dict[str, list[nn.Module]] = {}
    for age in ages:
        base = derive_seed(seed, f"condensation/held-out/{age}") >> 8
        seeds = [base + place for place in range(count)]
        if age:
            found[str(age)] = trained_learners(spec, data, seeds, updates=age)
        else:
            device = data.train.labels.device
            found["0"] = [build_learner(spec, data.description, one).to(device).eval() for one in seeds]
    return found


def settings(grid: Mapping[str, Sequence[Any]]) -> dict[str, dict[str, Any]]:
    """Return every combination of a grid by a name such as ``lr=0.1 momentum=0.9``.

    Raises:
        UserError: An option without values.
    """
    for option, values in grid.items():
        if isinstance(values, str) or not isinstance(values, Sequence) or not values:
            raise UserError(f"the grid's '{option}' is {values!r}; give a list of values to try")
    rows = [dict(zip(grid, values, strict=True)) for values in itertools.product(*grid.values())]
    return {" ".join(f"{option}={value}" for option, value in row.items()): row for row in rows}


def trained_with(
    teacher: Teacher,
    data: RealData,
    ways: Mapping[str, Mapping[str, Any]],
    *,
    learner: Mapping[str, Any],
    updates: int,
    seeds: int,
    split: str = "test",
) -> dict[str, float]:
    """Return the mean accuracy after a training in each of several ways, by the way's name."""
    scores = {}
    for name, way in ways.items():
        options: dict[str, Any] = {"learner": learner, "updates": [updates], "seeds": seeds, "split": split} | dict(way)
        scores[name] = float(learning_curve(teacher, data, **options)["accuracy"]["mean"][-1])
    return scores


def image_gradients(sizes: Sequence[int], steps_per_round: int, steps: int, looks: int) -> int:
    """Return how many gradients of one image in one network a condensation takes; a differentiated one counts twice.

    Args:
        sizes: Images of a batch from the real one on; a round between every two.
        steps_per_round: Steps of each round.
        steps: Steps done.
        looks: Pairs of a batch and a network that a step compares.
    """
    total = 0
    for turn, (size, smaller) in enumerate(itertools.pairwise(sizes)):
        done = min(max(steps - turn * steps_per_round, 0), steps_per_round)
        total += done * looks * (size + 2 * smaller)
    return total


def break_even(spent: int, batches: int, size: int, condensed_size: int) -> dict[str, Any]:
    """Return after how many epochs of training the smaller batches have saved what making them cost.

    Args:
        spent: See :func:`image_gradients`.
        batches: Number of batches.
        size: Images of a real batch.
        condensed_size: Images of a condensed one.

    Returns:
        ``image_gradients`` spent, ``epochs_of_the_original`` that they would pay for, and ``break_even_epochs`` on the
        condensed batches until as much is saved.
    """
    return {
        "image_gradients": spent,
        "epochs_of_the_original": spent / (batches * size),
        "break_even_epochs": spent / (batches * (size - condensed_size)),
    }


def _shown(value: Any) -> str:
    return visible(repr(value), 60)


def _norm(gradients: Sequence[Tensor]) -> Tensor:
    return torch.cat([part.flatten(1) for part in gradients], 1).norm(dim=1)
