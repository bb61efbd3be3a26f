"""How real a teacher's images look: Fréchet distance, KID, neighbour scores and Inception Score in one pass."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from torch import Tensor

from gendistill.data.description import Normalisation, check_fits
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.choice import choose_extractor
from gendistill.evaluation.extractors import Extractor, extract, extractor_device
from gendistill.evaluation.inception_score import inception_score
from gendistill.evaluation.kernel import kernel_distance
from gendistill.evaluation.neighbours import neighbour_scores
from gendistill.evaluation.statistics import real_statistics
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher

Reference = Literal["train", "test"]

COUNT_LIMIT = 10_000
TRUSTED_COUNT = 2048
"""Below this many images a Fréchet distance is dominated by its bias."""

CHUNK = 1000
"""Fresh images made at a time."""


def fidelity(
    teacher: Teacher,
    data: RealData,
    *,
    extractor: str | Mapping[str, Any] | Extractor = "classifier",
    weights: str | Path | None = None,
    allow_unverified_weights: bool = False,
    count: int | None = None,
    reference: Reference = "train",
    subsets: int = 100,
    subset_size: int = 1000,
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
        count: Images drawn, at least 1; None: as many as there are real training images, at most 10,000. A teacher with
            fewer stored images shows all of them, once.
        reference: ``train`` or ``test``: the real images compared with. The training images themselves, as a teacher,
            are at distance 0 from ``train``.
        subsets: Subsets of KID.
        subset_size: Images in a subset of KID, at most.
        nearest: Which neighbour sets the radius in precision, recall, density and coverage.
        splits: Splits of the Inception Score.
        device: Where the extractor runs (the scores are computed on the CPU in float64); None: where the data is.
        seed: Seed of every draw. The classifier does not depend on it, so that scores of several seeds can be compared.

    Returns:
        ``name`` and ``value`` of the Fréchet distance, ``n`` and ``reference_n`` images, ``reference``, ``extractor``,
        ``dimension``, ``kid``, ``precision``, ``recall``, ``density``, ``coverage``, ``nearest``, ``inception_score``
        (None without class probabilities), ``notes`` (sentences on what not to trust) and ``seconds``. Scores that one
        image alone cannot have are NaN.

    Raises:
        UserError: The teacher's images or classes are not those of the data, or an option names nothing.
    """
    started = time.perf_counter()
    check_fits(teacher.description, data.description)
    if reference not in get_args(Reference):
        raise UserError(f"reference must be one of {', '.join(get_args(Reference))}, got '{reference}'")
    if count is not None and count < 1:
        raise UserError(f"count must be at least 1 image, got {count}")
    if device is not None:
        data = data.to(device)
    network = choose_extractor(extractor, data, weights=weights, allow_unverified_weights=allow_unverified_weights)
    split = data.train if reference == "train" else data.test
    real = real_statistics(split, data.description.normalisation, network)
    wanted = min(len(data.train), COUNT_LIMIT) if count is None else count
    features = teacher_features(teacher, network, wanted, stream(seed, "fidelity/sample"))
    notes = []
    if len(features) < TRUSTED_COUNT:
        notes.append(
            f"{len(features)} images are few for {network.score_name('FD')}, which is biased upwards below "
            f"{TRUSTED_COUNT}; trust the KID instead"
        )
    if teacher.kind == "real-subset" and reference == "train":
        notes.append("this teacher's images are among the reference images, so its distance is no measure of realism")
    result: dict[str, Any] = {
        "name": network.score_name("FD"),
        "value": math.nan,
        "n": len(features),
        "reference": reference,
        "reference_n": real.count,
        "extractor": network.id,
        "dimension": features.shape[1],
        "kid": {"name": network.score_name("KID"), "value": math.nan, "mean": math.nan, "std": math.nan},
        **dict.fromkeys(("precision", "recall", "density", "coverage"), math.nan),
    }
    if len(features) < 2:
        notes.append("one image has no spread, so distances between distributions are not defined")
    else:
        result["value"] = real.frechet_distance(features)
        drawn = stream(seed, "fidelity/subsets")
        result["kid"] |= kernel_distance(features, real.features, drawn, subsets=subsets, subset_size=subset_size)
        result |= neighbour_scores(real.features, features, nearest=nearest)
    result["inception_score"] = _inception_score(network, features, splits, seed)
    return result | {"notes": notes, "seconds": time.perf_counter() - started}


def common_count(teachers: Sequence[Teacher], data: RealData) -> int:
    """Return how many images to draw of each of several teachers, so that their distances can be compared.

    Args:
        teachers: The teachers of one comparison.
        data: The real data.

    Returns:
        The size of the smallest set that any of them stores; without one, what :func:`fidelity` draws by itself.
    """
    stored = [one.images_stored for one in teachers if one.images_stored is not None]
    return min([*stored, len(data.train), COUNT_LIMIT])


def teacher_features(teacher: Teacher, extractor: Extractor, count: int, generator: torch.Generator) -> Tensor:
    """Return features (N, D) of ``count`` images of a teacher, or of all that it stores where that is fewer.

    Args:
        teacher: The teacher.
        extractor: The network.
        count: Images wanted.
        generator: Draws them.
    """
    normalisation: Normalisation = teacher.description.normalisation
    stored = teacher.images_stored
    if stored is not None and stored <= count:
        return extract(extractor, teacher.everything()[0], normalisation)
    if stored is not None:
        return extract(extractor, teacher.sample(count, generator)[0], normalisation)
    parts = [min(CHUNK, count - start) for start in range(0, count, CHUNK)]
    return torch.cat([extract(extractor, teacher.sample(part, generator)[0], normalisation) for part in parts])


@torch.no_grad()
def _inception_score(extractor: Extractor, features: Tensor, splits: int, seed: int) -> dict[str, Any] | None:
    # Stored images may come class by class; the score needs them in random order.
    order = torch.randperm(len(features), generator=stream(seed, "fidelity/splits"))
    probabilities = extractor.probabilities(features[order].to(extractor_device(extractor, features)))
    if probabilities is None:
        return None
    return {"name": extractor.score_name("IS")} | inception_score(probabilities.cpu(), splits=splits)
