"""The cells of NAS-Bench-201: six edges, five operations, 15,625 names."""

from __future__ import annotations

from typing import Any

from gendistill.nets.cells import EDGES, OPERATIONS, cell_name, cell_operations
from gendistill.nets.spaces.base import Choose, LearnerSpace, checked_options


class CellSpace(LearnerSpace):
    """Networks of :class:`gendistill.nets.cells.CellNet` that differ in their cell.

    A name is the bench's own: ``|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|``.

    Args:
        width: Channels of the first stage, at least 1; doubled in each further one. The bench has 16.
        cells: Cells a stage, at least 1. The bench has 5.
        stages: Stages, at least 1; each after the first halves the map. The bench has 3.
        normalisation: ``batch`` as in the bench, ``instance``, ``group`` or ``none``.
        operations: The operations of an edge; by default all five.

    Raises:
        UserError: An unknown operation.

    Source:
        Dong & Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search".
    """

    def __init__(
        self,
        width: int = 16,
        cells: int = 5,
        stages: int = 3,
        normalisation: str = "batch",
        operations: list[str] | tuple[str, ...] = OPERATIONS,
    ) -> None:
        self.operations = checked_options("operations", operations)
        self.shape = {"width": width, "cells": cells, "stages": stages, "normalisation": normalisation}
        cell_name([self.operations[0]] * len(EDGES))
        for operation in self.operations:
            cell_name([operation] * len(EDGES))

    @property
    def size(self) -> int:
        """Operations to the power of six; 15,625 for all five."""
        return int(len(self.operations) ** len(EDGES))

    def compose(self, choose: Choose) -> str:
        """Choose the operation of one edge after another; see :meth:`LearnerSpace.compose`."""
        return cell_name([choose(f"edge/{source}-{target}", self.operations) for source, target in EDGES])

    def learner(self, name: str) -> dict[str, Any]:
        """Return the network of a cell's name; see :meth:`LearnerSpace.learner`."""
        cell_operations(name)
        return {"class_path": "gendistill.nets.cells.CellNet", "init_args": {"cell": name, **self.shape}}
