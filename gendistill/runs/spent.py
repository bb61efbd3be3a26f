"""What a run takes while it goes on: seconds of the processor, and memory at its highest."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import torch

STATUS, RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")
"""Linux: where a process reads its peak memory, and has it counted anew."""


class Spent:
    """Counts from when it is made, on top of what earlier parts of the run took.

    Args:
        device: Where the run computes; of a GPU its peak is counted, too.
    """

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.began = processor_seconds()
        self.before = 0.0
        self.highest = {"peak_memory": 0, "peak_gpu_memory": 0}
        count_peak_anew()
        if device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(device)

    @property
    def cpu_seconds(self) -> float:
        """Seconds of the processor, of all threads of this process and of processes that it started and that ended."""
        return self.before + processor_seconds() - self.began

    def take(self, cpu_seconds: float, peaks: dict[str, int]) -> None:
        """Count on from what a saved state says."""
        self.before, self.began = cpu_seconds, processor_seconds()
        self.highest |= {name: max(value, self.highest[name]) for name, value in peaks.items()}

    def peaks(self) -> dict[str, int]:
        """Return the peaks so far in bytes: ``peak_memory``, and on a GPU ``peak_gpu_memory``."""
        now = {"peak_memory": peak_memory()}
        if self.device.type == "cuda":
            now["peak_gpu_memory"] = int(torch.cuda.max_memory_allocated(self.device))
        self.highest |= {name: max(value, self.highest[name]) for name, value in now.items()}
        return {name: self.highest[name] for name in now}


def processor_seconds() -> float:
    """Return the seconds of the processor that this process and its ended children have taken."""
    return time.process_time() + sum(os.times()[2:4])


def count_peak_anew() -> None:
    """Let the kernel forget this process's peak, where it can: what was there before a run is not the run's."""
    try:
        RESET.write_text("5")
    except OSError:  # another system: the peak is that of the process since it began
        return


def peak_memory() -> int:
    """Return this process's peak of resident memory in bytes; 0 where the system does not say it."""
    try:
        lines = STATUS.read_text(encoding="ascii", errors="replace").splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration, ValueError, IndexError):
        pass
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else 1024 * peak)
