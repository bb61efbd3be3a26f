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
from gendistill.evaluation.cache import is_kept, read_tensors, write_tensors
from gendistill.experts.files import Rows, damaged
from gendistill.files import remove_leftovers
from gendistill.json_file import Is, Keys, mapping, parse_json, whole
from gendistill.notes import note

KEY = "gendistill_expert_in_training"
FORMAT_VERSION = 1
NOTED = Keys(
    required={
        "format_version": Is(lambda value: value == FORMAT_VERSION, f"format version {FORMAT_VERSION}"),
        "identity": Is(mapping, "an object"),
        "at": Is(lambda value: whole(value) and value < 2**31, "the number of a snapshot"),
    }
)


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
        if not self.place.is_dir():
            return None
        remove_leftovers(self.place)
        if not is_kept(self._state):
            return None  # interrupted before the first snapshot
        try:
            noted = parse_json(read_tensors(self._state)[1].get(KEY, ""), f"what '{self._state}' says", NOTED)
            if noted["identity"] != self.known:
                return None
            for at in range(noted["at"] + 1):
                read_tensors(self._file(at))
        except UserError as error:
            note(f"{str(error).partition(';')[0]}: the training of this expert starts anew")
            return None
        return int(noted["at"])

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
        """Return the first ``count`` snapshots of each parameter, read when they are asked for.

        Raises:
            UserError: A snapshot is damaged.
        """
        for at in range(count):  # a whole file at a time, as its checksum is; of what is returned a parameter at a time
            read_tensors(self._file(at))
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
