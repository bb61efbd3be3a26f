"""The network of all cells: a child computes what the cell's own network computes with the same weights."""

from __future__ import annotations

import pytest
import torch

from gendistill.nets.cells import OPERATIONS, CellNet
from gendistill.nets.spaces import CellSpace
from gendistill.nets.supernet import SuperNet
from gendistill.seeds import initialisation, stream

OPTIONS = {"width": 4, "cells": 1, "stages": 2}
SHAPE = (1, 6, 6)


def supernet(normalisation: str = "batch") -> SuperNet:
    with initialisation(0, "supernet"):
        return SuperNet(3, SHAPE, normalisation=normalisation, **OPTIONS).double()


@pytest.mark.parametrize("normalisation", ["batch", "instance", "none"])
def test_a_child_is_its_own_network_with_the_shared_weights(normalisation: str) -> None:
    whole, space, generator = supernet(normalisation), CellSpace(normalisation=normalisation, **OPTIONS), stream(0, "c")
    shared, images = whole.state_dict(), torch.randn(5, *SHAPE, generator=generator, dtype=torch.float64)
    for _ in range(10):
        name = space.sample(generator)
        child = CellNet(3, SHAPE, name, normalisation=normalisation, **OPTIONS).double()
        operations = dict(zip(["0-1", "0-2", "1-2", "0-3", "1-3", "2-3"], words(name), strict=True))
        state = {}
        for key in child.state_dict():
            parts = key.split(".")
            if "edges" in parts:
                place = parts.index("edges") + 1
                parts[place] = f"{parts[place]}/{operations[parts[place]]}"
            state[key] = shared.get(".".join(parts), child.state_dict()[key])
        child.load_state_dict(state)
        whole.choose(name)
        torch.testing.assert_close(whole(images), child.train()(images))


def words(name: str) -> list[str]:
    return [word.split("~")[0] for node in name.split("+") for word in node.strip("|").split("|")]


def test_only_the_childs_parameters_get_a_gradient() -> None:
    whole = supernet()
    whole.choose("|nor_conv_3x3~0|+|none~0|nor_conv_1x1~1|+|none~0|none~1|skip_connect~2|")
    whole(torch.randn(4, *SHAPE, dtype=torch.float64, generator=stream(0, "x"))).square().sum().backward()
    touched = {id(p) for p in whole.parameters() if p.grad is not None}
    assert touched == {id(p) for p in whole.child_parameters()}
    assert len(touched) < len(list(whole.parameters()))


def test_evaluation_uses_the_batch_and_leaves_nothing_behind() -> None:
    whole = supernet()
    before = {name: value.clone() for name, value in whole.state_dict().items()}
    images = torch.randn(4, *SHAPE, dtype=torch.float64, generator=stream(0, "x"))
    torch.testing.assert_close(whole.eval()(images), whole.train()(images))
    assert all(torch.equal(value, before[name]) for name, value in whole.state_dict().items())
    assert not any("running" in name for name in before)


def test_every_operation_is_on_every_edge() -> None:
    edges = {name.split("edges.")[1].split(".")[0] for name, _ in supernet().named_parameters() if "edges." in name}
    assert edges == {
        f"{edge}/{operation}"
        for edge in ("0-1", "0-2", "1-2", "0-3", "1-3", "2-3")
        for operation in OPERATIONS
        if "conv" in operation
    }
