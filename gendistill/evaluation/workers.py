"""Small independent jobs on all CPU cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")


class Workers:
    """Runs jobs in threads that each compute on one core.

    A small network cannot keep two cores busy with one operation, but two networks can keep one core busy each. Torch
    releases the interpreter's lock while it computes.

    Args:
        count: Number of threads; with 1, jobs run where they are called, with torch's own threads.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            self._threads = torch.get_num_threads()
            self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            # What a worker sets for itself is also torch's default for threads to come; put that back.
            torch.set_num_threads(self._threads)

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
        """Return ``function`` of every job, in order."""
        if self._pool is None:
            return [function(job) for job in jobs]
        return list(self._pool.map(function, jobs))
