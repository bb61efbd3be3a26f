"""Weights from files: found below the names that wrappers put before them, and refused where they are no numbers."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.finite import check_finite

HIDDEN = ("_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "_forward_module")
"""Names of torch's own wrappers (compile, FSDP, activation checkpoints, Fabric), which stand anywhere in a path."""
LEADING = ("module", *HIDDEN)
"""What wrappers (DataParallel, DistributedDataParallel, an averaged model) put before all names."""
COUNTERS = ("n_averaged",)
"""What ``torch.optim.swa_utils.AveragedModel`` keeps beside the weights."""
WRAPPERS = ("OptimizedModule", "DataParallel", "DistributedDataParallel", "AveragedModel", "FullyShardedDataParallel")
"""Names of torch's wrapper classes, asked for by name so that none of them need be imported."""
GIVE_ANOTHER = "give a checkpoint that was saved before training diverged"


def unwrapped(state: Mapping[str, Any], wanted: Collection[str] | None = None) -> dict[str, Any]:
    """Return a state dict under the names that the bare network has.

    ``module.``, ``_orig_mod.`` and their like are taken off, also one inside the other. Any other name that stands
    before all weights (``model.``, ``netG.``) is taken off where the network has what is left.

    Args:
        state: Weights by name.
        wanted: Names of the network's weights; None: they are not known, and only torch's wrappers are taken off.

    Returns:
        The weights in their order; unchanged where nothing wraps them.
    """
    if wanted is not None and state.keys() == set(wanted):
        return dict(state)
    found = {name: value for name, value in state.items() if name not in COUNTERS or name in (wanted or ())}
    bare = {_without_hidden(name): value for name, value in found.items()}
    if len(bare) == len(found):  # else two weights differ in a wrapper's name alone, and it says something
        found = bare
    closest = found
    while (first := _shared(found)) is not None and (wanted is None or found.keys() != set(wanted)):
        found = {name.partition(".")[2]: value for name, value in found.items()}
        if first in LEADING or (wanted is not None and found.keys() == set(wanted)):
            closest = found
        elif wanted is None:
            break
    return closest


def below_shared(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return a state dict without the names that stand before all of its weights, for networks of several layers."""
    found = dict(state)
    while _shared(found) is not None:
        found = {name.partition(".")[2]: value for name, value in found.items()}
    return found


def checked(state: Mapping[str, Any], source: str, wanted: Collection[str] | None = None) -> dict[str, Tensor]:
    """Return weights from a file under the names that the bare network has; see :func:`unwrapped`.

    Args:
        state: Weights and buffers by name.
        source: What the file is called in sentences.
        wanted: See :func:`unwrapped`.

    Raises:
        UserError: One is not a tensor, or holds values that are NaN or infinite; the sentence names it.
    """
    for name, value in state.items():
        if not isinstance(value, Tensor):
            raise UserError(f"'{source}' holds '{name}', which is no tensor but {type(value).__name__}")
        try:
            check_finite(name, value, GIVE_ANOTHER)
        except UserError as error:
            raise UserError(f"'{source}' cannot be used: {error}") from error
    return unwrapped(state, wanted)


def bare(network: nn.Module) -> nn.Module:
    """Return the network inside what ``torch.compile`` or a data-parallel wrapper made of it."""
    while type(network).__name__ in WRAPPERS:
        network = next(network.children())
    return network


def _without_hidden(name: str) -> str:
    return ".".join(part for part in name.split(".") if part not in HIDDEN)


def _shared(state: Mapping[str, Any]) -> str | None:
    """Return the first name of all paths where it is one and something comes after it; None where there is none."""
    firsts = {name.partition(".")[0] for name in state}
    return firsts.pop() if len(firsts) == 1 and all("." in name for name in state) else None
