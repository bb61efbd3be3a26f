from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from gendistill.runs.signals import Interrupted, StopSignals, Told, going_on, numbers, obeyed, raise_swallowed

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_first_signal_is_noted_and_the_second_stops(number: signal.Signals, code: int) -> None:
    with StopSignals() as signals:
        assert signals.received == 0
        os.kill(os.getpid(), number)
        assert signals.received == number
        with pytest.raises(Interrupted, match="stopped at once by a second signal") as caught:
            os.kill(os.getpid(), number)
            time.sleep(60)
    assert caught.value.exit_code == code


def test_handlers_are_put_back() -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    with StopSignals():
        assert signal.getsignal(signal.SIGINT) not in before
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before


def test_repeated_signals_of_torchrun_count_as_one() -> None:
    with StopSignals(grace=3600.0) as signals:
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


@pytest.fixture
def heard_hangups() -> Iterator[None]:
    """Let a hangup mean something, also where the tests themselves run under nohup."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_is_raised_where_the_work_is(number: signal.Signals, heard_hangups: None) -> None:
    before = [signal.getsignal(one) for one in numbers()]
    said = "^interrupted; it is kept$"
    with pytest.raises(Interrupted, match=said) as caught, obeyed(), going_on(lambda: "it is kept"):
        os.kill(os.getpid(), number)
        time.sleep(60)
    assert caught.value.exit_code == 128 + number
    assert [signal.getsignal(one) for one in numbers()] == before


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_somebody_swallowed_is_not_lost(number: signal.Signals) -> None:
    def swallow() -> None:
        try:  # as packages do while they are imported
            os.kill(os.getpid(), number)
            time.sleep(60)
        except:  # noqa: E722
            pass

    with obeyed():
        swallow()
        with StopSignals() as signals:
            assert signals.received == number
        with pytest.raises(Told) as caught:
            raise_swallowed()
    assert caught.value.signal_number == number
    raise_swallowed()  # outside nothing is left of it
    with StopSignals() as signals:
        assert signals.received == 0
    with obeyed(), pytest.raises(Interrupted):
        with going_on(lambda: "it is kept"):
            os.kill(os.getpid(), number)
            time.sleep(60)
        raise_swallowed()


def test_a_run_that_was_told_while_it_began_saves_and_ends(tmp_path: Path) -> None:
    """The signal comes while a trainer's module is imported, which swallows it."""
    (tmp_path / "swallowing.py").write_text(
        "import os, signal, time\n"
        "try:\n    os.kill(os.getpid(), signal.SIGTERM)\n    time.sleep(60)\nexcept BaseException:\n    pass\n"
        "from trainers.gan import ConditionalGANTrainer\n\n\nclass Mine(ConditionalGANTrainer):\n    pass\n"
    )
    command = [sys.executable, "-m", "gendistill.cli", "train", "--config", str(ROOT / "configs/quickstart/gan.yaml")]
    command += ["--scale", "smoke", "--trainer.class_path", "swallowing.Mine", "--run.steps", "100000"]
    command += ["--run.root", str(tmp_path), "--run.name", "told", "--run.tune", "off"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(tmp_path)])}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert ended.returncode == 143, ended.stderr
    assert (tmp_path / "told" / "state.pt").exists()


def test_no_handler_of_errors_takes_a_signal_for_one() -> None:
    assert not issubclass(Told, Exception) and issubclass(Told, KeyboardInterrupt)


def test_nohup_is_respected() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with StopSignals() as signals, obeyed():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signals.received == 0 and signal.SIGHUP not in numbers()
    finally:
        signal.signal(signal.SIGHUP, before)


STUBBORN = """
import os, signal, sys, threading, time
from gendistill.evaluation.workers import Workers
from gendistill.runs.signals import going_on, leave, obeyed, Interrupted

def busy(job):
    time.sleep(3600)

class Told(Workers):
    def _wait_a_little(self):
        if "twice" in sys.argv:
            time.sleep(0.6)  # else it would count as the same one
            os.kill(os.getpid(), signal.SIGINT)
        super()._wait_a_little()

try:
    with obeyed(), going_on(lambda: "gone"), Told(2) as workers:
        threading.Timer(0.3, lambda: os.kill(os.getpid(), signal.SIGTERM)).start()
        workers.map(busy, range(2))
except Interrupted as stop:
    print(stop, file=sys.stderr)
    leave(stop.exit_code)
"""


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [([], 143, "interrupted; gone\n"), (["twice"], 130, "error: stopped at once by a second signal\n")],
)
def test_threads_that_go_on_for_long_are_not_waited_for(words: list[str], code: int, said: str) -> None:
    words = [sys.executable, "-c", STUBBORN, *words]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600)  # the threads would take longer
    assert (done.returncode, done.stderr) == (code, said)


def test_a_closed_terminal_is_let_go_of(tmp_path: Path) -> None:
    """A run on a terminal that is closed saves and ends, whatever it writes afterwards."""
    code = (
        "import os, signal, sys, time\n"
        "from gendistill.runs.signals import StopSignals\n"
        "with StopSignals() as signals:\n"
        "    print('ready', flush=True)\n"
        "    while not signals.received: time.sleep(0.01)\n"
        "for _ in range(3): print('more', flush=True); print('more', file=sys.stderr, flush=True)\n"
        f"open({str(tmp_path / 'saved')!r}, 'w').write(str(signals.received))\n"
    )
    process, terminal = pty.fork()
    if process == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # whoever runs the tests may have them ignore it
        os.execv(sys.executable, [sys.executable, "-c", code])
    assert os.read(terminal, 5) == b"ready"
    os.close(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 0
    assert (tmp_path / "saved").read_text() == str(int(signal.SIGHUP))
