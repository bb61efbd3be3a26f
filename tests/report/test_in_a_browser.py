"""The report as a browser shows it: nothing is complained of, tables sort, pictures load, nothing is cut off."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import torch
from browser import Browser, browser, program
from made_results import chosen, distance, real, result, table
from PIL import Image

from gendistill.grids import grid_of_classes
from gendistill.report import write_report

pytestmark = pytest.mark.skipif(program() is None, reason="there is no Chromium here to look at the page with")
UPDATES = (1, 4, 16, 64, 256)
NAMES = ["a teacher of a rather long name", "b", "c", "d", "e", "f"]
CURVE = {"x": [0, 1, 2], "y": [3.0, 2.5, 2.9], "lower": [2.0] * 3, "upper": [4.0] * 3, "reference": 2.83}


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as found:
        yield found


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    rates: dict[str, Any] = {"updates": UPDATES, **chosen([0.1, 0.3], "each", [0.3, 0.3, 0.1, 0.1, 0.1])}
    teachers = [real((0.1, 0.4, 0.8, 0.97, 0.99), fidelity=distance(0.0), **rates)]
    for place, name in enumerate(NAMES):
        means = [max(0.0, value - 0.02 * place) for value in (0.2, 0.6, 0.9, 0.95, 0.96)]
        teachers.append(result(name, means, fidelity=distance(9.5 - place), **rates) | {"command": "gendistill x"})
    teachers[3]["fidelity"] = None
    teachers[2]["teacher"]["images"] = None
    pixels = torch.rand(40, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    grid = grid_of_classes(pixels, torch.arange(40) % 4, ["aeroplane", "cat", "dog", "lorry"])
    path = tmp_path_factory.mktemp("page") / "report.html"
    write_report(table(*teachers), path, {"b": grid, "real": pixels}, {"latent norm": CURVE})
    return path.as_uri()


def first_column(tab: Browser) -> list[str]:
    rows = "[...document.querySelector('table.sorted').tBodies[0].rows]"
    return [str(name).strip() for name in tab.value(f"{rows}.map(r => r.cells[0].innerText.split('\\n')[0])")]


def click(tab: Browser, heading: str) -> None:
    buttons = "[...document.querySelectorAll('table.sorted th button')]"
    tab.value(f"{buttons}.find(b => b.innerText.startsWith({heading!r})).click()")


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 1400])
def test_the_page_is_whole(tab: Browser, page: str, tmp_path: Path, width: int, dark: bool) -> None:
    tab.open(page, width, dark=dark)
    assert tab.said == []
    assert tab.value("[...document.images].every(i => i.complete && i.naturalWidth > 0) && document.images.length") == 2
    # Nothing but the boxes that scroll is wider than the window.
    assert tab.value("document.documentElement.scrollWidth") == width
    shown = "[...document.querySelectorAll('svg.figure')].filter(f => f.getBoundingClientRect().width > 0)"
    narrow = tab.value(f"{shown}.map(f => f.classList.contains('narrow'))")
    assert narrow == [width == 390] * 5
    # Letters of the axes can be read without enlarging the page.
    sizes = tab.value(
        f"{shown}.flatMap(f => [...f.querySelectorAll('text')].map(t => t.getBoundingClientRect().height))"
    )
    assert len(sizes) > 40 and min(sizes) >= 11
    colours = tab.value(
        "[getComputedStyle(document.documentElement).backgroundColor, getComputedStyle(document.body).color]"
    )
    light = [sum(map(int, colour.strip("rgb()").split(","))) > 380 for colour in colours]
    assert light == [not dark, dark]
    tab.photograph(tmp_path / "page.png")
    with Image.open(tmp_path / "page.png") as picture:
        assert picture.width == width and picture.height > 2000
        assert len(set(picture.convert("L").resize((50, 400)).tobytes())) > 30


@pytest.mark.parametrize("width", [390, 1400])
def test_names_of_any_length_stay_on_the_page(tab: Browser, tmp_path: Path, width: int) -> None:
    path, long = tmp_path / "long.html", "checkpoints/" + 90 * "a"
    teachers = [result(name, [0.2, 0.4]) for name in (long, 'a <b>bold</b> & "one" 50%')]
    write_report(table(*teachers), path, {long: torch.rand(9, 1, 8, 8)})
    tab.open(path.as_uri(), width)
    assert tab.said == [] and tab.value("document.documentElement.scrollWidth") == width
    names = "[...document.querySelectorAll('th.name .who > span')]"
    inside = f"{names}.every(n => n.scrollWidth <= n.parentElement.parentElement.clientWidth)"
    assert tab.value(f"{names}.length") >= 2 and tab.value(inside) is True


def test_a_wide_table_keeps_its_names_and_says_that_it_scrolls(tab: Browser, page: str) -> None:
    hint = "getComputedStyle(document.querySelector('.scroll + .hint')).display"
    tab.open(page, 1400)
    assert tab.value(hint) == "none"
    tab.open(page, 390)
    assert tab.value(hint) == "block"
    box = "document.querySelector('.scroll')"
    left = tab.value(f"{box}.scrollLeft = 200, document.querySelector('tbody th.name').getBoundingClientRect().left")
    assert left == tab.value(f"{box}.getBoundingClientRect().left") and tab.value(f"{box}.scrollLeft") == 200
    name = "document.querySelectorAll('tbody th.name')[1].getBoundingClientRect()"
    assert tab.value(f"{name}.width") < 200  # room is left for numbers


def test_tables_sort_by_their_numbers(tab: Browser, page: str) -> None:
    tab.open(page, 1400)
    before = first_column(tab)
    click(tab, "n\u00a0=\u00a0256")
    assert first_column(tab) == ["real", *NAMES]  # highest first
    click(tab, "n\u00a0=\u00a0256")
    assert first_column(tab) == [*reversed(NAMES), "real"]
    assert tab.value("document.querySelectorAll('[aria-sort]').length") == 1
    click(tab, "n\u00a0=\u00a0256")
    assert first_column(tab) == before and tab.value("document.querySelectorAll('[aria-sort]').length") == 0
    click(tab, "FD[")  # what was not measured stands last in either order
    assert first_column(tab) == [NAMES[0], "b", "d", "e", "f", "real", "c"]
    click(tab, "FD[")
    assert first_column(tab) == ["real", "f", "e", "d", "b", NAMES[0], "c"]
    click(tab, "images")
    assert first_column(tab)[:2] == ["b", "real"]  # fresh ones without end, then 1,197
    click(tab, "teacher")
    assert first_column(tab) == [NAMES[0], "b", "c", "d", "e", "f", "real"]
    assert tab.said == []


def test_on_paper_nothing_is_cut_off(tab: Browser, page: str, tmp_path: Path) -> None:
    tab.open(page, 1000, media="print")
    assert tab.value("getComputedStyle(document.querySelector('.scroll')).overflowX") == "visible"
    tab.paper(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")


def test_the_picture_of_a_window_is_one(tab: Browser, page: str, tmp_path: Path) -> None:
    tab.open(page, 390, 600)
    tab.photograph(tmp_path / "window.png", whole=False)
    with Image.open(BytesIO((tmp_path / "window.png").read_bytes())) as picture:
        assert picture.size == (390, 600)
