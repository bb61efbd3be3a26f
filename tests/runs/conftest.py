from __future__ import annotations

import sys
from pathlib import Path

# small_run.py is a module for the tests and a program for the processes that they start.
sys.path.insert(0, str(Path(__file__).parent))
