"""Run benchmarks and write what each measured as JSON: ``python benchmarks/run.py [NAME ...] [--output DIR]``.

A benchmark is a module beside this one with ``measure() -> dict``. Look at ratios: both sides of each are timed
alternately in the same process, so that a noisy machine disturbs them alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gendistill.files import atomic_write  # noqa: E402


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return sorted(path.stem for path in HERE.glob("*.py") if path.stem != "run" and "def measure(" in path.read_text())


def machine() -> dict[str, Any]:
    """Return what a reader must know of the machine."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {"device": device, "cores": os.cpu_count(), "threads": torch.get_num_threads(), **versions}


def run(name: str) -> dict[str, Any]:
    """Run one benchmark and return its figures with the machine's."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return {"benchmark": name, "machine": machine(), "figures": module.measure()}


def main() -> int:
    """Run the benchmarks that the command line names, all of them by default."""
    known = names()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(known)} (default: all)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON files")
    options = parser.parse_args()
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        print(f"there is no benchmark '{unknown[0]}'; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.names or known:
        print(f"{name} ...", flush=True)
        result = json.dumps(run(name), indent=2)
        atomic_write(options.output / f"{name}.json", lambda file, text=result: file.write((text + "\n").encode()))
        print(result, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
