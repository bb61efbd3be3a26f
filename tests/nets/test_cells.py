"""The cells of NAS-Bench-201: names, sizes known from the bench, a cell against its definition, batch norm."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gendistill import unroll
from gendistill.errors import UserError
from gendistill.nets.cells import EDGES, OPERATIONS, Cell, CellNet, cell_name, cell_operations
from gendistill.nets.spaces import CellSpace
from gendistill.seeds import initialisation, stream

CONVOLUTIONS = cell_name(["nor_conv_3x3"] * 6)
NOTHING = cell_name(["none"] * 6)
MIXED = "|nor_conv_3x3~0|+|none~0|skip_connect~1|+|nor_conv_1x1~0|avg_pool_3x3~1|nor_conv_3x3~2|"


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


def test_the_space_has_the_benchs_names() -> None:
    names = list(CellSpace().names())
    assert len(set(names)) == 15_625
    assert all(cell_name(cell_operations(name)) == name for name in names)
    assert MIXED in names


def test_sizes_are_the_benchs() -> None:
    """The smallest and the largest network of the published table for CIFAR-10: 0.073306 and 1.531546 million."""
    assert parameters(CellNet(10, (3, 32, 32), NOTHING)) == 73_306
    assert parameters(CellNet(10, (3, 32, 32), CONVOLUTIONS)) == 1_531_546
    convolutions = {16: (16 * 16, 9 * 16 * 16), 32: (32 * 32, 9 * 32 * 32), 64: (64 * 64, 9 * 64 * 64)}
    cells = sum(5 * (small + 2 * large + 3 * 2 * width) for width, (small, large) in convolutions.items())
    assert parameters(CellNet(10, (3, 32, 32), MIXED)) == 73_306 + cells


def test_a_cell_is_its_definition() -> None:
    with initialisation(0, "cell"):
        cell = Cell(cell_operations(MIXED), 4, "batch").double()
    x = torch.randn(3, 4, 5, 5, generator=stream(0, "x"), dtype=torch.float64)

    def convolve(edge: str, value: Tensor) -> Tensor:
        layer = cell.edges[edge]
        maps = F.conv2d(value.relu(), layer[1].weight, padding=layer[1].weight.shape[-1] // 2)
        mean, variance = maps.mean((0, 2, 3), keepdim=True), maps.var((0, 2, 3), keepdim=True, unbiased=False)
        return (maps - mean) / (variance + 1e-5).sqrt()

    ones = F.avg_pool2d(torch.ones(1, 1, 5, 5, dtype=torch.float64), 3, 1, 1)
    first = convolve("0-1", x)
    second = first
    third = convolve("0-3", x) + F.avg_pool2d(first, 3, 1, 1) / ones + convolve("2-3", second)
    torch.testing.assert_close(cell(x), third)


@pytest.mark.parametrize("cell", [NOTHING, MIXED, CONVOLUTIONS])
@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 9, 7)])
def test_a_network_without_a_path_still_answers(cell: str, shape: tuple[int, int, int]) -> None:
    network = CellNet(3, shape, cell, width=4, cells=1, stages=3)
    assert network(torch.zeros(2, *shape)).shape == (2, 3)


@pytest.mark.parametrize("normalisation", ["batch", "instance", "group", "none"])
def test_training_can_be_differentiated_and_leaves_running_statistics_alone(normalisation: str) -> None:
    with initialisation(0, "cell"):
        network = CellNet(2, (1, 4, 4), MIXED, width=4, cells=1, stages=2, normalisation=normalisation).double()
    before = {name: buffer.clone() for name, buffer in network.named_buffers()}
    images = torch.randn(2, 4, 1, 4, 4, generator=stream(0, "x"), dtype=torch.float64).requires_grad_()
    labels = torch.tensor([[0, 1, 0, 1]] * 2)
    rates, momenta = torch.full((2,), 0.1, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)

    def outer(step: int, parameters: unroll.Parameters) -> Tensor | None:
        if step < 2:
            return None
        return F.cross_entropy(unroll.call(network, parameters, images[0].detach()), labels[0])

    gradients = []
    for memory in unroll.MEMORY_MODES:
        loss = unroll.unrolled_loss(network, images, labels, rates, momenta, outer, memory=memory).loss
        gradients.append(torch.autograd.grad(loss, images)[0])
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-10, atol=1e-12)
    assert gradients[0].abs().sum() > 0
    assert all(torch.equal(buffer, before[name]) for name, buffer in network.named_buffers())


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: cell_operations("conv"), "names no cell"),
        (lambda: cell_operations(MIXED.replace("none", "nothing")), "unknown operation 'nothing'"),
        (lambda: cell_operations(MIXED.replace("~2", "~1")), "names no cell"),
        (lambda: cell_operations(MIXED + "+|none~0|none~1|none~2|none~3|"), "names no cell"),
        (lambda: cell_name(OPERATIONS), "6 edges, got 5"),
        (lambda: CellNet(2, (1, 4, 4), MIXED, stages=0), "at least 1"),
        (lambda: CellNet(2, (1, 4, 4), MIXED, width=6, normalisation="group"), "multiple of 4"),
        (lambda: CellNet(2, (1, 4, 4), MIXED, normalisation="bach"), "did you mean 'batch'"),
    ],
)
def test_mistakes_are_one_sentence(make, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=sentence):
        make()


def test_there_are_six_edges() -> None:
    assert EDGES == ((0, 1), (0, 2), (1, 2), (0, 3), (1, 3), (2, 3))
