from __future__ import annotations

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data.sampling import ClassSampler, EpochSampler
from gendistill.errors import UserError


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 99))
def test_an_epoch_repeats_nothing(size: int, batch_size: int, seed: int) -> None:
    batch_size = min(size, batch_size)
    sampler = EpochSampler(size, batch_size, generator(seed))
    for epoch in range(1, 4):
        seen = torch.cat([sampler.next() for _ in range(size // batch_size)])
        assert len(seen.unique()) == len(seen) == size // batch_size * batch_size
        assert seen.min() >= 0 and seen.max() < size
        assert sampler.epoch == epoch


def test_epochs_differ_and_the_dropped_tail_does_too() -> None:
    sampler = EpochSampler(100, 30, generator())
    epochs = [torch.cat([sampler.next() for _ in range(3)]) for _ in range(2)]
    assert not torch.equal(epochs[0], epochs[1])
    assert set(epochs[0].tolist()) != set(epochs[1].tolist())


@pytest.mark.parametrize("steps", [0, 1, 3, 4, 7])
def test_resumed_equals_uninterrupted(steps: int) -> None:
    draws = generator(3)
    sampler = EpochSampler(10, 3, draws)
    for _ in range(steps):
        sampler.next()
    saved, drawn = copy.deepcopy(sampler.state_dict()), draws.get_state()
    expected = [sampler.next() for _ in range(8)]

    again = generator(8)
    resumed = EpochSampler(10, 3, again)
    again.set_state(drawn)
    resumed.load_state_dict(saved)
    assert all(torch.equal(one, resumed.next()) for one in expected)
    assert resumed.epoch == sampler.epoch


def test_a_saved_state_is_not_changed_by_going_on() -> None:
    sampler = EpochSampler(10, 5, generator())
    sampler.next()
    saved = sampler.state_dict()
    before = copy.deepcopy(saved)
    for _ in range(3):
        sampler.next()
    assert torch.equal(saved["order"], before["order"])
    assert saved["position"] == before["position"] == 5


@pytest.mark.parametrize("batch_size", [0, 11])
def test_a_batch_that_does_not_fit(batch_size: int) -> None:
    with pytest.raises(UserError, match="choose 1 to 10"):
        EpochSampler(10, batch_size, generator())


def test_a_state_of_other_data() -> None:
    other = EpochSampler(12, 3, generator())
    other.next()
    with pytest.raises(UserError, match="of 12 images, the data set has 10"):
        EpochSampler(10, 3, generator()).load_state_dict(other.state_dict())


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(0, 99))
def test_class_draws_are_of_the_class_and_repeat_nothing(counts: list[int], seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    sampler = ClassSampler(labels, len(counts))
    drawn = sampler.draw(min(counts), generator(seed))
    assert drawn.shape == (len(counts), min(counts))
    assert torch.equal(labels[drawn], torch.arange(len(counts))[:, None].expand_as(drawn))
    assert all(len(row.unique()) == len(row) for row in drawn)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 12), st.integers(0, 99))
def test_short_classes_give_all_they_have(counts: list[int], wanted: int, seed: int) -> None:
    labels = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
    labels = labels[torch.randperm(len(labels), generator=generator(seed))]
    sampler = ClassSampler(labels, len(counts))
    drawn = sampler.draw(wanted, generator(seed), repeat=True)
    assert drawn.shape == (len(counts), wanted)
    assert torch.equal(labels[drawn], torch.arange(len(counts))[:, None].expand_as(drawn))
    for row, count in zip(drawn, counts, strict=True):
        own = min(wanted, count)
        assert len(row[:own].unique()) == own
        assert torch.equal(row, row[torch.arange(wanted) % own])
    if wanted <= min(counts):
        assert torch.equal(drawn, sampler.draw(wanted, generator(seed)))


def test_short_classes_are_named() -> None:
    labels = torch.tensor([0] * 9 + [1] * 4 + [2] * 2)
    sampler = ClassSampler(labels, 3, ["ant", "bee", "cow"])
    assert sampler.fewer_than(2) == "" and sampler.fewer_than(4) == "class 'cow' has 2"
    assert sampler.fewer_than(9) == "classes 'bee' has 4, 'cow' has 2"
    many = ClassSampler(torch.arange(6), 6)
    assert many.fewer_than(2) == "classes '0' has 1, '1' has 1, '2' has 1, and 3 more have fewer, too"
    with pytest.raises(UserError, match="no sample of class bee"):
        ClassSampler(torch.tensor([0, 2]), 3, ["ant", "bee", "cow"])


def test_class_draws_are_uniform() -> None:
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 1])
    sampler, draws = ClassSampler(labels, 2), generator()
    seen = torch.stack([sampler.draw(2, draws) for _ in range(2000)])
    # Two of three in class 0, two of four in class 1; each of the 2000 draws takes a sample with chance 2/3 or 1/2.
    share = torch.bincount(seen.flatten(), minlength=7) / 2000
    expected = torch.tensor([2 / 3, 1 / 2])[labels]
    assert (share - expected).abs().max() < 0.04


def test_class_draw_refusals() -> None:
    with pytest.raises(UserError, match="no sample of class 1"):
        ClassSampler(torch.tensor([0, 2]), 3)
    with pytest.raises(UserError, match="labels go up to 2"):
        ClassSampler(torch.tensor([0, 1, 2]), 2)
    with pytest.raises(UserError, match="smallest class has 1"):
        ClassSampler(torch.tensor([0, 0, 1]), 2).draw(2, generator())
