"""docs/notebook.ipynb, executed as a person would, and as it is committed."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

PAGE = Path(__file__).resolve().parents[2] / "docs" / "notebook.ipynb"
LARGEST = 300_000
"""Bytes of the page with its pictures."""


@pytest.fixture(scope="module")
def executed() -> Any:
    page = nbformat.read(PAGE, as_version=4)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([str(PAGE.parents[1]), os.environ.get("PYTHONPATH", "")]))
        patch.setenv("OMP_NUM_THREADS", "1")
        NotebookClient(
            page, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(PAGE.parent)}}
        ).execute()
    return page


def pictures(page: Any) -> int:
    return sum("image/png" in output.get("data", {}) for cell in page.cells for output in cell.get("outputs", []))


def words(page: Any) -> str:
    return "\n".join(
        output.get("text", "") + str(output.get("data", {}).get("text/plain", ""))
        for cell in page.cells
        for output in cell.get("outputs", [])
    )


def test_the_page_runs_and_shows_what_is_committed(executed: Any) -> None:
    committed = nbformat.read(PAGE, as_version=4)
    assert pictures(executed) == pictures(committed) == 6
    for page in (executed, committed):
        assert all(cell.execution_count for cell in page.cells if cell.cell_type == "code")
        assert "error" not in [output.output_type for cell in page.cells for output in cell.get("outputs", [])]
        told = words(page)
        assert "made by ContrastDM, step 60" in told and "made by LatentSearchTrainer, step 30" in told
        rows = [
            line.split()[0]
            for line in told.splitlines()
            if line.startswith(("contrast ", "latents ", "random ", "all "))
        ]
        assert sorted(rows[:4]) == ["all", "contrast", "latents", "random"]
        assert rows.index("contrast") < rows.index("random")


def test_the_page_is_small_and_names_no_machine() -> None:
    text = PAGE.read_text()
    assert len(text) < LARGEST and "/tmp/" not in text and "/home/" not in text and "/work" not in text
