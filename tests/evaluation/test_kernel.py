"""KID against slow double loops, a closed form, and what two sets of real images must give."""

from __future__ import annotations

import io
import math
from collections.abc import Callable

import pytest
import torch
from PIL import Image
from torch import Tensor

from gendistill.data.load import load
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.evaluation import gram
from gendistill.evaluation.kernel import kernel_distance
from gendistill.seeds import stream


def features(count: int, width: int, seed: int) -> Tensor:
    return torch.randn(count, width, generator=stream(seed, "features"), dtype=torch.float64) + 0.2 * seed


def k(x: Tensor, y: Tensor) -> float:
    return (float(x @ y) / len(x) + 1) ** 3


def slow(first: Tensor, second: Tensor) -> float:
    """The unbiased estimate, pair by pair. Eq. (4) of Binkowski et al. 2018."""
    n, m = len(first), len(second)
    within1 = sum(k(first[i], first[j]) for i in range(n) for j in range(n) if i != j) / (n * (n - 1))
    within2 = sum(k(second[i], second[j]) for i in range(m) for j in range(m) if i != j) / (m * (m - 1))
    between = sum(k(x, y) for x in first for y in second) / (n * m)
    return within1 + within2 - 2 * between


def mean(pairs: list[float]) -> float:
    return sum(pairs) / len(pairs)


def slow_by_class(
    first: Tensor,
    second: Tensor,
    of1: list[int],
    of2: list[int],
    shares: list[float],
    same: tuple[tuple[int, int], ...],
) -> float:
    """The estimate from its definition, pair of classes by pair of classes; every class has a pair of its own."""
    total = 0.0
    for c, p in enumerate(shares):
        for d, q in enumerate(shares):
            x, other_x = ([i for i, label in enumerate(of1) if label == one] for one in (c, d))
            y, other_y = ([i for i, label in enumerate(of2) if label == one] for one in (c, d))
            total += p * q * mean([k(first[i], first[j]) for i in x for j in other_x if i != j])
            total += p * q * mean([k(second[i], second[j]) for i in y for j in other_y if i != j])
            total -= 2 * p * q * mean([k(first[i], second[j]) for i in x for j in other_y if (i, j) not in same])
    return total


def test_without_classes_it_is_the_usual_estimate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "VALUES", 5 * 17)
    first, second = features(12, 4, 0), features(17, 4, 1)
    result = kernel_distance(first, second)
    assert result["value"] == pytest.approx(slow(first, second), rel=1e-12)
    assert (result["estimator"], result["class_pairs"]) == ("iid", 1.0)


def test_two_points() -> None:
    """Sets of two equal points at 0 and at c: 1 + (c² + 1)³ - 2 in one dimension."""
    result = kernel_distance(torch.zeros(2, 1), torch.full((2, 1), 2.0))
    assert result["value"] == pytest.approx(1 + 5**3 - 2)
    assert result["std"] is None  # with one of two left out there is no pair


@pytest.mark.parametrize("values", [3, 7 * 18, 10_000])
def test_with_classes_it_is_the_sum_over_pairs_of_classes(values: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gram, "VALUES", values)
    first, second = features(11, 4, 0), features(18, 4, 1)
    of1 = [0, 1, 2, 0, 1, 2, 0, 1, 2, 1, 1]
    of2 = [2, 2, 0, 1, 2, 2, 0, 1, 2, 2, 0, 1, 2, 2, 2, 2, 2, 2]
    given = {"first_classes": torch.tensor(of1), "second_classes": torch.tensor(of2)}
    shares = [of2.count(label) / 18 for label in range(3)]
    expected = slow_by_class(first, second, of1, of2, shares, ())
    assert kernel_distance(first, second, **given)["value"] == pytest.approx(expected, rel=1e-11)
    other = [0.5, 0.3, 0.2]
    result = kernel_distance(first, second, **given, shares=torch.tensor(other, dtype=torch.float64))
    assert result["value"] == pytest.approx(slow_by_class(first, second, of1, of2, other, ()), rel=1e-11)
    assert (result["estimator"], result["class_pairs"]) == ("stratified", pytest.approx(1.0))


def test_pairs_of_one_image_are_left_out() -> None:
    first, second = features(9, 4, 0), features(12, 4, 1)
    of1, of2 = [0, 1, 0, 1, 0, 1, 0, 1, 0], [0, 1] * 6
    same = ((0, 2), (3, 1), (8, 11))  # the last with another label
    for mine, real in same:
        first[mine] = second[real]
    result = kernel_distance(
        first,
        second,
        first_classes=torch.tensor(of1),
        second_classes=torch.tensor(of2),
        same=torch.tensor(same),
    )
    assert result["value"] == pytest.approx(slow_by_class(first, second, of1, of2, [0.5, 0.5], same), rel=1e-11)


def test_a_set_is_at_distance_zero_from_itself_and_nothing_can_vary() -> None:
    points, classes = features(20, 4, 0), torch.arange(20) % 3
    itself = torch.arange(20)[:, None].expand(-1, 2)
    for given in ({}, {"first_classes": classes, "second_classes": classes}):
        result = kernel_distance(points, points, same=itself, **given)
        assert result["value"] == pytest.approx(0, abs=1e-12) and result["std"] is None


def scattered(count: int, spread: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Points about the centres (K, D) of their classes, the same number of each."""
    classes = torch.arange(count) % len(spread)
    noise = torch.randn(count, spread.shape[1], generator=generator, dtype=torch.float64)
    return spread[classes] + noise, classes


def repeated(draw: Callable[[torch.Generator], dict[str, float]], times: int = 200) -> tuple[Tensor, Tensor]:
    """Values and standard errors of many draws."""
    generator = stream(0, "repeated")
    results = [draw(generator) for _ in range(times)]
    return torch.tensor([one["value"] for one in results]), torch.tensor([one["std"] or 0.0 for one in results])


CENTRES = 2 * torch.randn(5, 6, generator=stream(3, "centres"), dtype=torch.float64)


@pytest.mark.parametrize("counts", [(40, 60), (10, 60), (5, 60), (5, 5)])
def test_balanced_draws_of_one_distribution_give_zero(counts: tuple[int, int]) -> None:
    def draw(generator: torch.Generator, stratified: bool) -> dict[str, float]:
        (x, of1), (y, of2) = (scattered(count, CENTRES, generator) for count in counts)
        return kernel_distance(x, y, **({"first_classes": of1, "second_classes": of2} if stratified else {}))

    values, _ = repeated(lambda generator: draw(generator, True))
    error = float(values.std()) / 200**0.5
    assert abs(float(values.mean())) < 3.5 * error
    wrong, _ = repeated(lambda generator: draw(generator, False))
    assert float(wrong.mean()) < -5 * float(wrong.std()) / 200**0.5  # what this is for


def test_a_random_part_of_the_reference_gives_zero() -> None:
    def draw(generator: torch.Generator, known: bool) -> dict[str, float]:
        y, of2 = scattered(60, CENTRES, generator)
        chosen = torch.randperm(60, generator=generator)[:25]
        same = torch.stack((torch.arange(25), chosen), 1) if known else None
        return kernel_distance(y[chosen], y, first_classes=of2[chosen], second_classes=of2, same=same)

    values, errors = repeated(lambda generator: draw(generator, True))
    assert abs(float(values.mean())) < 3.5 * float(values.std()) / 200**0.5
    assert 0.8 < float(errors.square().mean().sqrt() / values.std()) < 2
    wrong, _ = repeated(lambda generator: draw(generator, False))
    assert float(wrong.mean()) < -5 * float(wrong.std()) / 200**0.5


@pytest.mark.parametrize("centre", [0.0, 50.0])
def test_the_standard_error_is_that_of_the_jackknife(centre: float) -> None:
    """Every image left out once, class by class; wherever the features lie."""
    first, second = features(13, 3, 0) + centre, features(17, 3, 1) + centre
    of1, of2 = torch.arange(13) % 3, torch.arange(17) % 3
    shares = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)

    def without(mine: int, real: int) -> float:
        kept1, kept2 = (torch.arange(count) != place for count, place in ((13, mine), (17, real)))
        classes = {"first_classes": of1[kept1], "second_classes": of2[kept2]}
        return float(kernel_distance(first[kept1], second[kept2], **classes, shares=shares)["value"])

    variance = 0.0
    for of, one in ((of1, lambda place: without(place, -1)), (of2, lambda place: without(-1, place))):
        values = torch.tensor([one(place) for place in range(len(of))], dtype=torch.float64)
        for label in range(3):
            members = values[of == label]
            variance += float((len(members) - 1) * members.var(correction=0))
    found = kernel_distance(first, second, first_classes=of1, second_classes=of2, shares=shares)
    assert found["std"] == pytest.approx(variance**0.5, rel=1e-5)


@pytest.mark.parametrize("shift,low,high", [(0.0, 1.0, 2.0), (1.0, 0.85, 1.25)])
def test_the_standard_error_is_that_of_many_draws(shift: float, low: float, high: float) -> None:
    """Right where the sets differ; too large by the root of 2, more with few images a class, where they do not."""

    def draw(generator: torch.Generator) -> dict[str, float]:
        (x, of1), (y, of2) = (scattered(count, CENTRES / 2, generator) for count in (60, 90))
        return kernel_distance(x + shift, y, first_classes=of1, second_classes=of2)

    values, errors = repeated(draw)
    assert low < float(errors.square().mean().sqrt() / values.std()) < high


def test_one_image_of_a_class_has_the_others_spread() -> None:
    (x, of1), (y, of2) = (scattered(count, CENTRES, stream(count, "s")) for count in (15, 30))
    whole = kernel_distance(x, y, first_classes=of1, second_classes=of2)
    kept = torch.arange(15) != 14  # one of the last class is left
    kept[9] = False
    result = kernel_distance(x[kept], y, first_classes=of1[kept], second_classes=of2)
    assert result["class_pairs"] == pytest.approx(1 - 0.2**2) and whole["class_pairs"] == pytest.approx(1)
    assert result["std"] == pytest.approx(whole["std"], rel=0.5)
    one_each = kernel_distance(x[:5], y, first_classes=of1[:5], second_classes=of2)
    assert one_each["class_pairs"] == pytest.approx(0.8) and one_each["std"] is None


def test_classes_that_one_side_lacks() -> None:
    (x, of1), (y, of2) = (scattered(count, CENTRES, stream(count, "s")) for count in (40, 50))

    def distance(mine: Tensor, theirs: Tensor) -> dict[str, float]:
        return kernel_distance(x[mine], y[theirs], first_classes=of1[mine], second_classes=of2[theirs])

    everything = distance(of1 >= 0, of2 >= 0)
    assert distance(of1 != 0, of2 >= 0)["value"] > everything["value"] + 2 * everything["std"]  # a class was dropped
    # What the reference has not is not held against anyone.
    assert distance(of1 >= 0, of2 != 0)["value"] == pytest.approx(distance(of1 != 0, of2 != 0)["value"])
    nothing = distance(of1 < 2, of2 >= 2)
    assert nothing["estimator"] == "iid"
    assert nothing["value"] == pytest.approx(kernel_distance(x[of1 < 2], y[of2 >= 2])["value"])


def pixels(split: Split, index: Tensor) -> Tensor:
    return split.images[index].double().flatten(1) / 32  # 64 pixels, with norms at which the kernel is curved


def balanced(split: Split, per_class: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Two sets of different images with as many of every class."""
    order = torch.randperm(len(split), generator=generator)
    members = [order[split.labels[order] == label] for label in range(10)]
    return torch.cat([one[:per_class] for one in members]), torch.cat(
        [one[per_class : 2 * per_class] for one in members]
    )


def test_real_images_against_real_ones() -> None:
    data = load("digits").train
    generator = stream(0, "real against real")
    stratified, usual = [], []
    for _ in range(100):
        mine, real = balanced(data, 10, generator)
        given = {"first_classes": data.labels[mine], "second_classes": data.labels[real]}
        stratified.append(kernel_distance(pixels(data, mine), pixels(data, real), **given)["value"])
        usual.append(kernel_distance(pixels(data, mine), pixels(data, real))["value"])
    for values, zero in ((torch.tensor(stratified), True), (torch.tensor(usual), False)):
        errors = float(values.mean()) / (float(values.std()) / 10)
        assert abs(errors) < 3 if zero else errors < -10


def test_real_images_against_real_ones_of_uneven_classes() -> None:
    """The reference has classes from 40 images down to 4; the draw has 4 of each."""
    data = load("digits").train
    generator, values = stream(1, "real against real"), []
    for _ in range(100):
        order = torch.randperm(len(data), generator=generator)
        members = [order[data.labels[order] == label] for label in range(10)]
        mine = torch.cat([one[:4] for one in members])
        real = torch.cat([one[4 : 8 + 4 * label] for label, one in enumerate(members)])
        given = {"first_classes": data.labels[mine], "second_classes": data.labels[real]}
        values.append(kernel_distance(pixels(data, mine), pixels(data, real), **given)["value"])
    assert abs(float(torch.tensor(values).mean())) < 3 * float(torch.tensor(values).std()) / 10


def jpeg(images: Tensor, quality: int) -> Tensor:
    made = []
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image[0].numpy()).save(file, "JPEG", quality=quality)
        made.append(torch.frombuffer(bytearray(Image.open(file).tobytes()), dtype=torch.uint8).view(1, 8, 8))
    return torch.stack(made)


def test_damage_never_improves_it() -> None:
    data = load("digits").train
    for seed in range(5):
        mine, real = balanced(data, 10, stream(seed, "damage"))
        given = {"first_classes": data.labels[mine], "second_classes": data.labels[real]}
        values = []
        for quality in (100, 60, 30, 10):
            damaged = Split(jpeg(data.images[mine], quality), data.labels[mine])
            shown = pixels(damaged, torch.arange(len(mine)))
            values.append(kernel_distance(shown, pixels(data, real), **given)["value"])
        assert values == sorted(values)


@pytest.mark.parametrize(
    "first,second,options,sentence",
    [
        ((5, 3), (5, 4), {}, "KID needs features"),
        ((1, 3), (5, 3), {}, "at least 2 images on each side"),
        ((5, 3), (5, 3), {"first_classes": torch.zeros(5, dtype=torch.int64)}, "classes of both sides or of none"),
        ((5, 3), (5, 3), {"first_classes": torch.zeros(4), "second_classes": torch.zeros(5)}, "5 whole numbers from 0"),
        (
            (5, 3),
            (5, 3),
            {name: torch.full((5,), 3) for name in ("first_classes", "second_classes")} | {"shares": torch.ones(3)},
            "shares of 3 classes, but classes up to 3",
        ),
    ],
)
def test_bad_input(first: tuple[int, int], second: tuple[int, int], options: dict[str, Tensor], sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        kernel_distance(torch.zeros(first), torch.zeros(second), **options)


def test_values_that_are_not_finite_are_named() -> None:
    damaged = features(9, 3, 0)
    damaged[2, 1] = math.nan
    for pair, name in (((damaged, features(9, 3, 1)), "first"), ((features(9, 3, 1), damaged), "second")):
        with pytest.raises(UserError, match=f"'{name}' holds values that are NaN or infinite"):
            kernel_distance(*pair)


@pytest.mark.parametrize("shares", ([math.nan, 1.0], [math.inf, 1.0], [-1.0, 2.0], [0.0, 0.0]))
def test_shares_that_are_no_weights_are_refused(shares: list[float]) -> None:
    """NaN compares as "no class in common" and would take all images as one class."""
    x, classes = torch.randn(6, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 0, 0, 1, 1, 1])
    with pytest.raises(UserError, match="at least 0"):
        kernel_distance(x, x + 1, first_classes=classes, second_classes=classes, shares=torch.tensor(shares))


@pytest.mark.parametrize("same", ([[6, 0]], [[0, 6]], [[-1, 0]], [0, 1], [[0.0, 1.0]]))
def test_pairs_that_are_no_images_are_refused(same: list[list[float]]) -> None:
    x = torch.randn(6, 3, generator=torch.Generator().manual_seed(0))
    with pytest.raises(UserError, match="same"):
        kernel_distance(x, x + 1, same=torch.tensor(same))
