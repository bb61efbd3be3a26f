from __future__ import annotations

import pytest
import torch
from torch import nn

from gendistill.runs.observe import GlobalRandomness, untouched
from gendistill.seeds import Streams


class Replacing(nn.Module):
    """Puts a new buffer in the place of the old one when it is called."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = self.seen + 1
        return x


def test_nothing_of_a_look_stays() -> None:
    net = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), Replacing(), nn.Dropout())
    net[3].eval()
    buffer = net[2].seen
    streams = Streams(0)
    streams["noise"]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state, shared = streams.state_dict(), torch.random.get_rng_state()
    with untouched([net], streams):
        assert not any(module.training for module in net.modules())
        assert not torch.is_grad_enabled()
        net.train()
        net(torch.randn(5, 4) + torch.randn(5, 4, generator=streams["noise"]))
        torch.randn(3, generator=streams["samples"])
        assert net[2].seen.item() == 1 and net[1].num_batches_tracked == 1
    assert [module.training for module in net.modules()] == [True, True, True, True, False]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert net[2].seen is buffer
    assert torch.equal(torch.random.get_rng_state(), shared)
    assert torch.equal(streams.state_dict()["noise"], state["noise"])


def test_every_look_sees_the_same_noise() -> None:
    streams = Streams(0)
    looks = []
    for _ in range(3):
        with untouched([], streams):
            looks.append(torch.randn(4, generator=streams["samples"]))
    assert torch.equal(looks[0], looks[1]) and torch.equal(looks[0], looks[2])


def test_a_look_that_fails_leaves_nothing_either() -> None:
    net = nn.BatchNorm1d(2)
    with pytest.raises(ZeroDivisionError), untouched([net], Streams(0)):
        net.train()(torch.randn(3, 2))
        raise ZeroDivisionError
    assert net.training and net.num_batches_tracked == 0


def test_the_global_generator_is_lent_seeded_and_resumed() -> None:
    randomness = GlobalRandomness(0, torch.device("cpu"))
    before = torch.random.get_rng_state()
    with randomness.lent():
        first = torch.randn(3)
        state = randomness.state_dict()
        second = torch.randn(3)
    assert torch.equal(torch.random.get_rng_state(), before)
    with randomness.lent():
        assert torch.equal(torch.randn(3), first)
        randomness.load_state_dict(state)
        assert torch.equal(torch.randn(3), second)
