"""The loss of a learner's update as it is computed: in which precision, and compiled or not."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.compiled import compiled
from gendistill.notes import note

Precision = Literal["float32", "bfloat16"]
PAYS = 3e13
"""Multiplications of a whole training from which compiling pays on a CPU: some seven minutes of one core, of which it
saves a twentieth to a fifth, and takes ten seconds itself (``benchmarks/judging.py``)."""


def forward(network: Callable[[Tensor], Tensor], images: Tensor, precision: str) -> Tensor:
    """Return logits (N, K) in float32 of images (N, C, H, W), computed in a precision.

    Args:
        network: The learner.
        images: Normalised as it expects them.
        precision: ``float32``, or ``bfloat16``: convolutions and matrix products in bfloat16, weights in float32.
    """
    if precision == "float32":
        return network(images)
    with torch.autocast(images.device.type, dtype=torch.bfloat16):
        logits = network(images)
    return logits.float()


def cross_entropy(network: nn.Module, images: Tensor, labels: Tensor, precision: str, temperature: float) -> Tensor:
    """Return the mean cross-entropy of logits that are divided by a temperature, a scalar in float32."""
    logits = forward(network, images, precision)
    return F.cross_entropy(logits if temperature == 1 else logits / temperature, labels)


class UpdateLoss:
    """:func:`cross_entropy` of learners of one architecture, perhaps compiled.

    Args:
        precision: See :func:`forward`.
        temperature: What logits are divided by.
        compile: Whether it is compiled; a learner that cannot be is left as it is, with a note.
    """

    def __init__(self, precision: str, temperature: float, compile: bool) -> None:
        self.precision, self.temperature = precision, temperature
        self._compile, self._function = compile, cross_entropy
        self.compiles = False
        """Whether it is compiled by now."""

    def prepare(self, network: nn.Module, images: Tensor, labels: Tensor) -> None:
        """Compile what was asked for by a batch, in a copy of the network, whose buffers so stay as they are."""
        if not self._compile:
            return
        self._compile = False
        twin, function = copy.deepcopy(network).train(), compiled(cross_entropy)
        parameters = [parameter for parameter in twin.parameters() if parameter.requires_grad]
        try:
            loss = function(twin, images, labels, self.precision, self.temperature)
            torch.autograd.grad(loss, parameters, allow_unused=True)
        except UserError:
            raise
        except Exception as error:  # whatever a compiler says; the step without it is the same one
            reason = str(error).strip().split("\n", 1)[0][:200]
            note(f"learners are trained without compiling, which this machine cannot do ({reason})")
            return
        self._function, self.compiles = function, True

    def __call__(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of images (N, C, H, W) and labels (N,) or (N, K)."""
        return self._function(network, images, labels, self.precision, self.temperature)
