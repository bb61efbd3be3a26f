"""Networks called for a while in another way, and what is left of that afterwards."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor, nn

from gendistill.nets.layers import BatchNorm2d
from gendistill.nets.modes import answering, of_the_batch, resting, running_layers, untracked, writes_statistics
from gendistill.nets.statistics import set_statistics
from gendistill.nets.weight_normalised import MeanOnlyBatchNorm


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), BatchNorm2d(3), nn.InstanceNorm2d(3, track_running_stats=True),
        nn.InstanceNorm2d(3), nn.BatchNorm2d(3, track_running_stats=False), nn.Dropout(0.5), MeanOnlyBatchNorm(3),
        nn.Flatten(), nn.BatchNorm1d(27, momentum=None), nn.Linear(27, 3),
    )  # fmt: skip


def images(number: int = 0) -> Tensor:
    return torch.randn(6, 2, 5, 5, generator=torch.Generator().manual_seed(number))


def kept(net: nn.Module) -> list[object]:
    return [*(module.training for module in net.modules()), *net.buffers()]


def test_in_training_untracked_norms_do_what_they_do_and_write_nothing() -> None:
    net = network()[:6]
    expected = net(images())
    state = {name: value.clone() for name, value in net.state_dict().items()}
    with untracked(net):
        torch.testing.assert_close(net(images()), expected)
    assert all(torch.equal(value, state[name]) for name, value in net.state_dict().items())
    rested = net.eval()(images())
    with untracked(net):
        assert torch.equal(net(images()), rested)


def test_of_the_batch_is_training_without_dropout_and_without_traces() -> None:
    net = network()
    norms = nn.Sequential(*list(net)[:6])
    expected = norms(images())
    norms.eval()
    assert not torch.allclose(norms(images()), expected)
    state = {name: value.clone() for name, value in norms.state_dict().items()}
    with of_the_batch(norms):
        torch.testing.assert_close(norms(images()), expected)
    assert list(state) == list(norms.state_dict())
    assert all(torch.equal(value, state[name]) for name, value in norms.state_dict().items())


@pytest.mark.parametrize("way", [resting, answering, untracked, of_the_batch])
def test_everything_is_put_back(way: Callable[[nn.Module], AbstractContextManager[None]]) -> None:
    net = network()
    net[1].eval()  # one that somebody froze
    before = kept(net)
    with pytest.raises(ZeroDivisionError), way(net):
        raise ZeroDivisionError
    assert all(one is other for one, other in zip(before, kept(net), strict=True))


def test_answering_uses_the_batch_and_drops_nothing() -> None:
    net = network()
    with answering(net):
        first, second = net(images()), net(images())
    torch.testing.assert_close(first, second)
    with torch.no_grad():
        net[6].p = 0.0
    torch.testing.assert_close(net(images()), first)


def test_statistics_are_those_of_the_batch_whatever_they_were() -> None:
    net, other = network(), network()
    other.load_state_dict(net.state_dict())
    for number in range(3):
        other(images(number))
    before, state = [layer.momentum for layer in running_layers(other)], torch.random.get_rng_state()
    for one in (net, other.eval()):
        set_statistics(one, [images(7)])
    assert torch.equal(torch.random.get_rng_state(), state)
    assert net.training and not other.training
    assert [layer.momentum for layer in running_layers(other)] == before == [0.1, 0.1, 0.1, 1.0, None]
    for name, value in net.state_dict().items():
        if "tracked" not in name:
            torch.testing.assert_close(value, other.state_dict()[name])
    maps = net[0](images(7)).detach()
    torch.testing.assert_close(net[1].running_mean, maps.mean((0, 2, 3)))
    torch.testing.assert_close(net[1].running_var, maps.transpose(0, 1).flatten(1).var(1))


@pytest.mark.parametrize(
    ("norm", "writes"),
    [
        (nn.BatchNorm2d(3), True),
        (BatchNorm2d(3), True),
        (MeanOnlyBatchNorm(3), True),
        (nn.InstanceNorm2d(3, track_running_stats=True), True),
        (nn.InstanceNorm2d(3), False),
        (nn.BatchNorm2d(3, track_running_stats=False), False),
        (nn.GroupNorm(1, 3), False),
    ],
    ids=str,
)
def test_what_moves_statistics_is_what_a_pass_changes(norm: nn.Module, writes: bool) -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3), norm)
    before = [buffer.clone() for buffer in net.buffers()]
    assert writes_statistics(net) == writes and not writes_statistics(net.eval())
    net.train()(images())
    assert any(not torch.equal(a, b) for a, b in zip(before, net.buffers(), strict=True)) == writes
