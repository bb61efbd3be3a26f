from __future__ import annotations

import hashlib
from collections.abc import Iterable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data import load
from gendistill.data.folder import measure
from gendistill.data.split import SPLIT_SEED, hold_out, missing_classes, stratified, validation_size
from gendistill.errors import UserError


def labels_of(counts: list[int]) -> torch.Tensor:
    return torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))


def counts_of(labels: torch.Tensor, parts: Iterable[torch.Tensor], classes: int) -> list[list[int]]:
    return [torch.bincount(labels[part], minlength=classes).tolist() for part in parts]


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 9))
def test_parts_are_exact_disjoint_and_stratified(counts: list[int], share: float, seed: int) -> None:
    labels = labels_of(counts)
    held = int(len(labels) * share)
    rest, part = stratified(labels, (len(labels) - held, held), seed)
    assert len(part) == held
    assert torch.cat([rest, part]).sort().values.tolist() == list(range(len(labels)))
    taken, total = torch.bincount(labels[part], minlength=len(counts)), torch.tensor(counts)
    quota = total * held / len(labels)
    if ((quota >= 1) & (total - quota >= 1)).all():  # no class is too rare for its share
        assert ((taken - quota).abs() < 1).all()
    divisible = total > 1
    if divisible.sum() <= held and len(counts) <= len(labels) - held:
        assert (taken[divisible] >= 1).all() and (taken < total).all()


@settings(deadline=None, max_examples=50)
@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=12) | st.lists(st.integers(1, 3), min_size=20, max_size=60),
    st.integers(0, 9),
)
def test_every_part_has_every_class_that_is_not_too_rare(counts: list[int], seed: int) -> None:
    labels = labels_of(counts)
    rest, test = hold_out(labels, len(labels) // 5, seed, least=2)
    inner, validation = hold_out(labels[rest], validation_size(len(rest)), seed)
    found = counts_of(labels, (rest[inner], rest[validation], test), len(counts))
    assert [sum(shares) for shares in zip(*found, strict=True)] == counts
    for count, train, held, tested in zip(counts, *found, strict=True):
        assert train >= 1
        assert (tested >= 1) == (count >= 2) and (held >= 1) == (count >= 3)


@pytest.mark.parametrize(
    ("counts", "expected"),
    [
        ([200, 2, 1], [[145, 1, 1], [16, 0, 0], [39, 1, 0]]),
        ([1000, 3, 3], [[723, 1, 1], [78, 1, 1], [199, 1, 1]]),
        ([3, 3], [[1, 1], [1, 1], [1, 1]]),
        ([1, 1], [[1, 1], [0, 0], [0, 0]]),
        ([1] * 30, [[1] * 30, [0] * 30, [0] * 30]),
        ([2] * 30, [[1] * 30, [0] * 30, [1] * 30]),
        ([1] * 7 + [3], [[1] * 8, [0] * 7 + [1], [0] * 7 + [1]]),
    ],
)
def test_rare_classes_are_divided(counts: list[int], expected: list[list[int]]) -> None:
    labels = labels_of(counts)
    rest, test = hold_out(labels, len(labels) // 5, least=2)
    inner, validation = hold_out(labels[rest], validation_size(len(rest)))
    found = counts_of(labels, (rest[inner], rest[validation], test), len(counts))
    assert found == expected


def test_splits_of_classes_with_enough_samples_are_what_they_were() -> None:
    """Digests of indices from before rare classes were looked after."""

    def digest(parts: Iterable[torch.Tensor]) -> str:
        return hashlib.sha256(b"|".join(part.numpy().tobytes() for part in parts)).hexdigest()[:16]

    for counts, seed, known in (([20, 20], 0, "f458d8920d6ee7f4"), ([60, 40, 30], 3, "8f29cf73efa674bb")):
        labels = labels_of(counts)
        rest, test = hold_out(labels, len(labels) // 5, SPLIT_SEED + seed, least=2)
        inner, validation = hold_out(labels[rest], validation_size(len(rest)), SPLIT_SEED + seed)
        assert digest((rest[inner], rest[validation], test)) == known
    assert digest(stratified(labels_of([500] * 10), (4500, 500))) == "bf11119d7fb172ac"
    assert digest(stratified(labels_of([31, 77, 45, 60]), (133, 30, 50), 5)) == "8743f95bb5de7c24"
    toytext = load("toytext")
    parts = [getattr(toytext, part).images for part in ("train", "validation", "test")]
    assert digest(parts) == "e6760630b6bc0ae4"


def test_missing_classes_are_named_with_what_it_means() -> None:
    parts = {"train": [0, 0, 1, 2], "validation": [0], "test": [0, 1]}
    found = missing_classes({name: torch.tensor(labels) for name, labels in parts.items()}, ("a", "b", "c"))
    assert found == [
        "the validation part has nothing of 'b' (2 in all), 'c' (1 in all): choices are made without them",
        "the test part has nothing of 'c' (1 in all): the accuracy says nothing of them",
    ]
    many = missing_classes(
        {"train": torch.arange(20), "test": torch.zeros(1, dtype=torch.int64)}, list("abcdefghijklmnopqrst")
    )
    assert len(many) == 1 and many[0].count("in all") == 8 and "and 11 more" in many[0]


def test_a_split_is_a_shuffle() -> None:
    labels = torch.zeros(1000, dtype=torch.int64)
    (_, one), (_, other) = (stratified(labels, (900, 100), seed) for seed in (0, 1))
    assert abs(float(one.double().mean()) - 500) < 120
    assert set(one.tolist()) != set(other.tolist())
    assert torch.equal(one, stratified(labels, (900, 100), 0)[1])


def test_sizes_must_sum() -> None:
    with pytest.raises(UserError, match="must sum to the 3 samples"):
        stratified(torch.zeros(3, dtype=torch.int64), (1, 1))


@pytest.mark.parametrize(("count", "held"), [(50000, 5000), (60000, 5000), (7291, 729), (9, 0)])
def test_validation_size(count: int, held: int) -> None:
    assert validation_size(count) == held


def test_digits_split_never_changes() -> None:
    data = load("digits")
    assert [len(part) for part in (data.train, data.validation, data.test)] == [1197, 200, 400]
    for part in (data.train, data.validation, data.test):
        counts = torch.bincount(part.labels)
        assert len(counts) == 10 and counts.max() - counts.min() <= 0.05 * len(part)
    # Published accuracies are of exactly these images.
    digest = hashlib.sha256(data.test.images.numpy().tobytes() + data.test.labels.numpy().tobytes()).hexdigest()
    assert digest[:16] == "d242f187ac0d0771"


def test_digits_pixels_and_normalisation() -> None:
    from sklearn.datasets import load_digits

    data = load("digits")
    parts = (data.train, data.validation, data.test)
    images = torch.cat([part.images for part in parts])
    assert images.dtype == torch.uint8 and images.shape == (1797, 1, 8, 8)
    # Each grey level 0..16 at its place in 0..255, and the same images as the source in some order.
    levels = {round(level * 255 / 16) for level in range(17)}
    assert set(images.unique().tolist()) == levels
    restored = (images.flatten(1).double() * 16 / 255).round()
    assert sorted(map(tuple, restored.tolist())) == sorted(map(tuple, load_digits().data.tolist()))
    measured = measure(data.train.images)
    assert measured.mean == pytest.approx(data.description.normalisation.mean, abs=5e-5)
    assert measured.std == pytest.approx(data.description.normalisation.std, abs=5e-5)
    assert data.description.image_shape == (1, 8, 8)
