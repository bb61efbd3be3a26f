"""Every promise on the page names tests that there are."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "safety.md").read_text(encoding="utf-8")
CALLED = re.compile(r"`(tests/[\w/]+\.py)?(?:::)?(test_\w+)?`")


def named() -> list[tuple[str | None, str | None]]:
    """Return files and functions in the order in which the page names them."""
    return [(file or None, test or None) for file, test in CALLED.findall(PAGE) if file or test]


def test_the_tests_that_the_page_names_exist() -> None:
    files = [file for file, _ in named() if file]
    assert len(set(files)) >= 6
    for file in files:
        assert (ROOT / file).is_file(), file
    everything = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    for file, test in named():
        if test is not None:
            assert f"def {test}(" in ((ROOT / file).read_text(encoding="utf-8") if file else everything), test


def test_every_line_of_a_table_of_promises_names_a_test() -> None:
    tables = re.findall(r"^\| promise \| test \|\n\|[-| ]+\|\n((?:\|.*\n)+)", PAGE, re.MULTILINE)
    lines = [line for table in tables for line in table.splitlines()]
    assert len(lines) >= 9
    for line in lines:
        assert "`tests/" in line or "`test_" in line, line
