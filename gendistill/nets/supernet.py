"""All cells of NAS-Bench-201 in one network: an operation of an edge has the same weights in every child.

Pham et al. 2018, "Efficient Neural Architecture Search via Parameter Sharing".
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn

from gendistill.nets.cells import EDGES, NODES, OPERATIONS, CellNet, cell_name, cell_operations, edge_operation


class SharedCell(nn.Module):
    """A cell that holds every operation on every edge and uses those that were chosen.

    Args:
        operations: The choice to begin with, one for each of :data:`gendistill.nets.cells.EDGES`.
        channels: C.
        normalisation: See :func:`gendistill.nets.cells.normalise`.
    """

    def __init__(self, operations: Sequence[str], channels: int, normalisation: str) -> None:
        super().__init__()
        self.operations = list(operations)
        made = {
            f"{source}-{target}/{operation}": edge_operation(operation, channels, normalisation)
            for source, target in EDGES
            for operation in OPERATIONS
        }
        self.edges = nn.ModuleDict({edge: module for edge, module in made.items() if module is not None})

    def forward(self, x: Tensor) -> Tensor:
        """Return node 3 of the chosen child whose node 0 is ``x`` (N, C, H, W)."""
        chosen = dict(zip(EDGES, self.operations, strict=True))
        nodes = [x]
        for target in range(1, NODES):
            arriving = [
                self.edges[f"{source}-{target}/{chosen[source, target]}"](nodes[source])
                for source in range(target)
                if chosen[source, target] != "none"
            ]
            nodes.append(torch.stack(arriving).sum(0) if arriving else torch.zeros_like(x))
        return nodes[-1]


class SuperNet(CellNet):
    """A :class:`gendistill.nets.cells.CellNet` whose cell can be changed at any time.

    Batch normalisation always uses the batch at hand: running statistics of one child would be wrong for the next.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        **options: ``width``, ``cells``, ``stages`` and ``normalisation`` of the network.
    """

    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], **options: Any) -> None:
        super().__init__(num_classes, image_shape, cell_name([OPERATIONS[1]] * len(EDGES)), **options)
        for layer in self.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.track_running_stats = False
                layer.running_mean = layer.running_var = layer.num_batches_tracked = None

    def make_cell(self, operations: Sequence[str], channels: int, normalisation: str) -> nn.Module:
        """Return a cell with all operations."""
        return SharedCell(operations, channels, normalisation)

    def choose(self, cell: str) -> None:
        """Make the network the child of a cell's name.

        Raises:
            UserError: The text is no cell's name.
        """
        operations = cell_operations(cell)
        for block in self.blocks:
            if isinstance(block, SharedCell):
                block.operations = operations

    def child_parameters(self) -> list[nn.Parameter]:
        """Return the parameters that the chosen child uses."""
        used = list(self.classifier.parameters())
        for block in self.blocks:
            if not isinstance(block, SharedCell):
                used += list(block.parameters())
                continue
            for (source, target), operation in zip(EDGES, block.operations, strict=True):
                if operation != "none":
                    used += list(cast(nn.Module, block.edges[f"{source}-{target}/{operation}"]).parameters())
        return used
