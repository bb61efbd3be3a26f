from __future__ import annotations

import threading

import pytest
import torch

from gendistill.evaluation.workers import Workers


def test_results_come_in_order_and_each_thread_has_one_core():
    barrier = threading.Barrier(2, timeout=20)

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


def test_an_error_comes_out_and_torchs_threads_are_as_before():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(ZeroDivisionError), Workers(2) as workers:
            workers.map(lambda number: 1 / number, [1, 0])
        later: list[int] = []
        thread = threading.Thread(target=lambda: later.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        assert (torch.get_num_threads(), later) == (2, [2])
    finally:
        torch.set_num_threads(before)
