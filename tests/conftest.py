"""Shared by all tests: one thread and one seed, so that the numbers are the same everywhere, and no home."""

from __future__ import annotations

import gc
import os
import random
import signal
import sys
from collections.abc import Generator, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split

torch.set_num_threads(1)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, object, object]:
    """Thousands of tests are a million objects that stay: nobody looks for garbage among them, now or later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.collect()
        gc.freeze()


LONG = ("hostile/test_kills_of_several", "trainers/test_waits", "config/test_mggan_replications",
        "hostile/test_kills_of_commands", "commands/test_quickstart", "federated/test_planted_image",
        "commands/test_cluster", "trainers/test_two_processes", "hostile/test_cut_gan", "trainers/test_bpgan_processes",
        "runs/test_resume", "docs/test_notebook", "installed/test_installed", "runs/test_processes")  # fmt: skip
"""The files that take longest come first, so that none of them is left to one process while the other has ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Order the files (with ``--no-loadscope-reorder``, else pytest-xdist begins with those of most tests)."""
    places = {Path(__file__).parent / f"{name}.py": number for number, name in enumerate(LONG)}
    items.sort(key=lambda item: places.get(item.path, len(LONG)))


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
    random.seed(0)
    np.random.seed(0)


READ_HERE = ("GENDISTILL_", "MALLOC_", "OMP_", "MKL_", "CUDA_", "TORCH_HOME", "PYTHON", "RANK", "LOCAL_RANK", "WORLD_",
             "MASTER_", "TORCHELASTIC_", "HOME", "XDG_", "TMPDIR", "PATH", "COLUMNS", "LINES", "TERM", "NO_COLOR",
             "LC_", "LANG", "USER", "DIE_NOT")  # fmt: skip
"""How variables begin that the program or a test goes by; libraries set others of their own, once and for good."""


def of_process() -> dict[str, object]:
    """Return what all tests of a process share and another test may rely on."""
    found: dict[str, object] = {f"the variable {name}": value for name, value in os.environ.items()}
    found.pop("the variable PYTEST_CURRENT_TEST", None)  # which pytest changes
    found["the working directory"] = os.getcwd()
    found["torch's default type"] = torch.get_default_dtype()
    found["torch's threads"] = torch.get_num_threads()
    found["torch's gradients"] = torch.is_grad_enabled()
    found |= {f"the handler of {one.name}": signal.getsignal(one) for one in (signal.SIGINT, signal.SIGTERM)}
    return found


@pytest.fixture(autouse=True)
def as_found() -> Iterator[None]:
    """A test leaves its process as it found it: what the next one sees does not depend on which tests ran before it."""
    before, paths = of_process(), list(sys.path)
    yield
    sys.path[:] = paths  # a command adds the folder that it is called in, where a person's own modules may be
    after = of_process()
    new = {f"the variable {name}" for name in os.environ if not name.startswith(READ_HERE)} - before.keys()
    left = [f"{name}: {before.get(name)!r}, then {after.get(name)!r}" for name in sorted(before.keys() | after.keys())
            if before.get(name) not in (after.get(name), signal.SIG_IGN) and name not in new]  # fmt: skip
    if left:
        put_back(before)
        pytest.fail("it leaves its process changed, for other tests to meet: " + "; ".join(left))


def put_back(before: dict[str, object]) -> None:
    """Let the tests that come see what they would have seen."""
    variables = {name.removeprefix("the variable "): value for name, value in before.items() if "variable " in name}
    for name in set(os.environ) - set(variables):
        if name.startswith(READ_HERE):
            del os.environ[name]
    os.environ.update({name: str(value) for name, value in variables.items()})
    os.chdir(str(before["the working directory"]))
    torch.set_default_dtype(before["torch's default type"])  # type: ignore[arg-type]
    torch.set_num_threads(int(str(before["torch's threads"])))
    torch.set_grad_enabled(bool(before["torch's gradients"]))
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, before[f"the handler of {one.name}"])  # type: ignore[arg-type]


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
