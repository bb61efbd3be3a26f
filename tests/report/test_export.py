from __future__ import annotations

import csv
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from made_results import chosen, distance, real, result, table

from gendistill.escapes import latex
from gendistill.grids import grid_of_classes
from gendistill.report.export import csv_text, export
from gendistill.report.verdict import verdict

NASTY = r"100% of_R&D #1 ~^\{} [x] -- 字"
CURVE = {"x": [0, 1, 2], "y": [3.0, None, 2.9], "lower": [2.0, None, 2.0], "upper": [4.0, None, 4.0]}
RESULTS = table(
    real((0.3, 0.95), fidelity=distance(), **chosen([0.1, 0.3], "each", [0.3, 0.1])),
    result("gtn", (0.8, 0.9), fidelity=distance(4.5, std=0.25, draws=5), **chosen([0.1, 0.3], "each", [0.3, 0.1])),
    result(NASTY, (0.2, 0.5), **chosen([0.1, 0.3], "each", [0.3, 0.1])) | {"command": "gendistill evaluate 'a b'"},
    curves={"latent $norm$": CURVE},
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("export")
    pixels = torch.rand(12, 1, 4, 4, generator=torch.Generator().manual_seed(0))
    grid = grid_of_classes(pixels, torch.arange(12) % 3, ["cat", "dog", "$\\bird"])
    written = export(RESULTS, place, {"gtn": grid, "as/stored": torch.rand(4, 3, 4, 4)})
    assert {path.name for path in written} == {path.name for path in place.iterdir()}
    return place


def test_every_figure_is_a_vector_whose_letters_need_no_font(folder: Path) -> None:
    names = {path.stem for path in folder.glob("*.pdf")}
    assert names == {
        *("accuracy", "error", "differences", "front"),
        *("curve-latent-norm", "images-gtn", "images-as-stored"),
    }
    for name in names:
        pdf, svg = (folder / f"{name}.pdf").read_bytes(), (folder / f"{name}.svg").read_text()
        assert pdf.startswith(b"%PDF") and (b"/FontFile2" in pdf or name == "images-as-stored")
        assert b"/Type3" not in pdf and b"CreationDate" not in pdf
        root = ElementTree.fromstring(svg)
        assert root.tag.endswith("svg") and "<text" not in svg and "#ab0" not in svg
        pictures = svg.count("<image")
        assert pictures == {"images-gtn": 12, "images-as-stored": 4}.get(name, 0)
    assert ElementTree.parse(folder / "accuracy.svg").getroot().get("width") == "396pt"  # 5.5 inches


def test_a_figure_has_the_width_that_was_asked_for(tmp_path: Path) -> None:
    export(table(result("a", seeds=1)), tmp_path, width=3.25)
    assert ElementTree.parse(tmp_path / "accuracy.svg").getroot().get("width") == "234pt"


def test_the_numbers_of_a_csv_are_those_of_the_results(folder: Path) -> None:
    with (folder / "scores.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["teacher"] for row in rows] == ["real", "gtn", NASTY]
    for row, one in zip(rows, RESULTS["teachers"], strict=True):
        for place, count in enumerate((10, 100)):
            assert float(row[f"accuracy mean n={count}"]) == one["learning"]["accuracy"]["mean"][place]
            assert float(row[f"accuracy std n={count}"]) == one["learning"]["accuracy"]["std"][place]
    assert float(rows[1]["FD[digits classifier] n=20"]) == 4.5 and rows[2]["FD[digits classifier] n=20"] == ""
    with (folder / "runs.csv").open(newline="") as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 3 * 2 * 5
    assert float(runs[7]["accuracy"]) == RESULTS["teachers"][0]["learning"]["accuracy"]["runs"][1][2]
    assert (runs[7]["updates"], runs[7]["seed"], runs[7]["learning rate"]) == ("100", "2", "0.1")
    with (folder / "differences.csv").open(newline="") as file:
        found = {(row["teacher"], int(row["updates"])): row for row in csv.DictReader(file)}
    for key, one in verdict(RESULTS).against.items():
        assert float(found[key]["difference"]) == one.mean and (found[key]["decided"] == "yes") == one.decided


def test_a_csv_computes_nothing() -> None:
    assert csv_text(["a"], [["=1+1"], [None], [-2.5]]) == 'a\n\'=1+1\n""\n-2.5\n'


def cells_of(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)&", line.removesuffix(r"\\"))]


@pytest.mark.parametrize("name", ["scores", "rates", "differences", "settings"])
def test_every_line_of_a_table_has_its_columns_and_no_command_of_a_name(folder: Path, name: str) -> None:
    text = (folder / f"{name}.tex").read_text()
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    for rule in ("toprule", "midrule", "bottomrule"):
        assert text.count(f"\\{rule}") == 1
    columns = re.search(r"\\begin\{tabular\}\{(l(?:r+|p\{0\.7\\linewidth\}))\}", text)
    assert columns is not None
    number = 2 if "p" in columns[1] else len(columns[1])
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0].strip().splitlines()
    assert body and all(len(cells_of(line)) == number for line in body)
    inside = re.sub(r"\\[#$%&_{}\\]", "", text.split(r"\toprule")[1])
    assert inside.count("{") == inside.count("}") and not re.search(r"[#~^](?![{0-9])", inside.replace("~", "", 99))


def test_latex_writes_every_character_as_itself() -> None:
    assert latex("a_b & 50% #1 $x$") == r"a\_b \& 50\% \#1 \$x\$"
    assert latex(r"\input{x}") == r"\textbackslash{}input\{x\}"
    assert latex("x^2 ~ --seeds [1] *") == r"x\textasciicircum{}2 \textasciitilde{} -{}-seeds {[}1{]} {*}"
    assert latex("81.2 ± 1.0 – é ∞") == r"81.2 $\pm$ 1.0 -- é $\infty$"
    assert latex("字") == r"\otherletter{字}{5B57}"
    assert "\n" not in latex("a\nb") and latex("real-subset") == "real-subset"


def test_bold_and_stars_are_those_of_the_page(folder: Path) -> None:
    found, text = verdict(RESULTS), (folder / "scores.tex").read_text()
    assert text.count(r"\textbf{") == len(found.best)
    assert text.count("$^{*}$") == sum(one.ahead for one in found.against.values()) > 0


def test_the_preview_compiles(folder: Path) -> None:
    preview = (folder / "preview.tex").read_text()
    for file in re.findall(r"\\(?:input|includegraphics(?:\[[^]]*\])?)\{([^}]*)\}", preview):
        assert (folder / file).is_file()
    program = shutil.which("pdflatex")
    if program is None:
        pytest.skip("there is no pdflatex here; everything but the compilation was tested")
    words = [program, "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "preview.tex"]
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:]
