"""Coresets of many groups at once against the same thing written out for one group."""

from __future__ import annotations

import pytest
import torch
from sklearn.cluster import KMeans
from torch import Tensor

from gendistill import coresets


@pytest.fixture
def groups() -> tuple[Tensor, Tensor]:
    """Three groups of 9, 5 and 7 vectors in 4 dimensions; what lies behind their ends must not matter."""
    features = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0)) + 5
    valid = torch.arange(9) < torch.tensor([9, 5, 7])[:, None]
    return features.masked_fill(~valid[..., None], 1e3), valid


def herded(vectors: Tensor, count: int) -> list[int]:
    chosen: list[int] = []
    for _ in range(count):
        rest = [place for place in range(len(vectors)) if place not in chosen]
        gaps = [(vectors.mean(0) - vectors[[*chosen, place]].mean(0)).norm().item() for place in rest]
        chosen.append(rest[gaps.index(min(gaps))])
    return chosen


def farthest_first(vectors: Tensor, count: int) -> list[int]:
    chosen = [int((vectors - vectors.mean(0)).norm(dim=1).argmin())]
    while len(chosen) < count:
        gaps = [
            -1.0 if place in chosen else min((vectors[place] - vectors[c]).norm().item() for c in chosen)
            for place in range(len(vectors))
        ]
        chosen.append(gaps.index(max(gaps)))
    return chosen


def test_members_of_groups() -> None:
    index, valid = coresets.grouped(torch.tensor([2, 0, 2, 2, 0]), 4)
    assert valid.tolist() == [[True, True, False], [False] * 3, [True] * 3, [False] * 3]
    assert index[0, :2].tolist() == [1, 4] and index[2].tolist() == [0, 2, 3]


@pytest.mark.parametrize(("fast", "slow"), [(coresets.herding, herded), (coresets.k_center, farthest_first)])
def test_orders_are_those_of_the_definition(groups: tuple[Tensor, Tensor], fast, slow) -> None:
    features, valid = groups
    found = fast(features, valid, 5)
    for row, vectors, taken in zip(found, features, valid, strict=True):
        assert row.tolist() == slow(vectors[taken].double(), 5)
    assert torch.equal(fast(features, valid, 3), found[:, :3])


def test_herding_follows_the_mean_better_than_chance(groups: tuple[Tensor, Tensor]) -> None:
    vectors = torch.randn(1, 200, 8, generator=torch.Generator().manual_seed(1))
    taken = torch.ones(1, 200, dtype=torch.bool)
    gap = (vectors[0, coresets.herding(vectors, taken, 10)[0]].mean(0) - vectors[0].mean(0)).norm()
    drawn = coresets.random_order(taken.expand(50, -1), 10, torch.Generator().manual_seed(2))
    assert gap < 0.2 * (vectors[0, drawn].mean(1) - vectors[0].mean(0)).norm(dim=1).mean()


def test_random_order_takes_members_once_and_all_alike(groups: tuple[Tensor, Tensor]) -> None:
    _, valid = groups
    found = coresets.random_order(valid, 5, torch.Generator().manual_seed(0))
    assert valid.gather(1, found).all() and all(len(set(row)) == 5 for row in found.tolist())
    many = coresets.random_order(torch.ones(3000, 6, dtype=torch.bool), 2, torch.Generator().manual_seed(0))
    shares = torch.bincount(many.flatten(), minlength=6) / 3000
    assert (shares - 1 / 3).abs().max() < 0.04


def test_lloyd_ends_where_scikit_learn_does() -> None:
    features = torch.randn(2, 60, 3, generator=torch.Generator().manual_seed(3))
    valid = torch.arange(60) < torch.tensor([60, 45])[:, None]
    start = features[:, :4].clone()
    centres, sides = coresets.lloyd(features, valid, start, rounds=300)
    for group in range(2):
        vectors = features[group, valid[group]].numpy()
        known = KMeans(4, init=start[group].numpy(), n_init=1, algorithm="lloyd", tol=0, max_iter=300).fit(vectors)
        torch.testing.assert_close(centres[group], torch.from_numpy(known.cluster_centers_).float())
        assert sides[group, valid[group]].tolist() == known.labels_.tolist()


def test_k_means_finds_clusters_that_are_far_apart() -> None:
    spots = torch.tensor([[0.0, 0.0], [40.0, 0.0], [0.0, 40.0]])
    noise = torch.randn(2, 30, 2, generator=torch.Generator().manual_seed(4))
    features, valid = spots.repeat(10, 1) + noise, torch.ones(2, 30, dtype=torch.bool)
    for seed in range(10):
        centres, sides = coresets.k_means(features, valid, 3, torch.Generator().manual_seed(seed))
        gaps = torch.cdist(spots.expand(2, -1, -1), centres)
        assert gaps.min(2).values.max() < 2 and gaps.min(1).values.max() < 2
        assert torch.equal(sides[:, 0:3], sides[:, 27:30])
        near = coresets.nearest_members(features, valid, centres)
        torch.testing.assert_close(
            (features[:, :, None] - centres[:, None]).norm(dim=3).amin(1),
            (features.gather(1, near[..., None].expand(-1, -1, 2)) - centres).norm(dim=2),
        )


def test_prototypes_are_different_members_even_where_all_are_equal() -> None:
    features, valid = torch.ones(1, 6, 2), torch.arange(6)[None] < 4
    centres, _ = coresets.k_means(features, valid, 4, torch.Generator().manual_seed(0))
    assert sorted(coresets.nearest_members(features, valid, centres)[0].tolist()) == [0, 1, 2, 3]
