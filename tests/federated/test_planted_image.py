"""A server and a site as processes over loopback TLS: a planted image is at the site alone; both are killed."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("grpc")
pytest.importorskip("cryptography")

from gendistill.cli import main
from gendistill.data.digits import load_digits

ROOT = Path(__file__).resolve().parents[2]
OPTIONS = ["--config", "configs/privacy-gan/digits.yaml", "--scale", "smoke", "--run.steps", "1000000"]
OPTIONS += ["--run.save_every", "20", "--run.device", "cpu", "--run.threads", "1", "--trainer.clients", "1"]


def start(*words: str, log: Path) -> subprocess.Popen[bytes]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with open(log, "ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "gendistill.cli", "privacy", *words],
            cwd=ROOT,
            env=environment,
            stdout=file,
            stderr=file,
        )


def until(true: Callable[[], Any], what: str, seconds: float = 600.0) -> Any:
    """Wait, for the machine may be busy."""
    end = time.monotonic() + seconds
    while not (found := true()):
        assert time.monotonic() < end, what
        time.sleep(0.05)
    return found


def said(log: Path, pattern: str) -> Any:
    return list(re.finditer(pattern, log.read_text())) if log.exists() else []


class Wire:
    """A relay on loopback that keeps every byte that passes; where one side ends, the other one is told.

    Args:
        port: Returns where the server listens.

    It raises IndexError while the server does not listen: its former port may be another program's by now.
    """

    def __init__(self, port: Callable[[], int]) -> None:
        self.seen: list[bytes] = []
        self._port = port
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            here, _ = self._socket.accept()
            try:
                there = socket.create_connection(("127.0.0.1", self._port()))
            except (OSError, IndexError):  # the server does not listen yet
                here.close()
                continue
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=self._relay, args=(one, other), daemon=True).start()

    def _relay(self, one: socket.socket, other: socket.socket) -> None:
        try:
            while data := one.recv(2**16):
                self.seen.append(data)
                other.sendall(data)
        except OSError:
            pass
        finally:
            for end in (one, other):
                with contextlib.suppress(OSError):
                    # Not closed: while the other thread waits for what comes from it, nobody would be told.
                    end.shutdown(socket.SHUT_RDWR)


def memory(process: subprocess.Popen[bytes]) -> Iterator[bytes]:
    """Yield what a child process has in its memory, a region at a time."""
    place_of = Path(f"/proc/{process.pid}")
    with open(place_of / "maps") as maps, open(place_of / "mem", "rb", buffering=0) as image:
        for line in maps:
            place, mode, *_ = line.split()
            first, last = (int(end, 16) for end in place.split("-"))
            if not mode.startswith("rw") or "[v" in line:
                continue
            try:
                image.seek(first)
                yield image.read(last - first)
            except (OSError, ValueError, OverflowError):
                continue


def forms(pattern: np.ndarray) -> dict[str, bytes]:
    """Return what the planted image may look like: stored, its halves, and as networks see it."""
    seen = (pattern.astype(np.float32) / np.float32(255) - np.float32(0.5)) / np.float32(0.5)
    scaled = (pattern.astype(np.float32) - np.float32(127.5)) / np.float32(127.5)
    stored = pattern.tobytes()
    return {"stored": stored, "above": stored[:32], "below": stored[32:]} | {
        "seen": seen.tobytes()[:64], "scaled": scaled.tobytes()[:64],
        "unit": (pattern / 255).astype("<f4").tobytes()[:64],
    }  # fmt: skip


def found(pieces: Any, looked_for: dict[str, bytes]) -> set[str]:
    """Return which forms are somewhere in the pieces."""
    there: set[str] = set()
    for piece in pieces:
        there |= {name for name, form in looked_for.items() if form in piece}
    return there


@pytest.mark.skipif(not Path("/proc/self/mem").exists(), reason="memory is looked at through /proc")
def test_a_planted_image_is_found_at_its_site_and_nowhere_else(tmp_path: Path) -> None:
    pattern = np.frombuffer(os.urandom(64), np.uint8).reshape(8, 8)
    private = tmp_path / "private"
    train = load_digits().train
    for number in range(120):
        place = private / "train" / str(int(train.labels[number]))
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(train.images[number, 0].numpy()).save(place / f"{number}.png")
    for place in (private / "train").iterdir():
        (private / "test" / place.name).mkdir(parents=True)
        (next(place.iterdir())).rename(private / "test" / place.name / "0.png")
    Image.fromarray(pattern).save(private / "train" / "3" / "planted.png")

    folder, logs = tmp_path / "certificates", {side: tmp_path / f"{side}.log" for side in ("server", "north")}
    assert main(["privacy", "certificates", str(folder), "--sites", "north"]) == 0
    place, transcript = ["--run.root", str(tmp_path / "runs")], tmp_path / "transcript"

    def ports() -> list[int]:
        return [int(line[1]) for line in said(logs["server"], r"listening at port (\d+)")]

    def serve() -> subprocess.Popen[bytes]:
        words = ["--certificates", str(folder / "server"), "--address", "127.0.0.1:0", "--run.name", "server"]
        return start("serve", *OPTIONS, *place, *words, log=logs["server"])

    started = 0
    running = [serve()]
    wire = Wire(lambda: ports()[started:][-1])
    words = ["--certificates", str(folder / "north"), "--server", f"localhost:{wire.port}", "--run.name", "north"]
    words += ["--data.name", f"folder:{private}", "--data.channels", "1", "--data.image_size", "8"]
    try:
        running.append(start("join", *OPTIONS, *place, *words, "--transcript", str(transcript), log=logs["north"]))
        until(lambda: said(logs["server"], r"finished round 40 "), "round 40")
        looked_for = forms(pattern)
        assert found(memory(running[1]), looked_for) >= {"stored", "above", "below"}  # so the search can find it
        assert found(memory(running[0]), looked_for) == set()
        files = [path for path in (tmp_path / "runs" / "server").rglob("*") if path.is_file()]
        assert found(map(Path.read_bytes, files), looked_for) == set() and len(files) > 3
        assert found([transcript.read_bytes()], looked_for) == set() and transcript.stat().st_size > 10**5
        assert found([b"".join(wire.seen)], looked_for) == set() and len(b"".join(wire.seen)) > 10**5

        running[0].kill()  # the site waits, and both go back to what both have saved
        running[0].wait()
        before, started = len(said(logs["server"], "finished round")), len(ports())
        running[0] = serve()
        until(lambda: len(said(logs["server"], "finished round")) > before, "rounds after the server was killed")
        assert said(logs["north"], "does not answer|started anew") and said(logs["north"], "the server answers again")
        for process, number in ((running[1], signal.SIGTERM), (running[0], signal.SIGINT)):
            process.send_signal(number)
            assert process.wait(600) == 128 + number
        for side in logs:
            assert said(logs[side], r"give the same command again to continue \(saved in")
            assert not said(logs[side], "Traceback")
        seed = re.search(r"seed: (\d+)", (tmp_path / "runs" / "north" / "config.yaml").read_text())
        assert seed is not None and int(seed[1]) > 1000  # the site's own, which the server does not know
    finally:
        for process in running:
            process.kill()
            process.wait()
