"""What a run chooses for speed: by which times, how it says so, and that nothing else of the run notices."""

from __future__ import annotations

import re
import threading
from pathlib import Path
from typing import Any

import pytest
import torch
from small_run import SmallTrainer, bands, same, start, state_of

from gendistill.errors import UserError
from gendistill.runs import tune, tuning
from gendistill.runs.attributes import is_plain
from gendistill.runs.choice import as_options, parse_choice, write_choice
from gendistill.runs.context import RunContext
from gendistill.runs.directory import RunDirectory
from gendistill.runs.options import RunOptions
from gendistill.runs.tune import Timing, budget, search
from gendistill.seeds import Streams
from gendistill.yaml_file import parse_yaml
from trainers.distribution_matching import DistributionMatchingTrainer

CHUNKS = [("trainer.chunk", 32), ("trainer.chunk", 64)]
COMPILE = ("run.compile", True)


class Clock:
    """Time that passes when something is measured."""

    def __init__(self, times: dict[str, tuple[float, float]]) -> None:
        self.now, self.times, self.asked = 0.0, times, list[str]()

    def __call__(self) -> float:
        return self.now

    def measure(self, chosen: dict[str, Any], best: float) -> Timing:
        name = write_choice(chosen)
        self.asked.append(name)
        step, begin = self.times[name]
        self.now += begin + 3 * step
        return Timing(step, begin, {"loss": 1.0})


def found(times: dict[str, tuple[float, float]], candidates: list[Any], **options: Any) -> tune.Found:
    clock = Clock(times)
    settings: dict[str, Any] = {"steps": 1000, "seconds": 1000.0} | options
    return search(candidates, clock.measure, clock=clock, **settings)


def test_what_is_faster_is_kept_and_the_next_one_is_tried_on_top_of_it() -> None:
    times = {
        "off": (4.0, 0.0),
        "trainer.chunk=32": (2.0, 0.0),
        "trainer.chunk=64": (3.0, 0.0),
        "trainer.chunk=32 run.compile=true": (1.0, 40.0),
    }
    result = found(times, [*CHUNKS, COMPILE])
    assert result.chosen == {"trainer.chunk": 32, "run.compile": True} and result.factor == 4.0
    assert [round(factor, 2) for *_, factor in result.factors] == [2.0, 0.67, 2.0]
    assert "--run.tune off --trainer.chunk 32 --run.compile true" in result.sentence()


@pytest.mark.parametrize(("steps", "taken"), [(100, True), (30, False)])
def test_compiling_is_taken_where_the_steps_to_come_earn_it_back(steps: int, taken: bool) -> None:
    result = found({"off": (2.0, 0.0), "run.compile=true": (1.0, 40.0)}, [COMPILE], steps=steps)
    assert result.chosen == ({"run.compile": True} if taken else {})


@pytest.mark.parametrize(("again", "taken"), [(50.0, True), (150.0, False)])
def test_what_was_learned_before_the_first_step_is_learned_anew_in_another_memory_format(
    again: float, taken: bool
) -> None:
    """A hundred steps that are a second shorter earn 50 seconds back and not 150; a chunk costs neither."""
    times = {
        "off": (3.0, 0.0),
        "run.channels_last=true": (2.0, 0.0),
        "run.channels_last=true trainer.chunk=32": (1.5, 0),
    }
    times |= {"trainer.chunk=32": (2.5, 0.0)}
    result = found(times, [("run.channels_last", True), CHUNKS[0]], steps=100, again=again)
    assert result.chosen == ({"run.channels_last": True} if taken else {}) | {"trainer.chunk": 32}


def test_what_is_hardly_faster_is_left_alone() -> None:
    result = found({"off": (1.0, 0.0), "run.channels_last=true": (0.97, 0.0)}, [("run.channels_last", True)])
    assert result.chosen == {} and "the fastest here" in result.sentence()


def test_no_way_is_begun_that_would_go_beyond_the_time() -> None:
    clock = Clock({"off": (4.0, 1.0), "trainer.chunk=32": (4.0, 1.0)})
    search([*CHUNKS, COMPILE], clock.measure, steps=10**6, seconds=30.0, clock=clock)
    assert clock.asked == ["off", "trainer.chunk=32"] and clock.now <= 30.0


def test_a_way_that_fails_or_gives_something_else_is_left_alone() -> None:
    def measure(chosen: dict[str, Any], best: float) -> Timing:
        if "run.compile" in chosen:
            raise RuntimeError("no C++ compiler\nmore of it")
        return Timing(1.0 if chosen else 2.0, 0.0, {"loss": 2.0 if "trainer.chunk" in chosen else 1.0})

    result = search([*CHUNKS[:1], COMPILE, ("run.channels_last", True)], measure, steps=100, seconds=1e9)
    assert result.chosen == {"run.channels_last": True}
    assert result.lines == [
        "trainer.chunk=32 is left alone: its first step differs by more than rounding",
        "run.compile=true cannot be used here: no C++ compiler",
    ]


def test_a_precision_that_was_asked_for_and_is_slow_is_said_with_the_factor() -> None:
    times = {"off": (12.0, 0.0), "run.precision=float32": (1.0, 0.0)}
    result = found(times, [("run.precision", "float32")], given={"run.precision": "bfloat16"})
    assert result.chosen == {"run.precision": "float32"}
    assert result.lines == ["precision bfloat16 was asked for and is 12.0 times slower here than float32"]


def test_a_trial_takes_a_share_of_the_time_that_is_left_and_short_runs_have_none() -> None:
    assert budget(599.0) == 0.0
    assert budget(1000.0) == pytest.approx(50.0)
    assert budget(1e6) == tune.LONGEST


def test_a_choice_is_read_as_it_was_written() -> None:
    chosen = {"run.compile": True, "run.precision": "float32", "trainer.chunk": 32}
    assert parse_choice(write_choice(chosen)) == chosen
    assert parse_choice("auto") is parse_choice("off") is None and write_choice({}) == "off"
    assert as_options(chosen) == "--run.tune off --run.compile true --run.precision float32 --trainer.chunk 32"
    for wrong in ("fast", "compile=true", "run.seed=3", "run.compile=1", "trainer.chunk=many"):
        with pytest.raises(UserError, match=re.escape(repr(wrong))):
            parse_choice(wrong)


class Tunable(SmallTrainer):
    """The small trainer; how its noise is rounded is for a trial to choose."""

    chunk = 0
    made: list[int] = []

    def tunable(self, device: torch.device) -> dict[str, tuple[Any, ...]]:
        return {"trainer.chunk": (3,)}

    def tune(self, option: str, value: Any) -> None:
        self.chunk = value

    def train_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
        self.made.append(self.chunk)
        images, labels = batch
        return super().train_step((images * (1.0 + 1e-6 * self.chunk), labels))


def fast_chunk(trial: Any, chosen: dict[str, Any], best: float, measure: Any = tune.Trial.measure) -> Timing:
    """Make the trial's steps; by a clock on which the chunk is faster."""
    values = measure(trial, chosen, best).values
    return Timing(1.0 if chosen else 2.0, 0.0, values)


@pytest.fixture
def long(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every run be long enough for a trial."""
    monkeypatch.setattr(tuning, "budget", lambda seconds: 1e9)
    monkeypatch.setattr(tune.Trial, "measure", fast_chunk)
    monkeypatch.setattr(Tunable, "made", [])


def test_a_tuned_run_is_that_of_the_same_options_by_hand_and_is_continued_to_the_bit(
    long: None, tmp_path: Path
) -> None:
    before = torch.random.get_rng_state()
    start(tmp_path, "tuned", Tunable(batch_size=12))
    # Two steps as given, three of each way in copies, then all steps as chosen.
    assert Tunable.made[:2] == [0, 0] and Tunable.made[-12:] == [3] * 12 and len(Tunable.made) <= 2 + 6 + 12
    assert torch.equal(torch.random.get_rng_state(), before)
    by_hand = Tunable(batch_size=12)
    by_hand.chunk = 3
    start(tmp_path, "hand", by_hand, tune="off")
    start(tmp_path, "given", Tunable(batch_size=12), tune="trainer.chunk=3")
    start(tmp_path, "parts", Tunable(batch_size=12), steps=8)
    start(tmp_path, "parts", Tunable(batch_size=12), tune="off")
    states = {name: state_of(tmp_path, name) for name in ("tuned", "hand", "given", "parts")}
    assert [states[name].pop("tuned") for name in states] == [
        "trainer.chunk=3",
        "off",
        "trainer.chunk=3",
        "trainer.chunk=3",
    ]
    for name in ("hand", "given", "parts"):
        same(states["tuned"], states[name], name)


def test_the_log_says_what_was_chosen_and_the_configuration_repeats_it(long: None, tmp_path: Path) -> None:
    start(tmp_path, "tuned", Tunable(batch_size=12), steps=8)
    log = (tmp_path / "tuned" / "log.txt").read_text()
    assert "2.00 times as fast" in log and "--run.tune off --trainer.chunk 3" in log
    start(tmp_path, "tuned", Tunable(batch_size=12))  # claims the directory, and writes the configuration again
    config = parse_yaml((tmp_path / "tuned" / "config.yaml").read_text(), "config.yaml")
    assert config["run"]["tune"] == "trainer.chunk=3"


@pytest.mark.parametrize("options", [{"tune": "off"}, {"log_every": 1}, {"steps": 2}])
def test_no_trial_where_it_is_off_or_a_line_was_written_or_the_run_ends(
    long: None, tmp_path: Path, options: dict[str, Any]
) -> None:
    start(tmp_path, "plain", Tunable(batch_size=12), **options)
    assert set(Tunable.made) == {0} and len(Tunable.made) == options.get("steps", 12)


def test_a_short_run_makes_no_step_more_than_it_has(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(Tunable, "made", [])
    start(tmp_path, "short", Tunable(batch_size=12))
    assert Tunable.made == [0] * 12 and state_of(tmp_path, "short")["tuned"] == "off"


def test_a_trial_that_fails_leaves_the_run_as_given(
    long: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: Any) -> Timing:
        raise RuntimeError("out of memory")

    monkeypatch.setattr(tune.Trial, "measure", fail)
    start(tmp_path, "failed", Tunable(batch_size=12))
    start(tmp_path, "plain", Tunable(batch_size=12), tune="off")
    same(state_of(tmp_path, "plain"), state_of(tmp_path, "failed"))
    assert "could try nothing here: out of memory" in (tmp_path / "failed" / "log.txt").read_text()


def test_a_trainer_that_cannot_be_copied_goes_as_given(long: None, tmp_path: Path) -> None:
    trainer = Tunable(batch_size=12)
    trainer.lock = threading.Lock()  # type: ignore[attr-defined]
    start(tmp_path, "plain", trainer)
    assert set(Tunable.made) == {0} and len(Tunable.made) == 12


def test_threads_are_the_runs_own(tmp_path: Path) -> None:
    seen: list[int] = []

    class Counting(SmallTrainer):
        def train_step(self, batch: tuple[torch.Tensor, torch.Tensor]) -> dict[str, torch.Tensor]:
            seen.append(torch.get_num_threads())
            return super().train_step(batch)

    start(tmp_path, "threads", Counting(batch_size=12), steps=2, threads=2)
    assert set(seen) == {2} and torch.get_num_threads() == 1
    with pytest.raises(UserError, match=r"run\.threads is 0"):
        start(tmp_path, "none", threads=0)


SLOW = {"auto": "float32", "off": "bfloat16"}


@pytest.mark.parametrize("mode", SLOW)
def test_bfloat16_that_the_processor_imitates_is_left_before_anything_is_built(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str], mode: str
) -> None:
    monkeypatch.setattr(tuning, "slowdown", lambda device: 9.6)
    seen: list[str] = []

    class Building(SmallTrainer):
        def build(self) -> None:
            seen.append(self.run.options.precision)
            super().build()

    start(tmp_path, "run", Building(batch_size=12), steps=1, precision="bfloat16", tune=mode)
    assert seen == [SLOW[mode]]
    said = "bfloat16 was asked for and is 10 times slower here than float32, which is taken"
    assert (said in (tmp_path / "run" / "log.txt").read_text()) == (mode == "auto")
    assert parse_yaml((tmp_path / "run" / "config.yaml").read_text(), "config")["run"]["tune"] == (
        "run.precision=float32" if mode == "auto" else "off"
    )
    # What it chose stands in the state: another processor goes on with it.
    monkeypatch.setattr(tuning, "slowdown", lambda device: None)
    start(tmp_path, "run", Building(batch_size=12), steps=2, precision="bfloat16", tune=mode)
    assert seen[1:] == [SLOW[mode]]


def test_what_was_left_before_a_trial_stays_left_after_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    run = start(tmp_path, "run", SmallTrainer(batch_size=12), steps=1, tune="off")
    monkeypatch.setattr(tuning, "search", lambda *given, **more: tune.Found({"run.compile": True}, 1.0, [], [], 0.0))
    one = tuning.Tuning(SmallTrainer(), run, tune.GlobalRandomness(0, torch.device("cpu")))
    one.before, one.first, one.allowed = {}, one.randomness.state_dict(), 1.0
    one.chosen = {"run.precision": "float32"}
    one.find(bands(), lambda: False)
    assert one.chosen == {"run.precision": "float32", "run.compile": True}


def test_no_trial_where_building_the_trainer_takes_most_of_its_time(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run = start(tmp_path, "run", Tunable(batch_size=12), steps=1, tune="off")
    run.options.steps, run.options.tune = 1000, "auto"
    for building, pays in ((1.0, True), (30.0, False)):
        one = tuning.Tuning(SmallTrainer(), run, tune.GlobalRandomness(0, torch.device("cpu")))
        run.step, one.open, one.building = tune.PILOT, True, building
        assert one.pays(1.0) == pays and not one.open


def trial(tmp_path: Path, trainer: Any, **options: Any) -> tune.Trial:
    device = torch.device("cpu")
    context = RunContext(RunOptions(root=str(tmp_path), **options), RunDirectory(tmp_path, "run"), device, Streams(0))
    randomness = tune.GlobalRandomness(0, device)
    return tune.Trial(vars(trainer), type(trainer), context, bands(), randomness, randomness.state_dict())


def test_what_nobody_set_is_tried_in_order(tmp_path: Path) -> None:
    matching = DistributionMatchingTrainer()
    tried = [option for option, _ in trial(tmp_path, matching).candidates()]
    assert list(dict.fromkeys(tried)) == ["trainer.chunk", "run.compile", "run.channels_last"]
    set_by_hand = trial(tmp_path, DistributionMatchingTrainer(chunk=5), compile=True, precision="bfloat16")
    assert set_by_hand.candidates() == [("run.precision", "float32"), ("run.channels_last", True)]
    assert trial(tmp_path, SmallTrainer()).candidates() == [("run.channels_last", True)]


def test_a_chunk_that_was_chosen_is_the_one_by_hand() -> None:
    chosen, by_hand = DistributionMatchingTrainer(), DistributionMatchingTrainer(chunk=32)
    chosen.tune("chunk", 32)
    plain = [
        {name: value for name, value in vars(one).items() if is_plain(value) and name != "given"}
        for one in (chosen, by_hand)
    ]
    assert plain[0] == plain[1] and chosen.chunk_wanted == 32
    with pytest.raises(UserError, match=r"trainer\.width"):
        chosen.tune("width", 3)


def test_a_trial_makes_the_runs_first_steps_and_leaves_everything_as_it_was(tmp_path: Path) -> None:
    given = SmallTrainer(batch_size=12)
    one = trial(tmp_path, given)
    before, state = dict(vars(given)), torch.random.get_rng_state()
    timing = one.measure({}, 10.0)
    assert timing.step > 0 and timing.start > 0 and vars(given) == before
    assert torch.equal(torch.random.get_rng_state(), state)
    assert timing.values == one.measure({"run.channels_last": True}, 10.0).values
