from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from gendistill.nets.layer_inputs import layer_inputs
from gendistill.nets.learners import MLP, ConvNet, Learner, LeNet


@pytest.mark.parametrize("kind", [ConvNet, LeNet, MLP])
def test_the_last_is_what_the_learner_calls_features(kind: type[Learner]) -> None:
    network, images = kind(3, (1, 8, 8)), torch.randn(4, 1, 8, 8)
    found = layer_inputs(network, lambda: network(images))
    torch.testing.assert_close(found[-1], network.features(images))
    torch.testing.assert_close(found[0], images.flatten(1))


def test_every_layer_of_an_mlp() -> None:
    network, images = MLP(3, (1, 2, 2), width=5), torch.randn(4, 1, 2, 2)
    first, second = network.hidden
    hidden = F.relu(first(images.flatten(1)))
    expected = [images.flatten(1), hidden, F.relu(second(hidden))]
    found = layer_inputs(network, lambda: network(images))
    assert len(found) == 3
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)


def test_nobody_listens_afterwards_even_when_the_network_fails() -> None:
    network = nn.Sequential(nn.Linear(2, 2))

    def fail() -> None:
        network(torch.zeros(1, 2))
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        layer_inputs(network, fail)
    assert not network[0]._forward_pre_hooks
