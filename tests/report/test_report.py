from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
import torch
from made_results import chosen, distance, real, result, table

from gendistill.errors import UserError
from gendistill.report import text_table, write_report
from gendistill.report.cells import byte_size, number, per_update, percent, points
from gendistill.report.figures import differences, learning_curves, styles
from gendistill.report.page import render
from gendistill.report.pictures import png_grid, png_size
from gendistill.report.rows import Score, row, rows, update_counts
from gendistill.report.verdict import verdict

RESULTS = table(
    real(fidelity=distance(kid={"name": "KID[digits classifier]", "value": 0.1})),
    result("gtn", (0.8, 0.9), fidelity=distance(4.5, std=0.25, draws=5)),
    result("weak", (0.2, 0.5)),
)


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


def cells_of(page: str) -> list[str]:
    """Return the texts of the first table's cells."""
    body = page[page.index("<tbody>") : page.index("</tbody>")]
    return [re.sub(r"<[^>]+>", "", found).replace("\u00a0", " ") for found in re.findall(r"<td.*?</td>", body)]


def headings_of(page: str) -> list[str]:
    head = page[page.index("<thead>") : page.index("</thead>")]
    return [re.sub(r"<[^>]+>", "", found).replace("\u00a0", " ") for found in re.findall(r"<th\b.*?</th>", head)]


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
    figures = [attributes for tag, attributes in outline.tags if str(attributes.get("class")).startswith("figure ")]
    assert len(pictures) == 2 and len(figures) == 2 * 5  # each for a phone, too
    assert all(len(str(one.get("alt"))) > 10 for one in pictures)
    assert all(one.get("role") == "img" and len(str(one.get("aria-label"))) > 10 for one in figures)


def test_numbers_stand_in_the_table_with_their_budget(page: str) -> None:
    real_row = verdict(RESULTS).table[0]
    low, high = (percent(real_row.scores[count]) for count in (10, 100))
    assert cells_of(page)[:9] == ["1,197", "86.2 kB", "64", low, high, "✓", "3.25", "0.1", "1.5"]
    assert cells_of(page)[9:18][6:8] == ["4.5 ± 0.25", "–"]
    assert headings_of(page)[:4] == ["teacher", "images", "size", "images an update"]
    assert page.count('class="best win"') == 1  # gtn after 10 updates
    assert "gtn beats training on all real data after 10 updates" in page


def test_figures_follow_the_page_theme(page: str) -> None:
    found = page.split('<svg class="figure')[1:]
    assert len(found) == 10
    for figure in found:
        figure = figure[: figure.index("</svg>")]
        assert "var(--c" in figure and "#ab0" not in figure
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_a_number_is_not_parted_from_its_unit(page: str) -> None:
    prose = "".join(re.findall(r"<p .*?</p>|<figcaption>.*?</figcaption>", page))
    assert re.search("\\d\u00a0±\u00a0\\d", prose) and re.search("\\d\u00a0%", prose)
    assert not re.search(r"\d ± \d|\d %", prose)


def test_a_wide_table_shows_that_it_scrolls(page: str) -> None:
    assert page.count('<div class="scroll" tabindex="0"><table') == page.count("<table")
    assert re.search(r"\.scroll \{[^}]*--edge", page) and re.search(r"th\.name \{[^}]*sticky", page)


def test_a_constant_curve_is_drawn_flat() -> None:
    curve = {"x": [0, 1, 2], "y": [11.313708, 11.313709, 11.313707]}
    page = render(table(result("a", (0.1, 0.2))), {}, {"latent norm": curve})
    figure = page[page.index("<h2>Latent norm") :]
    ticks = [float(found) for found in re.findall(r">(\d+\.\d+)</text>", figure)]
    assert ticks and max(ticks) - min(ticks) > 0.1 and "e−" not in figure


def test_the_results_are_in_the_file_and_text_is_escaped() -> None:
    nasty = table(result("</script><b>x", (0.1, 0.2)))
    page = render(nasty, {}, {})
    assert "<b>x" not in page.split('id="results">')[0]
    assert json.loads(page.split('id="results">')[1].split("</script>")[0]) == nasty


def test_write_report_writes_one_file(tmp_path: Path) -> None:
    path = write_report(RESULTS, tmp_path / "sub" / "report.html")
    assert path.read_text().startswith("<!doctype html>") and [path.name] == [one.name for one in path.parent.iterdir()]


def test_one_seed_no_fidelity_and_zero_updates_are_no_trouble() -> None:
    lonely = real((0.1, 0.4), updates=(0, 5), seeds=1, spread=0.0)
    page = render(table(lonely), {}, {})
    assert "40.0" in page and "±" not in page.split('id="results">')[0]
    said = text_table(table(lonely))
    assert "n=0" in said and "1 seed" in said and "1 seeds" not in said


def test_learning_or_nothing_measured_is_no_trouble() -> None:
    only_distance = result("gan") | {"learning": None, "fidelity": distance()}
    for results in (table(only_distance), table(real(), only_distance)):
        assert "3.25" in text_table(results) and "3.25" in render(results, {}, {})
    assert "accuracy" not in text_table(table(only_distance))


def test_the_terminal_table_aligns_and_shows_budgets() -> None:
    lines = text_table(RESULTS).splitlines()
    assert lines[0].split()[:3] == ["teacher", "images", "bytes"]
    assert len({len(line) for line in lines[:5]}) == 1
    assert re.search(r"(79|80)\.\d ± \d\.\d", lines[3]) and "5.1 kB" in lines[3] and lines[4].split()[-2] == "–"


def test_seconds_say_what_they_are_of() -> None:
    assert text_table(RESULTS).splitlines()[0].endswith("judging,\u00a0s")
    made = table(real() | {"seconds": None}, result("gan") | {"seconds": 209.4}, result("kept") | {"seconds": 0.0})
    lines = text_table(made).splitlines()
    assert lines[0].endswith("making,\u00a0s")
    assert [line.split()[-1] for line in lines[2:5]] == ["–", "209", "–"]
    assert "making, s" in headings_of(render(made, {}, {})) and "judging" not in headings_of(render(made, {}, {}))


def test_images_an_update_are_said_once_or_stand_in_a_column() -> None:
    alike = text_table(table(real(), result("a")))
    assert "64 images an update" in alike and "per update" not in alike
    curriculum = result("gtn", images_seen=[200, 2000])
    mixed = text_table(table(real(), curriculum))
    assert "images an update" not in mixed and mixed.splitlines()[0].split()[3:5] == ["per", "update"]
    assert mixed.splitlines()[3].split()[4] == "20"
    page = render(table(real(), curriculum), {}, {})
    assert "64 (real); 20 (gtn)" in page


def test_distances_of_other_images_stand_in_other_columns() -> None:
    results = table(
        real(fidelity=distance(0.31, 320)),
        result("gan", fidelity=distance(0.41, 1197, whole={"n": 5000, "value": 0.2})),
        result("gtn", fidelity=distance(0.51, 320, reference="test")),
        result("old", fidelity={"name": "FD[digits classifier]", "value": 0.61}),
        result("other", fidelity=distance(0.71, 320, extractor="c-2")),
    )
    lines = text_table(results).splitlines()
    columns = [re.sub(r" by c-\d", "", one) for one in headings_of(render(results, {}, {})) if one.startswith("FD")]
    name = "FD[digits classifier]"
    assert columns == [f"{name} n=320", f"{name} n=1,197", f"{name} to test n=320", name, f"{name} n=320"]
    assert [len([word for word in line.split()[-7:] if re.fullmatch(r"0\.\d\d", word)]) for line in lines[2:7]] == [
        1
    ] * 5
    assert "With all images: gan 0.2 (n=5,000)" in text_table(results)
    assert "cannot be compared" in text_table(results)


def test_rates_that_are_chosen_anew_are_said_and_shown() -> None:
    anew = chosen([0.1, 0.3], "each", [0.3, 0.1])
    results = table(real(**anew), result("gtn", lr_asked=None, lr=["teacher", "teacher"]))
    page = render(results, {}, {})
    caption = re.findall(r"<figcaption>(.*?)</figcaption>", page)[-2]  # before that of the error
    assert "real is chosen anew at every number of updates" in caption and "200 validation images" in caption
    assert "0.1 and 0.3" in caption and "--select last" in caption
    rates = page[page.index('<table class="small">') :]
    assert re.findall(r"<td>(.*?)</td>", rates[: rates.index("</table>")]) == ["0.3", "0.1", "its own", "its own"]
    assert "<caption>Learning rate" in rates and headings_of(rates) == ["teacher", "n = 10", "n = 100"]
    last = render(table(real(**chosen([0.1, 0.3], "last", [0.3, 0.3]))), {}, {})
    rates = last[last.index('<table class="small">') :]
    assert "chosen anew" not in last and headings_of(rates) == ["teacher", "learning rate"]
    assert re.findall(r"<td>(.*?)</td>", rates[: rates.index("</table>")]) == ["0.3"]
    assert "chosen anew" in text_table(results)


def test_settings_that_do_not_hold_for_learned_rates_are_not_said_of_them() -> None:
    results = table(real(**chosen([0.1, 0.3], "each", [0.3, 0.1])), result("gtn", lr_asked=None, lr=["teacher"] * 2))
    page = render(results, {}, {})
    for name, value in (("momentum", "0.9"), ("weight decay", "0.0005"), ("schedule", "constant")):
        assert f"<dt>{name}</dt><dd>{value} (real)</dd>" in page
    assert not verdict(results).differing


def test_names_that_occur_twice_are_told_apart() -> None:
    assert [one.name for one in rows(table(result("a"), result("a"), result("a (2)")))] == ["a", "a (2)", "a (2) (2)"]


def test_small_words() -> None:
    assert [byte_size(n) for n in (None, 0, 999, 1000, 99_949, 99_951, 999_600, 12_300_000)] == [
        "–", "0 B", "999 B", "1.0 kB", "99.9 kB", "100 kB", "1.0 MB", "12.3 MB",
    ]  # fmt: skip
    assert percent(Score(0.5, 0.01, 5)) == "50.0 ± 1.0" and percent(None) == "–"
    assert percent(Score(0.5, 0.0, 1)) == percent(Score(0.5, None, 5)) == "50.0"
    assert points(0.0731) == "+7.3" and points(-0.02) == "−2.0" and number(-0.5) == "−0.5"
    assert [per_update(images) for images in (None, 64.0, 63.98, 12.5)] == ["–", "64", "64", "12.5"]
    many = rows(table(result("a", (0.1,) * 9, updates=(1, 2, 4, 8, 16, 32, 64, 128, 256))))
    assert update_counts(many) == update_counts(many, wanted=[3, 5]) == [1, 4, 16, 64, 256]
    assert update_counts(many, wanted=[2, 3, 128]) == [2, 128]


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


def marks(figure: str, colour: int | str) -> int:
    """Count the marks of a colour in the figure for a window."""
    wide = figure[: figure.index('<svg class="figure narrow')]
    name = f"c{colour}" if isinstance(colour, int) else colour
    return len(re.findall(rf"<use [^>]*fill: var\(--{name}\)", wide))


def test_a_figure_by_epochs_is_there_when_epochs_were_measured() -> None:
    learning: dict[str, Any] = {"updates": [2, 3, 6, 9], "accuracy": {"mean": [0.1, 0.2, 0.4, 0.6], "std": [0.01] * 4}}
    epochs = {"epochs": 3, "epoch": {"images": 96, "updates": 3}}
    one = {"name": "gan", "teacher": {"kind": "generator"}, "learning": learning | epochs}
    assert row(one).epoch_updates == 3
    other = {"name": "sub", "teacher": {"kind": "real-subset"}, "learning": learning}
    assert row(other).epoch_updates is None
    assert "against epochs" in render({"teachers": [one, other]}, {}, {})
    assert "against epochs" not in render({"teachers": [other]}, {}, {})
    looks = styles(["gan"])
    found = [
        marks(learning_curves([row(one)], looks, "words", by_epoch=by_epoch, accuracy="test accuracy"), 1)
        for by_epoch in (False, True)
    ]
    # Three whole epochs are drawn, and the band; the measurement inside the first epoch is not.
    assert found == [1 + 4, 1 + 3]


def test_the_panel_of_differences_fills_what_is_decided() -> None:
    found = verdict(RESULTS)
    looks = styles(found.names, "real")
    figure = differences(found, looks, "words")
    decided = {
        name: sum(found.against[name, count].decided for count in found.counts(name)) for name in ("gtn", "weak")
    }
    for name, colour in (("gtn", 1), ("weak", 2)):
        assert looks[name].colour == colour and marks(figure, colour) == decided[name]
    assert marks(figure, "paper") == sum(not one.decided for one in found.against.values())
    page = render(RESULTS, {}, {})
    assert "Difference to all real data" in page and "4 comparisons" in page
    for without in (table(real()), table(result("a"), result("b")), table(real(), result("a", batch_size=8))):
        assert "Difference to all real data" not in render(without, {}, {})


def test_distances_to_other_data_never_share_a_column() -> None:
    """Two data sets, or two of one name, have a column each; what is not to be trusted is said."""
    inception = distance(4.5, name="FID", extractor="inception")
    one, other = real(fidelity=inception), result("gan", fidelity=inception)
    assert text_table(table(one, other)).splitlines()[0].count("FID") == 1
    found = text_table(table(one, other | {"dataset": "mnist"}))
    assert "FID of digits n=20" in found and "FID of mnist n=20" in found
    marks = [one | {"dataset_fingerprint": "a" * 64}, other | {"dataset_fingerprint": "b" * 64}]
    found = text_table(table(*marks))
    assert "FID of digits (aaaaaaaa) n=20" in found and "FID of digits (bbbbbbbb) n=20" in found


def test_all_images_are_said_to_be_incomparable_only_where_they_are() -> None:
    def said(*sizes: int) -> str:
        teachers = [
            result(f"t{place}", fidelity=distance(whole={"n": size, "value": 2.0})) for place, size in enumerate(sizes)
        ]
        return next(line for line in text_table(table(*teachers)).splitlines() if line.startswith("With all images"))

    assert said(100) == "With all images: t0 2 (n=100)."
    assert said(100, 100) == "With all images: t0 2 (n=100) and t1 2 (n=100)."
    assert said(100, 300).endswith("; distances of different numbers of images cannot be compared.")


def test_the_kernel_distance_is_not_headed_by_the_number_of_another_distance() -> None:
    kid = {"name": "KID", "value": 0.1, "n": 1197}
    page = render(table(real(fidelity=distance(kid=kid)), result("gan", fidelity=distance(n=10, kid=kid))), {}, {})
    assert page.count(">KID</button></th>") == 1 and "KID n=" not in page


def test_notes_of_results_stand_below_the_table_once_each() -> None:
    few, overlap = "20 images are few", "100 of the 100 images are among the reference images"
    teachers = [
        real(fidelity=distance(notes=[few, overlap])),
        result("subset", fidelity=distance(notes=[few])) | {"notes": ["accuracy is at chance."]},
    ]
    for found in (text_table(table(*teachers)), render(table(*teachers), {}, {}).partition("<script")[0]):
        assert found.count(f"real and subset: {few}.") == 1
        assert f"real: {overlap}." in found and "subset: accuracy is at chance." in found
    with pytest.raises(UserError, match="notes"):
        text_table(table(result("x") | {"notes": [1]}))


def test_the_numbers_of_a_page_are_strict_json() -> None:
    """Infinity and NaN in a section that no table reads would end every parser."""
    odd = result("gan") | {"robust": {"lrs": float("nan"), "ars": [float("inf")]}}
    page = render(table(real(), odd), {}, {})
    data = re.search(r'id="results">(.*?)</script>', page, re.DOTALL)
    assert data is not None

    def refuse(name: str) -> None:
        raise AssertionError(name)

    found = json.loads(data[1], parse_constant=refuse)
    assert found["teachers"][1]["robust"] == {"lrs": None, "ars": [None]}


def test_one_learner_has_no_part_in_a_spread() -> None:
    several, single = result("a", seeds=3), result("b", seeds=1)
    assert "mean ± std over 3 seeds, of 1 seed where there is no ±" in text_table(table(several, single))
    assert "mean ± std over 3 seeds\n" in text_table(table(several, several)) and "±" not in text_table(table(single))
    page = render(table(several, single), {}, {})
    assert "± is the sample standard deviation over 3 seeds." in page and "std over 1" not in page
    assert "bands are one standard deviation, over 3 seeds." in page


def test_a_spread_is_that_of_the_runs_whatever_is_said_of_it() -> None:
    lying = result("a", runs=[[0.2, 0.4], [0.5, 0.7]])
    lying["learning"]["accuracy"]["std"] = [0.001, None]
    assert [score.std for score in row(lying).scores.values()] == pytest.approx([0.02**0.5, 0.02**0.5])
    del lying["learning"]["accuracy"]["runs"]
    assert [score.std for score in row(lying).scores.values()] == [0.001, None]


def test_a_few_images_are_not_all_real_data_even_if_they_say_so() -> None:
    lying = result("a")
    lying["teacher"]["everything"] = True
    assert not row(lying).everything and row(real()).everything
    lying["learning"]["split_sizes"]["train"] = 20
    assert row(lying).everything
