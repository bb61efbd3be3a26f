from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.cli import main
from gendistill.commands.replication import Judge, Replications, train_side_by_side
from gendistill.config.command_line import assemble, take_apart
from gendistill.errors import UserError
from gendistill.runs.checkpoint import read_state
from gendistill.teacher import load

CONFIGS = Path(__file__).parents[2] / "configs/replication"

# Table 4.1 of Bradley 2020: final accuracy in %, FID. Typed again here, so that a slip in a config is noticed.
TABLE = {
    "baseline": (92.97, None),
    "gan": (75.13, 14.291),
    "diff-1.0": (76.36, 14.276),
    "diff-1.5": (78.19, 13.849),
    "diff-2.0": (77.31, 13.722),
    "diff-2.5": (76.3, 13.898),
    "diff-3.0": (74.74, 13.289),
    "diff-10": (76.93, 14.646),
    "diffpre-1.0": (77.09, 12.88),
    "diffpre-1.5": (72.84, 15.153),
    "diffpre-2.0": (75.81, 14.248),
    "diffpre-2.5": (76.2, 14.36),
    "diffpre-3.0": (77.98, 13.635),
    "diffpre-3.5": (77.44, 13.369),
    "mag-1.0": (75.87, 14.588),
    "mag-1.5": (76.71, 14.215),
    "mag-2.0": (75.63, 13.973),
    "mag-2.5": (78.44, 12.965),
    "mag-3.0": (77.91, 13.31),
    "mag-3.5": (77.31, 13.805),
    "mag-4.0": (76.44, 13.659),
    "mag-4.5": (78.38, 14.24),
    "diff-both": (77.74, 13.555),
    "diff-only": (10.91, 401.5),
    "mag-both": (None, None),
}
FEW = ("gan", "diff-1.5", "diffpre-1.0", "mag-4.5", "diff-both", "diff-only", "mag-both")
ROWS = [f"bradley-4.1-{row}" for row in TABLE]
FIGURES = {"bradley-fig4.1": "diff", "bradley-fig4.2": "diffpre", "bradley-fig4.3": "mag"}


def at(scale: str | None, **options) -> Replications:
    return Replications(CONFIGS, scale, **options)


def test_every_row_and_figure_of_the_chapter_has_a_config() -> None:
    found = [name for name in at(None).ids() if name.startswith(("bradley-4.1", "bradley-fig4."))]
    assert found == sorted([*ROWS, *FIGURES])


def test_reported_numbers_are_those_of_the_table() -> None:
    for row, (accuracy, fid) in TABLE.items():
        said = at(None).open(f"bradley-4.1-{row}").reported
        assert said is not None and said.fid == fid
        assert said.accuracy == (None if accuracy is None else pytest.approx(accuracy / 100))
    with_claims = [at(None).open(name).reported for name in ("bradley-4.1-mag-both", *FIGURES)]
    assert all(said is not None and said.claim for said in with_claims)


@pytest.mark.parametrize(("scale", "rows"), [("smoke", FEW), ("reduced", [*TABLE][1:]), ("paper", FEW)])
def test_rows_differ_in_their_term_alone(scale: str, rows) -> None:
    trainers = {}
    for row in rows:
        replication = at(scale).open(f"bradley-4.1-{row}")
        arguments = replication.experiment(0).to_dict()["trainer"]["init_args"]
        term, weight = arguments.pop("term", None), arguments.pop("weight", None)
        kind, _, value = row.partition("-")
        assert arguments.pop("term_only") == (value == "only")
        trainers[row] = arguments
        if row == "gan":
            continue
        assert term["apply_to"] == ("both" if value == "both" else "discriminator")
        assert weight == (float(value) if value not in ("both", "only") else 1.0)
        assert term["grad_wrt"] == "input" and term["probe"]["learner"]["class_path"].endswith("ResNet")
        assert term["probe"]["state"] == ("pretrained" if kind == "diffpre" else "fresh")
        assert (term.get("distance"), term.get("normalise")) == ((None, False) if kind == "mag" else ("l2", None))
        replication.experiment(0).build_trainer()
    assert all(arguments == trainers["gan"] for arguments in trainers.values())


def test_the_published_settings() -> None:
    replication = at("paper").open("bradley-4.1-diff-1.5")
    experiment = replication.experiment(1)
    arguments = experiment.init_args
    assert experiment.data["name"] == "cifar10" and experiment.options.steps == 50_000 and experiment.options.seed == 1
    assert (arguments["batch_size"], arguments["n_dis"], arguments["betas"]) == (64, 5, (0.0, 0.9))
    assert arguments["generator"]["init_args"] == {"nz": 128, "ngf": 256}
    assert arguments["term"]["probe"]["learner"]["init_args"] == {"width": 64}
    assert replication.plan.learning == {"protocol": "thesis", "generated": 50_000}
    assert replication.plan.fidelity == {"extractor": "inception", "count": 50_000}
    assert replication.plan.beside == {
        "real": "bradley-4.1-baseline",
        "real-subset": "real:subset=same",
        "gan": "bradley-4.1-gan",
    }


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_shows_every_row_of_its_family(name: str) -> None:
    shown = at("paper").open(name).plan
    rows = [row for row in TABLE if row.split("-")[0] == FIGURES[name] and row.split("-")[1] not in ("both", "only")]
    assert shown.teacher == "real"
    assert list(shown.beside.values()) == ["bradley-4.1-gan", *(f"bradley-4.1-{row}" for row in rows)]


def test_a_replication_is_a_config_of_train_too() -> None:
    words = ["--config", str(CONFIGS / "bradley-4.1-mag-2.0.yaml"), "--scale", "smoke"]
    assert assemble(take_apart(words)).options.steps == 2


@pytest.fixture
def replicate(tmp_path: Path, run_json):
    """Run a replication at the scale smoke, shortened, with all runs in one directory."""

    def run(name: str, *more: str) -> dict:
        words = ["--configs", str(CONFIGS), "--root", str(tmp_path), "--scale", "smoke", "--seeds", "1", "--json"]
        return run_json("replicate", name, *words, "--run.steps", "1", "--run.device", "cpu", *more)

    return run


@pytest.mark.filterwarnings("ignore:the term")
def test_end_to_end_and_every_part_once(tmp_path: Path, replicate, capsys) -> None:
    result = replicate("bradley-4.1-diff-1.5")
    assert [row["name"] for row in result["replicated"]] == ["bradley-4.1-diff-1.5", "real", "real-subset", "gan"]
    own, real, subset, gan = result["replicated"]
    assert own["reported"]["accuracy"] == 0.7819 and gan["reported"]["fid"] == 14.291
    assert real["reported"]["accuracy"] == 0.9297 and subset["reported"] is None
    assert 0 <= own["accuracy"]["mean"] <= 1 and own["accuracy"]["std"] is None
    learning = result["teachers"][0]["learning"]
    assert learning["protocol"] == "thesis" and learning["epoch"] == {"images": 300, "updates": 2}
    assert result["teachers"][2]["teacher"]["images"] == 300
    place = tmp_path / "replication/smoke/digits"
    assert json.loads((place / "bradley-4.1-diff-1.5/results.json").read_text()) == result
    assert "against epochs" in (place / "bradley-4.1-diff-1.5/report.html").read_text()
    # The term cannot move the discriminator: with the same seed both runs end in the same weights.
    one, other = (load(place / f"bradley-4.1-{row}/seed-0/teacher.safetensors") for row in ("diff-1.5", "gan"))
    assert all(torch.equal(value, other.tensors()[name]) for name, value in one.tensors().items())
    # A second call finds everything; another row finds the baselines.
    files = sorted((place / "evaluations").iterdir())
    stamps = [path.stat().st_mtime_ns for path in files]
    assert replicate("bradley-4.1-diff-1.5") == result
    replicate("bradley-4.1-diff-both")
    assert [path.stat().st_mtime_ns for path in files] == stamps
    assert len(list((place / "evaluations").iterdir())) == len(files) + 1
    both = load(place / "bradley-4.1-diff-both/seed-0/teacher.safetensors")
    assert not all(torch.equal(value, other.tensors()[name]) for name, value in both.tensors().items())
    # Another length is another run; what was evaluated before does not stand for it.
    replicate("bradley-4.1-gan", "--run.steps", "2")
    assert read_state(place / "bradley-4.1-gan/seed-0/state.pt", torch.device("cpu"))["step"] == 2
    assert len(list((place / "evaluations").glob("bradley-4.1-gan-*"))) == 2


def test_runs_in_processes_of_their_own_are_the_same_runs(tmp_path: Path, monkeypatch) -> None:
    overrides = [("--run.steps", "7"), ("--run.device", "cpu")]
    one = at("smoke", root=tmp_path, overrides=overrides, seeds=3, jobs=2).open("bradley-4.1-mag-1.0")
    name, *words = one.command(2)
    assert name == "train"
    assert assemble(take_apart(words)).to_dict() == one.experiment(2).to_dict()
    shared = []
    monkeypatch.setattr("gendistill.commands.side_by_side.run_side_by_side", shared.extend)
    log = tmp_path / "replication/smoke/digits/bradley-4.1-mag-1.0/seed-1/log.txt"
    log.parent.mkdir(parents=True)
    log.write_text("step 7/7  done\n")
    train_side_by_side(Judge(one, one.experiment(0).load_data()), [one, one.of.open("bradley-4.1-gan")])
    # Six runs, of which one is finished, in two lanes that take turns.
    assert [lane.total for lane in shared] == [21, 14]
    seeds = [[words[-1].partition("=")[2] for words in lane.commands] for lane in shared]
    assert seeds == [["0", "0", "2"], ["2", "1"]] and [lane.done() for lane in shared] == [0, 0]


def test_a_baseline_needs_no_training(tmp_path: Path, replicate) -> None:
    result = replicate("bradley-4.1-baseline", "--output", str(tmp_path / "all.json"))
    assert [row["name"] for row in result["replicated"]] == ["real"]
    assert json.loads((tmp_path / "all.json").read_text()) == result
    assert not (tmp_path / "replication/smoke/digits/bradley-4.1-baseline/seed-0").exists()


def test_all_are_listed(run_json, capsys) -> None:
    listed = run_json("replicate", "--list", "--configs", str(CONFIGS), "--json")["replications"]
    assert set(ROWS) <= set(listed) and listed["bradley-4.1-gan"]["fid"] == 14.291
    assert main(["replicate", "--list", "--configs", str(CONFIGS)]) == 0
    assert "accuracy 75.13 %; FID 14.291" in capsys.readouterr().out
    assert main(["replicate", "--help"]) == 0
    assert "--list" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["bradley-4.1-gna"], "there is no replication 'bradley-4.1-gna'; did you mean 'bradley-4.1-gan'?"),
        ([], "takes the id of one replication"),
        (["a", "b"], "takes the id of one replication"),
        (["bradley-4.1-gan", "--seeds", "0"], "--seeds is '0'; give a whole number of at least 1"),
        (["bradley-4.1-gan", "--root"], "--root needs a value"),
        (["bradley-4.1-gan", "--scale", "smok"], "did you mean 'smoke'?"),
        (["bradley-4.1-gan", "--run.stesp", "3"], "did you mean '--run.steps'?"),
    ],
)
def test_mistakes_are_explained(words: list[str], said: str, capsys) -> None:
    assert main(["replicate", *words, "--configs", str(CONFIGS)]) == 2
    assert said in capsys.readouterr().err


def test_configs_are_found_away_from_a_checkout(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["replicate", "--list"]) == 0
    assert "bradley-4.1-gan" in capsys.readouterr().out
    with pytest.raises(UserError, match="no folder"):
        Replications(tmp_path / "nowhere").ids()


OURS = ("gan", "longer", "difference", "magnitude", "feature-matching", "gradient-matching", "meta", "meta-only")


@pytest.mark.parametrize("row", OURS)
@pytest.mark.parametrize("scale", ["smoke", "reduced", "paper"])
def test_terms_on_the_generator_start_from_the_gan_of_the_same_seed(row: str, scale: str, tmp_path: Path) -> None:
    replication = at(scale, root=tmp_path).open(f"ours-4.1-{row}")
    experiment = replication.experiment(1)
    trainer = experiment.build_trainer()
    if row == "gan":
        assert trainer.initial_generator is None
    else:
        gan = replication.of.open("ours-4.1-gan").experiment(1)
        assert trainer.initial_generator == str(tmp_path / gan.options.name)
        assert "--trainer.initial_generator=" + trainer.initial_generator in replication.command(1)


@pytest.mark.parametrize("jobs", [1, 2])
def test_a_replication_trains_what_it_starts_from(jobs: int, tmp_path: Path, capsys, lanes_here: None) -> None:
    words = ["replicate", "ours-4.1-longer", "--scale", "smoke", "--seeds", "1", "--root", str(tmp_path)]
    assert main([*words, "--jobs", str(jobs), "--json"]) == 0
    results = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in results["teachers"]] == ["ours-4.1-longer", "real", "real-subset", "gan"]
    run = tmp_path / "replication/smoke/digits"
    first, second = (
        read_state(run / row / "seed-0" / "state.pt", torch.device("cpu"))["trainer"]["generator"]
        for row in ("ours-4.1-gan", "ours-4.1-longer")
    )
    moved = {name for name in first if first[name].is_floating_point() and not torch.equal(first[name], second[name])}
    # Two Adam steps of 5e-4 move no weight by more; networks drawn anew would be as far apart as weights are large.
    assert moved and all((first[name] - second[name]).abs().max() < 0.02 for name in moved if "running" not in name)


@pytest.mark.parametrize(
    ("words", "instead"),
    [
        (["replicate", "ours-4.1-gan", "--run.root", "x"], "--run.root .*: --root DIR says"),
        (["replicate", "ours-4.1-gan", "--run-name", "x"], None),
        (["replicate", "ours-4.1-gan", "--run.name=x"], "--run.name .* --root DIR keeps"),
        (["replicate", "ours-4.1-gan", "--seed", "4"], "--seed .*--seeds N"),
        (["sweep", "dd/mnist-layers", "--over", "trainer.lr=1,2", "--run.root", "x"], "--run.root"),
        (["sweep", "dd/mnist-layers", "--over", "run.seed=1,2"], "run.seed .*--seeds N"),
    ],
)
def test_what_is_given_to_each_run_is_refused(
    words: list[str], instead: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([*words, "--scale", "smoke"]) == 2
    said = capsys.readouterr().err
    assert re.search(instead or "there is no option '--run-name'", said) and not list(tmp_path.iterdir())
