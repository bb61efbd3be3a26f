from __future__ import annotations

from typing import Any

import pytest

from gendistill.errors import UserError
from trainers.checks import check_counts, check_learned_rate, check_words


def test_good_options_pass() -> None:
    check_counts(steps=1, rounds=10**9)
    check_words(start=("noise", ("real", "noise")), labels=("given", ("given",)))


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None])
def test_a_count_is_a_whole_number_from_1(value: Any) -> None:
    with pytest.raises(UserError, match=f"rounds is {value!r}; give a whole number from 1"):
        check_counts(steps=1, rounds=value)


def test_a_wrong_word_is_named_with_those_allowed() -> None:
    with pytest.raises(UserError, match="start is 'nose'; did you mean 'noise'.*use one of: real, noise"):
        check_words(labels=("given", ("given",)), start=("nose", ("real", "noise")))


@pytest.mark.parametrize("rate", [0.0, -1.0, 1e-30, 1000.0, float("nan"), float("inf")])
def test_a_first_rate_with_which_learners_stand_still_or_diverge_is_refused(rate: float) -> None:
    check_learned_rate(0.02)
    with pytest.raises(
        UserError, match=f"learning_rate is {rate:g}; .* positive .* 1e-08 to 100 .--trainer.learning_rate"
    ):
        check_learned_rate(rate)
