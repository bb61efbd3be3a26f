"""Audits: scores against slow versions and public implementations, teachers that leak and one that cannot."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from sklearn import metrics

from gendistill import cli
from gendistill.data.description import Description, symmetric
from gendistill.data.fingerprint import contents
from gendistill.data.load import load
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation.audit import audit, origin_notes
from gendistill.evaluation.membership import likelihood_ratio, margins, nearest
from gendistill.evaluation.roc import area, clopper_pearson, found_at, told_apart
from gendistill.nets.learners import ConvNet
from gendistill.privacy.accountant import LARGEST, noise_for
from gendistill.privacy.promise import KEY, NOT_PRIVATE, counted
from gendistill.privacy.rehearsal import rehearse
from gendistill.report.audit import sentences
from gendistill.teacher import RealSubset, StoredImages

LEARNER = {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 4, "depth": 2}}


def noted(epsilon: float, noise: float | None = None, rate: float = 1.0, calls: int = 3) -> dict[str, Any]:
    found = noise_for(epsilon, 1e-5, calls, rate) if noise is None else noise
    entries = [{"purpose": "sum", "noise": found, "rate": rate, "calls": calls}]
    return {"epsilon": epsilon, "delta": 1e-5, "adjacency": "add-remove", "calls": entries}


def private(teacher: StoredImages, entry: dict[str, Any]) -> StoredImages:
    teacher.metadata[KEY] = entry
    return teacher


def noise_data(seed: int = 0) -> RealData:
    """Images of nothing: who is a member can only be known from having seen it."""
    generator = torch.Generator().manual_seed(seed)

    def split(count: int) -> Split:
        images = torch.randint(0, 256, (count, 1, 8, 8), generator=generator).to(torch.uint8)
        return Split(images, torch.arange(count) % 2)

    return RealData(Description("noise", ("a", "b"), (1, 8, 8), symmetric(1)), split(200), split(100), split(200))


def test_the_area_is_that_of_sklearn_and_its_interval_covers() -> None:
    generator = np.random.default_rng(0)
    truth = stats.norm.cdf(1 / 2**0.5)
    covered = 0
    for _ in range(300):
        members, others = generator.normal(1, 1, 60), generator.normal(0, 1, 90)
        found, low, high = area(members, others)
        wanted = metrics.roc_auc_score([1] * 60 + [0] * 90, np.concatenate([members, others]))
        assert found == pytest.approx(wanted)
        covered += low <= truth <= high
    assert 270 <= covered <= 298
    assert area(np.ones(9), np.ones(9))[0] == 0.5
    perfect = area(np.arange(50) + 100.0, np.arange(50) * 1.0)
    assert perfect[0] == 1.0 and 0.9 < perfect[1] < 1.0


def test_shares_are_counted_at_the_threshold_of_the_others() -> None:
    others = np.arange(1000, dtype=float)
    members = np.array([999.5, 998.5, 990.0, 989.0, 5.0])
    assert found_at(members, others, 0.01)["share"] == 3 / 5  # ten others are above 989
    assert found_at(members, others, 0.001) == {
        "rate": 0.001, "share": 0.4, "low": pytest.approx(0.0527, abs=1e-3), "high": pytest.approx(0.8534, abs=1e-3),
        "others": 1,
    }  # fmt: skip
    assert found_at(members, others[:500], 0.001)["share"] is None
    assert clopper_pearson(0, 10) == (0.0, pytest.approx(0.3085, abs=1e-4))
    with pytest.raises(UserError, match="diverged"):
        told_apart(np.array([np.nan, 1.0]), others)


def test_margins_and_distances_are_those_of_a_loop() -> None:
    torch.manual_seed(0)
    network, data = ConvNet(2, (1, 8, 8), width=4, depth=2).eval(), noise_data()
    found = margins([network], data.validation, symmetric(1))
    logits = network(symmetric(1).apply(data.validation.images)).double()
    own = logits.softmax(1)[torch.arange(100), data.validation.labels]
    torch.testing.assert_close(found, (own / (1 - own)).log())
    one, two = torch.rand(7, 1, 3, 3), torch.rand(5, 1, 3, 3)
    apart, place = nearest(one, two)
    slow = torch.tensor([[float((a - b).norm()) for b in two] for a in one])
    torch.testing.assert_close(apart, slow.min(1).values)
    assert torch.equal(place, slow.argmin(1))


def test_a_likelihood_ratio_is_that_of_two_normal_laws() -> None:
    generator = torch.Generator().manual_seed(0)
    included = torch.rand(40, 30, generator=generator) < 0.5
    shadows = torch.randn(40, 30, generator=generator).double() + 2.0 * included
    observed = torch.randn(30, generator=generator).double()
    found = likelihood_ratio(observed, included, shadows)
    inside = torch.stack([shadows[included[:, at], at].mean() for at in range(30)])
    outside = torch.stack([shadows[~included[:, at], at].mean() for at in range(30)])
    spread = (torch.where(included, shadows - inside, shadows - outside).square().sum() / (40 * 30 - 60)).sqrt()
    wanted = stats.norm.logpdf(observed, inside, spread) - stats.norm.logpdf(observed, outside, spread)
    np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-9)


def test_real_images_are_caught() -> None:
    data = noise_data()
    subset = RealSubset.random(data.train, data.description, generator=torch.Generator().manual_seed(0), count=50)
    result, pictures = audit(subset, data, learner=LEARNER, learners=1, updates=30)
    assert result["members"] == 50 and result["members_are"] == "the training images that it shows"
    assert result["attacks"]["nearest"]["auc"] == 1.0 and result["memorised"]["same"] == 50
    assert result["promise"] == NOT_PRIVATE and result["one_run"] is None
    assert result["verdict"].startswith("members are told from others")
    torch.testing.assert_close(pictures.memorised[0], pictures.memorised[1])


def test_a_teacher_that_knows_nothing_is_not_accused() -> None:
    data = noise_data()
    images = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(9)) * 2 - 1
    teacher = private(StoredImages(images, torch.arange(20) % 2, data.description), noted(1.0))
    result, _ = audit(teacher, data, learner=LEARNER, learners=1, updates=30)
    assert all(found["low"] < 0.55 < found["high"] + 0.1 for found in result["attacks"].values())
    assert result["memorised"]["same"] == 0 and 0.1 < result["memorised"]["nearer"] < 0.9
    one = result["one_run"]
    assert one["bound"] <= one["promised"] == 1.0 and one["without_noise"] > 1.0


def test_shadows_find_what_a_teacher_of_its_images_has_learned() -> None:
    """Learners of all training images remember labels of noise; with shadows that is seen."""
    data = noise_data()

    def make(half: RealData, seed: int) -> RealSubset:
        return RealSubset.all(half.train, half.description)

    teacher = make(data, 0)
    result, _ = audit(teacher, data, learner=LEARNER, learners=1, updates=150, make=make, shadows=4)
    assert result["attacks"]["lira"]["low"] > 0.5
    with pytest.raises(UserError, match="at least 4"):
        audit(teacher, data, learner=LEARNER, updates=5, make=make, shadows=2)


@pytest.mark.parametrize(("epsilon", "rate", "calls"), [(1.0, 1.0, 5), (8.0, 1.0, 5), (2.0, 0.1, 20)])
def test_a_promise_is_kept_and_its_breach_is_seen(epsilon: float, rate: float, calls: int) -> None:
    entry = noted(epsilon, rate=rate, calls=calls)
    assert rehearse(entry)["bound"] <= epsilon
    if rate == 1 and epsilon < 4:  # more than 5 cannot be shown, nor what no sample had
        assert rehearse(entry, noise=False)["bound"] > epsilon


def test_a_promise_with_too_little_noise_is_refuted() -> None:
    """Noise a tenth of what epsilon 1 asks for."""
    assert rehearse(noted(1.0, noise=noise_for(1.0, 1e-5, 3) / 10), guesses=300)["bound"] > 1.0


@pytest.mark.parametrize("damage", [{"epsilon": "x"}, {"calls": 3}, {"delta": float("nan")}, {"adjacency": "?"}])
def test_a_damaged_promise_is_a_sentence(damage: dict[str, Any]) -> None:
    with pytest.raises(UserError, match="promise of privacy"):
        rehearse(noted(1.0) | damage)
    with pytest.raises(UserError, match="more than 20,000"):
        rehearse(noted(1.0, noise=1.0, calls=3) | {"calls": [{"noise": 1.0, "rate": 1.0, "calls": 10**9}]})


def test_the_command_writes_a_result_and_a_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["audit", "real:ipc=5", "--dataset", "digits", "--learners", "1", "--updates", "5", "--count", "150"]
    page, output = tmp_path / "audit.html", tmp_path / "audit.json"
    assert cli.main([*words, "--page", str(page), "--output", str(output)]) == 0
    said = capsys.readouterr().out
    assert "no formal guarantee" in said and "nearest, calibrated" in said and "AUC" in said
    found = json.loads(output.read_text())
    assert found["attacks"]["nearest"]["auc"] > 0.99 and found["name"] == "real:ipc=5"
    assert "This page shows training images" in page.read_text()
    assert cli.main(["audit", "real", "--shadows", "2"]) == 2
    assert cli.main(["audit", "real:ipc=5", "--discriminator"]) == 2


def test_points_and_sentences_are_refused() -> None:
    data = load("ring:d2gan")
    with pytest.raises(UserError, match="an audit looks at pictures"):
        audit(RealSubset.all(data.train, data.description), data)


def test_what_the_sums_cost_is_counted_again() -> None:
    """A file may promise less than what its own sums cost: by the formula, not by a guess."""
    assert counted(noted(1.0)) == pytest.approx(1.0, abs=1e-6)
    assert counted(noted(1.0, noise=noise_for(2.0, 1e-5, 3))) == pytest.approx(2.0, abs=1e-6)
    assert counted(noted(1.0, noise=0.0)) == LARGEST and counted(noted(1.0) | {"delta": 0.0}) == LARGEST
    result = {
        "promise": "", "notes": ["of other data"], "members": 1, "members_are": "", "others": 1,
        "memorised": {"looked_at": 1, "same": 0, "nearer": 0.5},
        "one_run": {"bound": 0.1, "promised": 1.0, "canaries": 10, "right": 5, "guesses": 10, "without_noise": 3.0},
    }  # fmt: skip
    for cost, said in ((1.0, False), (2.0, True), (None, False)):
        result["one_run"]["counted"] = cost  # type: ignore[index]
        words = " ".join(sentences(result))
        assert ("cost epsilon 2, which BREAKS the promise of 1" in words) is said and "of other data" in words


def test_it_is_said_where_members_may_be_none() -> None:
    data = noise_data()
    teacher = StoredImages(torch.randn(4, 1, 8, 8), torch.tensor([0, 1, 0, 1]), data.description)
    assert origin_notes(teacher, data) == []
    teacher.metadata["data"] = {"train": contents(noise_data(1))["train"]}
    assert "other ones than when the teacher was made" in origin_notes(teacher, data)[0]
    named = replace(data, description=replace(data.description, name="other"))
    assert origin_notes(teacher, named) == [
        "the teacher's file says that it is of 'noise', so images of 'other' may be no members at all"
    ]
