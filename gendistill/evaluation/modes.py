"""Modes captured: whether a generator shows all of what is known to be there, and how truly.

Points: a sample is good within three standard deviations of the mode that is nearest (VEEGAN; PacGAN). Papers differ in
whether bad samples count in the histogram of modes, and in the direction of the divergence, so that all four are given.
``docs/evaluation-fidelity.md`` has the definitions and what real samples give.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from gendistill.data.cloud import Cloud
from gendistill.data.description import as_pixels
from gendistill.data.real import RealData
from gendistill.data.scatter import GOOD_WITHIN, nearest_mode
from gendistill.errors import UserError
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.clouds import members

COUNT = 2500
"""Samples that are looked at, as in VEEGAN's and PacGAN's experiments."""
MATCHED = 2000
"""Of these, samples that are matched with real ones."""
GENERATOR = "generator "
"""Beginning of the name of a view of one generator; its number follows."""
TENTH = 0.1
"""Part of its fair share from which on a mode counts as covered."""


def point_modes(teacher: Teacher, data: RealData, *, count: int = COUNT, seed: int = 0) -> dict[str, Any]:
    """Return the modes that a teacher's points capture: of the teacher, each generator of a mixture, and real points.

    Args:
        teacher: A teacher of points.
        data: The real points; its test split stands beside them and is what they are matched with.
        count: Samples of each; fewer where the teacher stores fewer.
        seed: Of the draws.

    Returns:
        ``total`` (modes), ``of`` (``points``), ``n``, and ``views``: for each ``name`` (``whole``, ``generator 0`` and
        so on, ``real``) what :func:`scores` returns, ``wasserstein`` and ``n``. Of a mixture ``per_generator``, too.

    Raises:
        UserError: The data are no points, or ``count`` is below 2.
    """
    cloud = data.description.cloud
    if cloud is None:
        raise UserError(f"'{data.description.name}' holds {data.description.kind}, whose modes are not known")
    if count < 2:
        raise UserError(f"count is {count}; give at least 2 samples")
    pixels = as_pixels(data.test.images)
    order = torch.randperm(len(pixels), generator=stream(seed, "modes/real"))
    reference, others = order[: len(order) // 2], order[len(order) // 2 :]
    against = cloud.coordinates(pixels[reference])
    shown = {"whole": teacher} | {f"{GENERATOR}{number}": one for number, one in enumerate(members(teacher))}
    views = []
    for name, one in shown.items():
        stored = one.decoded_images
        asked = count if stored is None else min(count, stored)
        images, _ = one.sample(asked, stream(seed, f"modes/{name}"), balanced=False)
        drawn = cloud.coordinates(one.description.normalisation.invert(images.float()))
        views.append({"name": name} | _view(drawn, against, cloud))
    views.append({"name": "real"} | _view(cloud.coordinates(pixels[others[:count]]), against, cloud))
    return {"total": len(cloud.centres), "of": "points", "n": views[0]["n"], "views": views, **per_generator(views)}


def per_generator(views: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return ``per_generator``: mean and sample standard deviation of each number over the generators of a mixture.

    Both are None where a number is infinite or not known.
    """
    single = [view for view in views if str(view["name"]).startswith(GENERATOR)]
    if len(single) < 2:
        return {}
    names = [name for name in single[0] if name != "name"]
    known = {name: [float("nan" if view[name] is None else view[name]) for view in single] for name in names}
    rows = {name: torch.tensor(row, dtype=torch.float64) for name, row in known.items()}
    return {
        "per_generator": {name: {"mean": _known(row.mean()), "std": _known(row.std())} for name, row in rows.items()}
    }


def _known(value: Tensor) -> float | None:
    """Return a number; None of a mean that is infinite or not known."""
    return float(value) if bool(value.isfinite()) else None


def _view(points: Tensor, real: Tensor, cloud: Cloud) -> dict[str, Any]:
    whole = points[points.isfinite().all(1)]
    matched = min(MATCHED, len(whole), len(real))
    distance = wasserstein(whole[:matched], real[:matched]) if len(whole) == len(points) else math.nan
    return {"n": len(points)} | scores(points, cloud) | {"wasserstein": distance, "matched": matched}


def scores(points: Tensor, cloud: Cloud) -> dict[str, Any]:
    """Return which modes points show and how evenly.

    Args:
        points: Coordinates (N, 2); those that are not finite are bad and belong to no mode.
        cloud: The modes, of equal weight.

    Returns:
        ``captured``: modes with a good sample or more. ``covered``: modes with a tenth of their fair share N / K or
        more. ``high_quality``: share of good samples. ``kl`` and ``kl_real`` (nats): KL(generated || real) and KL(real
        || generated) of the histograms of good samples over the modes; ``kl_all`` and ``kl_real_all`` of all samples,
        each given to the nearest mode. The second of each pair is infinite where a mode has none; without samples all
        are NaN.
    """
    modes = len(cloud.centres)
    whole = points[points.isfinite().all(1)]
    mode, distance = nearest_mode(whole, cloud)
    good = torch.bincount(mode[distance < GOOD_WITHIN], minlength=modes).double()
    every = torch.bincount(mode, minlength=modes).double()
    fair = torch.full((modes,), 1 / modes, dtype=torch.float64)
    return {
        "captured": int((good > 0).sum()),
        "covered": int((good >= TENTH * len(points) / modes).sum()),
        "high_quality": float(good.sum()) / max(1, len(points)),
        **divergences(good, fair, ""),
        **divergences(every, fair, "_all"),
    }


def divergences(counts: Tensor, real: Tensor, ending: str = "") -> dict[str, float]:
    """Return ``kl`` and ``kl_real`` of :func:`scores` for counts (K,) and real shares (K,), float64."""
    total = counts.sum()
    if not total:
        return {f"kl{ending}": math.nan, f"kl_real{ending}": math.nan}
    share = counts / total
    return {f"kl{ending}": divergence(share, real), f"kl_real{ending}": divergence(real, share)}


def divergence(one: Tensor, other: Tensor) -> float:
    """Return KL(one || other) in nats of two histograms (K,) that sum to 1; infinite where only ``other`` has none."""
    there = one > 0
    return float((one[there] * (one[there] / other[there]).log()).sum())


def wasserstein(one: Tensor, other: Tensor) -> float:
    """Return the Wasserstein-1 distance of two samples of equal size: the mean distance of the best matching.

    It is exact, by the assignment of Jonker and Volgenant, and of N points takes N^2 memory.

    Args:
        one: (N, D), finite.
        other: (N, D), finite.

    Returns:
        The distance; NaN without points.

    Raises:
        UserError: The samples differ in size.
    """
    if one.shape != other.shape:
        raise UserError(f"samples of {tuple(one.shape)} and {tuple(other.shape)} cannot be matched; give as many")
    if not len(one):
        return math.nan
    apart = torch.cdist(one.double(), other.double(), compute_mode="donot_use_mm_for_euclid_dist")
    # Less what every row has in common, the best matching is the same, and samples of few places, such as a collapsed
    # generator's, are matched in a fraction of the time.
    from scipy.optimize import linear_sum_assignment  # here: it loads slowly, and images have no modes

    rows, columns = linear_sum_assignment((apart - apart.min(0).values).numpy())
    return float(apart.numpy()[rows, columns].mean())
