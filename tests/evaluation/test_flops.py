from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.data.description import Description, symmetric
from gendistill.evaluation.flops import forward_operations, learner_operations
from gendistill.nets.learners import ConvNet

PIXELS = 128 * (32 * 32 + 16 * 16 + 8 * 8)
"""Values that the three blocks normalise, rectify and pool; 28x28 images are padded to 32x32 by the first block."""


@pytest.mark.parametrize(("channels", "side", "reported"), [(1, 28, "48.90"), (3, 32, "51.26")])
def test_the_published_counts_of_the_condensation_papers_convnet(channels: int, side: int, reported: str) -> None:
    count = forward_operations(ConvNet(10, (channels, side, side)), (channels, side, side))
    by_hand = 9 * 128 * (channels * 32 * 32 + 128 * 16 * 16 + 128 * 8 * 8) + 2048 * 10
    assert count == {"multiply_adds": by_hand, "operations": by_hand + 3 * PIXELS + 10}
    assert f"{count['operations'] / 1e6:.2f}" == reported


def test_layers_by_hand() -> None:
    layers = {
        "bias": (nn.Linear(5, 7), (5,), 35, 42),
        "none": (nn.Linear(5, 7, bias=False), (5,), 35, 35),
        "groups": (nn.Conv2d(4, 6, 3, groups=2), (4, 5, 5), 2 * 9 * 6 * 9, 2 * 9 * 6 * 9 + 54),
        "up": (nn.ConvTranspose2d(2, 3, 2, stride=2, bias=False), (2, 4, 4), 2 * 3 * 4 * 16, 2 * 3 * 4 * 16),
        "pool": (nn.Sequential(nn.MaxPool2d(2), nn.Tanh()), (2, 4, 4), 0, 32 + 8),
    }
    for network, shape, multiply_adds, operations in layers.values():
        assert forward_operations(network, shape) == {"multiply_adds": multiply_adds, "operations": operations}


def test_a_learner_of_a_data_set_is_counted_and_left_alone() -> None:
    description = Description("set", ("a", "b", "c"), (1, 8, 8), symmetric(1))
    spec = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}}
    assert learner_operations(spec, description)["multiply_adds"] == 64 * 8 + 8 * 8 + 8 * 3
    network = ConvNet(3, (1, 8, 8), width=4, depth=1).train()
    before = [parameter.clone() for parameter in network.parameters()]
    assert forward_operations(network, (1, 8, 8)) == forward_operations(network, (1, 8, 8))
    assert network.training and all(
        torch.equal(parameter, old) for parameter, old in zip(network.parameters(), before, strict=True)
    )
