"""Small independent jobs on all CPU cores."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar, cast

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")
END = object()


class Workers:
    """Runs jobs in threads that each compute on one core.

    A small network cannot keep two cores busy with one operation, but two networks can keep one core busy each. Torch
    releases the interpreter's lock while it computes. Inside the context the caller computes on one core, too: small
    operations of its own that wake torch's other threads were seen to cost more than all training.

    Args:
        count: Number of threads; with 1, jobs run where they are called, and torch's threads are left as they are.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._pool: ThreadPoolExecutor | None = None

    def __enter__(self) -> Self:
        if self.count > 1:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.count, initializer=torch.set_num_threads, initargs=(1,))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None
            # For the caller, and as the default of threads to come.
            torch.set_num_threads(self._threads)

    def map(self, function: Callable[[Job], Result], jobs: Iterable[Job]) -> list[Result]:
        """Return ``function`` of every job, in order."""
        if self._pool is None:
            return [function(job) for job in jobs]
        return list(self._pool.map(function, jobs))

    def ahead(self, items: Iterator[Result]) -> Iterator[Result]:
        """Yield items, each of which is made by a worker while the one before is in use."""
        if self._pool is None:
            yield from items
            return
        future = self._pool.submit(next, items, END)
        while (item := future.result()) is not END:
            future = self._pool.submit(next, items, END)
            yield cast(Result, item)
