"""Real images that stand for all of their class: those nearest to the centres of clusters of features.

Liu et al. 2023, "DREAM: Efficient Dataset Distillation by Representative Matching".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from gendistill.coresets import k_means, nearest_members
from gendistill.declared import read_block
from gendistill.errors import UserError
from trainers.checks import check_counts


@dataclass
class Representatives:
    """How a step's real images are chosen of more.

    Of each class the features z of ``among`` real images in the step's network are clustered, with as many centres m_k
    as real images are wanted, and those images are taken that are nearest to them:

        min over m of sum_i min over k of || z_i - m_k ||^2        x_k = argmin over i of || z_i - m_k ||^2

    Attributes:
        every: Steps that they serve for. DREAM has 10.
        among: Real images of a class, drawn anew each time, that are looked at; of a class with fewer all of them.
            DREAM looks at all.
        rounds: Of Lloyd's algorithm from k-means++, at most.

    Raises:
        UserError: An option is out of range.
    """

    every: int = 10
    among: int = 1000
    rounds: int = 10

    def __post_init__(self) -> None:
        check_counts(**{f"representatives.{name}": getattr(self, name) for name in ("every", "among", "rounds")})

    @classmethod
    def of(cls, spec: Mapping[str, Any] | None, wanted: int) -> Self | None:
        """Return what an option ``representatives`` asks for; None: real images are drawn.

        Args:
            spec: Its keys and values.
            wanted: Real images of a class at each step.

        Raises:
            UserError: An unknown key, a value of a wrong type, or fewer images to look at than are wanted.
        """
        if spec is None:
            return None
        found: Self = read_block(cls, spec, "representatives")
        if found.among < wanted:
            raise UserError(
                f"representatives.among is {found.among}, of which {wanted} real images cannot be chosen; give at "
                f"least {wanted}, or lower --trainer.real_batch"
            )
        return found

    def choose(self, features: Callable[[Tensor], Tensor], index: Tensor, count: int, draws: torch.Generator) -> Tensor:
        """Return ``count`` of one class's images, no image twice.

        Args:
            features: Indices (N,) -> features (N, F).
            index: (N,) training images of the class, all different.
            count: How many are wanted, at most N.
            draws: Where k-means starts.

        Returns:
            (count,) of ``index``.
        """
        if count == len(index):
            return index
        found = features(index).float()[None]
        valid = torch.ones(found.shape[:2], dtype=torch.bool, device=found.device)
        centres, _ = k_means(found, valid, count, draws, rounds=self.rounds)
        return index[nearest_members(found, valid, centres)[0]]
