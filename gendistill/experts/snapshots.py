"""An expert in training: a file for each snapshot that is made, and one for what its training goes on from.

They lie in the folder ``expert-NNNN.parts`` and become the expert's file when it is done. So a trajectory is never in
memory as a whole, and an interruption costs no more than the steps since a snapshot.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from gendistill.errors import UserError
from gendistill.evaluation.cache import read_tensors, write_tensors
from gendistill.experts.files import Rows, damaged

KEY = "gendistill_expert_in_training"
FORMAT_VERSION = 1


class Snapshots:
    """What is there of an expert in training.

    Args:
        folder: Where experts are kept.
        number: The expert's number.
        known: Its :func:`gendistill.experts.recipe.identity`.
    """

    def __init__(self, folder: Path, number: int, known: Mapping[str, Any]) -> None:
        self.place = folder / f"expert-{number:04d}.parts"
        self.known = dict(known)

    def last(self) -> int | None:
        """Return the number of the last snapshot that training can go on from; None: it starts anew."""
        try:
            _, metadata = read_tensors(self._state)
            noted = json.loads(metadata[KEY])
            last = int(noted["at"])
            same = noted["format_version"] == FORMAT_VERSION and noted["identity"] == self.known
        except (UserError, LookupError, ValueError, TypeError, RecursionError):
            return None  # interrupted before the first snapshot, or damaged: a new start mends either
        return last if same and all(self._file(at).exists() for at in range(last + 1)) else None

    def add(self, at: int, parameters: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> None:
        """Keep a snapshot, then what training goes on from after it.

        Args:
            at: Number of the snapshot, 0 for the first weights.
            parameters: By name.
            state: Everything else that the next update depends on.

        Raises:
            StorageError: It cannot be written.
        """
        write_tensors(self._file(at), parameters, {})
        noted = {"format_version": FORMAT_VERSION, "identity": self.known, "at": at}
        write_tensors(self._state, state, {KEY: json.dumps(noted, sort_keys=True)})

    def state(self) -> dict[str, Tensor]:
        """Return what :meth:`add` was given last."""
        return read_tensors(self._state)[0]

    def parameters(self, at: int) -> dict[str, Tensor]:
        """Return the parameters of a snapshot by name."""
        return read_tensors(self._file(at))[0]

    def trajectory(self, names: Iterable[str], count: int) -> dict[str, Rows]:
        """Return the first ``count`` snapshots of each parameter, read when they are asked for."""
        return {name: _Kept([self._file(at) for at in range(count)], name) for name in names}

    def remove(self) -> None:
        """Remove everything."""
        shutil.rmtree(self.place, ignore_errors=True)

    @property
    def _state(self) -> Path:
        return self.place / "state.safetensors"

    def _file(self, at: int) -> Path:
        return self.place / f"{at:04d}.safetensors"


class _Kept:
    """One parameter in all snapshots."""

    def __init__(self, files: list[Path], name: str) -> None:
        self.files, self.name = files, name

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, at: int) -> Tensor:
        try:
            with safe_open(self.files[at], framework="pt") as file:
                found: Tensor = file.get_tensor(self.name)
                return found.clone()
        except (SafetensorError, OSError) as error:
            raise damaged(self.files[at], error) from error
