from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from gendistill.errors import UserError
from gendistill.evaluation.verification import MARGIN, Claim, judge_claim, sentence, signed


def test_the_interval_is_that_of_students_t() -> None:
    runs = [0.391, 0.384, 0.400, 0.388, 0.395]
    found = judge_claim(runs, Claim(0.814))
    expected = stats.ttest_1samp(runs, 0.814).confidence_interval(0.95)
    assert found.df == 4
    assert (found.low, found.high) == pytest.approx((expected.low - 0.814, expected.high - 0.814))
    assert found.errors == pytest.approx(abs(stats.ttest_1samp(runs, 0.814).statistic))
    assert found.word == "differs"


def test_a_claim_with_a_deviation_of_known_runs_is_welchs() -> None:
    runs, theirs = [0.65, 0.66, 0.64, 0.655], np.array([0.66, 0.67, 0.68, 0.665, 0.672])
    found = judge_claim(runs, Claim(float(theirs.mean()), float(theirs.std(ddof=1)), 5))
    expected = stats.ttest_ind(runs, theirs, equal_var=False)
    assert found.df == pytest.approx(expected.df)
    interval = expected.confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_a_deviation_of_unknown_runs_is_how_far_one_result_may_lie() -> None:
    runs = [0.65, 0.66, 0.64, 0.655]
    exact, spread = (judge_claim(runs, Claim(0.66, std)) for std in (None, 0.02))
    assert spread.error**2 == pytest.approx(exact.error**2 + 0.02**2)
    assert spread.high - spread.low > exact.high - exact.low


def test_the_three_answers() -> None:
    close = [0.667, 0.669, 0.668, 0.666, 0.670]
    wide = [0.62, 0.71, 0.65, 0.69]
    assert judge_claim(close, Claim(0.668)).word == "agrees"
    assert judge_claim(close, Claim(0.75)).word == "differs"
    undecided = judge_claim(wide, Claim(0.668))
    assert undecided.word == "undecided" and undecided.runs_needed > 4
    # With so many learners of the same spread it would be decided, with one fewer not.
    reach = undecided.error * 2  # of four
    for count, decided in ((undecided.runs_needed, True), (undecided.runs_needed - 1, False)):
        half = stats.t.ppf(0.975, count - 1) * reach / count**0.5
        assert bool(half < MARGIN - abs(undecided.difference)) is decided


def test_equal_runs_are_trusted_as_far_as_their_rounding() -> None:
    exact = judge_claim([0.9, 0.9], Claim(0.9))
    assert exact.errors is None and exact.word == "agrees"
    few_images = judge_claim([0.9, 0.9], Claim(0.9), step=1 / 50)
    assert few_images.error == pytest.approx(1 / 50 / 24**0.5) and few_images.word == "undecided"


@pytest.mark.parametrize(
    ("shift", "wrong"), [(0.0, "differs"), (0.0099, "differs"), (0.0101, "agrees"), (-0.03, "agrees")]
)
def test_wrong_answers_are_rare(shift: float, wrong: str) -> None:
    random = np.random.default_rng(0)
    words = [judge_claim(random.normal(0.6 + shift, 0.006, 4), Claim(0.6)).word for _ in range(1000)]
    assert words.count(wrong) / len(words) < 0.04  # 2.5 % and three standard errors of the simulation


def test_power_is_told_apart_from_chance() -> None:
    random = np.random.default_rng(0)
    five = [judge_claim(random.normal(0.6, 0.004, 5), Claim(0.6)).word for _ in range(500)]
    assert five.count("agrees") / len(five) > 0.9
    far = [judge_claim(random.normal(0.65, 0.004, 5), Claim(0.6)).word for _ in range(500)]
    assert far.count("differs") / len(far) > 0.99


@given(
    st.lists(st.floats(0, 1), min_size=2, max_size=8),
    st.floats(0, 1),
    st.one_of(st.none(), st.floats(0, 0.2)),
    st.floats(0.001, 0.3),
)
def test_the_word_follows_the_interval(runs, value, std, margin) -> None:
    found = judge_claim(runs, Claim(value, std), margin=margin)
    assert found.low <= found.difference <= found.high
    assert (found.word == "agrees") == (-margin < found.low and found.high < margin)
    assert (found.word == "differs") == (found.low > margin or found.high < -margin)
    assert sentence(runs, Claim(value, std), found).startswith(found.word)


@pytest.mark.parametrize(
    ("text", "value", "std"),
    [("66.8", 0.668, None), ("66.8±0.4", 0.668, 0.004), (" 66.8 +- .4".replace(" .", " 0."), 0.668, 0.004),
     ("81 %", 0.81, None), ("100", 1.0, None), ("0", 0.0, None), ("66.8 % ± 0.4 %", 0.668, 0.004)],
)  # fmt: skip
def test_claims_are_read(text: str, value: float, std: float | None) -> None:
    claim = Claim.parse(text)
    assert claim.value == pytest.approx(value)
    assert claim.std == (None if std is None else pytest.approx(std))


def test_a_deviation_may_stand_beside_the_claim() -> None:
    claim = Claim.parse("66.8", 0.4, 5)
    assert (claim.value, claim.std, claim.runs) == (pytest.approx(0.668), pytest.approx(0.004), 5)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("0.668",), "66.8 if a fraction was meant"),
        (("high",), "such as 66.8 or 66.8±0.4"),
        (("-3",), "give per cent"),
        (("166.8",), "between 0 and 100"),
        (("66.8±0.4", 0.4), "give one of the two"),
        (("66.8", None, 5), "give that, too"),
        (("66.8", 0.4, 1), "from 2 on"),
        (("66.8", -0.4), "points of per cent from 0"),
    ],
)
def test_what_is_no_claim_is_explained(words, message) -> None:
    with pytest.raises(UserError, match=message):
        Claim.parse(*words)


def test_one_learner_decides_nothing() -> None:
    with pytest.raises(UserError, match="at least 2"):
        judge_claim([0.5], Claim(0.5))
    with pytest.raises(UserError, match="margin"):
        judge_claim([0.5, 0.5], Claim(0.5), margin=0.0)


def test_words() -> None:
    runs = [0.391, 0.384, 0.400, 0.388, 0.395]
    said = sentence(runs, Claim(0.814), judge_claim(runs, Claim(0.814)))
    assert said.startswith(
        "differs: 39.2 ± 0.6 % (5 learners) against 81.4 % claimed: −42.2 points, 95 % interval −43.0"
    )
    assert "standard errors (t with 4 df)" in said
    assert signed(-0.0001) == "0.0" and signed(0.423) == "+42.3"
