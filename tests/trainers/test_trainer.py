from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.processes import Processes
from gendistill.seeds import Streams
from gendistill.teacher import StoredImages, Teacher
from trainers.trainer import Trainer


class Plain(Trainer):
    """A linear classifier."""

    def build(self) -> None:
        with self.initialised("net"):
            self.net = nn.Linear(64, 3)
        self.optimizer = torch.optim.SGD(self.net.parameters(), lr=0.1)

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        images, labels = batch
        loss = functional.cross_entropy(self.net(images.flatten(1)), labels)
        self.update(loss, self.optimizer)
        return {"loss": loss}

    def teacher(self) -> Teacher:
        return StoredImages(torch.zeros(3, 1, 8, 8), torch.arange(3), self.data.description)


def run_of(tmp_path: Path, processes: Processes | None = None, **options: Any) -> RunContext:
    chosen = RunOptions(root=str(tmp_path), device="cpu", **options)
    directory = RunDirectory(tmp_path, "run")
    return RunContext(chosen, directory, torch.device("cpu"), Streams(chosen.seed), processes or Processes())


def attached(trainer: Plain, data: RealData, tmp_path: Path, **options: Any) -> Plain:
    trainer.attach(run_of(tmp_path, **options), data)
    return trainer


@pytest.mark.parametrize("batch_size", [0, -3, 2.5, True, "8"])
def test_a_wrong_batch_size_is_said(batch_size: Any) -> None:
    with pytest.raises(UserError, match="batch_size is .*; give a whole number from 1"):
        Plain(batch_size=batch_size)


def test_a_batch_larger_than_the_data_is_lowered_unless_it_was_typed(
    tiny_data: RealData, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    trainer = attached(Plain(batch_size=97), tiny_data, tmp_path)
    assert trainer.batch_size == 96 and len(trainer.next_batch()[1]) == 96
    assert "--trainer.batch_size is 97, but" in capsys.readouterr().err
    typed = Plain(batch_size=97)
    typed.typed = frozenset({"batch_size"})
    with pytest.raises(UserError, match="batch_size is 97, but '.*' has 96 training images; choose 1 to 96"):
        attached(typed, tiny_data, tmp_path)


def test_an_epoch_shows_every_image_once(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(Plain(batch_size=32), tiny_data, tmp_path)
    images = torch.cat([trainer.next_batch()[0] for _ in range(3)])
    expected = tiny_data.description.normalisation.apply(tiny_data.train.images)
    assert torch.equal(images.flatten(1).sum(1).sort().values, expected.flatten(1).sum(1).sort().values)


def test_processes_share_the_batch_and_the_noise_of_one(tiny_data: RealData, tmp_path: Path) -> None:
    whole = attached(Plain(batch_size=12), tiny_data, tmp_path)
    parts = []
    for rank in range(3):
        part = Plain(batch_size=12)
        part.attach(run_of(tmp_path, Processes(rank, 3)), tiny_data)
        parts.append(part)
    for _ in range(2):
        images, labels = whole.next_batch()
        shards = [part.next_batch() for part in parts]
        assert torch.equal(torch.cat([shard[0] for shard in shards]), images)
        assert torch.equal(torch.cat([shard[1] for shard in shards]), labels)
        noise = torch.cat([part.noise(12, 5) for part in parts])
        assert torch.equal(noise, whole.noise(12, 5))
    assert torch.equal(parts[0].net.weight, whole.net.weight)


def test_a_stream_does_not_disturb_another(tiny_data: RealData, tmp_path: Path) -> None:
    one, other = (attached(Plain(batch_size=12), tiny_data, tmp_path) for _ in range(2))
    one.noise(7, stream="labels")
    assert torch.equal(one.noise(3), other.noise(3))
    assert torch.equal(one.next_batch()[0], other.next_batch()[0])


def test_an_update_is_the_optimizers_step_and_reaches_nobody_else(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(Plain(batch_size=12), tiny_data, tmp_path)
    other = nn.Linear(3, 1)
    images, labels = trainer.next_batch()
    weight = trainer.net.weight.detach().clone()
    loss = functional.cross_entropy(trainer.net(images.flatten(1)), labels)
    (gradient,) = torch.autograd.grad(loss, trainer.net.weight, retain_graph=True)
    trainer.update(loss + other(trainer.net(images.flatten(1))).sum() * 0, trainer.optimizer)
    torch.testing.assert_close(trainer.net.weight, weight - 0.1 * gradient)
    assert other.weight.grad is None


def test_an_update_clips_on_request(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(Plain(batch_size=12), tiny_data, tmp_path)
    before = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
    images, _ = trainer.next_batch()
    trainer.update(1000 * trainer.net(images.flatten(1)).square().sum(), trainer.optimizer, max_norm=0.5)
    after = torch.cat([parameter.detach().flatten() for parameter in trainer.net.parameters()])
    assert (after - before).norm().item() == pytest.approx(0.1 * 0.5, rel=1e-4)


def test_bfloat16_reaches_the_forward_pass_only(tiny_data: RealData, tmp_path: Path) -> None:
    mixed = attached(Plain(batch_size=12), tiny_data, tmp_path, precision="bfloat16")
    with mixed.autocast():
        assert mixed.net(torch.ones(2, 64)).dtype == torch.bfloat16
    assert mixed.net.weight.dtype == torch.float32
    full = attached(Plain(batch_size=12), tiny_data, tmp_path)
    with full.autocast():
        assert full.net(torch.ones(2, 64)).dtype == torch.float32


def test_channels_last_reaches_images_and_networks(tiny_data: RealData, tmp_path: Path) -> None:
    class Convolution(Plain):
        def build(self) -> None:
            self.net = nn.Conv2d(2, 3, 3)  # type: ignore[assignment]

    trainer = attached(Convolution(batch_size=12), tiny_data, tmp_path, channels_last=True)
    assert trainer.net.weight.is_contiguous(memory_format=torch.channels_last)
    assert trainer.next_batch()[0].is_contiguous(memory_format=torch.channels_last)


def test_counters_are_state_and_constants_are_not(tiny_data: RealData, tmp_path: Path) -> None:
    class Counting(Plain):
        def build(self) -> None:
            super().build()
            self.total = self.steps
            self.count = 0
            self.history: list[float] = []

    first = attached(Counting(batch_size=12), tiny_data, tmp_path, steps=10)
    first.count = 3  # type: ignore[attr-defined]
    first.history.append(0.5)  # type: ignore[attr-defined]
    state = first.state_dict()
    assert set(state) == {"sampler", "net", "optimizer", "count", "history"}
    second = attached(Counting(batch_size=12), tiny_data, tmp_path, steps=20)
    second.load_state_dict(state)
    assert (second.count, second.history, second.total) == (3, [0.5], 20)  # type: ignore[attr-defined]


def test_a_state_that_lacks_a_part_is_said(tiny_data: RealData, tmp_path: Path) -> None:
    state = attached(Plain(batch_size=32), tiny_data, tmp_path).state_dict()
    del state["sampler"]
    with pytest.raises(UserError, match="lacks sampler of this trainer.*run.fresh"):
        attached(Plain(batch_size=32), tiny_data, tmp_path).load_state_dict(state)


def test_the_default_grid_is_the_teachers(tiny_data: RealData, tmp_path: Path) -> None:
    trainer = attached(Plain(batch_size=12), tiny_data, tmp_path)
    grid = trainer.samples()["teacher"].pixels
    assert grid.shape == (30, 1, 8, 8)
    # Normalised zero is the mean pixel, 0.3.
    torch.testing.assert_close(grid, torch.full_like(grid, 0.3))


def test_a_method_without_a_step_cannot_be_made() -> None:
    class Unfinished(Trainer):
        def build(self) -> None: ...

    with pytest.raises(TypeError, match="abstract"):
        Unfinished()  # type: ignore[abstract]
