from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from small_run import SmallTrainer, start
from torch import Tensor

from gendistill.runs.events import continue_events, event_files


def scalars(directory: Path) -> dict[str, list[int]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    accumulator = EventAccumulator(str(directory), size_guidance={"scalars": 0, "images": 0})
    accumulator.Reload()
    tags: dict[str, Any] = accumulator.Tags()
    found = {tag: [event.step for event in accumulator.Scalars(tag)] for tag in tags["scalars"]}
    return found | {tag: [event.step for event in accumulator.Images(tag)] for tag in tags["images"]}


def test_curves_are_not_doubled_by_a_part_that_was_lost(tmp_path: Path) -> None:
    class Broken(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 11:
                raise ZeroDivisionError
            return super().train_step(batch)

    options: dict[str, Any] = {"save_every": 6, "log_every": 2, "sample_every": 4}
    with pytest.raises(ZeroDivisionError):
        start(tmp_path, "run", Broken(batch_size=12), **options)
    start(tmp_path, "run", **options)
    found = scalars(tmp_path / "run")
    assert found["train/loss"] == [2, 4, 6, 8, 10, 12]
    assert found["speed/steps_per_second"] == [2, 4, 6, 8, 10, 12]
    assert found["lr/optimizers_of.net"] == [2, 4, 6, 8, 10, 12]
    assert found["samples/pixels"] == [4, 8, 12]
    pictures = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert pictures == [f"pixels-{step:07d}.png" for step in (4, 8, 12)]


def test_event_files_of_a_run_that_was_resumed_often_are_one_story(tmp_path: Path) -> None:
    """Whoever reads them, file by file or all together, sees each point once, also beside a file that was cut."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    class Broken(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step in (3, 7, 11) and self.run.seconds < 1e9:
                raise ZeroDivisionError
            return super().train_step(batch)

    options: dict[str, Any] = {"save_every": 2, "log_every": 1, "sample_every": 4}
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            start(tmp_path, "run", Broken(batch_size=12), **options)
    newest = max((tmp_path / "run").glob("events.*"), key=lambda path: path.stat().st_mtime)
    newest.write_bytes(newest.read_bytes() + b"half a record")
    start(tmp_path, "run", **options)
    files = sorted((tmp_path / "run").glob("events.*"))
    assert len(files) <= 2
    steps = []
    for file in files:
        accumulator = EventAccumulator(str(file))
        accumulator.Reload()
        tags: dict[str, Any] = accumulator.Tags()
        steps += [event.step for event in accumulator.Scalars("train/loss")] if "train/loss" in tags["scalars"] else []
    assert steps == list(range(1, 13))
    found = scalars(tmp_path / "run")
    assert found["train/loss"] == list(range(1, 13)) and found["samples/pixels"] == [4, 8, 12]


def test_a_merge_that_was_killed_is_done_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in (4, 8):
        start(tmp_path, "run", steps=steps, log_every=1)
    assert len(list((tmp_path / "run").glob("events.*"))) == 2
    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", lambda self, missing_ok=False: None)  # killed before the second is taken away
        continue_events(tmp_path / "run", 8)
    continue_events(tmp_path / "run", 8)
    assert len(list((tmp_path / "run").glob("events.*"))) == 1
    assert scalars(tmp_path / "run")["train/loss"] == list(range(1, 9))


def test_event_files_of_one_second_are_in_the_order_in_which_they_were_begun(tmp_path: Path) -> None:
    names = [f"events.out.tfevents.17000000{second}.host-2.{process}.{count}" for second, process, count in
             ((10, 9, 9), (10, 9, 10), (10, 12, 0), (11, 3, 1))]  # fmt: skip
    for name in reversed(names):
        (tmp_path / name).touch()
    assert [path.name for path in event_files(tmp_path)] == names


def test_marks_of_earlier_versions_are_heeded(tmp_path: Path) -> None:
    from torch.utils.tensorboard import SummaryWriter

    for purge, steps in ((None, range(1, 8)), (4, range(4, 10))):
        with SummaryWriter(str(tmp_path), purge_step=purge) as writer:
            for step in steps:
                writer.add_scalar("loss", step if purge is None else 10 * step, step)
    continue_events(tmp_path, 8)
    assert scalars(tmp_path)["loss"] == list(range(1, 9))


def test_hyper_parameters_and_histograms_are_logged(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    start(tmp_path, "run", histograms=True, sample_every=6)
    accumulator = EventAccumulator(str(tmp_path / "run"))
    accumulator.Reload()
    tags: dict[str, Any] = accumulator.Tags()
    assert "weights/net.1.weight" in tags["histograms"]
    assert "_hparams_/session_start_info" in accumulator.summary_metadata


def test_tensorboard_is_not_imported_with_the_loop() -> None:
    program = "import sys, gendistill.runs.loop, trainers.trainer; sys.exit('tensorboard' in sys.modules)"
    root = str(Path(__file__).parents[2])
    assert subprocess.run([sys.executable, "-c", program], cwd=root).returncode == 0
