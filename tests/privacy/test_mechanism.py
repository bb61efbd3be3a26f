"""The mechanism: sensitivity of its sums, the noise on them, and that nothing is drawn twice or uncounted."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from torch import Tensor

from gendistill.data.description import symmetric
from gendistill.data.real import Split
from gendistill.errors import UserError
from gendistill.privacy import mechanism
from gendistill.privacy.accountant import noise_for
from gendistill.privacy.ledger import Budget, Ledger
from gendistill.privacy.mechanism import PrivateSums, clipped
from gendistill.privacy.releases import Releases

EXTREME = st.sampled_from([0.0, 1e30, -1e30, 1e-38, float("nan"), float("inf"), -float("inf"), 3e38])
VALUES = st.one_of(EXTREME, st.floats(-3, 3, width=32))


def sums(
    folder: Path, count: int = 12, classes: int = 3, budget: Budget | None = None, at_once: int = 5
) -> PrivateSums:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, 1, 2, 2), generator=generator).to(torch.uint8)
    records = Split(images, torch.arange(count) % classes)
    ledger = Ledger(folder / "privacy.json", budget or Budget(1.0, 1e-5))
    return PrivateSums(records, classes, symmetric(1), ledger, Releases(folder / "releases"), at_once=at_once)


def total(vectors: np.ndarray, labels: list[int], bound: float, by_class: bool) -> Tensor:
    """What the mechanism adds up, for contributions that are given."""
    held = PrivateSums(
        Split(torch.arange(len(labels), dtype=torch.uint8).view(-1, 1, 1, 1), torch.tensor(labels, dtype=torch.int64)),
        3,
        symmetric(1),
        None,  # type: ignore[arg-type]
        None,  # type: ignore[arg-type]
        at_once=4,
    )
    rows = torch.from_numpy(vectors)
    return held._sum(lambda images, _: rows[((images.flatten() + 1) * 127.5).round().long()], bound, 1.0, by_class)


@settings(max_examples=1000, deadline=None)
@given(data=st.data())
def test_one_record_changes_a_sum_by_at_most_the_bound(data: st.DataObject) -> None:
    count = data.draw(st.integers(2, 7))
    vectors = data.draw(st_numpy.arrays(np.float32, (count, 3), elements=VALUES))
    labels = data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count))
    bound = data.draw(st.sampled_from([1e-3, 1.0, 7.0]))
    by_class = data.draw(st.booleans())
    gone = data.draw(st.integers(0, count - 1))
    kept = [place for place in range(count) if place != gone]
    whole = total(vectors, labels, bound, by_class)
    without = total(vectors[kept], [labels[place] for place in kept], bound, by_class)
    assert whole.shape == without.shape and bool(whole.isfinite().all())
    assert float((whole - without).norm()) <= bound * (1 + 1e-6)
    other = data.draw(st_numpy.arrays(np.float32, (3,), elements=VALUES))
    swapped = vectors.copy()
    swapped[gone] = other
    again = total(swapped, [*labels[:gone], data.draw(st.integers(0, 2)), *labels[gone + 1 :]], bound, by_class)
    assert float((whole - again).norm()) <= 2 * bound * (1 + 1e-6)


def test_clipping_leaves_short_rows_alone_and_drops_what_is_no_number() -> None:
    rows = torch.tensor([[0.3, 0.4], [3.0, 4.0], [float("nan"), 0.0], [float("inf"), 1.0], [1e38, 1e38]])
    expected = torch.tensor([[0.3, 0.4], [0.6, 0.8], [0.0, 0.0], [0.0, 0.0], [0.5**0.5, 0.5**0.5]], dtype=torch.float64)
    torch.testing.assert_close(clipped(rows, 1.0), expected, rtol=1e-6, atol=1e-7)
    assert clipped(rows, 1.0).dtype == torch.float64


@pytest.mark.parametrize(("adjacency", "factor"), [("add-remove", 1.0), ("replace-one", 2.0)])
def test_the_noise_is_as_large_as_is_promised(tmp_path: Path, adjacency: str, factor: float) -> None:
    held = sums(tmp_path, budget=Budget(100.0, 1e-5, adjacency))
    zero = held.release(
        "zero", lambda images, _: torch.zeros(len(images), 200_000), purpose="zero", bound=3.0, noise=1.5
    )
    assert float(zero.double().var()) == pytest.approx((3.0 * 1.5 * factor) ** 2, rel=0.02)
    other = held.release(
        "other", lambda images, _: torch.zeros(len(images), 200_000), purpose="zero", bound=3.0, noise=1.5
    )
    assert abs(np.corrcoef(zero.numpy(), other.numpy())[0, 1]) < 5 / 200_000**0.5
    assert held.ledger.entries() == [{"purpose": "zero", "noise": 1.5, "rate": 1.0, "calls": 2}]


def test_the_sum_is_that_of_all_records_by_class(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "system_normal", lambda count: torch.zeros(count, dtype=torch.float64))
    held = sums(tmp_path)
    released = held.release(
        "ones", lambda images, _: torch.ones(len(images), 1), purpose="count", bound=1.0, noise=9.0, by_class=True
    )
    assert released.tolist() == [[4.0], [4.0], [4.0]]


def test_what_was_released_is_not_drawn_again(tmp_path: Path) -> None:
    first = sums(tmp_path).release("a", lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=9.0)
    again = sums(tmp_path)

    def never(images: Tensor, labels: Tensor) -> Tensor:
        raise AssertionError("the records were looked at again")

    assert torch.equal(again.release("a", never, purpose="a", bound=1.0, noise=9.0), first)
    assert again.ledger.entries()[0]["calls"] == 1


@pytest.mark.parametrize("at", ["before", "after"])
def test_a_kill_costs_at_most_a_call_and_hides_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: str) -> None:
    """Killed between counting and keeping, the call stays counted; killed after keeping, the sum is there."""
    noise = noise_for(1.0, 1e-5, 2)
    held, kept = sums(tmp_path), Releases.keep

    def killed(self: Releases, name: str, noisy: Tensor) -> None:
        if at == "after":
            kept(self, name, noisy)
        raise KeyboardInterrupt

    monkeypatch.setattr(Releases, "keep", killed)
    with pytest.raises(KeyboardInterrupt):
        held.release("a", lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=noise)
    monkeypatch.undo()
    again = sums(tmp_path)
    again.release("a", lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=noise)
    calls = 2 if at == "before" else 1
    assert again.ledger.entries()[0]["calls"] == calls
    for name in "bc"[: 2 - calls]:
        again.release(name, lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=noise)
    with pytest.raises(UserError, match="nothing was drawn"):
        again.release("z", lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=noise)
    assert not (tmp_path / "releases" / "z.safetensors").exists()


def test_records_are_not_copied_pickled_or_printed(tmp_path: Path) -> None:
    held = sums(tmp_path)
    for way in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(TypeError, match="neither copied nor written"):
            way(held)
    assert repr(held) == "PrivateSums(3 classes)"


def test_an_error_of_a_contribution_says_nothing_of_its_values(tmp_path: Path) -> None:
    def bad(images: Tensor, labels: Tensor) -> Tensor:
        if float(images.max()) == -1:  # a black image, which says nothing
            return images.flatten(1)
        raise ValueError(f"pixel {float(images.max())}")

    with pytest.raises(UserError, match="ValueError in a contribution") as caught:
        sums(tmp_path).release("a", bad, purpose="a", bound=1.0, noise=9.0)
    assert "pixel" not in str(caught.value) and caught.value.__cause__ is None
    assert caught.value.__suppress_context__


def test_an_empty_sample_gives_a_sum_like_any_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mechanism, "system_choice", lambda count, rate: torch.zeros(count, dtype=torch.bool))
    held = sums(tmp_path, budget=Budget(100.0, 1e-5))
    found = held.release("a", lambda images, _: images.flatten(1), purpose="a", bound=1.0, noise=1.0, rate=0.01)
    assert found.shape == (4,) and float(found.abs().max()) > 0


def test_contributions_are_rows(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="one row for each record"):
        sums(tmp_path).release("a", lambda images, _: images.flatten(1)[:1], purpose="a", bound=1.0, noise=9.0)
    with pytest.raises(UserError, match="positive"):
        sums(tmp_path).release("a", lambda images, _: images.flatten(1), purpose="a", bound=0.0, noise=9.0)
