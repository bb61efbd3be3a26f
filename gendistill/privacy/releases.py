"""Noisy sums on the disk: what is released once is used ever after, and never drawn again.

A sum is used only after its file is complete and forced to the disk. A run that is killed and continued finds its file
and goes on with the same values: that makes the run repeatable to the bit from there on, and costs nothing.
"""

from __future__ import annotations

import glob
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from gendistill.errors import UserError
from gendistill.files import atomic_write, remove_leftovers
from gendistill.json_file import Keys, read_json

FOLDER = "releases"
"""Name of the folder, beside the ledger."""
SETTINGS = "settings.json"
"""Beside the sums: what they were made by."""


class Releases:
    """The noisy sums of one run.

    Args:
        folder: Where; made when the first is kept.
        settings: What the sums are made by, in plain values, which is written beside the first; None: nothing.
    """

    def __init__(self, folder: str | Path, settings: Mapping[str, Any] | None = None) -> None:
        self.folder, self.settings = Path(folder), settings
        self._kept: dict[str, int] = {}
        remove_leftovers(self.folder)

    def known(self) -> dict[str, Any] | None:
        """Return the settings that are written beside the sums; None where none are.

        Raises:
            UserError: The file is damaged.
        """
        path = self.folder / SETTINGS
        found: dict[str, Any] | None = read_json(path, Keys()) if path.exists() else None
        return found

    def get(self, name: str) -> Tensor | None:
        """Return the sum of that name, None where none was released.

        Raises:
            UserError: Its file is damaged.
        """
        path = self._path(name)
        if not path.exists():
            return None
        try:
            found: Tensor = safetensors.torch.load_file(path)["sum"]
        except Exception as error:
            raise UserError(
                f"'{path}' is damaged; the sum that it held was paid for and is lost: take the file away, and it is "
                "drawn anew if the budget has room for one more"
            ) from error
        return found

    def keep(self, name: str, noisy: Tensor) -> None:
        """Write a sum; it may be used from now on.

        Raises:
            StorageError: It cannot be written.
        """
        if self.settings is not None and not (beside := self.folder / SETTINGS).exists():
            text = json.dumps(self.settings, indent=1) + "\n"
            atomic_write(beside, lambda file: file.write(text.encode()))
        content = safetensors.torch.save({"sum": noisy.contiguous()})
        atomic_write(self._path(name), lambda file: file.write(content))

    def once(self, name: str, make: Callable[[], Tensor]) -> Tensor:
        """Return the sum of that name, made and kept where there is none."""
        if (kept := self.get(name)) is not None:
            return kept
        noisy = make()
        self.keep(name, noisy)
        return noisy

    def forget_before(self, prefix: str, number: int) -> None:
        """Delete sums that no saved state will ask for again: of a numbered kind, all under a number.

        Args:
            prefix: What their names begin with, before the number.
            number: The first that is kept.
        """
        if number <= self._kept.get(prefix, 0):
            return
        self._kept[prefix] = number
        for path in self.folder.glob(f"{glob.escape(prefix)}*.safetensors"):
            digits = re.match(r"\d+", path.name[len(prefix) :])
            if digits is not None and int(digits[0]) < number:
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / f"{name}.safetensors"


def require_float(noisy: Tensor) -> Tensor:
    """Return a noisy sum in float32, clamped to what that holds: post-processing, which costs nothing."""
    largest = torch.finfo(torch.float32).max
    return noisy.clamp(-largest, largest).to(torch.float32)
