"""What a run learned before its first step, kept while it takes long: the same command goes on from it.

A pool of probes may learn for an hour before anything is matched. Until the run saves its first state, which holds all
of it, its folder keeps how far that is; so does a run that is built anew to find out what is fastest (``run.tune``).
"""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from gendistill.data.fingerprint import contents
from gendistill.data.real import RealData
from gendistill.notes import note
from gendistill.runs.checkpoint import DamagedState, read_state, write_state
from gendistill.runs.context import RunContext

SECONDS_BETWEEN = 30.0
"""Between two times that it is written; what takes less is not written at all."""


class HeadStart:
    """How far something has come that a run does before its first step.

    Args:
        run: The run; of several processes the first one writes, and all read.
        name: What it is of, such as ``probes``.
        data: What it is learned from.
        made_by: Everything else that it depends on, as plain values and tensors; what was kept of something else is
            left alone and written over.
    """

    def __init__(self, run: RunContext, name: str, data: RealData, made_by: Mapping[str, Any]) -> None:
        self.run, self.data = run, data
        # At once: what it depends on, such as first weights, is about to change.
        self._digest = hashlib.sha256()
        _feed(self._digest, made_by)
        self.path = run.directory.before / f"{re.sub(r'[^A-Za-z0-9]+', '-', name)}.pt"
        self._key: str | None = None
        self._began = self._since = time.monotonic()
        self._earlier = 0.0

    def load(self) -> dict[str, Any] | None:
        """Return what was kept; None where nothing was, or of something else."""
        if not self.path.is_file():
            return None
        try:
            found = read_state(self.path, self.run.device)
        except DamagedState as error:
            note(f"{error}; it is made again")
            return None
        kept = found.get("kept")
        if not isinstance(kept, dict):
            return None
        # A trial of what is fastest takes what the run has learned, which in another precision is not quite that.
        if not self.run.trial and found.get("key") != self.key:
            return None
        seconds = found.get("seconds")
        self._earlier = seconds if type(seconds) is float else 0.0
        return kept

    def offer(self, content: Callable[[], Mapping[str, Any]], done: bool = False) -> None:
        """Keep how far it is, if that was not done lately.

        Args:
            content: Gives plain values and tensors.
            done: Whether this is all of it, which is kept if any of it took long.

        Raises:
            StorageError: The file cannot be written.
        """
        if self.run.trial or (time.monotonic() - self._since < SECONDS_BETWEEN and not (done and self.path.is_file())):
            return
        if self.run.processes.main and self.run.directory.path.is_dir():  # a loop of one's own may write nothing
            self.path.parent.mkdir(exist_ok=True)
            write_state(self.path, {"step": 0, "key": self.key, "seconds": self.seconds, "kept": dict(content())})
            if done:
                self.run.learned += self.seconds
        self._since = time.monotonic()

    @property
    def seconds(self) -> float:
        """Wall seconds that it has taken so far, those before an interruption among them."""
        return self._earlier + time.monotonic() - self._began

    @property
    def key(self) -> str:
        """Digest of everything that it depends on."""
        if self._key is None:
            self._digest.update(json.dumps(contents(self.data), sort_keys=True).encode())
            self._key = self._digest.hexdigest()
        return self._key


def _feed(digest: Any, value: Any) -> None:
    """Put plain values, and the bytes of tensors, into a digest."""
    if isinstance(value, Tensor):
        one = value.detach().cpu().contiguous()
        digest.update(f"{one.dtype}{tuple(one.shape)}".encode())
        digest.update(one.flatten().view(torch.uint8).numpy().tobytes() if one.numel() else b"")
    elif isinstance(value, Mapping):
        for name in sorted(value, key=str):
            digest.update(f"{name}=".encode())
            _feed(digest, value[name])
    elif isinstance(value, (list, tuple)):
        digest.update(f"[{len(value)}]".encode())
        for one in value:
            _feed(digest, one)
    else:
        digest.update(f"{value!r};".encode())
