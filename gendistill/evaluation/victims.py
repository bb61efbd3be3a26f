"""Well-trained learners: what an attack on networks in use starts from (Wang et al. 2018, section 3.4)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import nn

from gendistill.data.description import Description
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import Separate
from gendistill.evaluation.lessons import Lessons
from gendistill.evaluation.rates import Candidate, schedule_factor
from gendistill.evaluation.workers import Workers
from gendistill.initial import Initial
from gendistill.seeds import initialisation
from gendistill.teacher.base import Teacher
from gendistill.teacher.subset import RealSubset
from gendistill.untrusted import Spec


def trained_learners(
    spec: Spec,
    data: RealData,
    seeds: Sequence[int],
    *,
    updates: int = 300,
    lr: float = 0.05,
    momentum: float = 0.9,
    batch_size: int = 64,
    initial: Initial | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[nn.Module]:
    """Return learners trained on the real training images; see :func:`taught_learners`.

    Args:
        spec: The learner.
        data: The real data; only ``train`` is looked at. Learners live on its device.
        seeds: See :func:`taught_learners`, as for the others.
        updates: See there.
        lr: See there.
        momentum: See there.
        batch_size: See there.
        initial: See there.
        progress: See there.
    """
    return taught_learners(
        spec,
        RealSubset.all(data.train, data.description),
        data.description,
        seeds,
        updates=updates,
        lr=lr,
        momentum=momentum,
        batch_size=min(batch_size, len(data.train)),
        initial=initial,
        progress=progress,
        device=data.train.labels.device,
    )


def taught_learners(
    spec: Spec,
    teacher: Teacher,
    description: Description,
    seeds: Sequence[int],
    *,
    device: torch.device,
    updates: int = 300,
    lr: float = 0.05,
    momentum: float = 0.9,
    batch_size: int = 64,
    initial: Initial | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> list[nn.Module]:
    """Return learners trained on a teacher by SGD with momentum and a cosine schedule.

    Args:
        spec: The learner.
        teacher: What they train on.
        description: In whose normalisation they see its images.
        seeds: One a learner: its first weights and its order of the data depend on it alone.
        device: Where they live.
        updates: Updates of each, at least 1.
        lr: Learning rate at the start; positive.
        momentum: In [0, 1).
        batch_size: Images an update.
        initial: Where they start, if not as usual.
        progress: Called with the updates that each has made, and their number.

    Returns:
        One network a seed, in evaluation mode.

    Raises:
        UserError: A value out of range.
    """
    if updates < 1 or not 0.0 < lr < math.inf or not 0.0 <= momentum < 1.0:
        raise UserError(
            f"victims need at least 1 update, a positive rate and a momentum in [0, 1); got {updates}, {lr}, {momentum}"
        )
    rates = tuple(lr * schedule_factor("cosine", step, updates) for step in range(updates))
    way = Candidate(lr, rates, (momentum,) * updates, 5e-4)
    lessons = Lessons(teacher, description, seeds, updates, batch_size)
    # Learners with dropout draw from torch's global generator, which is lent out here and put back untouched.
    with Workers(1) as workers, initialisation(seeds[0], "evaluation/dropout"):
        ensemble = Separate(
            spec, description, seeds, [way], optimizer="sgd", device=device, workers=workers, initial=initial
        )
        done = 0
        for chunk in lessons.chunks([updates]):
            ensemble.train(chunk, done)
            done += len(chunk[0])
            if progress is not None:
                progress(done, updates)
    return [network.eval() for network in ensemble.networks]
