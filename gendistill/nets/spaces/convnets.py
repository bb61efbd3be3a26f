"""ConvNets and MLPs of random depth, width and layers; the 720 ConvNets of the condensation papers."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from gendistill.errors import UserError
from gendistill.nets.learners import ACTIVATIONS, NORMALISATIONS, POOLINGS, check_word
from gendistill.nets.spaces.base import Choose, LearnerSpace, checked_options
from gendistill.visible import visible

CONVNET = re.compile(r"convnet-d(\d{1,4})-w(\d{1,6})-k(\d{1,4})-([a-z_]+)-([a-z_]+)-([a-z_]+)")
MLP = re.compile(r"mlp-d(\d{1,4})-w(\d{1,6})-([a-z_]+)")


class ConvNetSpace(LearnerSpace):
    """ConvNets of :class:`gendistill.nets.learners.ConvNet`: every combination of the options is an architecture.

    A name is ``convnet-d3-w128-k3-instance-relu-average``: depth, width, kernel, normalisation, activation, pooling.

    Args:
        depths: Numbers of blocks, each at least 1.
        widths: Channels, each at least 1 (multiples of 4 with ``group``).
        kernels: Sides of the filters, odd.
        normalisations: Among ``instance``, ``batch``, ``layer``, ``group``, ``none``.
        activations: Among ``relu``, ``leaky_relu``, ``sigmoid``, ``tanh``, ``swish``, ``gelu``.
        poolings: Among ``average``, ``max``, ``none``.

    Raises:
        UserError: An option that the ConvNet does not know.
    """

    def __init__(
        self,
        depths: Sequence[int] = (1, 2, 3),
        widths: Sequence[int] = (16, 32, 64, 128),
        kernels: Sequence[int] = (3, 5),
        normalisations: Sequence[str] = NORMALISATIONS,
        activations: Sequence[str] = tuple(ACTIVATIONS),
        poolings: Sequence[str] = POOLINGS,
    ) -> None:
        self.depths = _counts("depths", depths)
        self.widths = _counts("widths", widths)
        self.kernels = _counts("kernels", kernels)
        self.normalisations = _words("normalisations", normalisations, NORMALISATIONS)
        self.activations = _words("activations", activations, tuple(ACTIVATIONS))
        self.poolings = _words("poolings", poolings, POOLINGS)
        if even := [kernel for kernel in self.kernels if kernel % 2 == 0]:
            raise UserError(f"kernels holds {even[0]}; a filter that keeps the map's size has an odd side")
        if "group" in self.normalisations and (odd := [width for width in self.widths if width % 4]):
            raise UserError(f"normalisation 'group' makes 4 groups; width {odd[0]} is not a multiple of 4")

    @property
    def size(self) -> int:
        """The product of the numbers of options."""
        return (
            len(self.depths) * len(self.widths) * len(self.kernels) * len(self.normalisations)
            * len(self.activations) * len(self.poolings)
        )  # fmt: skip

    def compose(self, choose: Choose) -> str:
        """Choose depth, width, kernel, normalisation, activation and pooling; see :meth:`LearnerSpace.compose`."""
        depth, width = choose("depth", self.depths), choose("width", self.widths)
        kernel, normalisation = choose("kernel", self.kernels), choose("normalisation", self.normalisations)
        activation, pooling = choose("activation", self.activations), choose("pooling", self.poolings)
        return f"convnet-d{depth}-w{width}-k{kernel}-{normalisation}-{activation}-{pooling}"

    def learner(self, name: str) -> dict[str, Any]:
        """Return the ConvNet of a name; see :meth:`LearnerSpace.learner`."""
        found = CONVNET.fullmatch(name)
        if not found:
            raise UserError(
                f"'{visible(name, 80)}' names no ConvNet; a name looks like convnet-d3-w128-k3-instance-relu-average"
            )
        depth, width, kernel = (int(number) for number in found.groups()[:3])
        return {
            "class_path": "gendistill.nets.learners.ConvNet",
            "init_args": {
                "width": width,
                "depth": depth,
                "kernel_size": kernel,
                "normalisation": found[4],
                "activation": found[5],
                "pooling": found[6],
            },
        }


class CondensationGrid(ConvNetSpace):
    """The 720 ConvNets of the condensation papers, for images of 28x28 pixels and more.

    Depth 1 to 4, width 32, 64, 128 or 256, no, batch, layer, instance or group normalisation, sigmoid, ReLU or leaky
    ReLU, no, maximum or average pooling.

    Source:
        Zhao, Mopuri, Bilen 2021, "Dataset Condensation with Gradient Matching", Sec. 4.3 and appendix.
    """

    def __init__(self) -> None:
        super().__init__(
            depths=(1, 2, 3, 4),
            widths=(32, 64, 128, 256),
            kernels=(3,),
            normalisations=("none", "batch", "layer", "instance", "group"),
            activations=("sigmoid", "relu", "leaky_relu"),
            poolings=("none", "max", "average"),
        )


class MLPSpace(LearnerSpace):
    """MLPs of :class:`gendistill.nets.learners.MLP`, named ``mlp-d2-w128-relu``: hidden layers, units, activation.

    Args:
        depths: Numbers of hidden layers, each at least 1.
        widths: Units of each, at least 1.
        activations: As for :class:`ConvNetSpace`.

    Raises:
        UserError: An option that the MLP does not know.
    """

    def __init__(
        self,
        depths: Sequence[int] = (1, 2, 3),
        widths: Sequence[int] = (32, 64, 128, 256),
        activations: Sequence[str] = tuple(ACTIVATIONS),
    ) -> None:
        self.depths, self.widths = _counts("depths", depths), _counts("widths", widths)
        self.activations = _words("activations", activations, tuple(ACTIVATIONS))

    @property
    def size(self) -> int:
        """The product of the numbers of options."""
        return len(self.depths) * len(self.widths) * len(self.activations)

    def compose(self, choose: Choose) -> str:
        """Choose depth, width and activation; see :meth:`LearnerSpace.compose`."""
        depth, width = choose("depth", self.depths), choose("width", self.widths)
        return f"mlp-d{depth}-w{width}-{choose('activation', self.activations)}"

    def learner(self, name: str) -> dict[str, Any]:
        """Return the MLP of a name; see :meth:`LearnerSpace.learner`."""
        found = MLP.fullmatch(name)
        if not found:
            raise UserError(f"'{visible(name, 80)}' names no MLP; a name looks like mlp-d2-w128-relu")
        arguments = {"width": int(found[2]), "depth": int(found[1]), "activation": found[3]}
        return {"class_path": "gendistill.nets.learners.MLP", "init_args": arguments}


def _counts(what: str, given: Sequence[int]) -> tuple[int, ...]:
    options = checked_options(what, given)
    for option in options:
        if isinstance(option, bool) or not isinstance(option, int) or option < 1:
            raise UserError(f"{what} holds {option!r}; give whole numbers of at least 1")
    return options


def _words(what: str, given: Sequence[str], allowed: Sequence[str]) -> tuple[str, ...]:
    options = checked_options(what, given)
    for option in options:
        check_word(what, str(option), allowed)
    return options
