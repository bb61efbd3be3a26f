"""The versions that the GAN benchmark compares do the same work."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor

PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "gan_step.py"
SETTING = {"batch_size": 4, "width": 4, "n_dis": 1}


@pytest.fixture
def benchmark() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_gan_step", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_quick_and_usual_networks_train_alike(benchmark: ModuleType, tmp_path: Path) -> None:
    def weights(pooling: bool | None) -> dict[str, Tensor]:
        trainer = benchmark.our_trainer(str(tmp_path), SETTING)
        start = {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}
        step = benchmark.our_step(trainer)
        if pooling is not None:
            step = benchmark.within(lambda: benchmark.usual(pooling=pooling), step)
        step()
        assert any(
            (value - start[name]).abs().max() > 1e-4 for name, value in trainer.discriminator.state_dict().items()
        )
        return {name: value.clone() for name, value in trainer.discriminator.state_dict().items()}

    quick = weights(None)
    for pooling in (False, True):
        for name, value in weights(pooling).items():
            torch.testing.assert_close(value, quick[name], rtol=1e-3, atol=2e-5, msg=name)


def test_usual_networks_pool_after_the_convolution(benchmark: ModuleType, tmp_path: Path) -> None:
    trainer = benchmark.our_trainer(str(tmp_path), SETTING)
    seen: list[tuple[int, ...]] = []
    conv = trainer.discriminator.blocks[0].conv2
    conv.register_forward_hook(lambda module, inputs, output: seen.append(tuple(output.shape)))
    images, labels = torch.zeros(2, 3, 32, 32), torch.tensor([0, 1])
    trainer.discriminator(images, labels)
    assert seen == []
    with benchmark.usual(pooling=True):
        trainer.discriminator(images, labels)
    assert seen == [(2, 4, 32, 32)]


def test_every_version_makes_its_step_in_its_turn(benchmark: ModuleType, tmp_path: Path) -> None:
    steps = {
        name: benchmark.make(name, str(tmp_path / str(place)), SETTING)
        for place, name in enumerate(benchmark.VERSIONS)
        if name != "torch_mimicry"
    }
    timed = benchmark.in_turns(steps, 1)
    assert list(timed) == list(steps)
    assert all(value > 0 for times in timed.values() for value in times.values())


def test_memory_is_that_of_the_process_that_makes_the_steps(benchmark: ModuleType) -> None:
    # On Linux a process inherits the peak of the one that starts it, in the figure that getrusage gives.
    held = torch.ones(100_000_000)
    found = benchmark.peak_memory("ours", SETTING, steps=1)
    assert 50 < found["peak_mib"] < benchmark.most_memory() - 4 * held.numel() / 2**20 + 200
    assert found["beyond_start_mib"] > 0
