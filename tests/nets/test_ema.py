"""The moving average against its closed form."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gendistill.errors import UserError
from gendistill.nets.ema import EMA


def network(value: float) -> nn.Sequential:
    linear = nn.Linear(2, 1, bias=False)
    nn.init.constant_(linear.weight, value)
    return nn.Sequential(linear, nn.BatchNorm1d(1, affine=False))


def weight(ema: EMA) -> list[float]:
    parameter: Tensor = next(ema.module.parameters())
    return parameter.flatten().tolist()


def test_closed_form_with_warm_up() -> None:
    module = network(1.0)
    ema = EMA(module, decay=0.5)
    expected = 1.0
    for step, value in enumerate([2.0, -1.0, 5.0, 0.5, 4.0, 4.0, 4.0, 4.0, 4.0, 4.0]):
        module = network(value)
        ema.update(module)
        decay = min(0.5, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * value
        assert weight(ema) == pytest.approx([expected, expected], rel=1e-6)
    assert min(0.5, (1 + step) / (10 + step)) == 0.5, "the test must reach the constant decay"


def test_buffers_are_copied_and_modes_kept() -> None:
    module = network(1.0)
    ema = EMA(module, decay=0.9)
    module(torch.randn(8, 2, generator=torch.Generator().manual_seed(0)))
    ema.update(module)
    buffers = dict(ema.module.named_buffers())
    assert torch.equal(buffers["1.running_mean"], dict(module.named_buffers())["1.running_mean"])
    assert buffers["1.num_batches_tracked"] == 1
    assert not ema.module.training and module.training
    assert not any(parameter.requires_grad for parameter in ema.module.parameters())


def test_without_decay_it_is_the_network() -> None:
    ema = EMA(network(1.0), decay=0.0)
    ema.update(network(3.0))
    assert weight(ema) == [3.0, 3.0]


def test_state_goes_round() -> None:
    first, second = EMA(network(1.0), 0.5), EMA(network(0.0), 0.5)
    for value in (2.0, 3.0):
        first.update(network(value))
    second.load_state_dict(first.state_dict())
    first.update(network(7.0))
    second.update(network(7.0))
    assert weight(first) == weight(second)


@pytest.mark.parametrize("decay", [-0.1, 1.0])
def test_refusal(decay: float) -> None:
    with pytest.raises(UserError, match="ema_decay"):
        EMA(network(1.0), decay)
