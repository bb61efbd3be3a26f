"""TensorBoard logs and pictures of a run.

docs/tensorboard.md has the tags; a test holds them against those that every trainer writes.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from gendistill.data.pictures import read_picture
from gendistill.errors import PlaceError, StorageError
from gendistill.files import atomic_write, place_sentence, storage_sentence
from gendistill.grids import Grid, as_grid, drawn
from gendistill.runs.directory import RunDirectory
from gendistill.runs.events import continue_events, event_files
from gendistill.runs.hyperparameters import hyperparameters

if TYPE_CHECKING:
    from PIL import Image

PICTURE_WIDTH = 420
"""Least width of a grid in pixels: TensorBoard shows it as large as it is."""


class Board:
    """Writes the events file and ``samples`` of one run.

    Args:
        directory: The run's directory.
        resumed_step: Step that the run continues from; what was logged of later ones, by the part of the run that was
            lost, is taken out of the files, and these become one. ``None`` for a new run, which has none.
    """

    def __init__(self, directory: RunDirectory, resumed_step: int | None = None) -> None:
        # Imported here: beside TensorFlow an early import of TensorBoard aborts the interpreter.
        from torch.utils.tensorboard import SummaryWriter

        self._directory = directory
        self._excepthook = threading.excepthook
        threading.excepthook = self._keep_quiet
        try:
            if resumed_step is None:
                for path in event_files(directory.path):
                    path.unlink(missing_ok=True)
            else:
                continue_events(directory.path, resumed_step)
            self._writer = SummaryWriter(str(directory.path))
        except OSError as error:
            raise PlaceError(place_sentence(directory.path, error)) from error

    def configuration(self, config: Mapping[str, Any]) -> None:
        """Log the configuration for TensorBoard's comparison of runs (HPARAMS).

        Which options differ and which numbers stand beside them is for all runs together to say, see
        :mod:`gendistill.runs.overview`; without that TensorBoard finds it out by itself, and shows every number.
        """
        from tensorboard.plugins.hparams.summary_v2 import hparams_pb

        writer = self._writer.file_writer
        if writer is not None:  # runs of the same options are runs of their own
            name = str((config.get("run") or {}).get("name") or "/".join(self._directory.path.parts[-2:]))
            writer.add_summary(hparams_pb(hyperparameters(config), trial_id=name))

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Log numbers under their tags at a step."""
        try:
            for tag, value in values.items():
                self._writer.add_scalar(tag, value, step)
        except OSError as error:
            raise StorageError(storage_sentence(self._directory.path, error)) from error

    def pictures(self, step: int, grids: Mapping[str, Tensor | Grid]) -> None:
        """Log picture grids and write each as ``samples/<name>-<step>.png``, with the step and what each is of.

        Args:
            step: The step.
            grids: By name; pixels in [0, 1], (N, C, H, W), alone or as a grid that says what they are of.
        """
        for name, pictures in grids.items():
            image = drawn(as_grid(pictures), f"{name}, step {step:,}", PICTURE_WIDTH)
            write_png(image, self._directory.samples / f"{name.replace('/', '-')}-{step:07d}.png")
            pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
            try:
                self._writer.add_image(
                    f"samples/{name}", pixels.view(image.height, image.width, 3), step, dataformats="HWC"
                )
            except OSError as error:
                raise StorageError(storage_sentence(self._directory.path, error)) from error

    def film(self, name: str, milliseconds: int = 250) -> None:
        """Write the pictures ``samples/<name>-<step>.png`` one after another as ``samples/<name>.gif``, if there are.

        Args:
            name: Of pictures that are all of one size.
            milliseconds: Time of one picture; the last stands five times as long.
        """
        paths = [p for p in sorted(self._directory.samples.glob(f"{name}-*.png")) if p.stem[len(name) + 1 :].isdigit()]
        if not paths:
            return
        frames = [read_picture(path).convert("RGB") for path in paths]
        times = [milliseconds] * (len(frames) - 1) + [5 * milliseconds]
        atomic_write(
            self._directory.samples / f"{name}.gif",
            lambda file: frames[0].save(
                file, format="GIF", save_all=True, append_images=frames[1:], duration=times, loop=0
            ),
        )

    def text(self, step: int, name: str, lines: str) -> None:
        """Log lines of text and write them as ``samples/<name>-<step>.txt``."""
        atomic_write(self._directory.samples / f"{name}-{step:07d}.txt", lambda file: file.write(lines.encode()))
        # TensorBoard reads Markdown, in which indented lines are shown as they are.
        shown = "".join(f"    {line}\n" for line in lines.splitlines())
        try:
            self._writer.add_text(f"samples/{name}", shown, step)
        except OSError as error:
            raise StorageError(storage_sentence(self._directory.path, error)) from error

    def histograms(self, step: int, networks: Iterable[tuple[str, nn.Module]]) -> None:
        """Log the distribution of every trained weight."""
        for name, network in networks:
            for key, parameter in network.named_parameters():
                self._writer.add_histogram(f"weights/{name}.{key}", parameter.detach().float().cpu(), step)

    def flush(self) -> None:
        """Write out what is still in memory."""
        try:
            self._writer.flush()
        except OSError as error:
            raise StorageError(storage_sentence(self._directory.path, error)) from error

    def close(self) -> None:
        """Write out and close the events file."""
        try:
            self._writer.close()
        except OSError as error:
            raise StorageError(storage_sentence(self._directory.path, error)) from error
        finally:
            threading.excepthook = self._excepthook

    def _keep_quiet(self, failure: threading.ExceptHookArgs) -> None:
        # TensorBoard writes in a thread; what fails there is raised again at the next call here, and said then.
        if not isinstance(failure.exc_value, OSError) or type(failure.thread).__name__ != "_AsyncWriterThread":
            self._excepthook(failure)


def write_png(image: Image.Image, path: Path) -> None:
    """Write a picture as PNG, completely or not at all."""
    atomic_write(path, lambda file: image.save(file, format="PNG"))
