"""Shared by all tests: one thread, so that tests run side by side and give the same numbers everywhere."""

from __future__ import annotations

import pytest
import torch

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split

torch.set_num_threads(1)


@pytest.fixture
def tiny_data() -> RealData:
    """Three classes of 1x8x8 images that a small network separates: a bright band whose row tells the class."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 3
        images = torch.randint(0, 60, (count, 1, 8, 8), generator=generator)
        rows = labels[:, None] * 2 + torch.arange(2)
        images[torch.arange(count)[:, None], 0, rows] += 180
        return Split(images.to(torch.uint8), labels)

    description = Description("bands", ("top", "middle", "bottom"), (1, 8, 8), Normalisation((0.3,), (0.3,)))
    return RealData(description, split(96), split(30), split(60))
