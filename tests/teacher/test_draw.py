from __future__ import annotations

import pytest
import torch

from gendistill.teacher.draw import (
    Shuffle,
    balanced_labels,
    draw,
    fixed_order,
    lesson_index,
    lesson_order,
    shuffled_order,
    stratified_order,
)


@pytest.mark.parametrize("batch_size", [1, 3, 7, 9])
def test_shuffled_order_is_whole_epochs_cut_into_batches(batch_size: int, rng: torch.Generator) -> None:
    seen = torch.cat(list(shuffled_order(10, 30, batch_size, rng)))
    assert len(seen) == 30 * batch_size
    epochs = seen[: len(seen) // 10 * 10].view(-1, 10)
    assert torch.equal(epochs.sort(dim=1).values, torch.arange(10).expand_as(epochs))
    assert len({tuple(epoch.tolist()) for epoch in epochs}) > 1


def test_orders_show_everything_when_the_batch_is_larger_than_the_set(rng: torch.Generator) -> None:
    for index in [*shuffled_order(4, 3, 10, rng), *fixed_order(4, 3, 10)]:
        assert index.tolist() == [0, 1, 2, 3]


def test_fixed_order_is_cyclic() -> None:
    assert [index.tolist() for index in fixed_order(5, 4, 2)] == [[0, 1], [2, 3], [4, 0], [1, 2]]


def test_balanced_draw_takes_equal_shares_without_repeating(rng: torch.Generator) -> None:
    labels = torch.tensor([0] * 20 + [1] * 6 + [2] * 5)
    index = draw(labels, 3, 16, rng)
    assert len(index.unique()) == 16
    counts = torch.bincount(labels[index])
    assert counts.min() == 5 and counts.max() == 6


def test_balanced_draw_repeats_a_small_class_evenly_and_passes_over_an_empty_one(rng: torch.Generator) -> None:
    labels = torch.tensor([0] * 20 + [3] * 4)
    index = draw(labels, 5, 20, rng)
    assert torch.bincount(labels[index]).tolist() == [10, 0, 0, 10]
    assert sorted(torch.bincount(index, minlength=24)[20:].tolist()) == [2, 2, 3, 3]
    assert len(index[labels[index] == 0].unique()) == 10


def test_unbalanced_draw_is_uniform_over_items(rng: torch.Generator) -> None:
    labels = torch.tensor([0] * 9 + [1])
    assert sorted(draw(labels, 2, 10, rng, balanced=False).tolist()) == list(range(10))
    assert torch.bincount(draw(labels, 2, 25, rng, balanced=False)).tolist().count(3) == 5


def test_balanced_labels(rng: torch.Generator) -> None:
    labels = balanced_labels(17, 5, rng)
    assert sorted(torch.bincount(labels, minlength=5).tolist()) == [3, 3, 3, 4, 4]
    assert not torch.equal(labels, labels.sort().values)
    extra = torch.stack([torch.bincount(balanced_labels(1, 5, rng), minlength=5) for _ in range(200)]).sum(0)
    assert extra.min() > 20  # which class is one ahead is drawn, not always the first


def test_stratified_epochs_show_every_item_once_and_every_batch_has_the_classes_shares(rng: torch.Generator) -> None:
    classes = torch.tensor([0] * 40 + [1] * 40 + [2] * 20)[torch.randperm(100, generator=rng)]
    batches = list(stratified_order(classes, 10, 20, rng))
    for epoch in (batches[:5], batches[5:]):
        assert sorted(torch.cat(epoch).tolist()) == list(range(100))
    counts = torch.stack([torch.bincount(classes[batch], minlength=3) for batch in batches])
    assert (counts - torch.tensor([8, 8, 4])).abs().max() <= 2
    shuffled = torch.stack([torch.bincount(classes[batch], minlength=3) for batch in shuffled_order(100, 200, 20, rng)])
    assert (shuffled - torch.tensor([8, 8, 4])).abs().max() > 2
    assert not torch.equal(batches[0], batches[5])


def test_stratified_order_takes_any_item_first(rng: torch.Generator) -> None:
    classes = torch.arange(30) % 3
    first = torch.cat([next(stratified_order(classes, 1, 1, rng)) for _ in range(600)])
    assert set(first.tolist()) == set(range(30))


@pytest.mark.parametrize("shuffle", ["none", "batches", "all"])
def test_a_lessons_index_is_its_order_as_one_tensor(shuffle: Shuffle) -> None:
    classes = torch.arange(24).view(6, 4) % 3
    one, other = (torch.Generator().manual_seed(3) for _ in range(2))
    for _ in range(3):
        order, index = list(lesson_order(shuffle, classes, 6, one)), lesson_index(shuffle, classes, other)
        if index is None:
            assert shuffle == "none" and order == list(range(6))
        else:
            assert torch.equal(index, torch.stack([torch.as_tensor(turn) for turn in order]))
    assert torch.equal(one.get_state(), other.get_state())
