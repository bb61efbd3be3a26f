"""The points that teachers make, as scatter plots: of each generator of a mixture, and of all of them."""

from __future__ import annotations

import torch
from torch import Tensor

from gendistill.data.scatter import scatter
from gendistill.nets.mixture import GeneratorMixture
from gendistill.teacher.base import Teacher
from gendistill.teacher.generator import GeneratorTeacher

SHOWN = 2000
"""Points of a picture."""


def members(teacher: Teacher) -> list[GeneratorTeacher]:
    """Return the generators of a mixture that makes fresh images, each as a teacher; none for any other teacher."""
    if not isinstance(teacher, GeneratorTeacher) or not isinstance(teacher.network, GeneratorMixture):
        return []
    if teacher.latents is not None:
        return []
    return [
        GeneratorTeacher(network, teacher.description, prior=teacher.prior, batch_norm=teacher.batch_norm)
        for network in teacher.network.members
    ]


def plot(teacher: Teacher, generator: torch.Generator) -> Tensor:
    """Return up to 2,000 of a teacher's points over their modes, (1, 3, S, S) in [0, 1].

    Args:
        teacher: A teacher of points.
        generator: Draws them.
    """
    cloud = teacher.description.cloud
    assert cloud is not None
    stored = teacher.decoded_images
    images, _ = teacher.sample(SHOWN if stored is None else min(SHOWN, stored), generator, balanced=False)
    return scatter(teacher.description.normalisation.invert(images.float()), cloud)


def plots(teacher: Teacher, generator: torch.Generator) -> dict[str, Tensor]:
    """Return :func:`plot` of a teacher as ``points``, and of each generator of a mixture as ``points/<number>``."""
    parts = {f"points/{number}": plot(one, generator) for number, one in enumerate(members(teacher))}
    return {"points": plot(teacher, generator)} | parts
