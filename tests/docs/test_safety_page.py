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
    files = sorted(HOUSE.glob("tests/**/test_*.py"))
    known = {path.stem for path in files}
    known |= {found for path in files for found in re.findall(r"\bdef (test_\w+)", path.read_text())}
    assert named and named <= known, sorted(named - known)
