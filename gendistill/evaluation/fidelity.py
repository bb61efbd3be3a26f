"""How real a teacher's images look: Fréchet distance, KID, neighbour scores and Inception Score in one pass."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.draws import Pool, common_count, default_count, pool
from gendistill.evaluation.extractors import Extractor, extractor_device
from gendistill.evaluation.frechet import Gaussian
from gendistill.evaluation.inception_score import split_scores, summary
from gendistill.evaluation.neighbours import SCORES
from gendistill.evaluation.pairs import compare_pairs
from gendistill.evaluation.shared import shared_images
from gendistill.evaluation.statistics import RealStatistics, real_pairs, real_statistics
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.fit import fitted

__all__ = ["common_count", "fidelity"]

Reference = Literal["train", "test", "both"]

DRAWS = 5
"""Draws of which distance and scores are the mean."""

TRUSTED_COUNT = 2048
"""Below this many images a Fréchet distance is dominated by its bias."""

UNEVEN = 0.05
"""Distance in total variation from which the classes of a draw are said to be others than the reference's."""


def fidelity(
    teacher: Teacher,
    data: RealData,
    *,
    extractor: str | Mapping[str, Any] | Extractor = "classifier",
    weights: str | Path | None = None,
    allow_unverified_weights: bool = False,
    count: int | None = None,
    draws: int = DRAWS,
    reference: Reference = "train",
    nearest: int = 5,
    splits: int = 10,
    device: torch.device | str | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Compare a teacher's images with real ones in the feature space of an extractor.

    Args:
        teacher: The teacher; its images are drawn balanced over classes.
        data: The real data.
        extractor: ``classifier``, ``inception``, a dotted path or an object; see
            :func:`gendistill.evaluation.choice.choose_extractor`.
        weights: Weights file of ``inception``; None looks in torch's hub folder and else downloads.
        allow_unverified_weights: Take Inception weights with another hash than the published one; not FID then.
        count: Images of a draw, at least 1; None: as many as there are real training images, at most 10,000. A teacher
            with no more stored images shows all of them, once. Scores can be compared at one count alone, see
            :func:`common_count`.
        draws: Draws of ``count`` images, at least 1, where the teacher has more; see
            :func:`gendistill.evaluation.draws.pool`.
        reference: ``train`` or ``test``: the real images compared with; ``both``: ``train``, and the distance to
            ``test`` beside it. The training images themselves, as a teacher, are at distance 0 from ``train``.
        nearest: Which neighbour sets the radius in precision, recall, density and coverage.
        splits: Splits of the Inception Score.
        device: Where the extractor runs (the scores are computed on the CPU in float64); None: where the data is.
        seed: Seed of every draw. The classifier does not depend on it, so that scores of several seeds can be compared.

    Returns:
        ``name`` of the Fréchet distance; its ``value``, the mean over ``draws`` draws of ``n`` images, and their sample
        ``std`` (None for one draw); ``whole``: ``n`` and ``value`` of all images looked at. ``reference``,
        ``reference_n``, ``extractor``, ``dimension``. ``kid``: ``name``, ``value``, ``std``, ``estimator``,
        ``class_pairs`` (see :func:`gendistill.evaluation.strata.squared_mmd`) and ``n``: of all images looked at, for
        it does not depend on their number. ``precision``, ``recall``, ``density``, ``coverage``: means over the draws,
        with ``nearest`` and ``recall_nearest`` as used, and ``spread``: their sample standard deviations over draws.
        ``shared``: how many of the teacher's images are among the reference images. ``inception_score`` (None without
        class probabilities). With ``reference: both`` ``memorising``: distances of the draws to ``train`` and ``test``
        images, ``reference_n`` of each, which a teacher that repeats training images has further apart. ``notes``:
        sentences on what not to trust. ``seconds``. Scores that one image alone cannot have are NaN.

    Raises:
        UserError: The teacher's images or classes are not those of the data, or an option names nothing.
    """
    started = time.perf_counter()
    teacher = fitted(teacher, data.description)
    if reference not in get_args(Reference):
        raise UserError(f"reference must be one of {', '.join(get_args(Reference))}, got '{reference}'")
    for name, value in (("count", count), ("draws", draws), ("nearest", nearest), ("splits", splits)):
        if value is not None and value < 1:
            raise UserError(f"{name} must be at least 1, got {value}")
    if device is not None:
        data = data.to(device)
    network = choose_extractor(extractor, data, weights=weights, allow_unverified_weights=allow_unverified_weights)
    normalisation, kinds = data.description.normalisation, data.description.num_classes
    split = data.test if reference == "test" else data.train
    real = real_statistics(split, normalisation, network)
    seen = pool(teacher, network, default_count(data) if count is None else count, draws, seed)
    same = shared_images(seen.digests, split, normalisation)
    result: dict[str, Any] = {
        "name": network.score_name("FD"),
        "value": math.nan,
        "std": None,
        "n": seen.count,
        "draws": len(seen.draws),
        "whole": {"n": len(seen.features), "value": math.nan},
        "reference": "test" if reference == "test" else "train",
        "reference_n": real.count,
        "extractor": network.id,
        "dimension": seen.features.shape[1],
        "kid": {
            "name": network.score_name("KID"),
            **{"value": math.nan, "std": None, "estimator": "stratified", "class_pairs": 0.0},
            "n": len(seen.features),
        },
        **dict.fromkeys(SCORES, math.nan),
        **{"nearest": nearest, "recall_nearest": nearest, "spread": dict.fromkeys(SCORES)},
        "shared": len(same[:, 0].unique()),
    }
    if len(seen.features) > 1:
        result |= _distances(seen, real)
        shares = torch.zeros(kinds, dtype=torch.float64)
        shares[: len(real.shares)] = real.shares
        kid, scores = compare_pairs(
            real_pairs(real, kinds, nearest),
            seen.features,
            seen.classes,
            seen.draws if seen.count > 1 else [],
            shares=shares,
            same=_kept(same, real, len(split)),
            nearest=nearest,
        )
        result["kid"] |= kid
        result |= _means(scores)
        if reference == "both":
            held_out = real_statistics(data.test, normalisation, network)
            result["memorising"] = _memorising(seen, real, held_out, kinds, seed)
    result["inception_score"] = _inception_score(network, seen, splits, seed)
    result["notes"] = _notes(result, seen, real, data, network)
    return result | {"seconds": time.perf_counter() - started}


def _distances(seen: Pool, real: RealStatistics) -> dict[str, Any]:
    whole = real.frechet_distance(seen.features)
    if seen.count < 2:
        values = []
    elif len(seen.draws) == 1 and seen.count == len(seen.features):
        values = [whole]
    else:
        values = [real.frechet_distance(seen.features[index]) for index in seen.draws]
    return {
        "value": statistics.fmean(values) if values else math.nan,
        "std": statistics.stdev(values) if len(values) > 1 else None,
        "whole": {"n": len(seen.features), "value": whole},
    }


def _memorising(
    seen: Pool, real: RealStatistics, held_out: RealStatistics, num_classes: int, seed: int
) -> dict[str, Any]:
    """Return the distance to training images beside that to as many test images, each the mean over the draws.

    A teacher that repeats training images is nearer to them than to test images. Both references are random and have
    the same number of every class, as many as both sets have, since the distance depends on that.
    """
    sides = {"train": real, "test": held_out}
    counts = [torch.bincount(one.classes, minlength=num_classes) for one in sides.values()]
    each = torch.minimum(*counts)
    if int(each.sum()) < 2 or seen.count < 2:
        return {"n": seen.count, "reference_n": int(each.sum()), **dict.fromkeys(sides)}
    found: dict[str, Any] = {"n": seen.count, "reference_n": int(each.sum())}
    for name, one in sides.items():
        order = torch.randperm(len(one.features), generator=stream(seed, f"fidelity/{name}"))
        members = [order[one.classes[order] == label][:size] for label, size in enumerate(each.tolist()) if size]
        side = Gaussian.of_features(one.features[torch.cat(members)])
        values = [Gaussian.of_features(seen.features[index]).distance(side) for index in seen.draws]
        found[name] = statistics.fmean(values)
    return found


def _means(scores: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    if not scores:
        return {}
    found: dict[str, Any] = {name: statistics.fmean(one[name] for one in scores) for name in SCORES}
    spread = {name: statistics.stdev(one[name] for one in scores) if len(scores) > 1 else None for name in SCORES}
    used = {name: min(one[name] for one in scores) for name in ("nearest", "recall_nearest")}
    return found | used | {"spread": spread}


def _kept(same: Tensor, real: RealStatistics, count: int) -> Tensor:
    """Return the pairs (S, 2) whose real image is among the features that are kept, by its place there."""
    where = torch.full((count,), -1, dtype=torch.int64)
    where[real.places] = torch.arange(len(real.places))
    moved = torch.stack((same[:, 0], where[same[:, 1]]), 1)
    return moved[moved[:, 1] >= 0]


@torch.no_grad()
def _inception_score(extractor: Extractor, seen: Pool, splits: int, seed: int) -> dict[str, Any] | None:
    """Return the mean over the draws; its ``std`` is over the splits of all of them."""
    probabilities = extractor.probabilities(seen.features.to(extractor_device(extractor, seen.features)))
    if probabilities is None:
        return None
    probabilities = probabilities.cpu()
    # Stored images may come class by class; the score needs them in random order.
    shuffle = stream(seed, "fidelity/splits")
    orders = [index[torch.randperm(len(index), generator=shuffle)] for index in seen.draws]
    scores = [split_scores(probabilities[order], splits) for order in orders]
    return {"name": extractor.score_name("IS")} | summary(torch.stack(scores))


def _notes(
    result: Mapping[str, Any], seen: Pool, real: RealStatistics, data: RealData, extractor: Extractor
) -> list[str]:
    """Return what is not to be trusted in a result, a sentence each."""
    kid, score = result["kid"], extractor.score_name("FD")
    one = "one image has no spread, so distances between distributions are not defined"
    if len(seen.features) < 2:
        return [one]
    notes = []
    if seen.count < 2:
        notes.append(one)
    elif seen.count < TRUSTED_COUNT:
        instead = "; trust the KID instead" if kid["std"] is not None else ""
        notes.append(
            f"{seen.count:,} images are few for {score}, which is biased upwards below {TRUSTED_COUNT}: compare it at "
            f"equal numbers alone{instead}"
        )
    if result["shared"]:
        notes.append(
            f"{result['shared']:,} of the {len(seen.features):,} images are among the reference images and nearer to "
            "them than other real images would be, so its distance is no measure of realism; KID leaves out pairs of "
            "one and the same image"
        )
    kinds = data.description.num_classes
    mine = torch.bincount(seen.classes, minlength=kinds)
    theirs = torch.zeros(kinds, dtype=torch.float64)
    theirs[: len(real.shares)] = real.shares
    missing = int(((mine == 0) & (theirs > 0)).sum())
    if missing:
        notes.append(f"the teacher has no image of {missing} of the {kinds} classes, which counts against it")
    drawn = torch.bincount(torch.cat([seen.classes[index] for index in seen.draws]), minlength=kinds).double()
    if float((drawn / drawn.sum() - theirs).abs().sum()) / 2 > UNEVEN:
        notes.append(
            f"the classes are not as frequent in the images as in the reference; that is part of {score} and of the "
            "neighbours' scores, while KID weights classes as in the reference"
        )
    if kid["estimator"] == "iid":
        notes.append("the teacher and the reference have no class in common, so KID takes all images as one class")
    elif kid["class_pairs"] < 1 - 1e-9:
        notes.append(
            f"classes with one image have no pair within them; KID leaves these pairs out on both sides and compares "
            f"{100 * kid['class_pairs']:.3g} % of the pairs of classes"
        )
    return notes
