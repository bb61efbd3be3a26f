"""The rows of Table 4.2 of Bradley 2020: searches from the GAN of the same seed, with and without a constraint."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill.cli import main
from gendistill.commands.replication import Replications
from gendistill.teacher import GeneratorTeacher, load
from trainers.latent_objectives import ThesisLoss
from trainers.latent_search import LatentSearchTrainer

FILE = "teacher.safetensors"
CONFIGS = Path(__file__).parents[2] / "configs/replication"

# alpha, beta, N, final accuracy in %, FID. Typed again here, so that a slip in a config is noticed.
TABLE = {
    "diff": (1, 0, 10_000, 12.51, 185.57),
    "mag": (0, 1, 10_000, 12.29, 198.87),
    "comb": (1, 1, 10_000, 11.25, 199.03),
    "comb-1k": (1, 0.1, 1_000, 23.54, 80.522),
}
KINDS = {"": "none", "-l2": "l2", "-sphere": "sphere"}


def test_every_row_has_a_config() -> None:
    found = [name for name in Replications(CONFIGS).ids() if name.startswith("bradley-4.2")]
    assert found == sorted(["bradley-4.2-gan", *(f"bradley-4.2-{row}{kind}" for row in TABLE for kind in KINDS)])


@pytest.mark.parametrize("scale", ["smoke", "reduced", "mnist", "paper"])
@pytest.mark.parametrize("row", TABLE)
def test_rows_are_those_of_the_table(row: str, scale: str, tmp_path: Path) -> None:
    alpha, beta, steps, accuracy, fid = TABLE[row]
    for kind, constraint in KINDS.items():
        replication = Replications(CONFIGS, scale, tmp_path).open(f"bradley-4.2-{row}{kind}")
        experiment = replication.experiment(1)
        trainer = experiment.build_trainer()
        assert isinstance(trainer, LatentSearchTrainer) and trainer.constraint == constraint
        (loss,) = trainer.objectives
        assert isinstance(loss, ThesisLoss) and (loss.alpha, loss.beta, loss.grad_wrt) == (alpha, beta, "input")
        assert (trainer.images_per_class, trainer.collect) == (1, "trajectory")
        gan = replication.of.open("bradley-4.2-gan").experiment(1)
        assert trainer.generator_reference == str(tmp_path / gan.options.name)
        said = replication.reported
        assert said is not None
        if kind:
            assert said.accuracy is said.fid is None and said.claim
        else:
            assert (said.accuracy, said.fid) == (pytest.approx(accuracy / 100), fid)
        if scale in ("reduced", "mnist"):
            assert experiment.options.steps == {"reduced": 1000, "mnist": 500}[scale] * steps // 10_000
        if scale == "paper":
            assert (experiment.options.steps, gan.options.steps) == (steps, 100_000)
            assert experiment.data["name"] == "cifar10" and loss.probes.learner["init_args"] == {"width": 64}


def test_a_search_trains_its_gan_and_is_judged(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--scale", "smoke", "--run.device", "cpu"]
    words = ["replicate", "ours-4.2-none", "--seeds", "1", "--root", str(tmp_path), "--json"]
    assert main([*words, *small]) == 0
    assert json.loads(capsys.readouterr().out)["teachers"][0]["name"] == "ours-4.2-none"
    runs = tmp_path / "replication/smoke/digits"
    gan = runs / "bradley-4.2-gan/seed-0"
    row = ["--run.root", str(tmp_path), "--run.name", "row", "--trainer.generator", str(gan)]
    assert main(["train", "--config", str(CONFIGS / "bradley-4.2-comb-sphere.yaml"), *small, *row]) == 0
    network = {key: value for key, value in load(gan / FILE).tensors().items() if key.startswith("network.")}
    for run, images in ((runs / "ours-4.2-none/seed-0", 10), (tmp_path / "row", 30)):
        teacher = load(run / FILE)
        assert isinstance(teacher, GeneratorTeacher) and teacher.images_stored == images
        assert network and all(value.equal(teacher.tensors()[key]) for key, value in network.items())
