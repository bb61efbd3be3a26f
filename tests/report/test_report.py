from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch

from gendistill.errors import UserError
from gendistill.report import text_table, write_report
from gendistill.report.figures import learning_curves, styles
from gendistill.report.findings import findings, margin, wins
from gendistill.report.page import render
from gendistill.report.pictures import by_class, png_grid, png_size
from gendistill.report.rows import Score, byte_size, percent, row, rows, update_counts


def result(
    name: str, means: list[float], spread: float = 0.01, updates: tuple[int, ...] = (10, 100), **more: Any
) -> dict[str, Any]:
    """A result whose two seeds lie ``spread`` above and below the mean."""
    return {
        "name": name,
        "teacher": {"kind": "stored-images", "path": None, "images": 20, "bytes": 5120},
        "dataset": "digits",
        "learning": {
            "learner": {"class_path": "gendistill.nets.learners.ConvNet", "init_args": {"width": 8}},
            "updates": list(updates),
            "accuracy": {
                "mean": means,
                "std": [spread * math.sqrt(2)] * len(means),
                "runs": [[mean - spread, mean + spread] for mean in means],
            },
            "seconds": 1.5,
        },
        "fidelity": {"name": "FD[digits classifier]", "value": 3.25, "n": 20},
    } | more


RESULTS = {
    "teachers": [result("real", [0.3, 0.95]), result("gtn", [0.8, 0.9]), result("weak", [0.2, 0.5], fidelity=None)]
}


class Outline(HTMLParser):
    """Collects tags and their attributes, and checks that what is opened is closed."""

    VOID = {"meta", "img", "link", "br", "hr", "input", "path", "circle", "rect", "use"}

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in self.VOID:
            assert self.open.pop() == tag


@pytest.fixture
def page() -> str:
    images = {"gtn": torch.rand(30, 1, 8, 8), "real": torch.rand(30, 3, 8, 8)}
    curves = {"latent norm": {"x": [0, 1, 2], "y": [3.0, 2.5, 2.9], "reference": 2.83}}
    return render(RESULTS, images, curves)


def test_the_page_is_whole_and_needs_nothing_else(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    assert outline.open == []
    for tag, attributes in outline.tags:
        assert tag not in ("link", "iframe", "object")
        for key in ("src", "href", "xlink:href", "srcset"):
            if attributes.get(key):
                assert str(attributes[key]).startswith(("data:image/png;base64,", "#"))
    assert "http:" not in page and "https:" not in page and "@import" not in page
    assert not re.search(r"url\((?!#)", page)


def test_every_picture_has_words(page: str) -> None:
    outline = Outline()
    outline.feed(page)
    pictures = [attributes for tag, attributes in outline.tags if tag == "img"]
    figures = [attributes for tag, attributes in outline.tags if attributes.get("class") == "figure"]
    assert len(pictures) == 2 and len(figures) == 2
    assert all(len(str(one.get("alt"))) > 10 for one in pictures)
    assert all(one.get("role") == "img" and len(str(one.get("aria-label"))) > 10 for one in figures)


def test_numbers_stand_in_the_table_with_their_budget(page: str) -> None:
    cells = [re.sub(r"<[^>]+>", "", found) for found in re.findall(r"<td.*?</td>", page)]
    assert cells[:6] == ["20", "5.1 kB", "30.0 ± 1.4", "95.0 ± 1.4", "3.25", "1.5"]
    assert page.count('class="win"') + page.count('class="best win"') == 1  # gtn after 10 updates
    assert "gtn beats training on all real data at 10 updates" in page


def test_figures_follow_the_page_theme(page: str) -> None:
    figure = page[page.index('<svg class="figure"') :]
    figure = figure[: figure.index("</svg>")]
    assert "var(--c0)" in figure and "var(--c2)" in figure and "#ab0" not in figure
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_constant_curve_is_drawn_flat() -> None:
    curve = {"x": [0, 1, 2], "y": [11.313708, 11.313709, 11.313707]}
    page = render({"teachers": [result("a", [0.1, 0.2])]}, {}, {"latent norm": curve})
    figure = page[page.index("<h2>Latent norm") :]
    ticks = [float(found) for found in re.findall(r">(\d+\.\d+)</text>", figure)]
    assert ticks and max(ticks) - min(ticks) > 0.1 and "e−" not in figure


def test_the_results_are_in_the_file_and_text_is_escaped() -> None:
    nasty = {"teachers": [result("</script><b>x", [0.1, 0.2])]}
    page = render(nasty, {}, {})
    assert "<b>x" not in page.split('id="results">')[0]
    assert json.loads(page.split('id="results">')[1].split("</script>")[0]) == nasty


def test_write_report_writes_one_file(tmp_path: Path) -> None:
    path = write_report(RESULTS, tmp_path / "sub" / "report.html")
    assert path.read_text().startswith("<!doctype html>") and [path.name] == [one.name for one in path.parent.iterdir()]


def test_one_seed_no_fidelity_and_zero_updates_are_no_trouble() -> None:
    lonely = result("real", [0.1, 0.4], updates=(0, 5), fidelity=None)
    lonely["learning"]["accuracy"] |= {"std": [None, None], "runs": [[0.1], [0.4]]}
    page = render({"teachers": [lonely]}, {}, {})
    assert "40.0" in page and "± 0.0" not in page.split("How it was measured")[0]
    assert "n=0" in text_table({"teachers": [lonely]})


def test_the_terminal_table_aligns_and_shows_budgets() -> None:
    lines = text_table(RESULTS).splitlines()
    assert lines[0].split()[:3] == ["teacher", "images", "bytes"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert "80.0 ± 1.4" in lines[3] and "5.1 kB" in lines[3] and lines[4].split()[-2] == "–"


def test_margin_is_the_difference_and_welchs_standard_error() -> None:
    difference, error = margin(Score(0.8, 0.03, 9), Score(0.7, 0.04, 4))
    assert difference == pytest.approx(0.1) and error == pytest.approx(math.sqrt(0.01**2 + 0.02**2))


def test_a_win_needs_two_standard_errors_and_two_seeds() -> None:
    real = row(result("real", [0.5, 0.5]))
    # Standard error of the difference of two means of two seeds: 0.01 * sqrt(2).
    assert wins(row(result("a", [0.53, 0.527])), real) == [10]
    one = row(result("a", [0.9, 0.9]))
    single = {count: Score(score.mean, 0.0, 1) for count, score in one.scores.items()}
    assert wins(type(one)("a", "", 1, 1, single), real) == []


def test_findings_say_it_when_there_is_nothing_to_find() -> None:
    assert findings(rows({"teachers": [result("gtn", [0.9, 0.9])]})) == []
    assert findings(rows({"teachers": [result("real", [0.9, 0.9]), result("b", [0.1, 0.1])]}))[0].startswith(
        "No teacher"
    )


def test_small_words() -> None:
    assert [byte_size(n) for n in (None, 0, 999, 1000, 99_949, 99_951, 999_600, 12_300_000)] == [
        "–", "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "1.0 MB", "12.3 MB",
    ]  # fmt: skip
    assert (
        percent(Score(0.5, 0.01, 5)) == "50.0 ± 1.0" and percent(Score(0.5, 0.0, 1)) == "50.0" and percent(None) == "–"
    )
    many = rows({"teachers": [result("a", [0.1] * 9, updates=(1, 2, 4, 8, 16, 32, 64, 128, 256))]})
    assert update_counts(many) == [1, 4, 16, 64, 256]


def test_grid_places_every_pixel() -> None:
    from io import BytesIO

    import numpy as np
    from PIL import Image

    pixels = torch.arange(3 * 4).view(3, 1, 2, 2) / 11
    png = png_grid(pixels, columns=2, width=1)
    image = np.asarray(Image.open(BytesIO(png)))
    assert png_size(png) == (5, 5) and image.shape == (5, 5, 4)
    value = (pixels * 255).round().to(torch.uint8)[:, 0].numpy()
    assert (
        (image[:2, :2, 0] == value[0]).all()
        and (image[:2, 3:, 1] == value[1]).all()
        and (image[3:, :2, 2] == value[2]).all()
    )
    assert (image[2, :, 3] == 0).all() and (image[3:, 3:, 3] == 0).all()  # gaps and the empty place are transparent
    with pytest.raises(UserError, match="a grid shows images"):
        png_grid(torch.zeros(0, 1, 2, 2))


def test_columns_are_classes() -> None:
    labels = torch.tensor([2, 0, 1, 1, 0, 2])
    pixels = labels.view(-1, 1, 1, 1).float() + torch.arange(6).view(-1, 1, 1, 1) / 10
    ordered = by_class(pixels, labels, columns=3).flatten()
    assert torch.allclose(ordered, torch.tensor([0.1, 1.2, 2.0, 0.4, 1.3, 2.5]))
    soft = torch.nn.functional.one_hot(labels, 3).float()
    assert torch.equal(by_class(pixels, soft, columns=3).flatten(), ordered)
    assert torch.allclose(by_class(pixels, labels).flatten(), torch.tensor([0.1, 0.4, 1.2, 1.3, 2.0, 2.5]))


def test_a_figure_by_epochs_is_there_when_epochs_were_measured() -> None:
    learning = {"updates": [2, 3, 6, 9], "accuracy": {"mean": [0.1, 0.2, 0.4, 0.6], "std": [0.0] * 4}}
    epochs = {"epochs": 3, "epoch": {"images": 96, "updates": 3}}
    one = {"name": "gan", "teacher": {"kind": "generator"}, "learning": learning | epochs}
    assert row(one).epoch_updates == 3
    other = {"name": "real", "teacher": {"kind": "real-subset"}, "learning": learning}
    assert row(other).epoch_updates is None
    assert "against epochs" in render({"teachers": [one, other]}, {}, {})
    assert "against epochs" not in render({"teachers": [other]}, {}, {})
    looks = styles(["gan"])
    marks = [
        len(re.findall(r"<use [^>]*fill: var\(--c1\)", learning_curves([row(one)], looks, "words", by_epoch=by_epoch)))
        for by_epoch in (False, True)
    ]
    # Three whole epochs are drawn, and the band; the measurement inside the first epoch is not.
    assert marks == [1 + 4, 1 + 3]
