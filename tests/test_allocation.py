"""Memory is kept where glibc hands it out and nobody said otherwise."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from gendistill.allocation import SAID, keep_freed_memory

LARGE = 256 * 2**20
TOUCH_TWICE = f"""
import ctypes, resource
from gendistill.allocation import keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    address = libc.malloc({LARGE})
    ctypes.memset(address, 1, {LARGE})
    libc.free(address)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

if KEEP:
    assert keep_freed_memory()
faults()
print(faults())
"""

on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="another C library")


def page_faults(keep: bool) -> int:
    """Return how many pages are new to a process that takes a large piece of memory for the second time."""
    code = TOUCH_TWICE.replace("KEEP", str(keep))
    return int(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


@on_glibc
def test_freed_memory_is_there_for_what_comes_next(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith(SAID)]:
        monkeypatch.delenv(name)
    assert page_faults(keep=False) > 100
    assert page_faults(keep=True) < 10


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_environment_says_stands(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, "")
    assert not keep_freed_memory()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_elsewhere_nothing_happens(system: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", system)
    assert not keep_freed_memory()
