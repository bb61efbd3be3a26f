"""The fidelity of teachers: names, numbers against the parts, and what it says of few images and wrong data."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from gendistill.data.description import Normalisation
from gendistill.data.real import RealData, Split
from gendistill.errors import UserError
from gendistill.evaluation import draws
from gendistill.evaluation import statistics as real_side
from gendistill.evaluation.cache import VARIABLE
from gendistill.evaluation.extractors import Extractor, extract
from gendistill.evaluation.fidelity import common_count, fidelity
from gendistill.evaluation.frechet import frechet_distance_from_features
from gendistill.evaluation.kernel import kernel_distance
from gendistill.evaluation.neighbours import neighbour_scores
from gendistill.seeds import stream
from gendistill.teacher.stored import StoredImages
from gendistill.teacher.subset import RealSubset


class Rows(Extractor):
    name = "rows"

    def features(self, images: Tensor, normalisation: Normalisation) -> Tensor:
        return normalisation.invert(images).mean((1, 3))


@pytest.fixture(autouse=True)
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    yield tmp_path


def noisy(data: RealData, count: int, noise: float) -> StoredImages:
    """Test images with noise, in a normalisation of their own."""
    normalisation = Normalisation((0.1,), (0.7,))
    pixels = data.test.images[:count].float() / 255
    pixels = pixels + noise * torch.randn(pixels.shape, generator=stream(0, "noise"))
    description = data.description.with_normalisation(normalisation)
    return StoredImages(normalisation.apply(pixels), data.test.labels[:count], description)


def test_numbers_are_those_of_the_parts(tiny_data: RealData) -> None:
    teacher = noisy(tiny_data, 60, 0.1)
    result = fidelity(teacher, tiny_data, extractor=Rows())
    made = extract(Rows(), teacher.images, teacher.description.normalisation)
    real = extract(Rows(), tiny_data.train.images, tiny_data.description.normalisation)
    assert result["name"] == "FD[rows]"
    assert result["value"] == pytest.approx(frechet_distance_from_features(made, real), rel=1e-9)
    assert (result["n"], result["reference"], result["reference_n"]) == (60, "train", 96)
    scores = neighbour_scores(real, made)
    assert {key: result[key] for key in scores} == scores
    assert (result["draws"], result["std"], result["whole"]) == (1, None, {"n": 60, "value": result["value"]})
    assert set(result["spread"].values()) == {None}
    classes = {"first_classes": teacher.labels, "second_classes": tiny_data.train.labels}
    kid = kernel_distance(made, real, **classes)
    assert (result["kid"]["name"], result["kid"]["n"], kid["estimator"]) == ("KID[rows]", 60, "stratified")
    assert {key: result["kid"][key] for key in kid} == pytest.approx(kid)
    assert result["inception_score"] is None and result["shared"] == 0
    assert "trust the KID" in result["notes"][0]


def test_more_noise_is_farther(tiny_data: RealData) -> None:
    values = [fidelity(noisy(tiny_data, 60, noise), tiny_data, extractor=Rows()) for noise in (0.0, 0.2, 0.8)]
    assert values[0]["value"] < values[1]["value"] < values[2]["value"]
    assert values[0]["kid"]["value"] < values[1]["kid"]["value"] < values[2]["kid"]["value"]


def test_real_images_against_themselves_and_against_test(tiny_data: RealData) -> None:
    teacher = RealSubset.all(tiny_data.train, tiny_data.description)
    same = fidelity(teacher, tiny_data, extractor=Rows())
    assert same["value"] < 1e-9 and same["coverage"] == 1
    assert same["shared"] == 96 and "96 of the 96 images are among the reference images" in same["notes"][1]
    assert same["kid"]["value"] == pytest.approx(0, abs=1e-12) and same["kid"]["std"] is None
    other = fidelity(teacher, tiny_data, extractor=Rows(), reference="test")
    assert other["value"] > 1e-5 and other["reference_n"] == 60 and other["shared"] == 0


def test_the_default_extractor_is_the_classifier_of_the_data(tiny_data: RealData, own_cache: Path) -> None:
    torch.manual_seed(0)
    state = torch.random.get_rng_state()
    teacher = noisy(tiny_data, 60, 0.05)
    result = fidelity(teacher, tiny_data)
    assert result["name"] == "FD[bands classifier]"
    assert result["inception_score"]["name"] == "IS[bands classifier]"
    assert 1 < result["inception_score"]["mean"] <= 3 + 1e-9
    assert result["dimension"] == 64 > result["n"]
    assert sorted(path.name for path in own_cache.iterdir()) == ["classifiers", "statistics"]
    assert fidelity(teacher, tiny_data, seed=1)["extractor"] == result["extractor"]
    again = fidelity(teacher, tiny_data)
    for key in ("value", "kid", "precision", "recall", "density", "coverage", "inception_score"):
        assert again[key] == result[key]
    assert torch.equal(state, torch.random.get_rng_state())


class Fresh(StoredImages):
    """Makes images without end, and remembers how many it was asked for at a time."""

    asked: list[int]

    @property
    def images_stored(self) -> None:  # type: ignore[override]
        return None

    def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
        self.asked = [*getattr(self, "asked", []), count]
        return self.pick(torch.randint(len(self.images), (count,), generator=generator))


def test_how_many_images_are_drawn(tiny_data: RealData, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draws, "CHUNK", 40)
    monkeypatch.setattr(draws, "LIMIT", 250)
    stored = noisy(tiny_data, 60, 0.1)
    fresh = Fresh(stored.images, stored.labels, stored.description)

    def drawn(teacher: StoredImages, **options: int) -> tuple[int, int, int]:
        result = fidelity(teacher, tiny_data, extractor=Rows(), **options)
        assert (result["std"] is None) == (result["draws"] == 1)
        return result["n"], result["draws"], result["whole"]["n"]

    assert drawn(fresh) == (96, 2, 192)  # as many draws of 96 as 250 images allow
    assert fresh.asked == [40, 40, 16] * 2
    assert drawn(fresh, count=10) == (10, 5, 50)
    assert drawn(fresh, count=300) == (300, 1, 300)
    assert drawn(stored, count=30) == (30, 5, 60)
    assert drawn(stored, count=30, draws=2) == (30, 2, 60)
    assert drawn(stored, count=60) == drawn(stored, count=1000) == (60, 1, 60)


def test_one_image_has_no_distance(tiny_data: RealData) -> None:
    result = fidelity(noisy(tiny_data, 1, 0.0), tiny_data, extractor=Rows())
    assert result["n"] == 1 and math.isnan(result["value"]) and math.isnan(result["kid"]["value"])
    assert "one image has no spread" in result["notes"][0]
    assert not any("trust the KID" in note for note in result["notes"])


def test_a_teacher_of_other_data_is_refused(tiny_data: RealData) -> None:
    teacher = noisy(tiny_data, 6, 0.0)
    fewer = replace(tiny_data, description=replace(tiny_data.description, class_names=("a", "b"), name="two"))
    with pytest.raises(UserError, match="made for 3 classes .*'bands'.*, but 'two' has 2"):
        fidelity(teacher, fewer, extractor=Rows())
    larger = replace(tiny_data, description=replace(tiny_data.description, image_shape=(1, 9, 9), name="large"))
    with pytest.raises(UserError, match=r"shape \(1, 8, 8\) \('bands'\), but 'large' has \(1, 9, 9\)"):
        fidelity(teacher, larger, extractor=Rows())


def test_options_that_are_not_allowed(tiny_data: RealData) -> None:
    teacher = noisy(tiny_data, 6, 0.0)
    with pytest.raises(UserError, match="reference must be one of train, test"):
        fidelity(teacher, tiny_data, extractor=Rows(), reference="validation")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="count must be at least 1"):
        fidelity(teacher, tiny_data, extractor=Rows(), count=0)


def test_a_comparison_draws_as_many_images_as_the_smallest_set_has(tiny_data: RealData) -> None:
    subsets = [
        RealSubset.random(tiny_data.train, tiny_data.description, count=count, generator=stream(0, "subset"))
        for count in (30, 12)
    ]
    everything = RealSubset.all(tiny_data.train, tiny_data.description)
    assert common_count([everything, *subsets], tiny_data) == 12
    assert common_count([everything], tiny_data) == common_count([], tiny_data) == len(tiny_data.train)


def notes_of(teacher: StoredImages, data: RealData, **options: Any) -> tuple[dict[str, Any], str]:
    result = fidelity(teacher, data, extractor=Rows(), **options)
    return result, " | ".join(result["notes"])


def test_value_and_spread_are_those_of_the_draws(tiny_data: RealData) -> None:
    teacher = noisy(tiny_data, 60, 0.1)
    result = fidelity(teacher, tiny_data, extractor=Rows(), count=20, draws=3)
    made = extract(Rows(), teacher.images, teacher.description.normalisation)
    real = extract(Rows(), tiny_data.train.images, tiny_data.description.normalisation)
    drawn = draws.pool(teacher, Rows(), 20, 3, 0).draws
    values = [frechet_distance_from_features(made[index], real) for index in drawn]
    assert (result["n"], result["draws"]) == (20, 3)
    assert result["value"] == pytest.approx(statistics.fmean(values))
    assert result["std"] == pytest.approx(statistics.stdev(values))
    whole = frechet_distance_from_features(made, real)
    assert result["whole"] == {"n": 60, "value": pytest.approx(whole)} and whole < result["value"]
    scores = [neighbour_scores(real, made[index]) for index in drawn]
    for name in ("precision", "recall", "density", "coverage"):
        assert result[name] == pytest.approx(statistics.fmean(one[name] for one in scores))
        assert result["spread"][name] == pytest.approx(statistics.stdev(one[name] for one in scores))
    # KID does not depend on the number of images, so that it is of all of them.
    assert result["kid"]["n"] == 60
    assert result["kid"]["value"] == fidelity(teacher, tiny_data, extractor=Rows())["kid"]["value"]


def test_soft_labels_count_as_their_likeliest_class(tiny_data: RealData) -> None:
    hard = noisy(tiny_data, 60, 0.1)
    labels = 0.7 * torch.nn.functional.one_hot(hard.labels, 3) + 0.1
    soft = StoredImages(hard.images, labels, hard.description)
    one, other = (fidelity(teacher, tiny_data, extractor=Rows(), count=15) for teacher in (hard, soft))
    assert one["kid"] == other["kid"] and one["value"] == other["value"]


def part(split: Split, counts: Sequence[int]) -> Split:
    """The first images of each class."""
    index = torch.cat([(split.labels == label).nonzero().flatten()[:count] for label, count in enumerate(counts)])
    return Split(split.images[index], split.labels[index])


def test_classes_that_are_rare_or_lacking_are_said(tiny_data: RealData) -> None:
    teacher = noisy(tiny_data, 60, 0.1)
    rare = replace(tiny_data, train=part(tiny_data.train, [32, 32, 1]))
    result, notes = notes_of(teacher, rare)
    assert result["kid"]["class_pairs"] == pytest.approx(1 - 1 / 65**2) and "KID leaves these pairs out" in notes
    assert "not as frequent" in notes and result["kid"]["estimator"] == "stratified"
    one_each, notes = notes_of(noisy(tiny_data, 3, 0.0), tiny_data)
    assert one_each["kid"]["class_pairs"] == pytest.approx(2 / 3) and one_each["kid"]["std"] is None
    assert "compares 66.7 % of the pairs of classes" in notes and "trust the KID" not in notes
    two_classes = noisy(replace(tiny_data, test=part(tiny_data.test, [20, 20, 0])), 40, 0.1)
    lacking, notes = notes_of(two_classes, tiny_data)
    assert "no image of 1 of the 3 classes" in notes
    assert lacking["kid"]["value"] > notes_of(teacher, tiny_data)[0]["kid"]["value"] + 2 * lacking["kid"]["std"]
    third_only = replace(tiny_data, train=part(tiny_data.train, [0, 0, 32]))
    strangers, notes = notes_of(two_classes, third_only)
    assert strangers["kid"]["estimator"] == "iid" and "no class in common" in notes
    even, notes = notes_of(teacher, tiny_data)
    assert "frequent" not in notes and even["kid"]["class_pairs"] == pytest.approx(1)


def test_classes_are_weighted_as_in_the_reference(tiny_data: RealData) -> None:
    """Test images against training images of other shares: the distributions of the classes are the same."""
    values = []
    for seed in range(20):
        order = torch.randperm(96, generator=stream(seed, "order"))
        shuffled = Split(tiny_data.train.images[order], tiny_data.train.labels[order])
        uneven = replace(tiny_data, train=part(shuffled, [30, 12, 4]))
        result = fidelity(RealSubset.all(tiny_data.test, tiny_data.description), uneven, extractor=Rows())
        values.append(result["kid"]["value"] / result["kid"]["std"])
    assert abs(statistics.fmean(values)) < 1


def subset_of(data: RealData, seed: int) -> RealSubset:
    return RealSubset.random(data.train, data.description, generator=stream(seed, "subset"), images_per_class=6)


@pytest.mark.parametrize("kept", [10_000, 60])
def test_a_teacher_of_real_images_is_not_nearer_than_others(
    tiny_data: RealData, monkeypatch: pytest.MonkeyPatch, kept: int
) -> None:
    """Pairs of one and the same image are left out, whether all features of the reference are kept or some."""
    monkeypatch.setattr(real_side, "KEPT_FEATURES", kept)
    teacher, normalisation = subset_of(tiny_data, 0), tiny_data.description.normalisation
    real = real_side.compute_statistics(tiny_data.train, normalisation, Rows())
    made = extract(Rows(), teacher.images, normalisation)
    same = [
        (mine, place)
        for mine, image in enumerate(teacher.images)
        for place, where in enumerate(real.places.tolist())
        if torch.equal(image, tiny_data.train.images[where])
    ]
    assert len(same) == 18 if kept > 96 else 0 < len(same) < 18
    options = {"first_classes": teacher.labels, "second_classes": real.classes, "shares": torch.ones(3)}
    expected = kernel_distance(made, real.features, same=torch.tensor(same), **options)
    result = fidelity(teacher, tiny_data, extractor=Rows())
    assert result["kid"]["value"] == pytest.approx(expected["value"], rel=1e-6) and result["shared"] == 18


def test_memorising_shows_beside_equally_many_test_images(tiny_data: RealData) -> None:
    copies = RealSubset.random(tiny_data.train, tiny_data.description, generator=stream(0, "s"), images_per_class=20)
    result = fidelity(copies, tiny_data, extractor=Rows(), reference="both")
    assert (result["reference"], result["shared"]) == ("train", 60)
    found = result["memorising"]
    assert (found["n"], found["reference_n"]) == (60, 60) and found["train"] < found["test"]
    fresh = RealSubset.all(tiny_data.test, tiny_data.description)
    assert fidelity(fresh, tiny_data, extractor=Rows(), reference="both")["memorising"]["test"] < 1e-9
    assert "memorising" not in fidelity(copies, tiny_data, extractor=Rows())


@pytest.mark.parametrize("count", [1, 2, 3, 9])
def test_few_images_of_a_few(tiny_data: RealData, count: int) -> None:
    """Whatever is asked of whatever number: finite scores, or none, and never an error."""
    for stored in (1, 2, 5):
        result = fidelity(noisy(tiny_data, stored, 0.1), tiny_data, extractor=Rows(), count=count, reference="both")
        assert result["n"] == min(count, stored)
        assert math.isnan(result["value"]) == (min(count, stored) < 2)
        assert math.isnan(result["whole"]["value"]) == (stored < 2)
        assert result["kid"]["std"] is None or result["kid"]["std"] >= 0
        keys = {"name", "value", "std", "estimator", "class_pairs", "n"}
        assert set(result["kid"]) == keys and {"nearest", "recall_nearest", "spread"} < set(result)


def test_images_that_are_not_finite_are_refused(tiny_data: RealData) -> None:
    class Broken(Fresh):
        def sample(self, count: int, generator: torch.Generator, balanced: bool = True) -> tuple[Tensor, Tensor]:
            images, labels = super().sample(count, generator, balanced)
            return images * torch.inf, labels

    stored = noisy(tiny_data, 30, 0.1)
    with pytest.raises(UserError, match="'images' holds values that are NaN or infinite"):
        fidelity(Broken(stored.images, stored.labels, stored.description), tiny_data, extractor=Rows())
