"""Names of others in a terminal, a log, JSON, a spreadsheet, a card, a figure and the page: text and nothing else."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
import unicodedata
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gendistill import notes
from gendistill.cli import main
from gendistill.counter import Counter
from gendistill.data import load
from gendistill.data.description import Description, symmetric
from gendistill.data.embedding import PAD, UNKNOWN, Embedding
from gendistill.errors import UserError
from gendistill.escapes import figure_text, markdown, spreadsheet_cell
from gendistill.nas.report import markdown as nas_markdown
from gendistill.nas.report import scatter
from gendistill.plain import plain
from gendistill.report.figures import line_figure
from gendistill.report.markup import escaped, script_json
from gendistill.report.page import render
from gendistill.report.sweep_figure import draw_sweep
from gendistill.report.terminal import aligned, text_table
from gendistill.runs.progress import Progress
from gendistill.teacher import StoredImages, export, save
from gendistill.teacher.folder import class_folder, read_image_folder, safe_name
from gendistill.teacher.sentences import table
from gendistill.visible import JOINERS, LONGEST_SENTENCE, Guarded, guarded, lines, seen, sentence, visible

CONTROL = {
    "colour": "\x1b[31mred\x1b[0m",
    "a title of the terminal": "\x1b]0;owned\x07",
    "a cleared screen": "\x1b[2J\x1b[H",
    "a link of the terminal": "\x1b]8;;http://evil\x1b\\click\x1b]8;;\x1b\\",
    "C1 control": "\x9b31mred",
    "the start of the line": "honest\rforged",
    "a line more": "name\nerror: forged",
    "a tab": "a\tb",
    "backspaces": "honest\x08\x08\x08\x08\x08\x08forged",
    "NUL": "a\0b",
    "delete": "a\x7fb",
    "another direction": "\u202egnp.exe",
    "an isolate": "\u2066abc\u2069",
    "line separators": "a\u2028b\u2029c",
    "nothing to see": "a\u200b\u2060\ufeffb",
    "tags": "a\U000e0041\U000e007fb",
    "joiners in a word": "ca\u200dt and do\u200cg",
    "half a character": "a\ud800b",
    "a soft hyphen": "a\u00adb",
}
MARKUP = {
    "an element": "<script>alert(1)</script>",
    "the end of the script": "</script><script>alert(1)</script>",
    "a comment": "<!--<script>",
    "an attribute": '"><img src=x onerror=alert(1)>',
    "another attribute": "' onmouseover='alert(1)",
    "an entity": "&lt;b&gt;&amp;",
    "a template": "\\1 \\g<0> \\u003c ${x} {{x}}",
    "a cell": "a | b | c",
    "a link": "[click](http://evil.example)",
    "a picture": "![x](http://evil.example/beacon.png)",
    "a reference": "[x]: http://evil.example",
    "an address": "http://evil.example and www.evil.example",
    "code": "`code` ~~gone~~ **bold** _slant_",
    "a heading": "# heading",
    "a rule": "---",
    "a list": "- one",
    "a numbered list": "1. one",
    "a formula of TeX": "$\\frac{a}{b}$ and $\\nonsense",
    "one dollar": "costs $5",
}
FORMULAS = {
    "a sum": "=1+1",
    "a command": "=cmd|' /C calc'!A0",
    "a link": '=HYPERLINK("http://evil","x")',
    "a plus": "+1+1",
    "a minus": "-1+1",
    "an at": "@SUM(A1)",
    "a tab first": "\t=1+1",
    "a line first": "\n=1+1",
    "a return first": "\r=1+1",
    "a space first": "  =1+1",
    "a quotation mark first": '"=1+1',
    "an apostrophe first": "'=1+1",
}
LONG = {"a very long name": "n" * 200_000}
EVERY = CONTROL | MARKUP | FORMULAS | LONG
DRAWN = {name: EVERY[name] for name in ("half a character", "an element", "an attribute", "a template", "one dollar")}
DRAWN |= {"all control": "".join(CONTROL.values()), "all markup": " ".join(MARKUP.values())} | LONG
"""Names for what takes longer to draw."""
PLAIN = (
    "cat",
    "café",
    "日本語",
    "Ünïcode",
    "наука",
    "👩\u200d🔬",
    "می\u200cخواهم",
    "3_cat",
    "a-b.c",
    "50 % ± 2",
    "x\u00a0y",
)


def hidden(text: str, layout: str = "") -> set[str]:
    """Return the characters of a text that a person does not see, or that do something."""
    kinds = ("Cc", "Cf", "Cs", "Zl", "Zp")
    before = ["", *text]
    return {
        one
        for place, one in enumerate(text)
        if unicodedata.category(one) in kinds and one not in layout
        if one not in JOINERS or before[place].isascii()
    }


# -- terminal, log, JSON -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", EVERY)
def test_every_character_of_a_name_is_seen(case: str) -> None:
    shown = visible(EVERY[case])
    assert not hidden(shown) and not hidden(lines(EVERY[case]), "\n\t") and not hidden(sentence(EVERY[case]))
    assert len(sentence(EVERY[case])) <= LONGEST_SENTENCE and len(visible(EVERY[case], 60)) <= 60


@pytest.mark.parametrize("name", PLAIN)
def test_plain_names_stay_as_they_are(name: str) -> None:
    assert visible(name) == name and lines(name) == name and spreadsheet_cell(name) == name
    assert seen({name: [name, 1, None]}) == {name: [name, 1, None]}


@given(text=st.text())
def test_what_is_shown_is_one_line_and_json_stays_the_same_value(text: str) -> None:
    assert not hidden(visible(text)) and len(visible(text).splitlines()) <= 1
    assert not hidden(lines(text), "\n\t") and lines(lines(text)) == lines(text)
    value = {"name": [text, {text: 1}]}
    assert json.loads(lines(json.dumps(value, ensure_ascii=False))) == value
    assert json.loads(script_json(value)) == value


def test_a_stream_lets_our_own_bars_move_and_nothing_else() -> None:
    into = io.StringIO()
    out = Guarded(into)
    for text in ("\rone", "\n\n", "\x1b[A\x1b[A", "\r", "two\n"):
        out.write(text)
    assert into.getvalue() == "\rone\n\n\x1b[A\x1b[A\rtwo\n"
    out.writelines(CONTROL.values())
    assert not hidden(into.getvalue().removeprefix("\rone\n\n\x1b[A\x1b[A\r"), "\n\t")
    assert out.getvalue() == into.getvalue() and not out.isatty()


def test_a_line_that_a_signal_cut_short_is_ended_before_the_error_is_said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_short(words: list[str]) -> int:
        sys.stderr.write("first line\n")
        sys.stderr.write("run 1 of")  # as print writes a line: its text, then its end
        raise KeyboardInterrupt

    monkeypatch.setattr("gendistill.commands.doctor.main", cut_short)
    assert main(["doctor"]) == 130
    told = "interrupted; give the same command again"
    assert capsys.readouterr().err == f"first line\nrun 1 of\n{told}\n"
    monkeypatch.setattr("gendistill.commands.doctor.main", lambda words: print("whole", file=sys.stderr) or 1 / 0)
    assert main(["doctor"]) == 1 and capsys.readouterr().err.startswith("whole\nTraceback")


def test_whoever_prints_is_guarded_and_streams_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    before = sys.stdout, sys.stderr
    with pytest.raises(ZeroDivisionError), guarded():
        print(CONTROL["colour"])
        print(CONTROL["a title of the terminal"], file=sys.stderr)
        raise ZeroDivisionError
    assert (sys.stdout, sys.stderr) == before
    said = capsys.readouterr()
    assert said.out == "\\u001b[31mred\\u001b[0m\n" and said.err == "\\u001b]0;owned\\u0007\n"


@pytest.mark.parametrize("case", CONTROL | LONG)
def test_an_error_is_one_line(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    name = EVERY[case].replace("\0", "").replace("\ud800", "")
    for words in (["evaluate", name], [name], ["evaluate", "real", "--dataset", name], ["report", name],
                  ["train", "--config", name], ["evaluate", "real", f"--{name}", "1"]):  # fmt: skip
        assert main(words) == 2
        said = capsys.readouterr().err
        assert said.startswith("error: ") and said.count("\n") == 1 and not hidden(said, "\n") and len(said) < 5_000


def test_notes_logs_and_counts_are_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    notes.begin()
    for name in CONTROL.values():
        notes.note(f"the data set '{name}' is odd")
    progress = Progress(10, 0, tmp_path / "log.txt", True, CONTROL["colour"])
    for name in CONTROL.values():
        progress.say(f"warning: {name}")
    progress.close()
    counter = Counter(CONTROL["a line more"], "updates")
    counter._said = float("-inf")
    counter(1, 2)
    said, log = capsys.readouterr().err, (tmp_path / "log.txt").read_text()
    assert not hidden(said, "\n") and len(said.splitlines()) == 2 * len(CONTROL) + 1
    assert not hidden(log, "\n") and len(log.splitlines()) == len(CONTROL)


def test_tables_keep_their_rows_and_their_width() -> None:
    rows = aligned([["name", "accuracy"], *([name, "50.0"] for name in EVERY.values())])
    assert len(rows) == 2 + len(EVERY) and all(not hidden(line) for line in rows)
    assert max(map(len, rows)) < 120


# -- whole commands ----------------------------------------------------------------------------------------------------

NAMES = [
    "0\x1b[31mred", "1\x1b]0;owned\x07", "2\u202egnp", "3\nerror: forged", "4\rforged", "=5+5", "@SUM(6)", "-7",
    "<img src=x onerror=alert(8)>", "[9](http:evil)|`x`$\\foo$",
]  # fmt: skip
"""Ten class names, for the digits."""


@pytest.fixture
def odd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of pictures whose classes, and itself, are named by an enemy; and a teacher of these classes."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "=data\x1b[2J\n<b>\u202e"
    for place, name in enumerate(NAMES):
        for part in ("train", "test"):
            (root / part / name.replace("/", "-")).mkdir(parents=True)
            for number in range(4):
                Image.new("L", (8, 8), 20 * place + number).save(root / part / name / f"{number}.png")
    data = load(str(root))
    index = torch.cat([(data.train.labels == label).nonzero()[:1, 0] for label in range(10)])
    images, labels = data.train.batch(index, data.description.normalisation)
    metadata = {
        "seed": 0, "notes": CONTROL["colour"], "source": {"words": [CONTROL["a title of the terminal"]]},
        "warnings": list(EVERY.values())[:-1], "learner": {"class_path": "<script>|"}, "augmentation": "[x](http://y)",
        "poisoned": {"source": 7, "target": 1, "weight": 1.0},
    }  # fmt: skip
    save(StoredImages(images, labels, data.description, metadata=metadata), tmp_path / "\x1b[31m<i>t.safetensors")
    return root


QUICK = ["--updates", "1", "--seeds", "2", "--lr", "0.1", "--device", "cpu"]


@pytest.mark.parametrize(
    "words",
    [
        ["evaluate", "T", "--no-fidelity", *QUICK],
        ["evaluate", "T", "--no-fidelity", "--json", *QUICK],
        ["compare", "T", "real:ipc=1", "--no-fidelity", "--report", "r.html", *QUICK],
        ["compare", "T", "real:ipc=1", "--no-fidelity", "--json", "--output", "r.json", *QUICK],
        ["poison", "T", "--attack", "7:1", "--learner", "MLP", *QUICK],
        ["poison", "T", "--attack", "7:1", "--learner", "MLP", "--json", "--no-detect", *QUICK],
        ["export", "T", "--output", "out"],
        ["export", "T", "--output", "out", "--json"],
        ["evaluate", "real:ipc=100"],
        ["evaluate", "T", "--dataset", "digits"],
        ["tokens", "T"],
        ["adapt", "T"],
    ],
    ids=lambda words: " ".join(words[:1] + [word for word in words if word.startswith("--json")]),
)
def test_no_command_prints_what_moves_a_cursor(
    words: list[str], odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    given = [next(tmp_path.glob("*t.safetensors")).name if word == "T" else word for word in words]
    if "--dataset" not in given and given[0] not in ("export", "tokens"):
        given += ["--dataset", str(odd)]
    code, said = main(given), capsys.readouterr()
    assert code in (0, 2) and "Traceback" not in said.err
    assert not hidden(said.out, "\n") and not hidden(said.err, "\n")
    assert "\nerror: forged" not in said.out + said.err
    if code == 0 and "--json" in given:
        assert isinstance(json.loads(said.out), dict)


def test_names_survive_the_way_through_our_json(odd: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = next(tmp_path.glob("*t.safetensors")).name
    capsys.readouterr()
    words = ["evaluate", name, "--no-fidelity", "--json", "--output", "r.json", "--dataset", str(odd), *QUICK]
    assert main(words) == 0
    found = json.loads(capsys.readouterr().out)
    assert found == json.loads((tmp_path / "r.json").read_text())
    assert sorted(found["learning"]["class_names"]) == sorted(NAMES) and found["dataset"] == odd.name


# -- spreadsheets ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", FORMULAS | CONTROL)
def test_no_cell_is_a_formula(case: str) -> None:
    cell = spreadsheet_cell(EVERY[case])
    buffer = io.StringIO()
    csv.writer(buffer).writerow([cell, "next"])
    (row,) = csv.reader(io.StringIO(buffer.getvalue()))
    assert row == [cell, "next"] and not hidden(cell)
    assert not cell.lstrip(' "\u00a0').startswith(("=", "+", "-", "@"))
    assert cell.startswith("'") == (case in FORMULAS)


@given(text=st.text())
def test_any_text_is_a_cell_of_its_own(text: str) -> None:
    cell = spreadsheet_cell(text)
    assert not hidden(cell) and not cell.lstrip(' "').startswith(("=", "+", "-", "@"))


def described(names: list[str], shape: tuple[int, int, int] = (1, 2, 2)) -> StoredImages:
    description = Description(EVERY["an element"] + "\n# forged\x1b[0m", tuple(names), shape, symmetric(shape[0]))
    count = len(names)
    images = torch.linspace(-1, 1, count * 4).view(count, *shape)
    return StoredImages(images, torch.arange(count), description, metadata={"warnings": sound(EVERY)})


def sound(names: dict[str, str]) -> list[str]:
    """Return the names that a data set can have at all: text that is UTF-8, each once."""
    return list(dict.fromkeys(name for name in names.values() if name.isprintable() or "\ud800" not in name))


def test_an_index_of_pictures_holds_no_formula_and_is_read_again(tmp_path: Path) -> None:
    teacher = described(sound(EVERY))
    export(teacher, tmp_path / "out", "png")
    with (tmp_path / "out" / "metadata.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        for cell in row.values():
            assert not hidden(cell) and not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    again = read_image_folder(tmp_path / "out")
    assert again.description.class_names == teacher.description.class_names and torch.equal(
        again.labels, teacher.labels
    )
    # A changed label is still found out.
    text = (tmp_path / "out" / "metadata.csv").read_text().replace(",0,", ",1,", 1)
    (tmp_path / "out" / "metadata.csv").write_text(text)
    with pytest.raises(Exception, match="has label 1"):
        read_image_folder(tmp_path / "out")


def test_folders_of_classes_are_plain_names() -> None:
    teacher = described(sound(EVERY))
    for label, name in enumerate(teacher.description.class_names):
        folder = class_folder(label, teacher.description)
        assert not hidden(folder) and "/" not in folder and "\\" not in folder and len(folder.encode()) < 255
        assert not folder.startswith(".") and safe_name(name) in folder


def test_a_table_of_sentences_holds_no_formula() -> None:
    words = (PAD, UNKNOWN, "=1+1", "good", "\x1b[31m", "-2")
    vectors = torch.eye(6)
    vectors[0] = 0
    embedding = Embedding(words, vectors)
    from gendistill.data.description import Normalisation

    description = Description("texts", ("=bad", "good\tx"), (1, 2, 6), Normalisation.of_words(embedding))
    images = vectors[torch.tensor([[2, 3], [4, 5]])].view(2, 1, 2, 6)
    written = table(StoredImages(images, torch.tensor([0, 1]), description))
    rows = [line.split("\t") for line in written.splitlines()]
    assert len(rows) == 2 and all(len(row) == 2 for row in rows) and not hidden(written, "\n\t")
    assert rows[0] == ["'=bad", "'=1+1 good"] and rows[1][0] == "good\\u0009x"


# -- cards and pages of Markdown ---------------------------------------------------------------------------------------


class Elements(HTMLParser):
    """Collects the elements of a page with their attributes, and its text."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, tuple[str, ...]]] = []
        self.text: list[str] = []
        self.comments = 0
        self.feed(page)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, tuple(sorted(name for name, _ in attributes))))

    def handle_comment(self, data: str) -> None:
        self.comments += 1

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("case", EVERY)
def test_a_name_is_text_on_a_page_of_markdown(case: str) -> None:
    rendered = pytest.importorskip("markdown").markdown
    shown = markdown(EVERY[case])
    assert not hidden(shown) and "<" not in shown and "\n" not in shown
    page = f"# {shown}\n\n{shown}\n\n| a | b |\n|---|---|\n| x | {shown} |\n"
    found = {tag for tag, _ in Elements(rendered(page, extensions=["tables"])).found}
    assert found == {"h1", "p", "table", "thead", "tbody", "tr", "th", "td"}


def test_a_card_is_a_card_whatever_the_names(tmp_path: Path) -> None:
    rendered = pytest.importorskip("markdown").markdown
    teacher = described(sound(EVERY))
    teacher.metadata |= {"learner": EVERY["a picture"], "augmentation": EVERY["a link"], "seed": EVERY["a cell"],
                         "poisoned": EVERY["an element"]}  # fmt: skip
    export(teacher, tmp_path / "out", "pt")
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert not hidden(card, "\n")
    _, front, body = card.split("---\n", 2)
    read = yaml.safe_load(front)
    assert list(read) == ["pretty_name", "license", "task_categories", "size_categories", "source_datasets", "tags"]
    assert len(read["pretty_name"]) < 3_000
    page = Elements(rendered(body, extensions=["tables"]))
    assert {tag for tag, _ in page.found} <= {"h1", "p", "table", "thead", "tbody", "tr", "th", "td", "code", "strong"}
    assert [tag for tag, _ in page.found].count("h1") == 1 and not page.comments
    rows = [line for line in body.splitlines() if line.startswith("|")]
    assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows)


# -- figures -----------------------------------------------------------------------------------------------------------


def ranked(label: str) -> dict[str, Any]:
    one = {"value": 0.5, "low": None, "high": None}
    ranking = {subset: {"architectures": 3, "spearman": one, "kendall": one}
               for subset in ("all", "top_half_by_score", "top_half_by_truth")}  # fmt: skip
    best = {"top_1": 0.5, "top_5": 0.5, "top_10_percent": 0.5, "best": 0.5, "mean": 0.5}
    entries = {str(place): {"proxies": {label: {"score": place / 9}}, "truth": {"accuracy": place / 9}}
               for place in range(4)}  # fmt: skip
    return {"rankings": {label: ranking | {"best": best, "seconds": 1.0}}, "architectures": entries}


@pytest.mark.parametrize("case", DRAWN)
def test_figures_draw_names_as_text(case: str, tmp_path: Path) -> None:
    name = DRAWN[case]
    assert not hidden(figure_text(name))
    curve = {"x": [1, 2], "y": [0.1, 0.2], "x_label": name, "y_label": name, "caption": name}
    drawn = Elements(line_figure(name, curve, name))
    expected = Elements(line_figure("a", curve | {"x_label": "a", "y_label": "a"}, "a"))
    assert drawn.found == expected.found
    accuracy = {"mean": 0.5, "std": None, "runs": [0.5]}
    points = [{"value": value, "rows": [{"name": name, "accuracy": accuracy}]} for value in ("1", "2")]
    draw_sweep({"over": f"trainer.{name}", "seeds": [0], "points": points, "split": name}, tmp_path / "x.png")
    assert scatter(ranked(name), name).startswith(b"\x89PNG")
    written = nas_markdown(ranked(name)).splitlines()
    assert len(written) == 3 and len({len(re.findall(r"(?<!\\)\|", line)) for line in written}) == 1


def test_the_split_beside_a_curve_is_drawn_as_text() -> None:
    made = {"teachers": [result("real", "d", "L", everything=True), result("x", "d", "L")]}
    for teacher in made["teachers"]:
        teacher["learning"]["split"] = "\x1b[2J\u202e<b>"
    page = render(made, {}, {})
    assert "<svg" in page and not {"\x1b", "\u202e"} & set(page) and "<b>" not in page


# -- the report's page -------------------------------------------------------------------------------------------------


def result(name: str, dataset: str, learner: str, everything: bool = False) -> dict[str, Any]:
    runs = [[0.4, 0.41, 0.42], [0.6, 0.61, 0.63]] if everything else [[0.5, 0.52, 0.51], [0.58, 0.62, 0.6]]
    kind = "real-subset" if everything else "stored-images"
    accuracy = {"mean": [sum(row) / 3 for row in runs], "std": [0.01, 0.01], "runs": runs}
    learning = {
        "learner": {"class_path": f"a.{learner}"}, "updates": [10, 100], "accuracy": accuracy, "seeds": [0, 1, 2],
        "split": "test", "lr": [learner, 0.1], "lr_asked": [0.1, 0.2], "batch_size": 64, "augment": learner,
        "selection": {"select": "each", "candidates": [0.1, 0.2]}, "initialisation": learner, "schedule": learner,
    }  # fmt: skip
    teacher = {"kind": kind, "path": name, "images": 20, "bytes": 5120, "everything": everything}
    fidelity = {"name": f"FD[{learner}]", "value": 3.2, "n": 20, "reference": "train", "extractor": learner}
    return {"name": name, "dataset": dataset, "teacher": teacher, "learning": learning, "fidelity": fidelity,
            "notes": [learner], "software": {"torch": learner}}  # fmt: skip


def page_of(name: str, other: str) -> tuple[str, dict[str, Any]]:
    results = {"teachers": [result("real", other, other, everything=True), result(name, other, other)],
               "notes": [name]}  # fmt: skip
    curve = {"x": [1, 2], "y": [0.1, 0.2], "x_label": other, "y_label": other, "caption": name}
    images = {name: torch.zeros(2, 1, 4, 4), f"more {name}": torch.zeros(2, 1, 4, 4)}
    return render(results, images, {f"curve {name}": curve}, title=name), results


@pytest.mark.parametrize("case", DRAWN)
def test_the_page_has_the_same_elements_whatever_the_names(case: str) -> None:
    name = DRAWN[case]
    page, results = page_of(name, name)
    found, expected = Elements(page), Elements(page_of("name", "name")[0])
    assert found.found == expected.found and found.comments == expected.comments == 0
    assert not hidden(page, "\n")
    begin = '<script type="application/json" id="results">'
    data = page[page.index(begin) + len(begin) : page.index("</script>", page.index(begin))]
    assert not set(data) & set("<>&") and data.isascii() and json.loads(data) == plain(plain(results), strict=True)
    assert page.count("<script") == page.count("</script") == 2  # the numbers, and the program that sorts


@pytest.mark.parametrize("case", EVERY)
def test_the_terminal_has_the_same_rows_whatever_the_names(case: str) -> None:
    name = EVERY[case]
    written = [
        text_table({"teachers": [result("real", one, one, everything=True), result(one, one, one)], "notes": [one]})
        for one in (name, "name")
    ]
    assert not hidden(written[0], "\n") and written[0].count("\n") == written[1].count("\n")


def leaves(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield where the texts of a nested value stand."""
    if isinstance(value, str):
        yield path
    elif isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from leaves(inner, (*path, key))


def test_no_text_of_results_is_an_element_or_a_cursor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every text of a result, one after the other, in the page and in the terminal; what is refused is none of them."""
    # What is drawn has a test of its own.
    for drawing in ("learning_curves", "differences"):
        monkeypatch.setattr(f"gendistill.report.page.{drawing}", lambda *_, **__: "<svg></svg>")
    made = {"teachers": [result("real", "d", "L", everything=True), result("x", "d", "L")], "notes": ["n"]}
    made["teachers"][1]["ablation"] = {"of": "real", "keeps": "images"}
    hostile = "'\"><img src=x onerror=alert(1)><!--\x1b[0m</td></p></script>"
    known = {tag for tag, _ in Elements(render(made, {}, {})).found}
    taken, done = 0, list[tuple[Any, ...]]()
    for path in leaves(made):
        changed = json.loads(json.dumps(made))
        # In all teachers, too: some of what is said, is said where it is the same for all.
        alike = [0, 1] if path[0] == "teachers" and path[2:] in [one[2:] for one in done] else [path[1]]
        done.append(path)
        for number in alike:
            place = changed
            for key in (path[0], number, *path[2:])[:-1]:
                place = place[key]
            place[path[-1] if len(path) > 2 else number] = hostile
        try:
            page, written = render(changed, {}, {}), text_table(changed)
        except UserError as error:
            assert not hidden(sentence(str(error)))
            continue
        taken += 1
        found = Elements(page[: page.index('<script type="application/json"')])
        assert {tag for tag, _ in found.found} <= known and not found.comments, path
        assert not any("onerror" in attributes for _, attributes in found.found)
        assert not hidden(page, "\n") and not hidden(written, "\n")
    assert taken > 20


@given(text=st.text())
def test_any_text_is_text_in_an_element_and_in_an_attribute(text: str) -> None:
    page = f'<p title="{escaped(text)}">{escaped(text)}</p>'
    assert Elements(page).found == [("p", ("title",))] and not hidden(page)


def test_long_names_end_no_page_and_no_sentence() -> None:
    page, _ = page_of("x" * 1_000_000, "y")
    body = page[: page.index('<script type="application/json"')]
    assert len(body) < 400_000
