from __future__ import annotations

from pathlib import Path

import pytest
import torch

from gendistill.data import load
from gendistill.data.embedding import PAD, UNKNOWN
from gendistill.data.tokens import decode, encode, tokenise, usual_length, vocabulary
from gendistill.data.toytext import ADJECTIVES, NEGATIONS, reviews
from gendistill.data.word_vectors import learned, read_glove
from gendistill.errors import UserError


def test_words_are_lower_case_without_marks_and_mark_up() -> None:
    assert tokenise("It's <br /><br />FINE -- isn’t it? 10/10, naïve_ly!") == [
        *("it's", "fine", "isn't", "it", "10", "10", "naïve", "ly")
    ]
    assert tokenise("a < b and c > d") == ["a", "b", "and", "c", "d"]


def test_the_vocabulary_counts_and_breaks_ties_by_the_alphabet() -> None:
    sentences = [["b", "a"], ["b", "c"], ["a", "d"]]
    assert vocabulary(sentences, 3) == ("a", "b", "c") and vocabulary(sentences, 99) == ("a", "b", "c", "d")
    with pytest.raises(UserError, match="vocabulary is 0"):
        vocabulary(sentences, 0)


def test_sentences_are_cut_off_and_filled_up() -> None:
    words = (PAD, UNKNOWN, "a", "b")
    tokens = encode([["a", "b", "a"], ["x"], []], words, 2)
    assert tokens.dtype == torch.int32 and tokens.shape == (3, 1, 2, 1)
    assert tokens.flatten(1).tolist() == [[2, 3], [1, 0], [0, 0]]
    assert [decode(row, words) for row in tokens.flatten(1).tolist()] == ["a b", UNKNOWN, ""]


def test_the_usual_length_leaves_out_the_longest_twentieth() -> None:
    assert usual_length([["a"] * 5] * 95 + [["a"] * 50] * 5) == 5
    assert usual_length([["a"] * 1000]) == 400


def test_learned_vectors_move_words_of_a_class_its_way_and_are_always_the_same() -> None:
    words = tuple(f"{side}{number}" for side in ("no", "yes") for number in range(20))
    sentences = [[word, "film"] for word in words]
    classes, noise = torch.arange(40) // 20, torch.arange(40) % 2

    def apart(labels: torch.Tensor) -> float:
        vectors = learned(sentences, labels, words, 6).vectors[2:]
        return float((vectors[:20].mean(0) - vectors[20:].mean(0)).norm())

    assert learned(sentences, classes, words, 6) == learned(sentences, classes, words, 6)
    assert apart(classes) > 3 * apart(noise)
    table = learned(sentences, classes, (*words, "film"), 6)
    assert table.words == (PAD, UNKNOWN, *words, "film") and table.size == 6


def test_glove_vectors_are_read_for_the_words_that_are_there(tmp_path: Path) -> None:
    path = tmp_path / "glove.txt"
    path.write_text("film 1 0\n. . . 9 9\ngood 0 2\nfilm 7 7\n", encoding="utf-8")
    table = read_glove(path, ("good", "missing", "film"))
    assert table.words == (PAD, UNKNOWN, "good", "film")
    raw = torch.tensor([[0.5, 1.0], [0.0, 2.0], [1.0, 0.0]])  # unknown: the mean
    assert torch.allclose(table.vectors[1:], raw / raw.square().mean().sqrt())
    path.write_text("4 2\n" + path.read_text(encoding="utf-8"), encoding="utf-8")
    assert read_glove(path, ("good", "missing", "film")) == table


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("3 2\nfilm 1 0\ngood 0 1\n", "says that it has 3 words and has 2"),
        ("2 3\nfilm 1 0\ngood 0 1\n", "line 2"),
        ("film 1 x\n", "line 1"),
        ("film 1 0\ngood 1\n", "line 2"),
        ("other 1 0\n", "none of the text's 2 words"),
    ],
)
def test_wrong_vector_files_get_one_sentence(tmp_path: Path, content: str, sentence: str) -> None:
    path = tmp_path / "glove.txt"
    path.write_text(content, encoding="utf-8")
    with pytest.raises(UserError, match=sentence):
        read_glove(path, ("film", "good"))
    with pytest.raises(UserError, match="cannot be read"):
        read_glove(tmp_path / "none.txt", ("film",))


def test_generated_reviews_are_distinct_balanced_and_no_word_tells_their_class() -> None:
    found = reviews()
    assert len({text for text, _ in found}) == 4000 and 0.45 < sum(label for _, label in found) / 4000 < 0.55
    assert found[0] == reviews()[0]
    for word in {word for text, _ in found for word in text.split()}:
        labels = [label for text, label in found if word in text.split()]
        share = sum(labels) / len(labels)
        assert 0.3 < share < 0.7, (word, share)


def test_the_last_clause_and_its_negation_decide_every_review() -> None:
    for text, label in reviews():
        clause = text.replace(" but ", " and ").split(" and ")[-1].split()
        (praise,) = [side for side, words in enumerate(ADJECTIVES) for word in clause if word in words]
        assert label == praise ^ any(word in NEGATIONS for word in clause), text


def test_toytext_has_fixed_splits_and_no_sentence_twice() -> None:
    data = load("toytext")
    assert (len(data.train), len(data.validation), len(data.test)) == (2400, 400, 1200)
    assert data.description.image_shape == (1, 19, 16) and data.description.class_names == ("negative", "positive")
    rows = torch.cat([split.images for split in (data.train, data.validation, data.test)]).flatten(1)
    assert len(rows.unique(dim=0)) == 4000 and not (rows == 1).any()
    assert load("toytext").description == data.description
    images, _ = data.train.batch(torch.arange(3), data.description.normalisation)
    assert images.shape == (3, 1, 19, 16) and images.dtype == torch.float32
    short = load("toytext", length=5, vocabulary=10, embedding=3)
    assert short.description.image_shape == (1, 5, 3) and len(short.description.embedding.words) == 12  # type: ignore[union-attr]


LINES = [
    f"{'yes' if number % 2 else 'no'}\tfilm number {number} is {'good' if number % 2 else 'bad'}"
    for number in range(40)
]


def local(path: Path, **options: object) -> tuple[list[str], list[int]]:
    data = load("text", path, embedding=4, **options)  # type: ignore[arg-type]
    names = list(data.description.class_names)
    return names, [len(split) for split in (data.train, data.validation, data.test)]


def test_texts_in_every_form_give_the_same_data(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("\n".join(LINES) + "\n", encoding="utf-8")
    rows = [line.split("\t") for line in LINES]
    (tmp_path / "b.csv").write_text("text,label\n" + "".join(f'"{text}",{label}\n' for label, text in rows))
    for number, (label, text) in enumerate(rows):
        (tmp_path / "c" / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / "c" / label / f"{number:02}.txt").write_text(text)
    assert local(tmp_path / "a.tsv") == (["no", "yes"], [29, 3, 8])
    first, second = (load("text", tmp_path / name, embedding=4) for name in ("a.tsv", "b.csv"))
    assert first.description == second.description and torch.equal(first.train.images, second.train.images)
    assert local(tmp_path / "c")[1] == [29, 3, 8]
    other = load("text", tmp_path / "a.tsv", embedding=4, seed=1)
    assert not torch.equal(first.test.images, other.test.images)


def test_official_parts_are_kept_and_reviews_without_a_label_passed_over(tmp_path: Path) -> None:
    for part, count in (("train", 12), ("test", 6)):
        for number in range(count):
            label = ("pos", "neg")[number % 2]
            (tmp_path / part / label).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / label / f"{number}_7.txt").write_text(f"{label} {part} review {number}<br />")
    (tmp_path / "train" / "unsup").mkdir()
    (tmp_path / "train" / "unsup" / "0_0.txt").write_text("no label")
    assert local(tmp_path, length=3) == (["neg", "pos"], [10, 2, 6])
    (tmp_path / "val.tsv").write_text("pos\tone\nneg\ttwo\n")
    assert local(tmp_path)[1] == [12, 2, 6]


@pytest.mark.parametrize(
    ("name", "content", "sentence"),
    [
        ("none.tsv", None, "there is no text at"),
        ("a.txt", "yes\tx\n", "a.txt' is none of .tsv, .csv, .jsonl"),
        ("a.tsv", "yes\tx\nno text\n", "row 2 .* is not a label and a text"),
        ("a.tsv", "yes\t...\nno\t...\n", "holds no texts"),
        ("a.tsv", "\n", "holds no texts"),
        ("a.tsv", "yes\tx\nyes\ty\n", "one class, 'yes'"),
        ("a.tsv", "yes\tx\nno\ty\n", "leaves 2 training, 0 validation and 0 test"),
        ("a.csv", b"yes,\xff\xfe\n", "cannot be read as text in UTF-8"),
    ],
)
def test_wrong_files_get_one_sentence(tmp_path: Path, name: str, content: str | bytes | None, sentence: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError, match=sentence):
        load("text", tmp_path / name)


def test_wrong_folders_get_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="holds no folders of texts"):
        load("text", tmp_path)
    (tmp_path / "test.tsv").write_text("yes\tx\n")
    with pytest.raises(UserError, match="holds test.tsv but no train"):
        load("text", tmp_path)
    (tmp_path / "train.tsv").write_text("no\tx\nmaybe\ty\n")
    with pytest.raises(UserError, match="have the class 'yes', those for training do not"):
        load("text", tmp_path)
    (tmp_path / "c" / "pos").mkdir(parents=True)
    with pytest.raises(UserError, match="holds no .txt files"):
        load("text", tmp_path / "c")


def test_options_of_pictures_and_of_texts_are_not_mixed_up() -> None:
    with pytest.raises(UserError, match="'digits' holds pictures"):
        load("digits", length=3)
    with pytest.raises(UserError, match="'toytext' holds sentences"):
        load("toytext", image_size=8)
    with pytest.raises(UserError, match="whitening is for pictures"):
        load("toytext", whitening=0.1)
    for wrong in ({"length": 0}, {"vocabulary": 0}, {"embedding": 0}, {"embedding": "-3"}):
        with pytest.raises(UserError, match="at least 1"):
            load("toytext", **wrong)  # type: ignore[arg-type]
