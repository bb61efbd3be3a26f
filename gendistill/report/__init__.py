"""Reading results: the table for a terminal and the self-contained HTML report."""

from __future__ import annotations

from gendistill.report.page import write_report
from gendistill.report.terminal import text_table

__all__ = ["text_table", "write_report"]
