"""Small independent jobs on all CPU cores."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Self, TypeVar, cast

import torch

Job = TypeVar("Job")
Result = TypeVar("Result")
END = object()
PATIENCE = 2.0
"""Seconds that an interrupted program waits for its threads."""


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
        self._threads_at_work: list[threading.Thread] = []

    def _begin(self) -> None:
        self._threads_at_work.append(threading.current_thread())
        torch.set_num_threads(1)

    def __enter__(self) -> Self:
        if self.count > 1:
            self._threads = torch.get_num_threads()
            torch.set_num_threads(1)
            self._pool = ThreadPoolExecutor(self.count, initializer=self._begin)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._pool is not None:
            told = isinstance(error, KeyboardInterrupt)
            self._pool.shutdown(wait=not told, cancel_futures=True)
            if told:
                self._wait_a_little()
            self._pool = None
            # For the caller, and as the default of threads to come.
            torch.set_num_threads(self._threads)

    def _wait_a_little(self) -> None:
        """Let threads end what they are about if it is nearly done; one that trains a network for minutes is left."""
        deadline = time.monotonic() + PATIENCE
        for thread in self._threads_at_work:
            thread.join(max(0.0, deadline - time.monotonic()))

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
