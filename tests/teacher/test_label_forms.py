"""Labels of every form, as public code stores them: what they are, and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from gendistill.data.description import Description, symmetric
from gendistill.errors import UserError
from gendistill.teacher.label_forms import LABELS, understand_labels

THREE = Description("three", ("a", "b", "c"), (1, 2, 2), symmetric(1))
HARD = torch.tensor([0, 2, 1, 1])
LOGITS = torch.tensor([[4.0, -1.0, 2.0], [9.0, 3.0, -2.2], [0.5, 8.0, 5.1], [-1.2, 1.5, 0.5]])
"""Rows that sum to 5.0, 9.8, 13.6 and 0.8, as DATM's do."""


def test_whole_numbers_are_class_indices_in_whatever_type_they_come() -> None:
    for labels in (HARD, HARD.float(), HARD.to(torch.uint8), HARD.double()[:, None], HARD.half()):
        found = understand_labels(labels, 4, THREE)
        assert found.form == "indices" and found.values.dtype == torch.int64 and torch.equal(found.values, HARD)


def test_logits_become_probabilities() -> None:
    for labels in (LOGITS, LOGITS.double(), LOGITS.clone().requires_grad_()):
        found = understand_labels(labels, 4, THREE)
        assert found.form == "logits" and "softmax" in found.words and not found.values.requires_grad
        assert torch.equal(found.values, LOGITS.softmax(1))


def test_log_probabilities_are_logits_whose_softmax_they_are_the_logarithm_of() -> None:
    found = understand_labels(LOGITS.log_softmax(1), 4, THREE)
    assert found.form == "logits" and "logarithms of probabilities" in found.words
    torch.testing.assert_close(found.values, LOGITS.softmax(1))


def test_probabilities_stay_as_they_are_also_with_few_digits() -> None:
    rows = LOGITS.softmax(1)
    for stored in (rows, rows.half(), rows.bfloat16(), (rows * 100).round() / 100):
        found = understand_labels(stored, 4, THREE)
        assert found.form == "probabilities" and torch.equal(found.values, stored.float())
    one_hot = F.one_hot(HARD, 3)
    for stored in (one_hot, one_hot.bool(), one_hot.float()):
        assert torch.equal(understand_labels(stored, 4, THREE).values, one_hot.float())


def test_several_classes_of_an_image_share_its_label() -> None:
    rows = torch.tensor([[1, 1, 0], [0, 0, 1], [1, 1, 1], [0, 1, 0]])
    found = understand_labels(rows, 4, THREE)
    assert found.form == "multi-hot" and "up to 3 classes" in found.words
    assert torch.equal(found.values, rows / rows.sum(1, keepdim=True))
    with pytest.raises(UserError, match="1 of 4 labels name no class at all"):
        understand_labels(torch.tensor([[1, 1, 0], [0, 0, 0], [1, 1, 1], [0, 1, 0]]), 4, THREE)


def test_what_may_be_two_things_is_asked_for_by_the_option_s_name() -> None:
    weights = torch.tensor([[3.0, 0.0, 0.0], [0.0, 0.0, 3.0], [0.0, 3.0, 0.0], [1.0, 1.0, 1.0]])
    with pytest.raises(UserError, match="may be logits or weights .* --labels logits .* --labels multi-hot"):
        understand_labels(weights, 4, THREE)
    assert torch.equal(understand_labels(weights, 4, THREE, "logits").values, weights.softmax(1))
    assert torch.equal(understand_labels(weights, 4, THREE, "multi-hot").values, weights / 3)
    assert torch.equal(understand_labels(weights, 4, THREE, "targets").values, weights)
    # The code that wrote them may leave no doubt.
    assert understand_labels(weights * torch.arange(1, 5)[:, None], 4, THREE, used_as="logits").form == "logits"
    # Logits do not all sum to the same number, weights and per cent do.
    for alike in (weights, weights * 100 / 3):
        with pytest.raises(UserError, match="may be logits or weights"):
            understand_labels(alike, 4, THREE, used_as="logits")
    learned = torch.tensor([[1.25, -0.25, 0.0]] * 4)
    with pytest.raises(UserError, match="logits or learned targets"):
        understand_labels(learned, 4, THREE)
    assert torch.equal(understand_labels(learned, 4, THREE, used_as="targets").values, learned)


@pytest.mark.parametrize(
    ("labels", "form", "message"),
    [
        (HARD + 1, "auto", "go from 1 to 3, class indices of 'three' from 0 to 2; if they count from 1"),
        (HARD * 2, "auto", "must lie in 0..2"),
        (HARD + 0.5, "auto", "must be integers"),
        (HARD == 1, "auto", "must be integers"),
        (HARD, "logits", "one number an image and not logits"),
        (HARD[:3], "auto", "must be integers of shape"),
        (torch.rand(4, 2), "auto", r"shape \(4, 2\), which fits neither"),
        (LOGITS.T.contiguous(), "auto", "fits neither"),
        (LOGITS, "probabilities", "down to -2.2, probabilities are not negative"),
        (LOGITS.abs(), "probabilities", "probabilities sum to 1"),
        (LOGITS, "multi-hot", "not negative"),
        (LOGITS, "indices", "no class indices"),
        (LOGITS / 0, "auto", "'labels' holds values that are NaN or infinite"),
        (LOGITS.to(torch.complex64), "auto", "complex"),
    ],
)
def test_what_they_are_not_is_one_sentence(labels: torch.Tensor, form: str, message: str) -> None:
    with pytest.raises(UserError, match=message) as caught:
        understand_labels(labels, 4, THREE, form)
    assert "\n" not in str(caught.value)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from(LABELS), st.floats(0.01, 30), st.booleans())
def test_labels_are_targets_of_a_cross_entropy_or_refused(seed: int, form: str, size: float, signed: bool) -> None:
    rows = torch.rand(5, 3, generator=torch.Generator().manual_seed(seed)) * size - (size / 2 if signed else 0)
    try:
        found = understand_labels(rows, 5, THREE, form)
    except UserError:
        return
    assert found.form != "auto" and found.values.dtype == torch.float32
    if found.form != "targets":
        assert bool((found.values >= 0).all())
        torch.testing.assert_close(found.values.sum(1), torch.ones(5), rtol=0, atol=0.011)
