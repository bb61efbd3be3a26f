"""Spaces of learners: random architectures, each with a short name that rebuilds it."""

from gendistill.nets.spaces.base import Choose, LearnerSpace
from gendistill.nets.spaces.cells import CellSpace
from gendistill.nets.spaces.convnets import CondensationGrid, ConvNetSpace, MLPSpace
from gendistill.nets.spaces.mixed import MixedSpace
from gendistill.nets.spaces.widths import WidthSpace

__all__ = [
    "CellSpace",
    "Choose",
    "CondensationGrid",
    "ConvNetSpace",
    "LearnerSpace",
    "MLPSpace",
    "MixedSpace",
    "WidthSpace",
]
