"""Where a run's curves and pictures go: to TensorBoard, and to every logger of one's own.

A logger derives from :class:`Logger` and overrides what it takes. It is given to :func:`gendistill.train`, or named in
``run.loggers`` of a config by dotted path.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from gendistill.grids import Grid
from gendistill.runs.board import Board
from gendistill.runs.directory import RunDirectory


class Logger:
    """What a run tells; each method does nothing until it is overridden."""

    def begin(self, directory: Path, config: Mapping[str, Any], step: int | None) -> None:
        """Begin, in the run's first process, before anything is logged.

        Args:
            directory: The run's directory.
            config: The complete configuration, nested plain values.
            step: Step that the run is continued from; what was logged of later ones is logged again. None: a new run.
        """

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Take numbers by tag, such as ``train/loss`` or ``validation/accuracy``, at a step."""

    def log_images(self, step: int, images: Mapping[str, Tensor | Grid]) -> None:
        """Take pictures by name: pixels (N, C, H, W) in [0, 1], or these with what they are of, a ``Grid``."""

    def log_text(self, step: int, texts: Mapping[str, str]) -> None:
        """Take lines of text by name: the sentences of a distilled text."""

    def log_histograms(self, step: int, networks: Iterable[tuple[str, nn.Module]]) -> None:
        """Take networks by name, whose weights' distribution is wanted (``run.histograms``)."""

    def log_film(self, name: str) -> None:
        """Hear at the end that the pictures ``name`` of all steps make a film."""

    def flush(self) -> None:
        """Write out what is in memory: the run's state is saved next, and what was logged must not be lost."""

    def close(self) -> None:
        """End, also when the run fails or is interrupted."""


class TensorBoard(Logger):
    """The logger that every run has: event files, and pictures in ``samples/``; see :mod:`gendistill.runs.board`.

    Args:
        directory: The run's.
    """

    def __init__(self, directory: RunDirectory) -> None:
        self._directory = directory
        self._board: Board | None = None

    @property
    def board(self) -> Board:
        """The event files, open from :meth:`begin` on."""
        assert self._board is not None, "it has not begun"
        return self._board

    def begin(self, directory: Path, config: Mapping[str, Any], step: int | None) -> None:
        """Open the event files, and take out what they hold of later steps."""
        self._board = Board(self._directory, step)
        if step is None:
            self._board.configuration(config)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Write numbers under their tags."""
        self.board.scalars(step, values)

    def log_images(self, step: int, images: Mapping[str, Tensor | Grid]) -> None:
        """Write picture grids, each also as a PNG."""
        self.board.pictures(step, images)

    def log_text(self, step: int, texts: Mapping[str, str]) -> None:
        """Write lines of text, each also as a file."""
        for name, lines in texts.items():
            self.board.text(step, name, lines)

    def log_histograms(self, step: int, networks: Iterable[tuple[str, nn.Module]]) -> None:
        """Write the distribution of every weight."""
        self.board.histograms(step, networks)

    def log_film(self, name: str) -> None:
        """Write the pictures of all steps as a GIF."""
        self.board.film(name)

    def flush(self) -> None:
        """Write out."""
        self.board.flush()

    def close(self) -> None:
        """Write out and close."""
        if self._board is not None:
            self._board.close()


class Loggers(Logger):
    """Several loggers as one."""

    def __init__(self, loggers: Sequence[Logger]) -> None:
        self._loggers = list(loggers)

    def begin(self, directory: Path, config: Mapping[str, Any], step: int | None) -> None:
        """Begin with all."""
        for one in self._loggers:
            one.begin(directory, config, step)

    def log_scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Tell all."""
        for one in self._loggers:
            one.log_scalars(step, values)

    def log_images(self, step: int, images: Mapping[str, Tensor | Grid]) -> None:
        """Tell all."""
        for one in self._loggers:
            one.log_images(step, images)

    def log_text(self, step: int, texts: Mapping[str, str]) -> None:
        """Tell all."""
        for one in self._loggers:
            one.log_text(step, texts)

    def log_histograms(self, step: int, networks: Iterable[tuple[str, nn.Module]]) -> None:
        """Tell all."""
        known = list(networks)
        for one in self._loggers:
            one.log_histograms(step, known)

    def log_film(self, name: str) -> None:
        """Tell all."""
        for one in self._loggers:
            one.log_film(name)

    def flush(self) -> None:
        """Tell all."""
        for one in self._loggers:
            one.flush()

    def close(self) -> None:
        """End all, the last first, whatever one of them raises."""
        failure: BaseException | None = None
        for one in reversed(self._loggers):
            try:
                one.close()
            except BaseException as error:
                failure = failure or error
        if failure is not None:
            raise failure
