"""A forward pass made again gives the same, and leaves everything as it was."""

from __future__ import annotations

import random
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gendistill.nets.again import Remembered
from gendistill.nets.chance import Chance
from gendistill.seeds import initialisation

CPU = torch.device("cpu")


class Drawing(nn.Module):
    """Draws from everything that a forward pass can draw from."""

    def __init__(self) -> None:
        super().__init__()
        self.own = torch.Generator()
        self.others = [random.Random(0), np.random.default_rng(0), {"state": np.random.RandomState(0)}]

    def forward(self, x: Tensor) -> Tensor:
        one, two, three = self.others
        numbers = [random.random(), np.random.rand(), one.random(), two.random(), three["state"].rand()]
        noise = torch.randn(x.shape, generator=self.own, dtype=x.dtype) + torch.rand_like(x)
        return F.dropout(x, 0.5, self.training) + noise + sum(numbers)


def convolution() -> nn.Conv2d:
    return nn.Conv2d(2, 2, 3, padding=1)


class SharedBuffer(nn.Module):
    """Two modules with one buffer, which each of them moves: in place, and by another tensor."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Module(), nn.Module()
        value = torch.zeros(2, dtype=torch.float64)
        self.first.register_buffer("kept", value)
        self.second.register_buffer("kept", value)

    def forward(self, x: Tensor) -> Tensor:
        self.first.kept.add_(1)
        x = x * (1 + self.second.kept[0])
        self.second.kept = self.second.kept + 1
        return x


NETWORKS: dict[str, Any] = {
    "hooked spectral norm": lambda: torch.nn.utils.spectral_norm(convolution()),
    "spectral norm": lambda: torch.nn.utils.parametrizations.spectral_norm(convolution()),
    "batch norm": lambda: nn.Sequential(convolution(), nn.BatchNorm2d(2, momentum=None), nn.Dropout(0.3)),
    "batch norm at rest": lambda: nn.BatchNorm2d(2).eval(),
    "random": Drawing,
    "shared buffer": SharedBuffer,
}


@pytest.mark.parametrize("kind", NETWORKS)
def test_a_pass_made_again_is_the_same_and_moves_nothing(kind: str) -> None:
    with initialisation(0, "network"):
        network = NETWORKS[kind]().double()
        x = torch.randn(5, 2, 4, 4, dtype=torch.float64)
    chance = Chance(network, CPU)
    with chance.seeded(3):
        before = Remembered(network)
        with torch.no_grad():
            first = network(x)
            network(x)  # moves everything once more
        buffers, values = dict(network.named_buffers()), {n: b.clone() for n, b in network.named_buffers()}
        state = chance.state()
        for _ in range(2):
            with before.again():
                made = network(x.requires_grad_())
            assert torch.equal(made, first)
        made.sum().backward()
        assert not chance.moved(state)
    assert all(buffer is buffers[name] for name, buffer in network.named_buffers())
    assert all(torch.equal(buffer, values[name]) for name, buffer in network.named_buffers())


def test_graphs_of_other_passes_stay_valid() -> None:
    network, x = nn.BatchNorm2d(2).eval(), torch.randn(3, 2, 4, 4)
    kept = network(x.requires_grad_())
    with Remembered(network).again():
        network.train()(x)
    assert not network.training
    kept.sum().backward()


def test_chance_comes_from_the_seed_and_is_put_back() -> None:
    network, x = Drawing(), torch.zeros(2, 3)
    chance, found = Chance(network, CPU), []
    before, torch_before = chance.state(), torch.random.get_rng_state()
    for seed in (5, 5, 2**63 - 1):
        with chance.seeded(seed):
            found.append(network(x))
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
    assert not chance.moved(before) and torch.equal(torch.random.get_rng_state(), torch_before)
    for draw in (lambda: random.random(), lambda: np.random.rand(), lambda: torch.rand(1, generator=network.own)):
        draw()
        assert chance.moved(before)
        chance.restore(before)
        assert not chance.moved(before)


def test_chance_can_be_lent_inside_a_loan_and_is_put_back_after_an_error() -> None:
    chance = Chance(None, CPU)
    state = chance.state()
    with chance.seeded(1):
        first = (random.random(), np.random.rand(), float(torch.rand(1)))
    with pytest.raises(ZeroDivisionError), chance.seeded(1):
        with chance.seeded(2):
            random.random()
        assert (random.random(), np.random.rand(), float(torch.rand(1))) == first
        raise ZeroDivisionError
    assert not chance.moved(state)


def test_the_generator_of_an_accelerator_is_lent_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """As far as that can be told without one: its global generators are torch's, one a device."""
    own = [torch.Generator().manual_seed(number) for number in range(2)]
    monkeypatch.setattr(torch.cuda, "default_generators", tuple(own))
    chance, before = Chance(None, torch.device("cuda", 1)), [one.get_state() for one in own]
    found = []
    for _ in range(2):
        with chance.seeded(8):
            found.append(torch.rand(3, generator=own[1]))
    assert torch.equal(*found) and all(
        torch.equal(one.get_state(), state) for one, state in zip(own, before, strict=True)
    )
    state = chance.state()
    torch.rand(1, generator=own[1])
    assert chance.moved(state)
    chance.restore(state)
    torch.rand(1, generator=own[0])
    assert not chance.moved(state)
