from __future__ import annotations

from gendistill.words import counted, listed, several


def test_numbers_agree_with_their_nouns() -> None:
    assert [counted(number, "seed") for number in (0, 1, 2, 1200)] == ["0 seeds", "1 seed", "2 seeds", "1,200 seeds"]
    assert counted(1, "batch", "batches") == "1 batch" and counted(3, "batch", "batches") == "3 batches"
    assert several([5, 5], "seed") == "5 seeds" and several([1], "seed") == "1 seed"
    assert several([3, 1, 2], "seed") == "1 to 3 seeds"


def test_lists_read_as_sentences() -> None:
    assert [listed(["a", "b", "c"][:count]) for count in range(4)] == ["", "a", "a and b", "a, b and c"]
