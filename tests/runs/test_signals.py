from __future__ import annotations

import os
import signal
import threading
import time

import pytest

from gendistill.runs.signals import Interrupted, StopSignals


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted_and_the_second_stops(number: signal.Signals, code: int) -> None:
    with StopSignals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), number)
        assert signals.received == number
        with pytest.raises(Interrupted, match="stopped at once by a second signal") as caught:
            os.kill(os.getpid(), number)
            time.sleep(5)
    assert caught.value.exit_code == code


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_repeated_signals_of_torchrun_count_as_one() -> None:
    with StopSignals(grace=30.0) as signals:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)
        assert signals.received == signal.SIGINT


def test_in_another_thread_signals_are_left_to_the_program() -> None:
    seen = []

    def work() -> None:
        with StopSignals() as signals:
            seen.append(signals.received)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [0]
