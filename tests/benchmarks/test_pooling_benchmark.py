"""The benchmark of pooling compares networks that do the same work."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import torch

from gendistill.nets.learners import ConvNet

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "pooling.py"
spec = importlib.util.spec_from_file_location("benchmark_pooling", PATH)
assert spec is not None and spec.loader is not None
pooling = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pooling)


def test_both_ways_have_the_same_gradients() -> None:
    figures = pooling.measure(points=[((1, 28, 28), 4, 5), ((1, 8, 8), 4, 5)], rounds=1)["steps_of_training"]
    large, small = figures.values()
    assert large["gradients_apart"] == 0.0  # to the bit
    assert small["gradients_apart"] < 1e-6  # one matrix product
    assert large["times_as_fast"] > 0


def test_the_copy_has_torchs_pooling() -> None:
    network = ConvNet(num_classes=10, image_shape=(1, 28, 28), width=4)
    other = pooling.with_torchs_pooling(network)
    assert sum(isinstance(module, torch.nn.AvgPool2d) for module in other.modules()) == 3
    assert not any(isinstance(module, torch.nn.AvgPool2d) for module in network.modules())
