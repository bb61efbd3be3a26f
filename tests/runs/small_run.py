"""A trainer with every kind of state in small, and programs that run it: alone, killed, or under torchrun."""

from __future__ import annotations

import atexit
import contextlib
import json
import os
import random
import signal
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from gendistill.data.description import Description, Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import GendistillError
from gendistill.nets.ema import EMA
from gendistill.runs.context import RunContext
from gendistill.runs.loop import train
from gendistill.runs.options import RunOptions
from gendistill.teacher import StoredImages, Teacher
from trainers.trainer import Trainer


class SmallTrainer(Trainer):
    """A classifier and a set of trained images, with batch norm, dropout, an average, a schedule and a counter."""

    def __init__(self, width: int = 8, smooth: bool = True, pause: float = 0.0, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.width = width
        self.smooth = smooth
        self.pause = pause

    def build(self) -> None:
        middle: list[nn.Module] = [nn.BatchNorm1d(self.width), nn.Dropout(0.2)] if self.smooth else []
        with self.initialised("net"):
            self.net = self.place(
                nn.Sequential(nn.Flatten(), nn.Linear(64, self.width), *middle, nn.Linear(self.width, 3))
            )
        self.pixels = torch.rand(6, 1, 8, 8, generator=self.run.streams["pixels"]).requires_grad_()
        self.average = EMA(self.net, 0.9)
        self.optimizers_of = {
            "net": torch.optim.Adam(self.net.parameters(), lr=1e-2),
            "pixels": torch.optim.SGD([self.pixels], lr=0.1, momentum=0.9),
        }
        self.schedulers = [torch.optim.lr_scheduler.StepLR(self.optimizers_of["net"], 7, gamma=0.8)]
        self.skips = 0

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        time.sleep(self.pause)
        images, labels = batch
        noise = self.noise(self.batch_size, 1, 8, 8)
        loss = functional.cross_entropy(self.net(images + 0.1 * noise), labels)
        self.update(loss, self.optimizers_of["net"])
        metrics = {"loss": loss}
        self.skips += 1
        if self.skips % 3 == 0:
            own = functional.cross_entropy(self.net(self.pixels), torch.arange(6) % 3)
            self.update(own, self.optimizers_of["pixels"])
            metrics["own"] = own
        self.average.update(self.net)
        self.schedulers[0].step()
        # Made by the steps, not by build(): still state, for what comes next depends on it.
        self.last = loss.detach() + 0.5 * getattr(self, "last", 0.0)
        return metrics

    def teacher(self) -> Teacher:
        return StoredImages(self.pixels.detach().clone(), torch.arange(6) % 3, self.data.description)

    def samples(self) -> dict[str, Tensor]:
        # Careless on purpose: training mode, buffers, streams and the global generator are all disturbed.
        self.net.train()
        self.net(torch.randn(6, 64, generator=self.run.streams["noise"]) + torch.randn(6, 64))
        return {"pixels": self.pixels.detach().clamp(0, 1)}


def bands() -> RealData:
    """Three classes of 1x8x8 images: a bright band whose row tells the class."""
    generator = torch.Generator().manual_seed(0)

    def split(count: int) -> Split:
        labels = torch.arange(count) % 3
        images = torch.randint(0, 60, (count, 1, 8, 8), generator=generator)
        images[torch.arange(count)[:, None], 0, labels[:, None] * 2 + torch.arange(2)] += 180
        return Split(images.to(torch.uint8), labels)

    description = Description("bands", ("top", "middle", "bottom"), (1, 8, 8), Normalisation((0.3,), (0.3,)))
    return RealData(description, split(96), split(30), split(60))


def start(root: Path, name: str, trainer: Trainer | None = None, **options: Any) -> RunContext:
    """Train the small trainer."""
    torch.set_num_threads(1)
    defaults: dict[str, Any] = {"steps": 12, "save_every": 4, "log_every": 5, "sample_every": 0, "progress": False}
    return train(
        trainer or SmallTrainer(batch_size=12),
        bands(),
        RunOptions(root=str(root), name=name, device="cpu", **(defaults | options)),
    )


def same(first: Any, second: Any, where: str = "state") -> None:
    """Assert that two states are equal to the bit."""
    assert type(first) is type(second), where
    if isinstance(first, Tensor):
        assert first.dtype == second.dtype and torch.equal(first, second), where
    elif isinstance(first, dict):
        assert list(first) == list(second), where
        for key in first:
            same(first[key], second[key], f"{where}.{key}")
    elif isinstance(first, (list, tuple)):
        assert len(first) == len(second), where
        for index, (one, other) in enumerate(zip(first, second, strict=True)):
            same(one, other, f"{where}.{index}")
    else:
        assert first == second, where


def state_of(root: Path, name: str) -> dict[str, Any]:
    """Return a run's saved state, without the times, which no two runs have in common."""
    state: dict[str, Any] = torch.load(root / name / "state.pt", weights_only=True)
    assert state.pop("seconds") > 0 and state.pop("cpu_seconds") > 0 and state.pop("peaks")["peak_memory"] > 0
    return state


def killed(root: Path) -> None:
    """Train one run whose processes are killed again and again, one that is left alone; print the steps reached."""
    import torch._dynamo  # what an optimiser and a board import: once here, not in every child
    import torch.utils.tensorboard

    options: dict[str, Any] = {"steps": 45, "save_every": 3, "sample_every": 11, "log_every": 7}
    moments = random.Random(5)
    reading, writing = os.pipe()

    left = [1000]  # steps that the next process makes

    class Telling(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            os.write(writing, b".")
            left[0] -= 1
            if left[0] < 0:  # to be killed, however long that takes
                time.sleep(3600)
            return super().train_step(batch)

    def child(before: Any = lambda: None) -> int:
        process = os.fork()
        if process == 0:
            try:
                before()
                start(root, "killed", Telling(batch_size=12), **options)
                os._exit(0)
            finally:
                os._exit(1)
        return process

    def step_reached() -> int:
        directory = root / "killed"
        found = [path for path in (directory / "state.pt", directory / "state.previous.pt") if path.exists()]
        return int(torch.load(found[0], weights_only=True)["step"]) if found else 0

    def die_at_rename(rename: int) -> None:
        replace, more = os.replace, [rename]

        def dying(source: Any, target: Any) -> None:
            more[0] -= 1
            if more[0] == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            replace(source, target)

        os.replace = dying  # type: ignore[assignment]

    reached, alone = [], []
    # First at chosen places, as a rename is about to happen. A part renames config, teacher, the incoming state, the
    # old state and the new one, so the second 5 leaves a previous state alone; from then on, it first makes one event
    # file of several.
    for rename in (1, 3, 4, 5, 5, 5, 2):
        _, status = os.waitpid(child(lambda rename=rename: die_at_rename(rename)), 0)  # type: ignore[misc]
        assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL, status
        reached.append(step_reached())
        directory = root / "killed"
        alone.append((directory / "state.previous.pt").exists() and not (directory / "state.pt").exists())
    assert alone == [False] * 4 + [True] * 3
    assert step_reached() < options["steps"]
    # Then at random moments after a random number of steps.
    for _ in range(4):
        left[0] = 14
        process = child()
        for _ in range(moments.randint(1, 9)):
            os.read(reading, 1)
        time.sleep(moments.uniform(0.0, 0.02))
        os.kill(process, signal.SIGKILL)
        _, status = os.waitpid(process, 0)
        assert os.WIFSIGNALED(status), "it ended before it was killed"
        reached.append(step_reached())
        os.set_blocking(reading, False)
        with contextlib.suppress(BlockingIOError):
            os.read(reading, 4096)
        os.set_blocking(reading, True)
    left[0] = 1000
    _, status = os.waitpid(child(), 0)
    assert status == 0
    start(root, "whole", SmallTrainer(batch_size=12), **options)
    print(json.dumps(reached))


def fail_if_threads_are_left() -> None:
    """At the end of the interpreter no thread of the process group may be left: now and then it aborts the process."""
    threads = [file.read_text() for file in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in threads):
        os._exit(3)


def under_torchrun(root: Path) -> None:
    """Train in all processes: whole, in two parts, stopped by a signal to one process, and refused."""
    atexit.register(fail_if_threads_are_left)  # first come, last served: it runs after the group was left
    rank = int(os.environ["RANK"])
    plain: dict[str, Any] = {"smooth": False, "batch_size": 12}
    start(root, "whole", SmallTrainer(**plain), sample_every=4)
    start(root, "parts", SmallTrainer(**plain), steps=6)
    start(root, "parts", SmallTrainer(**plain))
    heard: dict[str, Any] = {}

    class Signalled(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 6 and rank == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().train_step(batch)

    for name, trainer, options in (
        ("signalled", Signalled(**plain), {}),
        ("whole", SmallTrainer(**plain), {"seed": 1}),
        ("odd", SmallTrainer(smooth=False, batch_size=13), {}),
    ):
        try:
            start(root, name, trainer, **options)
        except GendistillError as error:
            heard[name] = [error.exit_code, str(error)]
    start(root, "signalled", SmallTrainer(**plain))
    (root / f"heard-{rank}.json").write_text(json.dumps(heard))


def forever(root: Path) -> None:
    """Train until a signal comes; exit as the command line does."""
    try:
        start(root, "forever", SmallTrainer(batch_size=12, pause=0.01), steps=100_000, save_every=100_000, log_every=1)
    except GendistillError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    {"killed": killed, "torchrun": under_torchrun, "forever": forever}[sys.argv[1]](Path(sys.argv[2]))
