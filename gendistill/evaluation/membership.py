"""Scores by which an attacker guesses whether an image was used: higher where it looks like a member.

Nearest neighbour: the distance to the teacher's images, less that to as many real images that were not used (Chen, Yu,
Zhang, Fritz 2020, "GAN-Leaks"). Loss: the margin log p_y - log sum of the others of learners of the teacher, less that
of learners of those images (Watson et al. 2022). LiRA: what the margin of each image is where a teacher was made with
it and without, learned from shadow teachers (Carlini et al. 2022, "Membership Inference Attacks From First Principles",
with one variance for all images, as they advise for few shadows).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.victims import taught_learners
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.untrusted import Spec

AT_ONCE = 256
FEWEST = 4
"""Shadows at least, so that every image is in some and not in others, as a rule."""
MakeTeacher = Callable[[RealData, int], Teacher]
"""Real data and a seed -> a teacher made of it as the one that is audited was."""


def nearest(images: Tensor, others: Tensor) -> tuple[Tensor, Tensor]:
    """Return the distance (N,) of each image to its nearest of ``others``, and that one's number (N,)."""
    flat = others.flatten(1)
    found = [torch.cdist(part.flatten(1), flat).min(1) for part in images.split(AT_ONCE)]
    return torch.cat([one.values for one in found]), torch.cat([one.indices for one in found])


@torch.no_grad()
def margins(networks: Sequence[nn.Module], split: Split, normalisation: Normalisation) -> Tensor:
    """Return log p_y - log of the sum of the other classes' probabilities, (N,) float64, the mean over networks."""
    total = torch.zeros(len(split), dtype=torch.float64)
    for network in networks:
        rows = []
        for index in torch.arange(len(split)).split(AT_ONCE):
            images, labels = split.batch(index.to(split.labels.device), normalisation)
            logits = network(images).double()
            own = logits.gather(1, labels[:, None]).squeeze(1)
            others = logits.scatter(1, labels[:, None], -math.inf).logsumexp(1)
            rows.append((own - others).cpu())
        total += torch.cat(rows)
    return total / len(networks)


def shadow_margins(
    make: MakeTeacher,
    data: RealData,
    pool: Split,
    *,
    shadows: int,
    learner: Spec,
    description: Description,
    seed: int,
    updates: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[Tensor, Tensor]:
    """Make shadow teachers of random halves, and return what learners of each say of every image.

    Args:
        make: Makes a teacher.
        data: The real data, whose other parts a teacher may look at.
        pool: The images that are asked about; each is in a half with chance one half.
        shadows: How many teachers, at least :data:`FEWEST`.
        learner: Trained on each.
        description: Of the images that learners see.
        seed: Of halves, teachers and learners.
        updates: Of each learner.
        progress: Told how many are done.

    Returns:
        Which images were in each (S, N) bool, and margins (S, N) float64.

    Raises:
        UserError: Too few shadows.
    """
    if shadows < FEWEST:
        raise UserError(f"{shadows} shadow teachers are too few; make at least {FEWEST}, or none (0)")
    device = pool.labels.device
    generator = stream(seed, "audit/halves")
    # Every image is in exactly half of the shadows.
    order = torch.rand(shadows, len(pool), generator=generator).argsort(0)
    included = order < shadows // 2
    rows = []
    for place in range(shadows):
        index = included[place].nonzero().flatten().to(device)
        half = Split(pool.images[index], pool.labels[index])
        teacher = make(RealData(data.description, half, data.validation, data.test), seed + 1000 + place)
        networks = taught_learners(learner, teacher, description, [seed + place], updates=updates, device=device)
        rows.append(margins(networks, pool, description.normalisation))
        if progress is not None:
            progress(place + 1, shadows)
    return included, torch.stack(rows)


def likelihood_ratio(observed: Tensor, included: Tensor, shadows: Tensor) -> np.ndarray:
    """Return LiRA's score (N,): log density of the margin with the image less that without it, one variance for all.

    Args:
        observed: (N,) margins under the teacher that is audited.
        included: (S, N) whether an image was in each shadow's half.
        shadows: (S, N) margins under the shadows.
    """
    counts = [part.sum(0).clamp(min=1) for part in (included, ~included)]
    means = [(shadows * part).sum(0) / count for part, count in zip((included, ~included), counts, strict=True)]
    spread = torch.where(included, shadows - means[0], shadows - means[1])
    freedom = max(shadows.numel() - 2 * shadows.shape[1], 1)
    variance = float(spread.square().sum() / freedom) + 1e-12
    found = ((observed - means[1]).square() - (observed - means[0]).square()) / (2 * variance)
    return found.numpy()
