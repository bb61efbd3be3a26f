"""Sweeps over several options: grids and Optuna, chosen on validation images, stopped early, going on."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tensorboard.backend.event_processing.event_file_loader import RawEventFileLoader

from gendistill import plot
from gendistill.cli import main
from gendistill.commands.search import rungs
from gendistill.commands.search_space import Axis, axes, axis, grid
from gendistill.commands.trials import COMPLETE, STOPPED, Race, Trial, as_folder, folder_of, hopeless
from gendistill.errors import UserError
from gendistill.report.parallel import places
from gendistill.runs.checkpoint import noted_step
from gendistill.runs.events import call_session, read_scalars
from gendistill.yaml_file import dump_yaml

CONFIG: dict[str, Any] = {
    "trainer": {
        "class_path": "trainers.dataset_distillation.DatasetDistillationTrainer",
        "init_args": {
            "inner": {"steps": 2, "epochs": 1},
            "learner": {"class_path": "gendistill.nets.learners.MLP"},
            "batch_size": 32,
        },
    },
    "data": {"name": "digits"},
    "run": {"steps": 4, "save_every": 4, "sample_every": 0, "device": "cpu", "progress": False, "tune": "off"},
    "evaluation": {
        "seeds": 1,
        "learning": {
            "learner": {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8, "depth": 1}},
            "updates": [2],
            "lr": [0.1],
            "seeds": 1,
        },
    },
}
OVER = ["--over", "trainer.meta_lr=0.001,0.1", "--over", "trainer.batch_size=16,32"]


def test_values_and_ranges_are_read_as_they_are_typed() -> None:
    assert axis("--trainer.betas=[0,0.9],[0.5,0.9]") == Axis("trainer.betas", ("[0,0.9]", "[0.5,0.9]"))
    assert axis("a.lr=0.1..10:log") == Axis("a.lr", (), 0.1, 10.0, True, False)
    assert axis("a.n=1..9") == Axis("a.n", (), 1.0, 9.0, False, True)
    assert [dict(one) for one in grid(axes(["a=1,2", "b=x,y"]))] == [
        {"a": "1", "b": "x"}, {"a": "1", "b": "y"}, {"a": "2", "b": "x"}, {"a": "2", "b": "y"},
    ]  # fmt: skip
    assert rungs("0.5,1") == [0.5, 1.0] and rungs("1") == [1.0]
    assert len({folder_of({"a.b": "1/2"}), folder_of({"a.b": "1-2"}), folder_of({"c.b": "1/2"})}) == 3
    # A value of a sweep is the name of its folder, and never a way out of it.
    assert as_folder("0.1", "0.1") == "0.1"
    names = [as_folder(text, text) for text in ("..", "folder:../x", "folder:..-x", "a/b", "{width: 4}", "x" * 300)]
    assert all("/" not in name and name.strip(".") and len(name) <= 80 for name in names) and len(set(names)) == 6


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a"], "give an option and different values"),
        (["a=1,1"], "different values"),
        (["a=1,2", "a=3,4"], "names 'a' twice"),
        (["a=2..1"], "from a lower number to a higher"),
        (["a=0..1:log"], "numbers above 0"),
        (["a=x..y"], "no numbers"),
        (["a=1..2"], "a grid knows no values; add --search optuna"),
        ([f"{name}=" + ",".join(map(str, range(11))) for name in "abc"], "1,331 trials is more than 1,000"),
    ],
)
def test_wrong_values_are_one_sentence(given: list[str], said: str) -> None:
    with pytest.raises(UserError, match=said):
        grid(axes(given))


@pytest.mark.parametrize("given", ["", "0.5", "1,0.5", "0,1", "x"])
def test_wrong_rungs_are_one_sentence(given: str) -> None:
    with pytest.raises(UserError, match="ascending parts of a run's length up to 1"):
        rungs(given)


def test_a_trial_below_the_median_of_its_rung_is_hopeless() -> None:
    trials = [Trial(number, {}, {10: score}) for number, score in enumerate((0.1, 0.4, 0.5, 0.6))]
    ladders = {trial.number: [10, 20] for trial in trials}
    assert [one.number for one in hopeless(trials, trials, ladders, 0)] == [0, 1]
    assert hopeless(trials[:3], trials[:3], ladders, 0) == []  # too few to tell


def test_a_trial_that_was_not_looked_at_is_not_hopeless() -> None:
    """Its run was beyond the rung already, where stopping it saves nothing."""
    trials = [Trial(number, {}, {10: score}) for number, score in enumerate((0.1, 0.4, 0.5, 0.6))]
    late = Trial(4, {})
    ladders = {trial.number: [10, 20] for trial in [*trials, late]}
    assert [one.number for one in hopeless([*trials, late], [*trials, late], ladders, 0)] == [0, 1]


def test_numbers_stand_where_they_belong_on_an_axis() -> None:
    assert places(["1", "10", "100"])[0] == pytest.approx([0, 0.5, 1])
    assert places(["1", "2", "3"])[0] == pytest.approx([0, 0.5, 1]) and places(["7", "7"])[0] == [0.5, 0.5]
    assert places(["b", "a", "b"]) == ([1.0, 0.0, 1.0], [(0.0, "a"), (1.0, "b")])


@pytest.mark.filterwarnings("ignore")
def test_a_grid_is_chosen_on_validation_images_and_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))
    words = ["sweep", "small.yaml", *OVER, "--rungs", "0.5,1", "--root", "r", "--json"]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["split"] == "validation" and len(found["trials"]) == 4
    folder = tmp_path / "r/replication/default/digits/small-meta_lr-batch_size"
    for one in found["trials"]:
        steps = [rung["steps"] for rung in one["rungs"]]
        assert (one["state"], steps) in ((COMPLETE, [2, 4]), (STOPPED, [2])) and one["cpu_seconds"] > 0
        run = folder / folder_of(one["values"]) / "seed-0"
        assert noted_step(run / "state.pt") == steps[-1] and list((run / "evaluation").glob("events*"))
    assert (
        any(one["state"] == STOPPED for one in found["trials"])
        or len({one["rungs"][0]["accuracy"] for one in found["trials"]}) < 4
    )
    best = found["trials"][found["best"]]
    assert best["accuracy"] == max(one["accuracy"] for one in found["trials"] if one["state"] == COMPLETE)
    assert found["test"]["replicated"][0]["accuracy"]["mean"] is not None
    page = (folder / "search.html").read_text()
    assert "Chosen by validation accuracy" in page and 'class="sorted"' in page and (folder / "parallel.png").is_file()
    assert len(plot.trials(folder / "search.json").axes) == 1
    assert main(words) == 0
    again = capsys.readouterr()
    assert json.loads(again.out) == found and "started on" not in again.err
    with pytest.raises(UserError, match="there is no 'x.json'"):
        plot.trials("x.json")


@pytest.mark.filterwarnings("ignore")
def test_optuna_remembers_its_trials(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("optuna")
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))
    words = ["sweep", "small.yaml", "--over", "trainer.meta_lr=0.001..0.1:log", "--over", "trainer.batch_size=16..32",
             "--search", "optuna", "--rungs", "1", "--root", "r", "--json"]  # fmt: skip
    assert main([*words, "--trials", "1"]) == 0
    first = json.loads(capsys.readouterr().out)
    assert main([*words, "--trials", "2"]) == 0
    more = json.loads(capsys.readouterr().out)
    assert more["trials"][0] == first["trials"][0] and len(more["trials"]) == 2
    values = more["trials"][1]["values"]
    assert 0.001 <= float(values["trainer.meta_lr"]) <= 0.1 and 16 <= int(values["trainer.batch_size"]) <= 32
    (log,) = Path("r").rglob("optuna.log")
    log.write_text("damaged\n" + log.read_text())
    assert main([*words, "--trials", "3"]) == 2
    assert "optuna.log', where Optuna keeps its trials, is damaged; move it away" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore")
def test_a_hopeless_trial_of_optuna_is_pruned_there_at_what_it_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    optuna = pytest.importorskip("optuna")
    from optuna.storages import JournalStorage
    from optuna.storages.journal import JournalFileBackend

    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))

    def all_stop_but_the_first(race: Any, trials: Any, others: Any, data: Any, crew: Any = None) -> None:
        for one in trials:
            one.rungs, one.runs = {2: 0.1 * (1 + one.number)}, [0.1 * (1 + one.number)]
            one.state = STOPPED if one.number else COMPLETE

    monkeypatch.setattr("gendistill.commands.trials.Race.run", all_stop_but_the_first)
    words = ["sweep", "small.yaml", "--over", "trainer.meta_lr=0.001..0.1:log", "--search", "optuna", "--root", "r"]
    assert main([*words, "--trials", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [one["state"] for one in found["trials"]] == [COMPLETE, STOPPED, STOPPED] and found["best"] == 0
    (log,) = Path("r").rglob("optuna.log")

    def studies() -> list[list[tuple[str, float]]]:
        storage = JournalStorage(JournalFileBackend(str(log)))
        known = [optuna.load_study(study_name=name, storage=storage) for name in optuna.get_all_study_names(storage)]
        return [[(trial.state.name, round(trial.value, 6)) for trial in one.trials] for one in known]

    assert studies() == [[("COMPLETE", 0.1), ("PRUNED", 0.2), ("PRUNED", 0.3)]]
    # Trials of other settings, of other seeds and of other rungs are none of this search.
    for other in (["--run.steps", "6"], ["--seeds", "2"], ["--rungs", "0.5,1"]):
        assert main([*words, "--trials", "1", *other]) == 0
    assert [len(one) for one in studies()] == [3, 1, 1, 1]


@pytest.mark.filterwarnings("ignore")
def test_a_run_of_other_settings_stands_for_no_trial(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that is at the step of a rung is judged without training: as what it is alone."""
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))
    words = ["sweep", "small.yaml", "--over", "trainer.meta_lr=0.1", "--search", "grid", "--rungs", "1", "--root", "r"]
    assert main(words) == 0
    (run,) = Path("r").rglob("seed-0")
    shown = read_scalars(run / "evaluation")
    # What chose, and not the test accuracy that was looked at afterwards.
    (noted,) = Path("r").rglob("search.json")
    assert shown["evaluation/accuracy"][0][1] == pytest.approx(json.loads(noted.read_text())["trials"][0]["accuracy"])
    with_other = [[*words, "--trainer.batch_size", "16"], [*words, "--run.steps", "2"]]
    said = ("holds a run with other settings", "is at step 4, beyond the 2 that are asked for; give --run.steps 4")
    capsys.readouterr()
    for given, sentence in zip(with_other, said, strict=True):
        assert main(given) == 2 and sentence in capsys.readouterr().err
    # A longer one goes on; it is beyond its first rung, at which nothing was measured.
    assert main([*words[:-4], "--rungs", "0.5,1", "--root", "r", "--run.steps", "5", "--json"]) == 0
    (trial,) = json.loads(capsys.readouterr().out)["trials"]
    assert [rung["steps"] for rung in trial["rungs"]] == [5]


@pytest.mark.filterwarnings("ignore")
def test_workers_of_a_cluster_end_runs_at_their_rungs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from gendistill.commands import away
    from gendistill.commands.replication import Judge, Replications
    from gendistill.commands.train import run_experiment

    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))
    race = Race(Path("small.yaml"), "small-meta_lr", Replications(tmp_path, root=Path("r")), (0.5, 1.0))
    asked: list[tuple[str, dict[str, int], list[bool]]] = []

    def worker(crew: Any, given: Any, until: Any) -> None:
        for judge, (replication,) in given:
            for run in (run for runs in away._stages([(judge, [replication])], until) for run in runs):
                asked.append((run.maker.name, run.goal, run.experiment.options.steps))
                run_experiment(run.experiment, data=judge.data)
                assert away._finished(run) and not away._finished(replace(run, until=None)) or run.goal == 4

    monkeypatch.setattr(away, "do_away", worker)
    trial = Trial(0, {"trainer.meta_lr": "0.1"})
    data = race.replication(trial.values).experiment(0).load_data()
    race.run([trial], [], data, crew=object())  # type: ignore[arg-type]
    assert asked == [("small-meta_lr/meta_lr=0.1", 2, 4), ("small-meta_lr/meta_lr=0.1", 4, 4)]
    assert list(trial.rungs) == [2, 4] and trial.state == COMPLETE
    # What is finished elsewhere is looked at before it is taken for the run that is asked for.
    other = replace(race, known=replace(race.known, overrides=[("--trainer.batch_size", "16")])).replication(
        trial.values
    )
    with pytest.raises(UserError, match="holds a run with other settings"):
        list(away._stages([(Judge(other, data), [other])], {}))
    # A run that came from a worker is called what it is called here.
    (run,) = Path("r").rglob("seed-0")
    call_session(run, "its/name")
    (event,) = [
        event for file in run.glob("events*") for event in RawEventFileLoader(str(file)).Load() if b"its/name" in event
    ]
    assert b"session_start_info" in event


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--search", "grid"], "needs --over"),
        ([*OVER, "--search", "random"], "--search is 'random'"),
        ([*OVER, "--trials", "3"], "--trials is for --search optuna"),
        ([*OVER, "--over", "run.seed=1,2"], "gives run.seed to each of its runs itself"),
        ([*OVER, "--over", "trainer.nothing=1,2"], "nothing"),
        ([*OVER, "--trainer.meta_lr", "1"], "--trainer.meta_lr is given, and --over names values of"),
        (["--over", "trainer.meta_lr=1,2", "--trainer.meta-lr", "1"], "--trainer.meta-lr is given, and --over names"),
        ([*OVER, "--over", "meta_lr=1,2"], "are two spellings of one option"),
        ([*OVER, "--over", "data.name=digits,mnist"], "--over names an option of the data"),
    ],
)
def test_wrong_words_are_one_sentence(
    words: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("small.yaml").write_text(dump_yaml(CONFIG))
    assert main(["sweep", "small.yaml", *words, "--root", "r"]) == 2
    assert said in capsys.readouterr().err and not Path("r/replication").exists()
