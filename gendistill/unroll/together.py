"""Learners of one architecture that are trained together: one network of stacked parameters, by vmap.

The engine needs to know nothing of it: :class:`Together` is a learner as any other, whose loss is the sum of theirs
(:func:`summed`). No learner's gradient touches another's, and those of what they all see add up, as they do when the
learners are trained one after another.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from contextlib import nullcontext
from typing import cast

import torch
from torch import Tensor, nn
from torch.func import stack_module_state, vmap

from gendistill.errors import UserError
from gendistill.nets.modes import resting
from gendistill.nets.statistics import keeping_graph, statistics_with_graph
from gendistill.unroll.learner import AsFunction, InnerLoss, Parameters


class Together(nn.Module):
    """K learners of one architecture as one network.

    Parameters and buffers are theirs, stacked: (K, ...), with ``/`` for the dots in their names.

    Args:
        learners: The networks, at least one; left as they are.

    Raises:
        UserError: Their parameters differ in name or shape.
    """

    def __init__(self, learners: Sequence[nn.Module]) -> None:
        super().__init__()
        shapes = [{name: value.shape for name, value in learner.state_dict().items()} for learner in learners]
        if any(other != shapes[0] for other in shapes[1:]):
            raise UserError("learners that are trained together must be of one architecture; train these one by one")
        self.count = len(learners)
        # In a tuple, where torch does not look for submodules: its own parameters are no part of this network.
        self._first = (learners[0],)
        trained = {name for name, value in learners[0].named_parameters() if value.requires_grad}
        parameters, buffers = stack_module_state(list(learners))
        for name, value in parameters.items():
            stacked = nn.Parameter(value.detach(), requires_grad=name in trained)
            self.register_parameter(name.replace(".", "/"), stacked)
        for name, value in buffers.items():
            self.register_buffer(name.replace(".", "/"), value.detach())

    def forward(self, images: Tensor) -> Tensor:
        """Return logits (K, B, classes).

        Args:
            images: (B, C, H, W), shown to all, or (K, B, C, H, W), a batch for each.

        Raises:
            UserError: The learners branch on values, which vmap cannot follow.
        """
        first = self._first[0]
        function = AsFunction(first)

        def one(parameters: dict[str, Tensor], buffers: dict[str, Tensor], shown: Tensor) -> Tensor:
            return function({**parameters, **buffers}, shown)

        parameters, buffers = (
            {name.replace("/", "."): value for name, value in part}
            for part in (self.named_parameters(), self.named_buffers())
        )
        everyone = vmap(one, in_dims=(0, 0, None if images.dim() == 4 else 0), randomness="different")
        try:
            with (
                nullcontext() if self.training else resting(first),
                statistics_with_graph(first) if keeping_graph() else nullcontext(),
            ):
                return cast(Tensor, everyone(parameters, buffers, images))
        except RuntimeError as error:
            if "vmap" not in str(error):
                raise
            raise UserError(
                f"{type(first).__name__} cannot be trained together with others ({str(error).splitlines()[0]}); set "
                "inner.batched to false"
            ) from error

    def stacked(self, each: Sequence[Parameters]) -> Parameters:
        """Return values of all learners, given by each one's own names, as this network names and stacks them."""
        return {name.replace(".", "/"): torch.stack([one[name] for one in each]) for name in each[0]}

    def split(self, values: Parameters) -> list[Parameters]:
        """Return each learner's values, by its own names; see :meth:`stacked`."""
        rows = {name.replace("/", "."): value.unbind() for name, value in values.items()}
        return [{name: row[place] for name, row in rows.items()} for place in range(self.count)]


def representative(learner: nn.Module) -> nn.Module:
    """Return the network whose modules are a learner's layers: itself, or one of those that are trained together."""
    return learner._first[0] if isinstance(learner, Together) else learner


@functools.cache
def summed(inner_loss: InnerLoss, own_labels: bool = False) -> InnerLoss:
    """Return the inner loss of learners that are trained together: the sum of ``inner_loss`` over the first dimension.

    Args:
        inner_loss: Scalar loss of logits (B, classes) and labels, (B,) or (B, classes).
        own_labels: Whether each learner is told labels of its own.

    Returns:
        Scalar loss of logits (K, B, classes) and the labels that all learners are told, or that each of them is.
    """
    each = vmap(inner_loss, in_dims=(0, 0 if own_labels else None))

    def loss(logits: Tensor, labels: Tensor) -> Tensor:
        return torch.sum(each(logits, labels))

    return loss
