from __future__ import annotations

import errno
import math
import os
import resource
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from small_run import SmallTrainer, same, start, state_of
from torch import Tensor

import gendistill
from gendistill.errors import DivergenceError, GendistillError, StorageError, UserError
from gendistill.runs import loop
from gendistill.runs.signals import Interrupted


class Diverging(SmallTrainer):
    """Returns NaN as a metric at one step."""

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        metrics = super().train_step(batch)
        if self.step + 1 == 7:
            metrics["penalty"] = torch.tensor(math.nan)
        return metrics


class Exploding(SmallTrainer):
    """Puts infinity into a weight after the metrics of a step that is saved were taken."""

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        metrics = super().train_step(batch)
        if self.step + 1 == 8:
            self.net[-1].weight.data[0, 0] = math.inf
        return metrics


def test_a_run_writes_its_files(tmp_path: Path) -> None:
    run = start(tmp_path, "run", sample_every=6)
    assert run.step == 12 and set(run.metrics) == {"loss", "own"}
    names = {path.name.split(".")[0] for path in (tmp_path / "run").iterdir() if not path.name.startswith(".")}
    assert names == {"config", "state", "teacher", "events", "samples", "log"}
    config = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert config["run"]["steps"] == 12
    assert "step 12/12" in (tmp_path / "run" / "log.txt").read_text()


def test_logged_numbers_are_means_over_the_interval(tmp_path: Path) -> None:
    class Counting(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            return {"step": torch.tensor(float(self.step + 1))}

    run = start(tmp_path, "run", Counting(batch_size=12), steps=10, log_every=4, save_every=3)
    assert run.metrics == {"step": 9.5}
    # Stopped inside an interval and continued, the mean is still that of the whole interval.
    start(tmp_path, "parts", Counting(batch_size=12), steps=6, log_every=8, save_every=3)
    text = (tmp_path / "parts" / "log.txt").read_text()
    assert "step 6/6  step 3.5" in text


def test_a_finished_run_says_so_and_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    metrics = start(tmp_path, "run").metrics
    before = (tmp_path / "run" / "state.pt").stat().st_mtime_ns
    run = start(tmp_path, "run", progress=True)
    assert run.step == 12 and run.metrics == metrics != {}
    assert "is finished at step 12; a higher run.steps continues it" in capsys.readouterr().err
    assert (tmp_path / "run" / "state.pt").stat().st_mtime_ns == before


def test_a_finished_run_gets_its_lost_teacher_back(tmp_path: Path) -> None:
    start(tmp_path, "run")
    teacher = tmp_path / "run" / "teacher.safetensors"
    content = teacher.read_bytes()
    teacher.unlink()
    start(tmp_path, "run")
    assert teacher.read_bytes() == content


def test_other_settings_are_refused_and_free_ones_are_not(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    with pytest.raises(
        UserError, match=r"run\.seed \(stored 0, given 1\); choose another run\.name, or set run\.fresh"
    ):
        start(tmp_path, "run", seed=1)
    free: dict[str, Any] = {"steps": 8, "save_every": 2, "log_every": 3, "sample_every": 2, "histograms": True}
    assert start(tmp_path, "run", **free).step == 8
    assert start(tmp_path, "run", seed=1, fresh=True, steps=4).step == 4
    assert state_of(tmp_path, "run")["step"] == 4
    assert len(list((tmp_path / "run").glob("events.*"))) == 1


class Refusing(SmallTrainer):
    """Refuses when it is built, or in its first step."""

    late = False

    def build(self) -> None:
        super().build()
        if not self.late:
            raise UserError("this does not fit")

    def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
        raise UserError("this does not fit")


class RefusingLate(Refusing):
    late = True


@pytest.mark.parametrize("refusing", [Refusing, RefusingLate])
def test_what_is_refused_has_discarded_nothing(tmp_path: Path, refusing: type[Refusing]) -> None:
    def files() -> dict[str, bytes]:
        return {str(path): path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}

    start(tmp_path, "run", sample_every=6)
    before = files()
    with pytest.raises(UserError, match="this does not fit"):
        start(tmp_path, "run", refusing(batch_size=12), fresh=True)
    assert files() == before and not (tmp_path / "run" / ".earlier").exists()
    with pytest.raises(UserError, match="this does not fit"):
        start(tmp_path, "other", refusing(batch_size=12), fresh=True)
    assert not (tmp_path / "other").exists()
    assert start(tmp_path, "run", steps=4, fresh=True).step == 4
    assert not any(path.name.startswith(".") for path in (tmp_path / "run").iterdir())


@pytest.mark.parametrize(
    ("trainer", "named"),
    [
        (Diverging, "'penalty' became NaN or infinite at step 7"),
        (Exploding, "'net.4.weight' was found NaN or infinite at step 8"),
    ],
)
def test_a_run_that_diverges_keeps_its_last_good_state(tmp_path: Path, trainer: type, named: str) -> None:
    with pytest.raises(DivergenceError, match=named) as caught:
        start(tmp_path, "run", trainer(batch_size=12))
    assert "the last good state is kept in" in str(caught.value) and caught.value.exit_code == 1
    state = state_of(tmp_path, "run")
    assert state["step"] == 4
    start(tmp_path, "good", steps=4)
    same(state["trainer"], state_of(tmp_path, "good")["trainer"])


def test_diverging_before_any_save_says_so(tmp_path: Path) -> None:
    with pytest.raises(DivergenceError, match="no state was saved before it"):
        start(tmp_path, "run", Diverging(batch_size=12), save_every=12)
    assert not (tmp_path / "run" / "state.pt").exists()


def test_infinity_that_was_built_in_is_no_divergence(tmp_path: Path) -> None:
    class Masked(SmallTrainer):
        def build(self) -> None:
            super().build()
            self.best = torch.tensor(math.inf)

    assert start(tmp_path, "run", Masked(batch_size=12)).step == 12


def test_a_full_disk_leaves_the_saved_state_intact(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    start(tmp_path, "run", steps=4)
    before = (tmp_path / "run" / "state.pt").read_bytes()

    class Filling(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            def refuse(descriptor: int) -> None:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

            monkeypatch.setattr(os, "fsync", refuse)
            return super().train_step(batch)

    with pytest.raises(StorageError, match=r"could not be written \(no space left on device\)") as caught:
        start(tmp_path, "run", Filling(batch_size=12))
    assert caught.value.exit_code == 1
    assert (tmp_path / "run" / "state.pt").read_bytes() == before
    assert not list((tmp_path / "run").glob(".*.tmp"))
    monkeypatch.undo()
    start(tmp_path, "run")
    start(tmp_path, "whole")
    same(state_of(tmp_path, "run"), state_of(tmp_path, "whole"))


@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_disk_too_small_for_the_logs_is_one_sentence(tmp_path: Path) -> None:
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (8000, limits[1]))
    try:
        with pytest.raises(StorageError, match="could not be written"):
            start(tmp_path, "run", steps=2000, save_every=2000, log_every=1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_a_place_that_cannot_be_written_is_said_in_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="could not be written"):
        start(tmp_path / "file", "run")


def test_two_runs_do_not_share_a_directory(tmp_path: Path) -> None:
    class Nested(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            with pytest.raises(UserError, match="another process is training in"):
                start(tmp_path, "run")
            return super().train_step(batch)

    assert start(tmp_path, "run", Nested(batch_size=12), steps=1).step == 1
    assert start(tmp_path, "run", steps=2).step == 2


def test_a_signal_in_the_last_step_changes_nothing(tmp_path: Path) -> None:
    class Late(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 11:
                os.kill(os.getpid(), 15)
            return super().train_step(batch)

    assert start(tmp_path, "run", Late(batch_size=12)).step == 12


def test_an_interrupted_run_is_continued(tmp_path: Path) -> None:
    class Stopped(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 5:
                os.kill(os.getpid(), 2)
            return super().train_step(batch)

    with pytest.raises(Interrupted) as caught:
        start(tmp_path, "run", Stopped(batch_size=12))
    assert caught.value.exit_code == 130 and state_of(tmp_path, "run")["step"] == 6
    start(tmp_path, "run")
    start(tmp_path, "whole")
    same(state_of(tmp_path, "run"), state_of(tmp_path, "whole"))


def test_another_architecture_is_refused(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    with pytest.raises(UserError, match="the saved state does not fit 'net' of this trainer"):
        start(tmp_path, "run", SmallTrainer(width=9, batch_size=12))


def test_a_damaged_state_gives_way_to_the_one_before(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    start(tmp_path, "run", steps=8)
    state = tmp_path / "run" / "state.pt"
    state.write_bytes(state.read_bytes()[:1000])
    start(tmp_path, "run")
    start(tmp_path, "whole")
    same(state_of(tmp_path, "run"), state_of(tmp_path, "whole"))
    log = (tmp_path / "run" / "log.txt").read_text()
    assert "continued at step 4 of 12" in log
    assert "put aside as 'state.damaged.pt'; 4 steps up to 8 are lost and made again" in log
    assert (tmp_path / "run" / "state.damaged.pt").stat().st_size == 1000
    start(tmp_path, "run", fresh=True)
    assert not (tmp_path / "run" / "state.damaged.pt").exists()


def test_both_states_damaged_is_refused_and_leaves_everything(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=8)
    place = tmp_path / "run"
    for name in ("state.pt", "state.previous.pt"):
        (place / name).write_bytes(b"x")
    before = {path.name: path.read_bytes() for path in place.iterdir()}
    with pytest.raises(UserError, match="damaged, too; put back a copy of either"):
        start(tmp_path, "run")
    assert {path.name: path.read_bytes() for path in place.iterdir()} == before


def test_without_config_yaml_a_run_is_not_continued(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    (tmp_path / "run" / "config.yaml").unlink()
    with pytest.raises(UserError, match="but no config.yaml"):
        start(tmp_path, "run")
    assert not (tmp_path / "run" / "config.yaml").exists()
    assert start(tmp_path, "run", fresh=True).step == 12


def test_a_state_of_another_run_is_not_continued(tmp_path: Path) -> None:
    for name, seed in (("run", 0), ("other", 1)):
        start(tmp_path, name, steps=4, seed=seed)
    shutil.copy(tmp_path / "other" / "state.pt", tmp_path / "run" / "state.pt")
    with pytest.raises(UserError, match="is of a run with other settings than its config.yaml says; put back the"):
        start(tmp_path, "run")
    shutil.copy(tmp_path / "other" / "state.pt", tmp_path / "other" / "copy.pt")
    assert start(tmp_path, "other", seed=1, steps=6, save_every=1).step == 6


def rewritten(path: Path, **changes: Any) -> None:
    """Put other values into a saved state; as those of earlier versions, it has no checksum then."""
    state = torch.load(path, weights_only=True)
    torch.save({key: value for key, value in {**state, **changes}.items() if value is not None}, path)


def test_a_state_of_an_earlier_version_is_continued_with_a_line_in_the_log(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    rewritten(tmp_path / "run" / "state.pt", software=None)
    start(tmp_path, "run")
    start(tmp_path, "whole")
    same(state_of(tmp_path, "run"), state_of(tmp_path, "whole"))
    assert (tmp_path / "run" / "log.txt").read_text().count("has no checksum, as those of earlier versions") == 1


def test_other_software_is_said_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(loop, "software", lambda: {"gendistill": "0.0.1", "torch": str(torch.__version__)})
        start(tmp_path, "run", steps=4)
    start(tmp_path, "run", steps=8)
    start(tmp_path, "run")
    sentence = f"saved with gendistill 0.0.1 and is continued with gendistill {gendistill.__version__}"
    assert (tmp_path / "run" / "log.txt").read_text().count(sentence) == 1


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"step": None}, "does not say at which step"),
        ({"step": -1}, "does not say at which step"),
        ({"seconds": "long"}, "seconds is 'long', expected a number of seconds"),
        ({"trainer": 3}, "trainer is 3, expected an object"),
        ({"streams": None}, "lacks 'streams'"),
        ({"data": [1]}, "data is [1]"),
        ({"later": {}}, "'later' is {}, expected nothing of that name"),
        ({"streams": {"data": [1]}}, "no random streams in 'streams'"),
        ({"global": {}}, "no random streams in 'global'"),
        ({"metrics": {}}, "metrics is {}, expected sums and counts of metrics"),
        ({"metrics": {"sums": {"loss": 1.0}, "counts": {"loss": 0}}}, "expected sums and counts of metrics"),
        ({"reported": {"loss": "low"}}, "expected means of metrics"),
        ({"watch": {}}, "watch lacks 'found'"),
        ({"other_data": {"digits": 3}}, "expected what other data sets hold"),
    ],
)
def test_a_state_that_lacks_something_is_one_sentence(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    start(tmp_path, "run", steps=4)
    rewritten(tmp_path / "run" / "state.pt", **changes)
    with pytest.raises(UserError) as caught:
        start(tmp_path, "run")
    assert said in str(caught.value) and "\n" not in str(caught.value)


def changed(value: Any, way: list[Any], to: Any) -> Any:
    """Return plain values with something else, or nothing, in one place."""
    if not way:
        return to
    if isinstance(value, list):
        return [changed(one, way[1:], to) if at == way[0] else one for at, one in enumerate(value)]
    found = {key: changed(one, way[1:], to) if key == way[0] else one for key, one in value.items()}
    return {key: one for key, one in found.items() if one is not GONE}


GONE = object()


@pytest.mark.parametrize(
    ("way", "to"),
    [
        (["optimizers_of", "net", "param_groups", 0, "lr"], GONE),
        (["optimizers_of", "net", "param_groups", 0, "eps"], []),
        (["optimizers_of", "net", "param_groups"], None),
        (["optimizers_of", "pixels", "param_groups", 0, "params"], [7, 8]),
        (["optimizers_of"], GONE),
        (["net"], {}),
        (["net"], torch.zeros(2)),
        (["average"], GONE),
        (["pixels"], -3),
        (["pixels"], {}),
        (["pixels"], torch.zeros(3)),
        (["optimizers_of", "net", "state", 0, "exp_avg_sq"], "x"),
        (["optimizers_of", "pixels", "state", 0, "momentum_buffer"], torch.zeros(3)),
    ],
)
def test_a_state_whose_trainer_does_not_fit_is_one_sentence(tmp_path: Path, way: list[Any], to: Any) -> None:
    start(tmp_path, "run", steps=4)
    file = tmp_path / "run" / "state.pt"
    state = torch.load(file, weights_only=True)
    rewritten(file, trainer=changed(state["trainer"], way, to))
    with pytest.raises(UserError, match=f"{way[0]}.* of this trainer") as caught:
        start(tmp_path, "run")
    assert "\n" not in str(caught.value)


def test_a_state_without_what_later_versions_save_is_continued(tmp_path: Path) -> None:
    start(tmp_path, "run", steps=4)
    rewritten(
        tmp_path / "run" / "state.pt", **dict.fromkeys(("config", "data", "other_data", "watch", "software", "tuned"))
    )
    assert start(tmp_path, "run").step > 4


def test_a_finished_run_gets_a_damaged_teacher_back(tmp_path: Path) -> None:
    start(tmp_path, "run")
    teacher = tmp_path / "run" / "teacher.safetensors"
    content = teacher.read_bytes()
    for damaged in (content[:-3], content[:-1] + b"x", b""):
        teacher.write_bytes(damaged)
        start(tmp_path, "run")
        assert teacher.read_bytes() == content
    assert "is damaged; it is written again" in (tmp_path / "run" / "log.txt").read_text()


def test_a_log_tells_one_story(tmp_path: Path) -> None:
    class Broken(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 7:
                raise ZeroDivisionError
            return super().train_step(batch)

    options: dict[str, Any] = {"save_every": 4, "log_every": 1}
    for _ in range(3):
        with pytest.raises(ZeroDivisionError):
            start(tmp_path, "run", Broken(batch_size=12), **options)
    for _ in range(3):
        start(tmp_path, "run", **options)
    lines = (tmp_path / "run" / "log.txt").read_text().splitlines()
    steps = [int(line.split()[1].partition("/")[0]) for line in lines if line.startswith("step ")]
    assert steps == list(range(1, 13))
    assert len(lines) == len(set(lines))
    assert [line for line in lines if line.startswith("continued")] == ["continued at step 4 of 12 on cpu"]
    assert lines[-1].startswith("'") or "at the end" in lines[-1]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"),
    ],
)
def test_memory_that_runs_out_is_a_sentence(tmp_path: Path, error: Exception) -> None:
    class Large(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            if self.step == 6:
                raise error
            return super().train_step(batch)

    with pytest.raises(GendistillError) as caught:
        start(tmp_path, "run", Large(batch_size=12))
    assert caught.value.exit_code == 1 and str(caught.value).startswith(
        f"memory ran out in step 7 of 12; the last good state is kept in '{tmp_path / 'run'}' (step 4); a smaller batch"
    )


def test_a_bug_of_one_process_keeps_its_traceback(tmp_path: Path) -> None:
    class Wrong(SmallTrainer):
        def train_step(self, batch: tuple[Tensor, Tensor]) -> dict[str, Tensor]:
            raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="^a bug$"):
        start(tmp_path, "run", Wrong(batch_size=12))
