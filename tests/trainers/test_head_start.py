"""What a run learns before its first step is kept until a state holds it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from image_runs import LEARNER, attached, run

from gendistill.data.real import RealData
from gendistill.errors import PlaceError
from gendistill.runs import head_start, tune, tuning
from gendistill.runs.directory import RunDirectory
from gendistill.teacher import StoredImages, load
from gendistill.yaml_file import parse_yaml
from trainers.distribution_matching import DistributionMatchingTrainer
from trainers.terms import trained_probes
from trainers.terms.trained_probes import Trained

POOLS: dict[str, dict[str, Any]] = {
    "pretrained": {"state": "pretrained", "steps": 60},
    "pool": {"state": "pool", "size": 3, "steps": 60},
    "interpolated": {"state": "interpolated", "size": 2, "steps": 30},
    "augmented": {
        "state": "interpolated",
        "size": 2,
        "steps": 30,
        "augment": "crop_rotate",
        "cutmix": 0.5,
        "schedule": "two-steps",
    },
}


def matching(probe: dict[str, Any], **options: Any) -> DistributionMatchingTrainer:
    probe = probe if probe["state"] == "fresh" else {"batch_size": 8, **probe}
    return DistributionMatchingTrainer(images_per_class=2, learner=LEARNER, real_batch=4, probe=probe, **options)


def images(root: Path, name: str) -> torch.Tensor:
    teacher = load(root / name / "teacher.safetensors")
    assert isinstance(teacher, StoredImages)
    return teacher.images


@pytest.fixture
def taught(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The updates that were made before first steps; kept after each some."""
    made: list[int] = []
    teach = Trained.teach

    def counted(self: Trained, member: Any, updates: int) -> None:
        made.append(updates)
        teach(self, member, updates)

    monkeypatch.setattr(Trained, "teach", counted)
    monkeypatch.setattr(head_start, "SECONDS_BETWEEN", 0.0)
    return made


@pytest.mark.parametrize("kind", POOLS)
def test_probes_go_on_where_they_were_interrupted_to_the_bit(
    kind: str, tiny_data: RealData, tmp_path: Path, taught: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    probe = POOLS[kind] | ({"refresh": 0} if kind == "pool" else {})
    run(matching(probe), tiny_data, tmp_path, "whole", 3)
    whole = sum(taught)
    assert not (tmp_path / "whole/before").exists()  # the state has it
    taught.clear()

    offer = head_start.HeadStart.offer

    def cut(self: head_start.HeadStart, *given: Any, **more: Any) -> None:
        offer(self, *given, **more)
        if sum(taught) >= 40:
            raise KeyboardInterrupt

    with monkeypatch.context() as cuts:
        cuts.setattr(head_start.HeadStart, "offer", cut)
        with pytest.raises(BaseException, match=r"go on from what|^$"):
            run(matching(probe), tiny_data, tmp_path, "halves", 3)
    assert len(list((tmp_path / "halves/before").iterdir())) == 1
    done = sum(taught)
    taught.clear()
    run(matching(probe), tiny_data, tmp_path, "halves", 3)
    assert 0 < sum(taught) == whole - done and not (tmp_path / "halves/before").exists()
    assert torch.equal(images(tmp_path, "whole"), images(tmp_path, "halves"))


def test_other_settings_or_a_damaged_file_begin_anew(
    tiny_data: RealData, tmp_path: Path, taught: list[int], monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    probe = POOLS["interpolated"]
    (tmp_path / "run").mkdir()
    attached(matching(probe), tiny_data, tmp_path)
    assert sum(taught) == 60
    (kept,) = (tmp_path / "run/before").iterdir()
    attached(matching(probe), tiny_data, tmp_path)  # as a run is built anew that looks for what is fastest
    assert sum(taught) == 60
    changes: list[dict[str, Any]] = [
        {"lr": 0.02}, {"schedule": "cosine"}, {"augment": "crop"}, {"augment": "crop", "augment_mode": "each"},
        {"cutmix": 0.5}
    ]  # fmt: skip
    for other, options in (
        *(({**probe, **one}, {}) for one in changes),
        (probe, {"seed": 1}),
        (probe, {"precision": "bfloat16"}),
    ):
        taught.clear()
        attached(matching(other), tiny_data, tmp_path, **options)
        assert sum(taught) == 60
    taught.clear()
    attached(matching(probe), tiny_data, tmp_path)
    assert sum(taught) == 60  # written over by the others
    kept.write_bytes(kept.read_bytes()[:-100] + b"\0" * 100)
    taught.clear()
    attached(matching(probe), tiny_data, tmp_path)
    assert sum(taught) == 60 and "it is made again" in capsys.readouterr().err


def test_a_run_that_looks_for_what_is_fastest_learns_once_and_again_only_in_another_precision(
    tiny_data: RealData, tmp_path: Path, taught: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tried are float32 in place of bfloat16, and channels last; in both the probes are those that are there."""
    monkeypatch.setattr(tuning, "budget", lambda left: 60.0)
    monkeypatch.setattr(tuning, "slowdown", lambda device: None)  # whatever this processor is
    measured: list[dict[str, Any]] = []
    measure = tune.Trial.measure

    def listed(self: tune.Trial, chosen: dict[str, Any], best: float) -> Any:
        measured.append(dict(chosen))
        return measure(self, chosen, best)

    monkeypatch.setattr(tune.Trial, "measure", listed)
    more: dict[str, Any] = {"tune": "auto", "precision": "bfloat16", "log_every": 9, "save_every": 9}
    run(matching(POOLS["interpolated"]), tiny_data, tmp_path, "tuned", 6, **more)
    assert {} in measured and any("run.precision" in one for one in measured), measured
    word = (parse_yaml((tmp_path / "tuned/config.yaml").read_text(), "config") or {})["run"]["tune"]
    assert sum(taught) == (120 if "precision" in word or "channels_last" in word else 60)


def test_the_time_of_what_was_learned_is_no_part_of_what_a_trial_builds_again(
    tiny_data: RealData, tmp_path: Path, taught: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(head_start.time, "monotonic", lambda: clock[0])
    teach = Trained.teach

    def slowly(self: Trained, member: Any, updates: int) -> None:
        clock[0] += 100.0
        teach(self, member, updates)

    monkeypatch.setattr(Trained, "teach", slowly)
    (tmp_path / "run").mkdir()
    first = attached(matching(POOLS["interpolated"]), tiny_data, tmp_path)
    assert first.run.learned == 100.0 * len(taught) > 0
    again = attached(matching(POOLS["interpolated"]), tiny_data, tmp_path)
    assert again.run.learned == first.run.learned  # what it would take to learn it anew, though nothing was


def test_what_takes_no_time_is_not_written(tiny_data: RealData, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    attached(matching(POOLS["interpolated"]), tiny_data, tmp_path)
    assert not (tmp_path / "run/before").exists()


def test_a_labeller_is_trained_once(tiny_data: RealData, tmp_path: Path, taught: list[int]) -> None:
    labeller = {"updates": 5, "temperature": 2.0, "learner": LEARNER}
    (tmp_path / "run").mkdir()
    first = attached(matching({"state": "fresh"}, labeller=labeller), tiny_data, tmp_path).teacher()
    (kept,) = (tmp_path / "run/before").iterdir()
    before = kept.stat().st_mtime_ns
    again = attached(matching({"state": "fresh"}, labeller=labeller), tiny_data, tmp_path).teacher()
    assert kept.stat().st_mtime_ns == before
    mine, theirs = (one.labeller.tensors() for one in (first, again))  # type: ignore[union-attr]
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


def test_what_lies_in_its_place_is_one_sentence(tiny_data: RealData, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run/before").write_text("mine")
    with pytest.raises(PlaceError, match="is no folder, and what is learned before the first step is written there"):
        run(matching(POOLS["pretrained"]), tiny_data, tmp_path, "run", 1)
    assert (tmp_path / "run/before").read_text() == "mine"


def test_what_a_run_killed_after_its_save_left_is_taken_away(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "run")
    directory.before.mkdir(parents=True)
    directory.sweep()
    assert directory.before.is_dir()
    directory.state.write_bytes(b"")
    directory.sweep()
    assert not directory.before.exists()


def test_a_refused_run_leaves_nothing(tmp_path: Path) -> None:
    directory = RunDirectory(tmp_path, "run")
    directory.make()
    directory.before.mkdir()
    directory.leave_as_found()
    assert not directory.path.exists()


def test_probes_learn_in_the_precision_of_the_run(tiny_data: RealData, tmp_path: Path) -> None:
    probe = POOLS["pretrained"]
    for precision, close in (("float32", True), ("bfloat16", False)):
        trainer = attached(matching(probe), tiny_data, tmp_path / precision, precision=precision)
        weights = dict(trainer.probes.members[0]["network"].named_parameters())
        plain = attached(matching(probe), tiny_data, tmp_path / f"{precision}-again").probes.members[0]["network"]
        same = all(torch.equal(weights[name], value) for name, value in plain.named_parameters())
        assert same == close
        near = max(float((weights[name] - value).detach().abs().max()) for name, value in plain.named_parameters())
        assert near < 0.1 and all(value.dtype == torch.float32 for value in weights.values())
    assert trained_probes.BETWEEN_WORDS == 20
