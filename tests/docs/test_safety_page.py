"""Pages that promise safety promise nothing that no test can break: every test that they name is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

HOUSE = Path(__file__).parent.parent.parent


@pytest.mark.parametrize("name", ["safety.md", "methods/privacy-gan.md"])
def test_every_test_that_the_page_names_exists(name: str) -> None:
    page = (HOUSE / "docs" / name).read_text()
    named = set(re.findall(r"\btest_\w+", page))
    files = {path.stem: path.read_text() for path in HOUSE.glob("tests/**/test_*.py")}
    known = set(files) | {found for text in files.values() for found in re.findall(r"\bdef (test_\w+)", text)}
    assert named and named <= known, sorted(named - known)
