"""What a person chooses about a run, whatever the method."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePath
from typing import Any

from gendistill.errors import UserError
from gendistill.runs.choice import parse_choice

TIMEOUT = 600.0
LONGEST = 10**6
"""Seconds that a process may wait for the others at most, eleven days."""
PRECISIONS = ("float32", "bfloat16")


THREADS = 1024
"""More than any machine has use for; the library that starts them ends the process where it has no room."""


@dataclass
class RunOptions:
    """How long, where and how a run goes.

    Args:
        name: Directory of the run below ``root``; a run with the same name is continued.
        root: Directory that holds all runs.
        steps: Length of the run, in calls of the trainer's ``train_step``.
        seed: Seed of every random stream of the run, a whole number from 0.
        device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda`` or ``cuda:1``.
        precision: ``float32``, or ``bfloat16`` for mixed precision with float32 weights.
        channels_last: Keep images and networks in the channels-last memory format, faster on recent GPUs.
        cuda_graphs: Record the steps of learners that a method trains inside as CUDA graphs and play them again: a GPU
            is then not bound by launching small kernels, and memory is that of ``recompute``. For learners that move
            by SGD, without random layers and running statistics.
        compile: Compile what a step spends its time on, where a method offers it: some seconds to a minute at the
            start, then faster steps. It needs a C++ compiler.
        threads: Threads that torch computes with on a CPU; None: as many as it finds cores.
        tune: ``auto``: a run that is long enough begins with a short trial of the options above that nobody set, and of
            float32 where bfloat16 was asked for; it takes what is faster on this machine, says so, and keeps to it when
            it is continued. ``off``: everything as given. Or what an earlier run chose, as its ``config.yaml`` has it.
        save_every: Steps between two saved states; the last step is always saved.
        log_every: Steps over which a logged metric is averaged.
        sample_every: Steps between two picture grids; 0 makes none.
        evaluate_every: Steps between two measurements of what was made so far, logged as ``measured/...``: the
            Fréchet distance to training and to validation images, of points the modes captured; 0 makes none. The run
            stays the same to the bit.
        evaluate_samples: Images of such a measurement, at least 2.
        histograms: Log histograms of all weights at each picture grid; slow.
        progress: Show a bar on a terminal, or a line now and then elsewhere.
        timeout: Seconds that one of several processes waits for the others in a step, after which the run ends.
        fresh: Discard what the run's directory holds and start anew.
        callbacks: What is done while the run goes on, each a dotted path or ``class_path`` and ``init_args`` of a
            subclass of :class:`gendistill.runs.callbacks.Callback`.
        loggers: Where curves and pictures go beside TensorBoard, each likewise a subclass of
            :class:`gendistill.runs.loggers.Logger`.
        keep_best: Keep state and teacher of the step that is best on the validation split, as ``best.pt`` and
            ``best.safetensors``: ``metric``, ``every``, ``higher``, ``learning`` and ``fidelity``, of which ``{}``
            leaves all as they are; see :class:`gendistill.runs.best.KeepBest`. None: keep the last one alone.
    """

    name: str = "run"
    root: str = "checkpoints"
    steps: int = 1000
    seed: int = 0
    device: str = "auto"
    precision: str = "float32"
    channels_last: bool = False
    compile: bool = False
    cuda_graphs: bool = False
    threads: int | None = None
    tune: str | bool = "auto"
    save_every: int = 500
    log_every: int = 50
    sample_every: int = 500
    evaluate_every: int = 0
    evaluate_samples: int = 1000
    histograms: bool = False
    progress: bool = True
    timeout: float = TIMEOUT
    fresh: bool = False
    callbacks: Sequence[str | Mapping[str, Any]] | None = None
    loggers: Sequence[str | Mapping[str, Any]] | None = None
    keep_best: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        every = (("save_every", 1), ("log_every", 1), ("sample_every", 0), ("evaluate_every", 0))
        for key, least in (("steps", 1), ("seed", 0), *every, ("evaluate_samples", 2)):
            value = getattr(self, key)
            if isinstance(value, bool) or not isinstance(value, int) or value < least:
                raise UserError(f"run.{key} is {value!r}; give a whole number from {least}")
        if (
            isinstance(self.timeout, bool)
            or not isinstance(self.timeout, int | float)
            or not 0 < self.timeout <= LONGEST
        ):
            raise UserError(f"run.timeout is {self.timeout!r}; give seconds, more than 0 and at most {LONGEST:,}")
        if self.precision not in PRECISIONS:
            raise UserError(f"run.precision is {self.precision!r}; choose one of {', '.join(PRECISIONS)}")
        if self.threads is not None and (not isinstance(self.threads, int) or not 0 < self.threads <= THREADS):
            raise UserError(
                f"run.threads is {self.threads!r}; give a whole number from 1 to {THREADS}, or leave it out"
            )
        if isinstance(self.tune, bool):  # what YAML makes of ``off``
            self.tune = "auto" if self.tune else "off"
        parse_choice(self.tune)
        parts = PurePath(self.name).parts
        if not parts or ".." in parts or PurePath(self.name).is_absolute():
            raise UserError(f"run.name is {self.name!r}; give a directory name below run.root, such as 'digits-gan'")

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values."""
        return asdict(self)
