"""``gendistill sweep`` from a checkout that is not installed: ``python tools/sweep.py --help``."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gendistill.cli import program

if __name__ == "__main__":
    program(["sweep", *sys.argv[1:]])
