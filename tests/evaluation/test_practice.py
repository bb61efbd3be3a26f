from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gendistill.cli import main
from gendistill.data.real import RealData
from gendistill.errors import UserError
from gendistill.evaluation.ensemble import build_learner
from gendistill.evaluation.entropy import entropy
from gendistill.evaluation.parts import kept_in
from gendistill.evaluation.practice import WAYS, Pool, PracticePlan, practise
from gendistill.runs.signals import Told
from gendistill.teacher import RealSubset, StoredImages
from gendistill.teacher.generator import GeneratorTeacher

SMALL = {"class_path": "gendistill.nets.learners.MLP", "init_args": {"width": 8}}
PLAN = PracticePlan(updates=24, batch_size=6, first=6, added=7, patience=1, look_every=4, lr=0.05, ascents=2)


class Bands(nn.Module):
    """A band whose row the class tells, and noise that latents tell."""

    nz = 5

    def __init__(self) -> None:
        super().__init__()
        self.noise = nn.Linear(5, 64)
        self.rows = nn.Embedding.from_pretrained(torch.eye(3).repeat_interleave(2, 1), freeze=True)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        band = nn.functional.pad(self.rows(y), (0, 2))[:, None, :, None]
        return 2 * band + self.noise(z).view(-1, 1, 8, 8)


@pytest.fixture
def generator(tiny_data: RealData) -> GeneratorTeacher:
    network = Bands()
    network.spec = {"class_path": "tests.evaluation.test_practice.Bands"}  # type: ignore[assignment]
    return GeneratorTeacher(network, tiny_data.description)


def pool_of(generator: GeneratorTeacher, tiny_data: RealData) -> Pool:
    return Pool(generator, torch.Generator().manual_seed(1), tiny_data.description)


def test_without_guidance_and_choice_what_is_added_is_random_to_the_bit(
    generator: GeneratorTeacher, tiny_data: RealData
) -> None:
    network = build_learner(SMALL, tiny_data.description, 0)
    hard, random = pool_of(generator, tiny_data), pool_of(generator, tiny_data)
    for pool in (hard, random):
        pool.add_random(6)
    hard.add_hard(network, 9, replace(PLAN, omega=0.0))
    random.add_random(9)
    assert torch.equal(hard.images, random.images) and torch.equal(hard.classes, random.classes)
    assert torch.equal(hard.generator.get_state(), random.generator.get_state())
    assert torch.bincount(hard.classes).tolist() == [5, 5, 5]


def test_what_is_added_is_hard_and_on_the_sphere(generator: GeneratorTeacher, tiny_data: RealData) -> None:
    network = build_learner(SMALL, tiny_data.description, 0)
    found = {}
    for name, plan in {"random": replace(PLAN, omega=0.0), "guided": PLAN, "chosen": replace(PLAN, omega=0.0,
                       candidates=6)}.items():  # fmt: skip
        pool = pool_of(generator, tiny_data)
        pool.add_hard(network, 300, plan)
        with torch.no_grad():
            found[name] = float(entropy(network(pool.images)).mean())
        assert torch.allclose(pool.latents.norm(dim=1), torch.tensor(5**0.5))
        assert torch.bincount(pool.classes).tolist() == [100, 100, 100]
    assert found["random"] < found["guided"] and found["random"] < found["chosen"]


def test_ways_share_their_first_weights_their_moments_and_their_numbers(
    generator: GeneratorTeacher, tiny_data: RealData
) -> None:
    real = RealSubset.all(tiny_data.train, tiny_data.description)
    slow = replace(PLAN, lr=0.002)  # accuracy stays where it is now and then
    result = practise(generator, tiny_data, slow, others={"real": real}, learner=SMALL, seeds=2)
    assert json.loads(json.dumps(result)) == result
    ways = result["ways"]
    assert list(ways) == [*WAYS, "real"]
    practice, random, at_once = (ways[name] for name in ("practice", "random", "at once"))
    assert practice["moments"] == random["moments"] and at_once["moments"] == [[], []]
    assert practice["images"] == random["images"] == at_once["images"] == [6 + 7 * len(m) for m in practice["moments"]]
    for seed in (0, 1):
        # Until something is added they are one learner.
        assert practice["moments"][seed]
        same = practice["moments"][seed][0] // PLAN.look_every
        assert practice["validation"][seed][:same] == random["validation"][seed][:same]
        looks = practice["validation"][seed]
        best, since, moments = 0.0, 0, []
        for place, accuracy in enumerate(looks, 1):  # the rule, anew
            best, since = (accuracy, 0) if accuracy > best else (best, since + 1)
            if since >= PLAN.patience and place * PLAN.look_every < PLAN.stable:
                moments, since = [*moments, place * PLAN.look_every], 0
        assert practice["moments"][seed] == moments
    lead = practice["accuracy"]["mean"] - ways["real"]["accuracy"]["mean"]
    assert ways["real"]["behind"]["mean"] == pytest.approx(lead)


def test_omega_0_is_the_random_way_to_the_bit(generator: GeneratorTeacher, tiny_data: RealData) -> None:
    ways = practise(generator, tiny_data, replace(PLAN, omega=0.0), learner=SMALL, seeds=2)["ways"]
    assert ways["practice"]["accuracy"] == ways["random"]["accuracy"]
    assert ways["practice"]["validation"] == ways["random"]["validation"]


def test_the_validation_split_chooses_the_rate_and_learned_rates_are_kept(
    generator: GeneratorTeacher, tiny_data: RealData
) -> None:
    images, labels = tiny_data.train.batch(torch.arange(12), tiny_data.description.normalisation)
    taught = StoredImages(images, labels, tiny_data.description, learning_rates=torch.tensor([0.1, 0.2]))
    result = practise(generator, tiny_data, PLAN, others={"taught": taught}, rates=[1e-6, 0.05], learner=SMALL, seeds=1)
    assert result["ways"]["fresh"]["rate"] == 0.05
    assert result["ways"]["taught"]["rate"] is None and result["ways"]["taught"]["rates"] == {}


def test_learners_that_are_done_are_kept(generator: GeneratorTeacher, tiny_data: RealData, tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        if done == 3:
            raise Told(15)

    def timeless(result: dict[str, Any]) -> dict[str, Any]:
        return {name: {k: v for k, v in way.items() if k != "cpu_seconds"} for name, way in result["ways"].items()}

    whole = practise(generator, tiny_data, PLAN, learner=SMALL, seeds=2)
    with kept_in(tmp_path):
        with pytest.raises(Told):
            practise(generator, tiny_data, PLAN, learner=SMALL, seeds=2, progress=stop)
        kept = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
        assert len(kept) == 3
        again = practise(generator, tiny_data, PLAN, learner=SMALL, seeds=2)
    assert timeless(again) == timeless(whole)
    assert all(path.stat().st_mtime_ns == time for path, time in kept.items())


@pytest.mark.parametrize(
    ("change", "word"),
    [({"omega": 2.0}, "omega"), ({"first": 0}, "first"), ({"decay": 0.0}, "decay"), ({"lr": -1.0}, "lr"),
     ({"ascents": True}, "ascents"), ({"momentum": 1.0}, "momentum")],
)  # fmt: skip
def test_options_out_of_range_are_refused(change: dict[str, Any], word: str) -> None:
    with pytest.raises(UserError, match=f"^{word} is"):
        PracticePlan(**change)


def test_only_a_generator_practises(generator: GeneratorTeacher, tiny_data: RealData) -> None:
    with pytest.raises(UserError, match="is no generator"):
        practise(RealSubset.all(tiny_data.train, tiny_data.description), tiny_data)
    with pytest.raises(UserError, match="at least 3, one image of each class"):
        practise(generator, tiny_data, replace(PLAN, added=2))


def test_the_command_prints_a_table_and_keeps_what_it_wrote(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["practise", "digits-gan", "real:ipc=1", "--updates", "6", "--look-every", "2", "--patience", "1",
             "--first", "10", "--added", "10", "--seeds", "2", "--learner", "{class_path: gendistill.nets.learners."
             "MLP, init_args: {width: 4}}", "--output", str(tmp_path / "found.json")]  # fmt: skip
    assert main(words) == 0
    said = capsys.readouterr().out
    assert all(name in said for name in (*WAYS, "real:ipc=1", "new ones"))
    assert json.loads((tmp_path / "found.json").read_text())["ways"]["at once"]["accuracy"]["runs"]
    assert main([*words, "--lr", "grid"]) == 2 and "--lr takes numbers" in capsys.readouterr().err
    assert main([*words[:3], "real:ipc=1", *words[3:]]) == 2 and "would be called" in capsys.readouterr().err
