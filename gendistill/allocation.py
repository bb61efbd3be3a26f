"""How the C library hands out memory while a command runs.

glibc gives each tensor of more than 32 MiB back to the system when it is freed, and the next step's tensor of the same
size is new pages again, which the system has to clear. In a training step that asks for the same sizes again and again
this costs up to a third of the time on a CPU.
"""

from __future__ import annotations

import ctypes
import os
import sys

_TRIM_THRESHOLD, _TOP_PAD, _MMAP_MAX, _ARENA_MAX = -1, -2, -4, -8  # of <malloc.h>
SAID = ("MALLOC_", "GLIBC_TUNABLES", "LD_PRELOAD")
"""Beginnings of the variables by which an environment says how memory is handed out."""


def keep_freed_memory() -> bool:
    """Let this process keep memory that was freed for what comes next, in one arena for all threads.

    The process then holds what it once needed until it ends. Elsewhere than on glibc nothing happens, nor where the
    environment says already how memory is handed out (``MALLOC_...``, ``GLIBC_TUNABLES``, another library in
    ``LD_PRELOAD``).

    Returns:
        Whether it does so now.
    """
    if not sys.platform.startswith("linux") or any(name.startswith(SAID) for name in os.environ):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {_MMAP_MAX: 0, _TRIM_THRESHOLD: 2**31 - 1, _TOP_PAD: 64 * 2**20, _ARENA_MAX: 1}
    return all([bool(mallopt(name, value)) for name, value in settings.items()])
