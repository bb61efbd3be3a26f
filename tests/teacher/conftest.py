"""A generator small enough for every test: a linear map with batch norm and a class embedding."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from gendistill import objects
from gendistill.data.description import Description, symmetric
from gendistill.runs.seeds import initialisation


class TinyGenerator(nn.Module):
    def __init__(self, num_classes: int, image_shape: tuple[int, int, int], nz: int = 4, width: int = 6) -> None:
        super().__init__()
        self.nz, self.image_shape = nz, tuple(image_shape)
        self.embedding = nn.Embedding(num_classes, nz)
        self.hidden = nn.Linear(nz, width)
        self.norm = nn.BatchNorm1d(width)
        self.out = nn.Linear(width, self.image_shape[0] * self.image_shape[1] * self.image_shape[2])

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        hidden = torch.relu(self.norm(self.hidden(z + self.embedding(y))))
        return torch.tanh(self.out(hidden)).view(-1, *self.image_shape)


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
def rng() -> torch.Generator:
    return torch.Generator().manual_seed(3)
