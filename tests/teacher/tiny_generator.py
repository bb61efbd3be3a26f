"""A generator small enough for every test: a linear map with batch norm and a class embedding."""

from __future__ import annotations

import torch
from torch import Tensor, nn


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
