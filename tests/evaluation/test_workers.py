from __future__ import annotations

import threading
import time

import pytest
import torch

from gendistill.evaluation.workers import Workers


def test_results_come_in_order_and_each_thread_has_one_core():
    barrier = threading.Barrier(2, timeout=600)

    def job(number: int) -> tuple[int, int, int]:
        barrier.wait()
        return number, torch.get_num_threads(), threading.get_ident()

    with Workers(2) as workers:
        results = workers.map(job, range(4))
    assert [number for number, _, _ in results] == [0, 1, 2, 3]
    assert {threads for _, threads, _ in results} == {1}
    assert len({identity for _, _, identity in results}) == 2


def test_one_worker_is_the_caller():
    with Workers(1) as workers:
        assert workers.map(lambda _: threading.get_ident(), [0]) == [threading.get_ident()]


def test_the_next_item_is_made_while_one_is_in_use():
    made = []

    def items():
        for number in range(3):
            made.append((number, threading.get_ident()))
            yield number

    with Workers(2) as workers:
        used = []
        for number in workers.ahead(items()):
            # The worker is never more than one item ahead, and gets there while this one is held.
            for _ in range(60_000):
                if len(made) == min(number + 2, 3):
                    break
                time.sleep(0.01)
            assert len(made) == min(number + 2, 3)
            used.append(number)
        assert used == [0, 1, 2]
        assert threading.get_ident() not in {identity for _, identity in made}
    with Workers(1) as workers:
        assert list(workers.ahead(iter([3, 4]))) == [3, 4]


def test_an_error_in_the_making_comes_out():
    with Workers(2) as workers, pytest.raises(ZeroDivisionError):
        list(workers.ahead(1 / number for number in (1, 0)))


def test_an_error_comes_out_and_torchs_threads_are_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), Workers(2) as workers:
            assert torch.get_num_threads() == 1
            workers.map(lambda number: 1 / number, [1, 0])
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), later) == (2, [2])
    finally:
        torch.set_num_threads(before)
