from __future__ import annotations

import pytest
import torch
from torch import Tensor

from gendistill.data.cutmix import cutmix

SIDES = (7, 10)
CLASSES = 4


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def batch() -> tuple[Tensor, Tensor]:
    """Images each of which has one value everywhere, so that a pixel says whose it is."""
    images = torch.arange(6.0).view(6, 1, 1, 1).expand(6, 2, *SIDES).clone()
    return images, torch.arange(6) % CLASSES


def published(seed: int) -> tuple[Tensor, Tensor]:
    """One batch by the published loop: sides floor(H sqrt(1 - lambda)), halved, around a pixel, cut off at the edge."""
    images, labels = batch()
    draws = generator(seed)
    _, share, down, across = torch.rand(4, generator=draws).tolist()
    order = torch.randperm(6, generator=draws)
    corners = []
    for side, centre in zip(SIDES, (down, across), strict=True):
        half, middle = int(side * share**0.5) // 2, int(side * centre)
        corners.append((max(middle - half, 0), min(middle + half, side)))
    (top, bottom), (left, right) = corners
    mixed = images.clone()
    mixed[:, :, top:bottom, left:right] = images[order][:, :, top:bottom, left:right]
    kept = 1 - (bottom - top) * (right - left) / (SIDES[0] * SIDES[1])
    own, other = (torch.nn.functional.one_hot(one, CLASSES).float() for one in (labels, labels[order]))
    return mixed, kept * own + (1 - kept) * other


@pytest.mark.parametrize("seed", range(40))
def test_boxes_and_labels_are_those_of_the_published_loop(seed: int) -> None:
    images, labels = cutmix(*batch(), CLASSES, generator(seed))
    expected, soft = published(seed)
    assert torch.equal(images, expected)
    torch.testing.assert_close(labels, soft)


def test_the_loss_is_the_mean_of_both_labels_losses_by_area() -> None:
    images, labels = batch()
    logits = torch.randn(6, CLASSES, generator=generator(9))
    for seed in range(5):
        mixed, soft = cutmix(images, labels, CLASSES, generator(seed))
        draws = generator(seed)
        torch.rand(4, generator=draws)
        order = torch.randperm(6, generator=draws)
        moved = (order != torch.arange(6)).nonzero().flatten()
        share = (mixed[moved[0]] != images[moved[0]]).float().mean()
        loss = torch.nn.functional.cross_entropy
        expected = (1 - share) * loss(logits, labels) + share * loss(logits, labels[order])
        torch.testing.assert_close(loss(logits, soft), expected)


def test_soft_labels_are_mixed_as_they_are() -> None:
    images, labels = batch()
    soft = torch.rand(6, CLASSES, generator=generator(1)).softmax(1)
    whole = cutmix(images, torch.eye(6), 6, generator(2))[1]
    torch.testing.assert_close(cutmix(images, soft, CLASSES, generator(2))[1], whole @ soft)
    torch.testing.assert_close(cutmix(images, labels, CLASSES, generator(2))[1], whole @ torch.eye(CLASSES)[labels])


@pytest.mark.parametrize(("probability", "low", "high"), [(0.0, 0, 0), (0.5, 60, 140), (1.0, 170, 200)])
def test_so_many_batches_are_mixed(probability: float, low: int, high: int) -> None:
    images, labels = batch()
    draws, changed = generator(0), 0
    for _ in range(200):
        mixed, soft = cutmix(images, labels, CLASSES, draws, probability=probability)
        changed += int(not torch.equal(mixed, images))
        assert torch.equal(soft.sum(1), torch.ones(6)) or torch.allclose(soft.sum(1), torch.ones(6))
    # A box of less than two pixels, or an order that changes nothing, leaves a batch as it was.
    assert low <= changed <= high


def test_as_much_is_drawn_whether_a_batch_is_mixed_or_not() -> None:
    one, other = generator(3), generator(3)
    cutmix(*batch(), CLASSES, one, probability=0.0)
    cutmix(*batch(), CLASSES, other, probability=1.0)
    assert torch.equal(one.get_state(), other.get_state())
