"""Who has which images in a simulation: sites' shares of one data set, and what the server has."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.seeds import stream

SPLITS = ("random", "classes")
GLOBAL_SPLITS = ("superset", "disjoint", "shifted")


@dataclass(frozen=True)
class Shares:
    """A division of the training images.

    Args:
        sites: How many.
        split: ``random``, or ``classes``: class k belongs to site k mod ``sites``, as everybody knows.
        images: Of a site at most; None: all that fall to it.
        server: ``superset``: the server has all training images; ``disjoint``: half of them, which no site has;
            ``shifted``: those of the second half of the classes, and sites the others.
    """

    sites: int
    split: str = "random"
    images: int | None = None
    server: str = "disjoint"

    def of_server(self, data: RealData, seed: int) -> RealData:
        """Return the data with the server's training images."""
        return _part(data, self._divided(data, seed)[0], "the server")

    def of_site(self, data: RealData, number: int, seed: int) -> RealData:
        """Return the data with a site's training images.

        Args:
            data: The whole data set.
            number: Which site, from 0.
            seed: Of the division.

        Raises:
            UserError: Nothing falls to the site, or less than ``images``.
        """
        own = self._divided(data, seed)[1]
        if (kinds := self.kinds_of_site(data.description.num_classes, number)) is not None:
            mine = own[torch.isin(data.train.labels.cpu()[own], torch.tensor(kinds))]
        else:
            mine = own[number :: self.sites]
        if self.images is not None and len(mine) < self.images:
            raise UserError(
                f"client_images is {self.images}, but {len(mine)} images fall to site {number}; give at most that, or "
                "fewer clients"
            )
        return _part(data, mine[: self.images], f"site {number}")

    def kinds_of_site(self, classes: int, number: int) -> list[int] | None:
        """Return the classes of a site, which the division itself says; None: all."""
        there = classes // 2 if self.server == "shifted" else classes
        return list(range(there))[number :: self.sites] if self.split == "classes" else None

    def _divided(self, data: RealData, seed: int) -> tuple[Tensor, Tensor]:
        """Return the indices of the server's images and of all sites', in the order of a shuffle."""
        labels = data.train.labels.cpu()
        order = torch.randperm(len(labels), generator=stream(seed, "shares"))
        if self.server == "superset":
            return order, order
        if self.server == "disjoint":
            half = len(order) // 2
            return order[:half], order[half:]
        other = labels[order] >= data.description.num_classes // 2
        return order[other], order[~other]


def _part(data: RealData, index: Tensor, whose: str) -> RealData:
    if not len(index):
        raise UserError(f"no images of '{data.description.name}' fall to {whose}; give fewer clients, or another split")
    index = index.sort().values.to(data.train.labels.device)
    return replace(data, train=Split(data.train.images[index], data.train.labels[index]))
