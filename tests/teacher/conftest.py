"""A small data set, a generator and teachers of every kind for the tests of teachers."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from every_kind import small_teacher
from tiny_generator import TinyGenerator
from torch import nn

from gendistill import objects
from gendistill.data.description import Description, symmetric
from gendistill.seeds import initialisation
from gendistill.teacher import Teacher


@pytest.fixture
def description() -> Description:
    return Description("bands", ("top", "middle", "bottom"), (1, 4, 4), symmetric(1))


@pytest.fixture
def network(description: Description) -> nn.Module:
    with initialisation(0, "test"):
        spec = {"class_path": f"{TinyGenerator.__module__}.TinyGenerator"}
        made = objects.build(spec, nn.Module, num_classes=description.num_classes, image_shape=description.image_shape)
    with torch.no_grad():
        made.train()(torch.linspace(-2, 2, 40).view(10, 4), torch.arange(10) % 3)  # running statistics unlike 0 and 1
    return made


@pytest.fixture
def make(description: Description, network: nn.Module) -> Callable[[str], Teacher]:
    return lambda kind: small_teacher(kind, description, network)


@pytest.fixture
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)
