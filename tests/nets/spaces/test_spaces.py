"""Spaces of learners: names that rebuild, sampling from a seed, enumeration, sizes."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest
import torch

from gendistill.errors import UserError
from gendistill.nets.spaces import (
    CellSpace,
    CondensationGrid,
    ConvNetSpace,
    LearnerSpace,
    MixedSpace,
    MLPSpace,
    WidthSpace,
)
from gendistill.objects import build
from gendistill.seeds import initialisation, stream

CONVNET = "gendistill.nets.learners.ConvNet"
LENGTHY = WidthSpace({"class_path": CONVNET, "init_args": {"depth": 1}}, {"width": [3, 7], "kernel_size": [1, 1]})
SPACES = {
    "grid": CondensationGrid(),
    "convnets": ConvNetSpace(depths=(1, 2), widths=(4, 8), kernels=(1, 3)),
    "mlps": MLPSpace(),
    "cells": CellSpace(operations=("none", "nor_conv_3x3")),
    "widths": LENGTHY,
    "mixed": MixedSpace([MLPSpace(depths=[1]), "gendistill.nets.spaces.CondensationGrid"]),
}


def seeded(*seeds: int) -> list[torch.Generator]:
    return [stream(seed, "space") for seed in seeds]


def parameters(network: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in network.parameters())


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_names_are_as_many_as_the_size_and_all_different(space: LearnerSpace) -> None:
    names = list(space.names())
    assert len(names) == len(set(names)) == space.size


@pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)
def test_samples_are_names_and_depend_on_the_seed_alone(space: LearnerSpace) -> None:
    names = set(space.names())
    first, again, other = ([space.sample(generator) for _ in range(20)] for generator in seeded(1, 1, 2))
    assert set(first) | set(other) <= names
    assert first == again != other


def test_every_name_of_the_grid_of_720_rebuilds_its_architecture() -> None:
    """The paper's five dimensions, taken apart by hand and put together again from each name."""
    grid = CondensationGrid()
    expected = set(
        itertools.product(
            (1, 2, 3, 4),
            (32, 64, 128, 256),
            ("none", "batch", "layer", "instance", "group"),
            ("sigmoid", "relu", "leaky_relu"),
            ("none", "max", "average"),
        )
    )
    rebuilt = set()
    for name in grid.names():
        learner = grid.learner(name)["init_args"]
        again = grid.compose(lambda label, _, learner=learner: learner[{"kernel": "kernel_size"}.get(label, label)])
        assert again == name
        assert learner["kernel_size"] == 3
        rebuilt.add(tuple(learner[key] for key in ("depth", "width", "normalisation", "activation", "pooling")))
    assert len(expected) == grid.size == 720
    assert rebuilt == expected


def test_parameters_of_a_few_by_hand() -> None:
    grid = CondensationGrid()
    papers = grid.build("convnet-d3-w128-k3-instance-relu-average", 10, (3, 32, 32))
    assert parameters(papers) == 320_010  # as the papers print
    blocks = (3 * 9 * 32 + 32) + (32 * 9 * 32 + 32)
    bare = grid.build("convnet-d2-w32-k3-none-sigmoid-none", 10, (3, 32, 32))
    assert parameters(bare) == blocks + 32 * 32 * 32 * 10 + 10
    wide = ConvNetSpace().build("convnet-d1-w16-k5-group-gelu-max", 10, (1, 28, 28))
    assert parameters(wide) == 25 * 16 + 16 + 2 * 16 + 16 * 16 * 16 * 10 + 10
    assert wide(torch.zeros(2, 1, 28, 28)).shape == (2, 10)
    deep = MLPSpace().build("mlp-d3-w32-tanh", 10, (1, 8, 8))
    assert parameters(deep) == (64 * 32 + 32) + 2 * (32 * 32 + 32) + 32 * 10 + 10


@pytest.mark.parametrize("kernel", [1, 3, 5, 7])
def test_every_kernel_keeps_the_maps_size(kernel: int) -> None:
    space = ConvNetSpace(kernels=(kernel,))
    for shape in ((1, 8, 8), (1, 28, 28)):
        network = space.build(f"convnet-d2-w4-k{kernel}-layer-relu-average", 10, shape)
        assert network(torch.zeros(2, *shape)).shape == (2, 10)


def test_a_seed_gives_the_weights() -> None:
    space = MLPSpace()
    made = []
    for seed in (0, 0, 1):
        with initialisation(seed, "x"):
            made.append(space.build("mlp-d1-w32-relu", 10, (1, 8, 8)).state_dict()["hidden.0.weight"])
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])


def test_every_choice_is_about_as_frequent() -> None:
    space = MLPSpace(depths=[1, 2], widths=[8], activations=["relu", "tanh"])
    generator = stream(0, "frequency")
    counts = Counter(space.sample(generator) for _ in range(800))
    assert len(counts) == 4
    assert all(abs(count - 200) < 5 * (200 * 0.75) ** 0.5 for count in counts.values())


def test_samples_without_repetition_are_all_of_a_small_space() -> None:
    space = MLPSpace(depths=[1, 2], widths=[8], activations=["relu", "tanh"])
    assert sorted(space.samples(4, stream(0, "s"))) == sorted(space.names())
    with pytest.raises(UserError, match="has 4 architectures, 5"):
        space.samples(5, stream(0, "s"))


def test_widths_of_lists_of_numbers() -> None:
    space = WidthSpace("some.module.Net", {"filters": [[32, 127], [64, 255]], "units": [64, 255]})
    assert space.size == 96 * 192 * 192
    assert space.learner("filters=33x70,units=64") == {
        "class_path": "some.module.Net",
        "init_args": {"filters": [33, 70], "units": 64},
    }
    for wrong in ("filters=33,units=64", "filters=33x70", "units=64,filters=33x70", "filters=33x,units=64", "x"):
        with pytest.raises(UserError, match="a name looks like filters=32x64,units=64"):
            space.learner(wrong)


def test_spaces_are_built_from_specs() -> None:
    spec = {"class_path": "gendistill.nets.spaces.ConvNetSpace", "init_args": {"depths": [1], "widths": [8]}}
    space = build(spec, LearnerSpace)  # type: ignore[type-abstract]
    assert isinstance(space, ConvNetSpace)
    assert space.widths == (8,)


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: ConvNetSpace(depths=()), "depths is"),
        (lambda: ConvNetSpace(widths=(0,)), "widths holds 0"),
        (lambda: ConvNetSpace(widths=(6,)), "width 6 is not a multiple of 4"),
        (lambda: ConvNetSpace(kernels=(2,)), "kernels holds 2"),
        (lambda: ConvNetSpace(activations=("rleu",)), "did you mean 'relu'"),
        (lambda: CellSpace(operations=("conv",)), "unknown operation 'conv'"),
        (lambda: WidthSpace(CONVNET, {}), "at least one range"),
        (lambda: WidthSpace(CONVNET, {"width": [9, 3]}), "low <= high"),
        (lambda: WidthSpace(CONVNET, {"width": 3}), r"give \[low, high\]"),
        (lambda: MixedSpace([]), "at least one space"),
        (lambda: CondensationGrid().learner("convnet-d3"), "a name looks like convnet-d3-w128"),
        (lambda: MLPSpace().learner("mlp-d1-w2"), "a name looks like mlp"),
        (lambda: SPACES["mixed"].learner("what"), "names no MLP.*names no ConvNet"),
    ],
)
def test_mistakes_are_one_sentence(make, sentence: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UserError, match=sentence):
        make()
