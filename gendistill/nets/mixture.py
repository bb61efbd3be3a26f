"""Several generators as one: a part of the latent says which of them makes an image."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from gendistill.errors import UserError
from gendistill.nets.base import Generator
from gendistill.objects import build
from gendistill.untrusted import UntrustedSpec

MOST_CLASSES = 100_000
"""Of which a mixture keeps who knows them."""


class GeneratorMixture(Generator):
    """Calls the generator that the last entry of a latent names.

    That entry u is standard normal, as all of a latent: its probability Phi(u) falls in one of k intervals as wide as
    the weights. The others are the latent of the generator; one whose latents are shorter takes the first of them.

    Args:
        members: Generators, or their ``class_path`` and ``init_args``, as a file names them where it is one's; at least
            one.
        weights: How often each is called; positive or 0, and not all 0. None: equally often.
        knows: The classes that each generator has learned; an image of a class is made by one of those that know it, as
            often as their weights say among themselves, and by any where none does. None: each knows all.

    Attributes:
        nz: Size of a latent: that of the largest generator and 1.
        spec: What builds it again; only there when every member has a spec.

    Raises:
        UserError: There is no member, a member has no latents, the weights are none, or ``knows`` names no classes.
    """

    def __init__(
        self,
        members: Sequence[nn.Module | Mapping[str, Any] | UntrustedSpec],
        weights: Sequence[float] | None = None,
        knows: Sequence[Sequence[int]] | None = None,
    ) -> None:
        super().__init__()
        if not members:
            raise UserError("a mixture needs at least one generator")
        given = [1.0] * len(members) if weights is None else [float(weight) for weight in weights]
        if len(given) != len(members) or not all(math.isfinite(w) and w >= 0 for w in given) or not sum(given) > 0:
            raise UserError(
                f"the weights of {len(members)} generators are {given}; give one from 0 for each, not all 0"
            )
        networks = [
            member
            if isinstance(member, nn.Module)
            else build(member, Generator if isinstance(member, UntrustedSpec) else nn.Module)
            for member in members
        ]
        sizes = [getattr(network, "nz", None) for network in networks]
        for network, size in zip(networks, sizes, strict=True):
            if not isinstance(size, int):
                raise UserError(
                    f"{type(network).__name__} has no latent size 'nz', which a generator of a mixture needs"
                )
        self.members = nn.ModuleList(networks)
        self.sizes = [size for size in sizes if isinstance(size, int)]
        self.nz = max(self.sizes) + 1
        self.weights = [weight / sum(given) for weight in given]
        self.knows = None if knows is None else _classes(knows, len(members))
        self.register_buffer("_ends", _ends(torch.tensor(self.weights, dtype=torch.float64)), persistent=False)
        if self.knows is not None:
            self.register_buffer("_ends_of_classes", self._of_classes(self.knows), persistent=False)
        specs = [getattr(network, "spec", None) for network in networks]
        if all(spec is not None for spec in specs):
            arguments: dict[str, Any] = {"members": specs, "weights": self.weights}
            if self.knows is not None:
                arguments["knows"] = self.knows
            self.spec = {"class_path": f"{__name__}.{type(self).__name__}", "init_args": arguments}

    def _of_classes(self, knows: Sequence[Sequence[int]]) -> Tensor:
        """Return the ends of the intervals of every class (C + 1, k - 1), those of a class that none knows at last."""
        weights = torch.tensor(self.weights, dtype=torch.float64)
        known = torch.zeros(max((kind for kinds in knows for kind in kinds), default=-1) + 2, len(knows))
        for number, kinds in enumerate(knows):
            known[kinds, number] = 1
        shares = weights * known
        shares[shares.sum(1) == 0] = weights
        return _ends(shares / shares.sum(1, keepdim=True))

    def member(self, x: Tensor, labels: Tensor | None = None) -> Tensor:
        """Return which generator makes each image (N,), int64, of a class (N,) where generators know some alone."""
        last = x[:, -1].contiguous()
        if self.knows is None or labels is None:
            return torch.bucketize(last, self._ends, right=True)  # type: ignore[arg-type]
        ends: Tensor = self._ends_of_classes  # type: ignore[assignment]
        return (ends[labels.clamp(max=len(ends) - 1)] <= last[:, None]).sum(1)

    def latents_of(self, x: Tensor, number: int) -> Tensor:
        """Return latents (N, nz of ``number``) that, with a last entry of that generator, are those of ``x`` there."""
        return x[:, : self.sizes[number]]

    def apart(self) -> bool:
        """Return whether an image of every generator depends on its own latent alone, as it stands now."""
        return not any(module.running_mean is None for module in self.modules() if isinstance(module, _BatchNorm))

    def forward(self, x: Tensor, *told: Tensor) -> Tensor:
        """Map latents (N, nz), and labels where the generators take them, to images (N, C, H, W).

        With a graph, in training mode, or where a batch norm has no running statistics, every generator sees the whole
        batch, so that nothing waits for a device and statistics are of the batch; else each makes its own images only.

        Raises:
            UserError: The generators make images of different shapes.
        """
        which = self.member(x, *told)
        if self.training or torch.is_grad_enabled() or not self.apart():
            images: Tensor = self.members[0](self.latents_of(x, 0), *told)
            for number, member in enumerate(list(self.members)[1:], start=1):
                chosen = (which == number).view(-1, *[1] * (images.dim() - 1))
                images = torch.where(chosen, _fit(member(self.latents_of(x, number), *told), images), images)
            return images
        made: Tensor | None = None
        for number, member in enumerate(self.members):
            index = (which == number).nonzero().flatten()
            if not len(index):
                continue
            part = member(self.latents_of(x[index], number), *(label[index] for label in told))
            made = part.new_zeros(len(x), *part.shape[1:]) if made is None else made
            made[index] = _fit(part, made)
        assert made is not None
        return made


def _ends(weights: Tensor) -> Tensor:
    """Return where on the line of a standard normal number intervals end that are as wide as weights (..., k)."""
    return torch.special.ndtri(weights.cumsum(-1)[..., :-1].clamp(0, 1)).float()


def _classes(knows: Any, members: int) -> list[list[int]]:
    """Return the classes that each of some generators knows, which a file may have named."""
    if (
        isinstance(knows, Sequence)
        and len(knows) == members
        and all(isinstance(kinds, Sequence) and all(_is_class(kind) for kind in kinds) for kinds in knows)
    ):
        return [sorted(set(kinds)) for kinds in knows]
    raise UserError(
        f"knows says which classes each of {members} generators has learned, one list of numbers from 0 to "
        f"{MOST_CLASSES - 1:,} for each; it is {str(knows)[:100]}"
    )


def _is_class(kind: Any) -> bool:
    return isinstance(kind, int) and not isinstance(kind, bool) and 0 <= kind < MOST_CLASSES


def _fit(images: Tensor, others: Tensor) -> Tensor:
    """Return images of one generator whose shape must be that of the others' images."""
    if images.shape[1:] != others.shape[1:]:
        raise UserError(
            f"the generators of a mixture make images of shape {tuple(others.shape[1:])} and "
            f"{tuple(images.shape[1:])}; give ones that make the same shape"
        )
    return images
