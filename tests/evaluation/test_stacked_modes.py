"""Stacked digits: what the triples are, and the modes that real, repeated and lacking ones give."""

from __future__ import annotations

import math

import pytest
import torch

from gendistill import data
from gendistill.data import stacked
from gendistill.data.load import check_named_by_file
from gendistill.data.real import RealData
from gendistill.data.stacked import channels_of, digits_of, number_of
from gendistill.errors import UserError
from gendistill.evaluation.evaluate import evaluate
from gendistill.evaluation.stacked_modes import stacked_modes
from gendistill.teacher import RealSubset


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> RealData:
    monkeypatch.setitem(stacked.SIZES, "stacked-digits", (1200, 300, 4000))
    return data.load("stacked-digits")


def test_triples_are_three_pictures_of_their_digits() -> None:
    digits, real = data.load("digits"), data.load("stacked-digits")
    assert [len(part) for part in (real.train, real.validation, real.test)] == [20_000, 2_000, 26_000]
    assert real.description.num_classes == 1000 and real.description.class_names[123] == "123"
    assert real.description.image_shape == (3, 8, 8)
    for own, base in ((real.train, digits.train), (real.test, digits.test)):
        known = {image.numpy().tobytes(): int(label) for image, label in zip(base.images, base.labels, strict=True)}
        for image, triple in zip(own.images[:200], own.labels[:200].tolist(), strict=True):
            assert [known[channel.numpy().tobytes()] for channel in image] == [int(one) for one in f"{triple:03d}"]
    assert torch.equal(real.train.images, data.load("stacked-digits").train.images)
    assert not torch.equal(real.train.images[:, 0], real.train.images[:, 1])
    numbers = torch.arange(1000)
    assert torch.equal(number_of(digits_of(numbers)), numbers)
    channels = channels_of(real, 50)
    assert channels.train.images.shape == (150, 1, 8, 8) and channels.description.num_classes == 10
    assert torch.equal(channels.train.images[3:6, 0], real.train.images[1])


def test_real_triples_give_the_floor_and_planted_ones_what_they_must(small: RealData) -> None:
    found = stacked_modes(RealSubset.all(small.test, small.description), small, count=4000)
    whole, real = found["views"]
    assert {name: whole[name] for name in ("captured", "kl", "n")} == {
        name: real[name] for name in ("captured", "kl", "n")
    }
    assert found["total"] == 1000 and found["channel_accuracy"] > 0.95
    # 4,000 samples of a thousand modes: each is missing with probability exp(-4), and KL is near 999 / 8000.
    assert real["captured"] == pytest.approx(1000 * (1 - math.exp(-4)), abs=30)
    assert real["kl"] == pytest.approx(999 / 8000, rel=0.4) and real["kl_real"] == math.inf
    first = digits_of(small.train.labels)[:, 0] == 4
    part = RealSubset(small.train.images[first], small.train.labels[first], small.description)
    lacking = stacked_modes(part, small)["views"][0]
    share = float(first.double().mean())
    assert lacking["captured"] <= 130 and lacking["kl"] > -math.log(share)
    index = torch.zeros(40, dtype=torch.int64)
    one = RealSubset(small.train.images[index], small.train.labels[index], small.description)
    shown = stacked_modes(one, small)["views"][0]
    shares = [torch.bincount(each, minlength=10) / 1200 for each in digits_of(small.train.labels).unbind(1)]
    chance = math.prod(
        float(each[digit]) for each, digit in zip(shares, digits_of(small.train.labels[:1])[0], strict=True)
    )
    assert shown["captured"] == shown["covered"] == 1 and shown["kl"] == pytest.approx(-math.log(chance), rel=1e-5)


def test_evaluate_takes_them_with_the_rest(small: RealData) -> None:
    some = RealSubset(small.train.images[:50], small.train.labels[:50], small.description)
    result = evaluate(some, small, learning=None, fidelity=None)
    assert result["modes"]["of"] == "stacked digits" and result["modes"]["n"] == 50
    with pytest.raises(UserError, match="none of stacked-digits, stacked-mnist"):
        digits = data.load("digits")
        stacked_modes(RealSubset.all(digits.test, digits.description), digits)


def test_a_file_starts_no_download_for_stacked_digits_either() -> None:
    check_named_by_file("stacked-digits", None, "name it")
    with pytest.raises(UserError, match="a file starts no download"):
        check_named_by_file("stacked-mnist", None, "name it")
