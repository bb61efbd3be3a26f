"""The one object that private sums come from: it holds the records and gives noisy sums of clipped vectors alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.privacy.ledger import Ledger
from gendistill.privacy.noise import system_choice, system_normal
from gendistill.privacy.releases import Releases, require_float

Contribution = Callable[[Tensor, Tensor], Tensor]
"""Images (B, C, H, W), normalised, and labels (B,) -> what each record adds (B, D): row i is of record i alone."""


def clipped(vectors: Tensor, bound: float) -> Tensor:
    """Return rows (B, D) in float64, each of norm at most ``bound``; a row that is not finite is zero.

    Clipped before anything is added or rounded to fewer digits. NaN would pass a comparison of norms, so whole rows are
    asked whether they are finite, and so are their norms, which can overflow where values do not.
    """
    rows = vectors.detach().to(torch.float64)
    norms = rows.norm(dim=1, keepdim=True)
    sound = rows.isfinite().all(dim=1, keepdim=True) & norms.isfinite()
    factors = torch.where(norms > bound, bound / norms.clamp(min=torch.finfo(torch.float64).tiny), 1.0)
    return torch.where(sound, rows * factors, 0.0)


class PrivateSums:
    """Holds records, and gives noisy sums of what each contributes; there is no other way to them.

    Args:
        records: Images and labels that must not be shared.
        num_classes: Number of classes K, public.
        normalisation: How images are normalised for contributions; public constants.
        ledger: Counts every call before its noise is drawn.
        releases: Keeps every noisy sum before it is used.
        at_once: Records whose contributions are in memory together.
    """

    def __init__(
        self,
        records: Split,
        num_classes: int,
        normalisation: Normalisation,
        ledger: Ledger,
        releases: Releases,
        *,
        at_once: int = 250,
    ) -> None:
        self.__records = records
        self.num_classes, self.normalisation = num_classes, normalisation
        self.ledger, self.releases, self.at_once = ledger, releases, at_once

    def release(
        self,
        name: str,
        contribution: Contribution,
        *,
        purpose: str,
        bound: float,
        noise: float,
        rate: float = 1.0,
        by_class: bool = False,
    ) -> Tensor:
        """Return a noisy sum: from its file if it was released already, else made, counted and kept.

        Args:
            name: Of this sum, one name for one sum.
            contribution: What each record adds; it must look at nothing else than its record and public values.
            purpose: What the ledger calls it.
            bound: Norm to which contributions are clipped, positive, public.
            noise: Standard deviation of the noise over the sum's sensitivity.
            rate: Chance of each record to be in the sum, drawn anew by the operating system.
            by_class: Keep the sums of classes apart; as each record has one class, the sensitivity stays the same.

        Returns:
            (D,) or (K, D) float32 on the CPU.

        Raises:
            UserError: The budget is spent, or a contribution cannot be made; nothing is released.
        """
        if not bound > 0:
            raise UserError(f"the norm that contributions are clipped to is {bound}; give a positive number")

        def make() -> Tensor:
            total = self._sum(contribution, bound, rate, by_class)
            # The order matters: a call is counted on the disk first, so that no crash can hide it.
            self.ledger.spend(purpose, noise, rate)
            return require_float(total + self._noise(total.numel(), noise * bound).view_as(total))

        return self.releases.once(name, make)

    def _noise(self, count: int, scale: float) -> Tensor:
        """Return noise (count,) of standard deviation ``scale`` times the sensitivity for a bound of 1."""
        return system_normal(count) * (scale * self.ledger.budget.sensitivity)

    def _sum(self, contribution: Contribution, bound: float, rate: float, by_class: bool) -> Tensor:
        """Return the sum of clipped contributions without noise; nothing but :meth:`release` may see it."""
        chosen = system_choice(len(self.__records), rate)
        index = chosen.nonzero().flatten().to(self.__records.labels.device)
        total = torch.zeros(self._shape(contribution, by_class), dtype=torch.float64)
        for part in index.split(self.at_once):
            images, labels = self.__records.batch(part, self.normalisation)
            try:
                vectors = contribution(images, labels)
            except (UserError, MemoryError):
                raise
            except Exception as error:
                # Its words and its stack may hold values of records.
                raise UserError(
                    f"a private sum could not be made ({type(error).__name__} in a contribution; its message is not "
                    "shown, as it may hold values of private images)"
                ) from None
            if vectors.ndim != 2 or len(vectors) != len(part):
                raise UserError(
                    f"a contribution has the shape {tuple(vectors.shape)}, expected one row for each record"
                )
            rows = clipped(vectors, bound).cpu()
            if by_class:
                total.index_add_(0, labels.cpu(), rows)
            else:
                total += rows.sum(0)
        return total

    def _shape(self, contribution: Contribution, by_class: bool) -> tuple[int, ...]:
        """Return the shape of a sum, from what a black image would add: what fails with it may be shown in full."""
        records = self.__records
        black = torch.zeros((1, *records.images.shape[1:]), dtype=records.images.dtype, device=records.images.device)
        vectors = contribution(self.normalisation.apply(black), records.labels.new_zeros(1))
        if vectors.ndim != 2 or len(vectors) != 1:
            raise UserError(f"a contribution has the shape {tuple(vectors.shape)}, expected one row for each record")
        return (self.num_classes, vectors.shape[1]) if by_class else (vectors.shape[1],)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.num_classes} classes)"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse to be copied or pickled: so records go into no file and no other process."""
        raise TypeError("private records are neither copied nor written to a file")
