"""The main job on the embedded digits: ``gendistill quickstart`` for someone in a checkout."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from gendistill.cli import program

if __name__ == "__main__":
    program(["quickstart", *sys.argv[1:]])
