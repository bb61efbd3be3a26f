"""Smaller batches: shares, choices and weights against closed forms and definitions."""

from __future__ import annotations

import itertools

import pytest
import torch

from gendistill import batch_coresets, coresets
from gendistill.errors import UserError


def rng(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_batches_hold_each_image_once_and_the_classes_in_their_shares() -> None:
    labels = torch.arange(100) % 5
    index = batch_coresets.batch_order(labels, None, 30, seed=3)
    assert index.shape == (3, 30) and len(index.unique()) == 90
    counts = torch.stack([torch.bincount(labels[row], minlength=5) for row in index])
    assert (counts - 6).abs().max() <= 1
    assert torch.equal(index, batch_coresets.batch_order(labels, None, 30, seed=3))
    assert not torch.equal(index, batch_coresets.batch_order(labels, None, 30, seed=4))
    assert torch.equal(index[:2], batch_coresets.batch_order(labels, 2, 30, seed=3))
    with pytest.raises(
        UserError, match="make 3 batches of 30; asked for were 4; choose a smaller batch_size or num_batches"
    ):
        batch_coresets.batch_order(labels, 4, 30, seed=3)


def test_shares_are_rounded_without_bias_and_add_up() -> None:
    row = torch.tensor([0] * 5 + [1] * 3 + [2] * 2)
    found = batch_coresets.shares(row.expand(4000, -1), 4, 5, rng())
    assert (found.sum(1) == 5).all()
    exact = torch.tensor([2.5, 1.5, 1.0, 0.0])
    assert ((found - exact).abs() < 1).all()
    torch.testing.assert_close(found.double().mean(0), exact.double(), atol=0.03, rtol=0)


@pytest.mark.parametrize("selection", batch_coresets.SELECTIONS)
def test_choices_within_each_class_are_those_of_a_loop(selection: str) -> None:
    classes = torch.randint(3, (4, 12), generator=rng(1))
    features = torch.randn(4, 12, 5, generator=rng(2))
    found = batch_coresets.select(selection, classes, 3, 6, rng(3), features)
    wanted = batch_coresets.shares(classes, 3, 6, rng(3))
    for row, of, vectors, share in zip(found, classes, features, wanted, strict=True):
        assert len(set(row.tolist())) == 6
        assert torch.bincount(of[row], minlength=3).tolist() == share.tolist()
        if selection == "random":
            continue
        expected: list[int] = []
        for label in range(3):
            members = (of == label).nonzero().flatten()
            if not share[label]:
                continue
            choose = coresets.herding if selection == "herding" else coresets.k_center
            taken = torch.ones(1, len(members), dtype=torch.bool)
            expected += members[choose(vectors[members][None], taken, int(share[label]))[0]].tolist()
        assert row.tolist() == expected


def test_weighted_means_of_what_the_loss_chooses_are_unbiased() -> None:
    losses = torch.tensor([[0.0, 0.1, 0.2, 3.0, 0.5, 0.1, 9.0, 0.0]])
    value = torch.tensor([1.0, -2.0, 0.5, 4.0, 8.0, -1.0, 2.0, 3.0], dtype=torch.float64)
    many = losses.expand(20000, -1)
    places, weights = batch_coresets.by_loss(many, 4, rng())
    assert all(len(set(row)) == 4 for row in places[:200].tolist())
    means = (value[places] * weights.double()).mean(1)
    torch.testing.assert_close(means.mean(), value.mean(), atol=0.03, rtol=0)
    shares = torch.bincount(places.flatten(), minlength=8) / 20000
    expected = batch_coresets.inclusion_probabilities(losses, 4)[0]
    torch.testing.assert_close(shares.double(), expected, atol=0.01, rtol=0)
    assert expected[6] == 1 and expected.sum().item() == pytest.approx(4) and weights.max() < 2


def test_inclusion_probabilities_at_the_ends() -> None:
    equal = batch_coresets.inclusion_probabilities(torch.zeros(1, 6), 3)
    torch.testing.assert_close(equal, torch.full((1, 6), 0.5, dtype=torch.float64))
    torch.testing.assert_close(
        batch_coresets.inclusion_probabilities(torch.tensor([[1.0, 5.0, 0.0]]), 3),
        torch.ones(1, 3, dtype=torch.float64),
    )


def test_pairs_of_half_a_batch_use_every_image_once() -> None:
    found = batch_coresets.pairs(3, 8, 4, rng())
    assert all(sorted(row) == list(range(8)) for row in found.flatten(1).tolist())
    for size in range(1, 7):
        for left, right in itertools.chain(*batch_coresets.pairs(5, 7, size, rng(size)).tolist()):
            assert left != right


def test_sizes_of_repeated_rounds() -> None:
    assert batch_coresets.sizes(64, 32, 3) == [64, 32, 16, 8]
    assert batch_coresets.sizes(54, 36, 3) == [54, 36, 24, 16]
    with pytest.raises(UserError, match="32 is followed by 21.3"):
        batch_coresets.sizes(48, 32, 2)
    with pytest.raises(UserError, match=r"can have 1\.\.63"):
        batch_coresets.sizes(64, 64, 1)
