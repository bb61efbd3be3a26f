"""The networks of NAS-Bench-201: a cell of four nodes and six edges, repeated in stages.

A cell's node 0 is its input; node j is the sum over i < j of the operation on edge i -> j applied to node i; node 3 is
the output. Convolutions are ReLU, convolution, normalisation, in this order.

Dong & Yang 2020, "NAS-Bench-201: Extending the Scope of Reproducible Neural Architecture Search", Sec. 2.1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.learners import Learner, check_word, normalisation_layer
from gendistill.visible import visible

OPERATIONS = ("none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3")
NODES = 4
EDGES = tuple((source, target) for target in range(1, NODES) for source in range(target))
"""In the order of a name: 0-1, 0-2, 1-2, 0-3, 1-3, 2-3."""
NORMALISATIONS = ("batch", "instance", "group", "none")
EXAMPLE = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|none~0|avg_pool_3x3~1|nor_conv_1x1~2|"
_WORD = re.compile(r"([a-z0-9_]+)~(\d)")


def cell_name(operations: Sequence[str]) -> str:
    """Return the bench's name of a cell.

    Args:
        operations: One for each of :data:`EDGES`.

    Raises:
        UserError: Not six, or one that is unknown.
    """
    if len(operations) != len(EDGES):
        raise UserError(f"a cell has {len(EDGES)} edges, got {len(operations)} operations")
    for operation in operations:
        check_word("operation", str(operation), OPERATIONS)
    named = dict(zip(EDGES, operations, strict=True))
    nodes = ["".join(f"|{named[i, j]}~{i}" for i in range(j)) + "|" for j in range(1, NODES)]
    return "+".join(nodes)


def cell_operations(name: str) -> list[str]:
    """Return the operations of a cell's name, one for each of :data:`EDGES`.

    Raises:
        UserError: The text is no cell's name.
    """
    found = [_WORD.fullmatch(word) for node in name.split("+") for word in node.strip("|").split("|")]
    operations = [match[1] for match in found if match]
    if len(operations) != len(EDGES) or cell_name(operations) != name:
        raise UserError(f"'{visible(name, 80)}' names no cell; a name looks like {EXAMPLE}")
    return operations


def normalise(name: str, channels: int) -> nn.Module:
    """Return one of :data:`NORMALISATIONS` for maps of any size.

    Raises:
        UserError: The name is unknown.
    """
    check_word("normalisation", name, NORMALISATIONS)
    return normalisation_layer(name, channels, (1, 1))


def convolution(source: int, target: int, kernel: int, normalisation: str, stride: int = 1) -> nn.Sequential:
    """Return ReLU, convolution without bias (with one where nothing follows it), normalisation."""
    bias = normalisation == "none"
    layer = nn.Conv2d(source, target, kernel, stride=stride, padding=kernel // 2, bias=bias)
    return nn.Sequential(nn.ReLU(), layer, normalise(normalisation, target))


def edge_operation(name: str, channels: int, normalisation: str) -> nn.Module | None:
    """Return the module of an operation that keeps (N, C, H, W); ``None`` for ``none``, which gives zeros."""
    if name == "none":
        return None
    if name == "skip_connect":
        return nn.Identity()
    if name == "avg_pool_3x3":
        return nn.AvgPool2d(3, stride=1, padding=1, count_include_pad=False)
    return convolution(channels, channels, 3 if name == "nor_conv_3x3" else 1, normalisation)


class Cell(nn.Module):
    """One cell; keeps (N, C, H, W).

    Args:
        operations: One for each of :data:`EDGES`.
        channels: C.
        normalisation: One of :data:`NORMALISATIONS`.
    """

    def __init__(self, operations: Sequence[str], channels: int, normalisation: str) -> None:
        super().__init__()
        made = {
            f"{source}-{target}": edge_operation(operation, channels, normalisation)
            for (source, target), operation in zip(EDGES, operations, strict=True)
        }
        self.edges = nn.ModuleDict({edge: module for edge, module in made.items() if module is not None})

    def forward(self, x: Tensor) -> Tensor:
        """Return node 3 of a cell whose node 0 is ``x`` (N, C, H, W)."""
        nodes = [x]
        for target in range(1, NODES):
            arriving = [
                self.edges[edge](nodes[source])
                for source in range(target)
                if (edge := f"{source}-{target}") in self.edges
            ]
            nodes.append(torch.stack(arriving).sum(0) if arriving else torch.zeros_like(x))
        return nodes[-1]


class Reduction(nn.Module):
    """The residual block between stages: (N, C, H, W) to (N, 2C, H / 2, W / 2).

    Args:
        channels: C.
        normalisation: One of :data:`NORMALISATIONS`.
    """

    def __init__(self, channels: int, normalisation: str) -> None:
        super().__init__()
        self.convolutions = nn.Sequential(
            convolution(channels, 2 * channels, 3, normalisation, stride=2),
            convolution(2 * channels, 2 * channels, 3, normalisation),
        )
        # Rounded up, as a convolution of stride 2 rounds.
        self.shortcut = nn.Sequential(
            nn.AvgPool2d(2, ceil_mode=True, count_include_pad=False), nn.Conv2d(channels, 2 * channels, 1, bias=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of half the side and twice the channels."""
        reduced: Tensor = self.shortcut(x) + self.convolutions(x)
        return reduced


class CellNet(Learner):
    """A network of equal cells: convolution 3x3, stages of cells with a reduction between, global average, linear.

    With the bench's 16 channels, 5 cells a stage and 3 stages, a cell without parameters leaves 73,306 for 10 classes
    of 3x32x32 images, and a cell of six 3x3 convolutions makes 1,531,546.

    Args:
        num_classes: Number of classes K, at least 2.
        image_shape: (C, H, W) of the images.
        cell: The cell's name, in the bench's form.
        width: Channels of the first stage, at least 1 (a multiple of 4 for ``group``).
        cells: Cells a stage, at least 1.
        stages: Stages, at least 1.
        normalisation: ``batch`` as in the bench, ``instance``, ``group`` (four groups) or ``none``.

    Raises:
        UserError: A number out of range, or a name that is no cell's.
    """

    def __init__(
        self,
        num_classes: int,
        image_shape: tuple[int, int, int],
        cell: str,
        width: int = 16,
        cells: int = 5,
        stages: int = 3,
        normalisation: str = "batch",
    ) -> None:
        super().__init__(num_classes, image_shape)
        if min(width, cells, stages) < 1:
            raise UserError(f"width is {width}, cells {cells} and stages {stages}; each must be at least 1")
        if normalisation == "group" and width % 4:
            raise UserError(f"normalisation 'group' makes 4 groups, width {width} does not divide; use a multiple of 4")
        operations = cell_operations(cell)
        channels = width
        stem = nn.Conv2d(self.image_shape[0], width, 3, padding=1, bias=normalisation == "none")
        blocks: list[nn.Module] = [stem, normalise(normalisation, width)]
        for stage in range(stages):
            if stage:
                blocks.append(Reduction(channels, normalisation))
                channels *= 2
            blocks += [self.make_cell(operations, channels, normalisation) for _ in range(cells)]
        self.blocks = nn.Sequential(*blocks, normalise(normalisation, channels), nn.ReLU())
        self.classifier = nn.Linear(channels, num_classes)

    def make_cell(self, operations: Sequence[str], channels: int, normalisation: str) -> nn.Module:
        """Return one cell that keeps (N, C, H, W)."""
        return Cell(operations, channels, normalisation)

    def features(self, x: Tensor) -> Tensor:
        """Return the mean (N, F) of the last maps of images (N, C, H, W)."""
        maps: Tensor = self.blocks(x)
        return maps.mean((2, 3))
