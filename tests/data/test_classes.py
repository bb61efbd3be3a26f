"""Class names of two data sets held against each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gendistill.data.classes import compare_classes, differences
from gendistill.data.description import Description, check_fits
from gendistill.data.sources import DIGIT_NAMES, FASHION_NAMES
from gendistill.errors import UserError

WORDS = st.lists(st.text("abcdefgh", min_size=1, max_size=6), min_size=1, max_size=8, unique=True)
TORCHVISION = ("0 - zero", "1 - one", "2 - two", "3 - three")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("ant", "bee"), ("ant", "bee")),
        (("Ant", "honey bee"), ("ant", "honey_bee")),
        (("0_ant", "1_bee"), ("ant", "bee")),
        (("T-shirt/top", "dress"), ("T_shirt_top", "Dress")),
        (("0", "1", "2", "3"), ("zero", "one", "two", "three")),
        (("0", "1", "2", "3"), TORCHVISION),
        (("0", "1"), ("00", "01")),
        (("class 0", "class 1"), ("0", "1")),
        (("", ""), ("ant", "bee")),
        (("+", "-"), ("+", "-")),
    ],
)
def test_the_same_classes_fit_without_a_word(first: tuple[str, ...], second: tuple[str, ...]) -> None:
    for one, other in ((first, second), (second, first)):
        fit = compare_classes(one, other, ("mnist", "mine"))
        assert fit.same and fit.order is None and fit.note is None


@given(WORDS, st.randoms())
def test_another_order_is_told_and_undone(names: list[str], random: object) -> None:
    shuffled = list(names)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    fit = compare_classes(names, shuffled)
    assert fit.same
    if shuffled == names:
        assert fit.order is None
    else:
        assert fit.order is not None and [shuffled[place] for place in fit.order] == names
        back = compare_classes(shuffled, names).order
        assert back is not None and [fit.order[place] for place in back] == list(range(len(names)))


def test_words_of_digits_are_digits_in_whatever_order() -> None:
    by_alphabet = ("one", "three", "two", "zero")
    assert compare_classes(("0", "1", "2", "3"), by_alphabet, ("mnist", "mine")).order == (3, 0, 2, 1)


def test_numbers_name_nothing_but_where_they_are_digits() -> None:
    names = ("ant", "bee", "cow")
    for numbers in (("0", "1", "2"), ("1", "2", "3"), ("class_0", "class_1", "class_2")):
        fit = compare_classes(numbers, names, ("old", "mine"))
        assert fit.same and fit.order is None and fit.note is not None and "ant, bee, cow" in fit.note
        assert compare_classes(names, numbers, ("mine", "old")).note == fit.note
    assert not compare_classes(("0", "2", "5"), names).same
    assert not compare_classes(("1", "2", "3"), ("0", "1", "2")).same
    # MNIST's classes are digits, so that they are none of Fashion-MNIST's.
    assert not compare_classes(DIGIT_NAMES, FASHION_NAMES, ("mnist", "fashion-mnist")).same
    assert compare_classes(DIGIT_NAMES, FASHION_NAMES, ("mine", "fashion-mnist")).same


def test_different_classes_are_refused_with_both_lists() -> None:
    def described(name: str, *classes: str) -> Description:
        return Description(name, classes, (1, 8, 8))

    with pytest.raises(UserError) as caught:
        check_fits(described("first", "ant", "bee", "cow"), described("second", "bee", "cow", "dog"), "t.safetensors")
    assert str(caught.value) == (
        "teacher 't.safetensors' was made for the classes ant, bee, cow ('first'), but 'second' has bee, cow, dog; "
        "choose the data set that it was made for, or give classes that are the same the same names"
    )
    many = [f"kind {letter}" for letter in "abcdefghijklmnopqrst"]
    assert differences(many, [*many[:-1], "dog"]) == ("kind t among 20", "dog among 20")
    assert len(differences(many, [f"other {name}" for name in many])[0]) < 120
