"""Run benchmarks and write what each measured as JSON: ``python benchmarks/run.py [NAME ...] [--output DIR]``.

A benchmark is a module beside this one with ``measure() -> dict`` and ``THREADS``, the number of CPU threads that it
may use at the most. Look at ratios: the sides of each are timed by turns in the same process, so that a noisy machine
disturbs them alike.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from gendistill.files import atomic_write  # noqa: E402


def names() -> list[str]:
    """Return the names of all benchmarks: the modules that measure."""
    return sorted(path.stem for path in HERE.glob("*.py") if "\ndef measure(" in path.read_text())


def machine(threads: int) -> dict[str, Any]:
    """Return what a reader must know of the machine."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"
    versions = {"torch": torch.__version__, "python": platform.python_version()}
    return {"device": device, "cores": os.cpu_count(), "threads": threads, **versions}


def run(name: str) -> dict[str, Any]:
    """Run one benchmark on the threads that it asks for; return its figures with the machine's and the time it took."""
    import torch
    from threadpoolctl import threadpool_limits

    spec = importlib.util.spec_from_file_location(f"benchmark_{name}", HERE / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where a dataclass looks for its own module
    spec.loader.exec_module(module)
    threads, before = min(module.THREADS, os.cpu_count() or 1), torch.get_num_threads()
    torch.set_num_threads(threads)
    started = time.perf_counter()
    try:
        with threadpool_limits(threads):  # NumPy's and SciPy's linear algebra
            figures = module.measure()
    finally:
        torch.set_num_threads(before)
    seconds = round(time.perf_counter() - started, 1)
    return {"benchmark": name, "machine": machine(threads), "seconds": seconds, "figures": figures}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmarks that the command line names, all of them by default."""
    known = names()
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(known)} (default: all)")
    parser.add_argument("--output", type=Path, default=HERE / "results", help="folder of the JSON files")
    options = parser.parse_args(arguments)
    unknown = sorted(set(options.names) - set(known))
    if unknown:
        print(f"there is no benchmark '{unknown[0]}'; there are: {', '.join(known)}", file=sys.stderr)
        return 2
    for name in options.names or known:
        print(f"{name} ...", flush=True)
        text = json.dumps(run(name), indent=2)
        atomic_write(options.output / f"{name}.json", partial(_write, text + "\n"))
        print(text, flush=True)
    return 0


def _write(text: str, file: BinaryIO) -> None:
    file.write(text.encode())


if __name__ == "__main__":
    sys.exit(main())
