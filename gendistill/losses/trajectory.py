"""Trajectory matching: how far a student ends from where an expert went.

Cazenavette, Wang, Torralba, Efros, Zhu 2022, "Dataset Distillation by Matching Training Trajectories", Eq. (2).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

Parameters = Mapping[str, Tensor]


def squared_distance(one: Parameters, other: Parameters) -> Tensor:
    """Return the squared Euclidean distance (scalar) of two sets of parameters with the same names."""
    return torch.stack([(one[name] - other[name]).square().sum() for name in other]).sum()


def parameter_distance(student: Parameters, target: Parameters, start: Parameters) -> Tensor:
    """Return ||student - target||^2 / ||start - target||^2, Eq. (2).

    It is 1 for a student that stayed at the start and 0 for one that reached the target.

    Args:
        student: The student's parameters by name, after its last step.
        target: The expert's, some epochs after the start.
        start: The expert's at the start; not those of ``target``.

    Returns:
        Scalar.
    """
    return squared_distance(student, target) / squared_distance(start, target)


class ParameterDistance:
    """:func:`parameter_distance` after the last step, as an outer loss of :func:`gendistill.unroll.unrolled_loss`.

    Args:
        steps: N, the student's steps.
        target: See :func:`parameter_distance`; without a graph.
        start: See there.
    """

    def __init__(self, steps: int, target: Parameters, start: Parameters) -> None:
        self.steps, self.target = steps, target
        self.scale = 1 / squared_distance(start, target)

    def __call__(self, step: int, parameters: Parameters) -> Tensor | None:
        """Return the distance after the last step, None before it."""
        return squared_distance(parameters, self.target) * self.scale if step == self.steps else None
