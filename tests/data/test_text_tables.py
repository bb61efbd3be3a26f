"""Tables of texts: columns by name, headings that are no examples, and what is asked for."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gendistill import cli
from gendistill.data import load
from gendistill.data.text_files import Corpus, in_order, read_corpora
from gendistill.data.text_tables import Columns
from gendistill.errors import UserError

ROWS = [
    (f"the film number {number}, it was {('bad', 'good')[number % 2]}", ("negative", "positive")[number % 2])
    for number in range(30)
]


def quoted(heading: str, order: str, delimiter: str = ",", rows: list[tuple[str, str]] = ROWS) -> str:
    lines = [heading] if heading else []
    for number, (text, label) in enumerate(rows):
        cells = {"t": f'"{text}"', "l": label, "i": str(number), "x": "x"}
        lines.append(delimiter.join(cells[part] for part in order))
    return "\n".join(lines) + "\n"


def read(path: Path, content: str | bytes, **columns: str | int) -> Corpus:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_corpora(path, Columns(**columns))["train"]


def check(corpus: Corpus, start: int = 0) -> None:
    assert corpus.classes[start:] == [label for _, label in ROWS]
    assert corpus.sentences[start + 1] == ["the", "film", "number", "1", "it", "was", "good"]


@pytest.mark.parametrize(
    ("heading", "order"),
    [
        ("review,sentiment", "tl"),
        ("sentence,label", "tl"),
        ("label,text", "lt"),
        ("Text,Class Index", "tl"),
        (",text,label", "itl"),
        ("id,label,label_text,text", "ilxt"),
        ("id,sentiment,review,score", "ilti"),
        ("v1,review,,", "lt"),
        ("comment_text,sentiment", "tl"),
        ("", "lt"),
        ("", "tl"),
    ],
)
def test_columns_are_found(tmp_path: Path, heading: str, order: str) -> None:
    if heading.startswith("id,sentiment"):
        with pytest.raises(UserError, match="several columns .* class: 'sentiment', 'score'; .* --label-column"):
            read(tmp_path / "a.csv", quoted(heading, order))
        check(read(tmp_path / "a.csv", quoted(heading, order), label="sentiment"))
        return
    check(read(tmp_path / "a.csv", quoted(heading, order)))


@pytest.mark.parametrize("delimiter", [";", "\t"])
@pytest.mark.parametrize("heading", ["sentence;label", ""])
def test_other_delimiters_and_a_byte_order_mark(tmp_path: Path, delimiter: str, heading: str) -> None:
    content = quoted(heading.replace(";", delimiter), "tl", delimiter)
    check(read(tmp_path / "a.csv", content))
    check(read(tmp_path / "a.csv", b"\xef\xbb\xbf" + content.replace("\n", "\r\n").encode()))


def test_tab_separated_files_have_no_quotes(tmp_path: Path) -> None:
    rows = [(f'he said "{text}', label) for text, label in ROWS]
    for order in ("tl", "lt"):
        heading = "\t".join({"t": "sentence", "l": "label"}[part] for part in order)
        content = heading + "\n" + "".join(f"{text}\t{label}\n" if order == "tl" else f"{label}\t{text}\n"
                                           for text, label in rows)  # fmt: skip
        corpus = read(tmp_path / "a.tsv", content)
        assert corpus.classes == [label for _, label in ROWS] and corpus.sentences[0][:3] == ["he", "said", "the"]
    four = "".join(f"gj04\t{label}\t*\t{text}\n" for text, label in ROWS)
    with pytest.raises(UserError, match="4 columns without known names, .* numbers from 1"):
        read(tmp_path / "a.tsv", four)
    check(read(tmp_path / "a.tsv", four, text=4, label="2"))


def test_lines_of_json(tmp_path: Path) -> None:
    lines = "".join(json.dumps({"id": 3, "label": label, "sentence": text}) + "\n" for text, label in ROWS)
    check(read(tmp_path / "a.jsonl", lines))
    numbers = "".join(json.dumps({"text": text, "label": len(label) % 2}) + "\n" for text, label in ROWS)
    assert set(read(tmp_path / "a.jsonl", numbers).classes) == {"0"}
    for wrong, message in (("[1]\n", "row 1 .* is no object"), ("{\n", "row 1 .* is no JSON"), ("\n", "no texts")):
        with pytest.raises(UserError, match=message):
            read(tmp_path / "a.jsonl", wrong)


def test_texts_that_are_not_quoted_keep_what_is_behind_their_commas(tmp_path: Path) -> None:
    lines = "".join(f"{label},{text}\n" for text, label in ROWS)
    check(read(tmp_path / "a.csv", "positive,well\n" + lines, text=2, label=1), 1)
    with pytest.raises(UserError, match="3 columns without known names"):
        read(tmp_path / "a.csv", lines)
    check(read(tmp_path / "a.csv", "label,text\n" + lines))
    swapped = "text,label\n" + "".join(f"{text},{label}\n" for text, label in ROWS)
    with pytest.raises(UserError, match="row 2 .* has 3 cells, .* put texts with delimiters in quotes"):
        read(tmp_path / "a.csv", swapped)


def test_a_heading_with_unknown_names_is_never_an_example(tmp_path: Path) -> None:
    content = quoted("satz,klasse", "tl")
    with pytest.raises(UserError, match="'satz', 'klasse', may be a heading or an example: .* text_column"):
        read(tmp_path / "a.csv", content)
    check(read(tmp_path / "a.csv", content, text="satz", label="klasse"))
    check(read(tmp_path / "a.csv", content, text="satz"))
    # A word above numbers is one.
    numbers = [(text, str(len(label) % 3)) for text, label in ROWS]
    assert len(read(tmp_path / "a.csv", quoted("satz,klasse", "tl", rows=numbers)).classes) == 30
    # By number, the first row is an example.
    assert len(read(tmp_path / "a.csv", content, text=1, label=2).classes) == 31
    # A class may be called as columns are.
    topics = [(text, ("topic", "class")[number % 2]) for number, (text, _) in enumerate(ROWS)]
    assert len(read(tmp_path / "a.csv", quoted("", "lt", rows=topics)).classes) == 30


@pytest.mark.parametrize(
    ("content", "columns", "message"),
    [
        (quoted("a,b,text", "ilt"), {}, "which column .* holds the class: its heading is 'a', 'b', 'text'; name them"),
        (quoted("sentence1,sentence2,label", "ttl"), {}, "several columns .* text: 'sentence1', 'sentence2'"),
        (quoted("text,label", "tl"), {"text": "review"}, "no column 'review'; its columns are 'text', 'label'"),
        (quoted("text,label", "tl"), {"label": "lable"}, "no column 'lable'; did you mean 'label'"),
        (quoted("text,label", "tl"), {"label": 3}, "no column '3'; .* or 1 to 2"),
        (quoted("text,label", "tl"), {"text": 1, "label": "text"}, "cannot be the same column"),
        (quoted("label,text", "tl"), {}, "'label' of .* has 30 different values in 30 rows, too many for classes"),
        (quoted("", "it"), {}, "column 1 of .* has 30 different values in 30 rows"),
    ],
)
def test_what_stays_unclear_is_asked_for(
    tmp_path: Path, content: str, columns: dict[str, str | int], message: str
) -> None:
    with pytest.raises(UserError, match=message) as caught:
        read(tmp_path / "a.csv", content, **columns)
    assert "\n" not in str(caught.value)


def test_rows_without_words_are_counted_and_left_out(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [*ROWS, ("...", "positive"), ("", "negative")]
    (tmp_path / "reviews.csv").write_text(quoted("review,sentiment", "tl", rows=rows))
    data = load("text", tmp_path / "reviews.csv", embedding=4)
    assert data.description.class_names == ("negative", "positive")
    assert sum(len(split) for split in (data.train, data.validation, data.test)) == 30
    assert capsys.readouterr().err == (
        "note: texts: train 'reviews.csv' (text in 'review', class in 'sentiment'); 2 classes (negative, positive); "
        "2 without words left out\n"
    )


def test_parts_have_the_same_columns(tmp_path: Path) -> None:
    (tmp_path / "Train.csv").write_text(quoted("review,sentiment", "tl"))
    (tmp_path / "Valid.tsv").write_text("id\tsentiment\treview\n1\tpositive\ta good film\n2\tnegative\ta bad film\n")
    parts = read_corpora(tmp_path)
    assert set(parts) == {"train", "validation"} and parts["validation"].classes == ["positive", "negative"]
    for content, message in (
        ("index\treview\n0\ta film\n", "no column 'sentiment' as 'Train.csv' has, its columns are index, review"),
        ("text\tlabel\na film\tpositive\n", "text and class in 'text' and 'label', 'Train.csv' in 'review'"),
        ("positive\ta film\n", "in column 2 and column 1, 'Train.csv' in 'review' and 'sentiment'; give all parts"),
    ):
        (tmp_path / "test.tsv").write_text(content)
        with pytest.raises(UserError, match=message):
            read_corpora(tmp_path)
    (tmp_path / "test.csv").write_text("x\n")
    with pytest.raises(UserError, match="test.csv, test.tsv for test; leave one"):
        read_corpora(tmp_path)


def test_classes_that_are_numbers_are_in_their_order(tmp_path: Path) -> None:
    assert in_order({"10", "9", "-1", "2.5"}) == ["-1", "2.5", "9", "10"]
    assert in_order({"10", "9", "b"}) == ["10", "9", "b"]
    rows = [(text, str(number % 3 - 1)) for number, (text, _) in enumerate(ROWS)]
    (tmp_path / "a.csv").write_text(quoted("text,label", "tl", rows=rows))
    assert load("text", tmp_path / "a.csv", embedding=4).description.class_names == ("-1", "0", "1")


def test_options_name_the_columns(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.csv").write_text(quoted("satz,klasse", "tl"))
    words = ["evaluate", "real", "--dataset", "text", "--data-root", str(tmp_path / "a.csv"), "--length", "6"]
    words += ["--embedding", "4", "--updates", "2", "--seeds", "1", "--lr", "0.1", "--no-fidelity"]
    assert cli.main(words) == 2
    assert "--text-column" in capsys.readouterr().err
    assert cli.main([*words, "--text-column", "satz", "--label-column", "klasse"]) == 0
    assert "text in 'satz', class in 'klasse'" in capsys.readouterr().err
    for other in (["--dataset", "digits"], ["--dataset", "toytext"]):
        assert cli.main(["evaluate", "real", *other, "--text-column", "satz"]) == 2
        assert "--text-column" in capsys.readouterr().err


def test_a_heading_that_has_a_name_twice_is_asked_about(tmp_path: Path) -> None:
    file = tmp_path / "a.csv"
    with pytest.raises(UserError, match="has 'text' more than once: 'text', 'text'; .* by number from 1, with "):
        read(file, quoted("text,text", "tl"))
    check(read(file, quoted("text,text,label", "itl"), text=2, label=3))


def test_parts_may_write_their_columns_in_other_capitals(tmp_path: Path) -> None:
    (tmp_path / "train.csv").write_text(quoted("text,label", "tl"))
    (tmp_path / "test.csv").write_text(quoted("Label,Text", "lt"))
    corpora = read_corpora(tmp_path)
    assert corpora["train"].classes == corpora["test"].classes and corpora["test"].sentences[1][:3] == [
        "the",
        "film",
        "number",
    ]


def test_bars_stand_between_cells_too(tmp_path: Path) -> None:
    check(read(tmp_path / "a.csv", quoted("text|label", "tl", "|")))
    check(read(tmp_path / "b.csv", quoted("", "tl", "|")))


def test_a_table_of_texts_is_no_folder_of_pictures(tmp_path: Path) -> None:
    (tmp_path / "my texts.csv").write_text(quoted("text,label", "tl"))
    with pytest.raises(UserError, match="with root '.*my texts.csv'$"):  # quoted, so that it can be pasted
        load(str(tmp_path / "my texts.csv"))
    file = tmp_path / "a.csv"
    file.write_text(quoted("text,label", "tl"))
    for options in ({}, {"text_column": "text"}):
        with pytest.raises(UserError, match="is a table of texts; load it as data text with root .*a.csv"):
            load(str(file), **options)
