"""Shared by all tests: one thread and one seed, so that the numbers are the same everywhere, and no home."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split

torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def own_places(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Nothing is read from or written to a person's home.

    The cache of the real data's classifiers and statistics is one for all tests of a process, and of the processes that
    they start, so that each is made once.
    """
    home = tmp_path_factory.mktemp("home")
    places = {"GENDISTILL_CACHE": home / "cache", "GENDISTILL_DATA": home / "data", "TORCH_HOME": home / "torch"}
    before = {name: os.environ.get(name) for name in places}
    os.environ.update({name: str(place) for name, place in places.items()})
    yield home
    for name, value in before.items():
        if value is None:
            del os.environ[name]
        else:
            os.environ[name] = value


@pytest.fixture(autouse=True)
def same_draws() -> None:
    """What a test draws without a generator is the same in every run, and whichever tests ran before it."""
    torch.manual_seed(0)


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
