from __future__ import annotations

import hashlib

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data import load
from gendistill.data.folder import measure
from gendistill.data.split import stratified, validation_size
from gendistill.errors import UserError


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 60), min_size=1, max_size=8), st.floats(0, 1), st.integers(0, 9))
def test_parts_are_exact_disjoint_and_stratified(counts: list[int], share: float, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    held = int(len(labels) * share)
    rest, part = stratified(labels, (len(labels) - held, held), seed)
    assert len(part) == held
    assert torch.cat([rest, part]).sort().values.tolist() == list(range(len(labels)))
    taken = torch.bincount(labels[part], minlength=len(counts))
    assert ((taken - torch.tensor(counts) * held / len(labels)).abs() < 1).all()


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
