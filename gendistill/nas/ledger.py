"""Results by architecture on the disk, written after each one, so that a search goes on where it was stopped."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.data.fingerprint import require_unchanged
from gendistill.errors import UserError
from gendistill.files import atomic_write
from gendistill.plain import plain

FORMAT = 1


class Ledger:
    """A JSON file with settings, choices and one entry an architecture; safe to use from several threads.

    Args:
        path: The file; read when it is there.
        settings: What the results depend on. A file with others is refused.
        data: What the data holds, see :func:`gendistill.data.fingerprint.contents`; a file with another is refused.
            None: it is not known.
        fresh: Start anew, whatever is there.

    Raises:
        UserError: The file is no such file, or was written with other settings or other data.
    """

    def __init__(
        self,
        path: Path,
        settings: Mapping[str, Any],
        *,
        data: Mapping[str, Any] | None = None,
        fresh: bool = False,
    ) -> None:
        self.path = path
        self._lock = threading.Lock()
        self.content: dict[str, Any] = {
            "format": FORMAT,
            "settings": plain(settings, strict=True),
            "data": plain(data, strict=True),
            "choices": {},
            "architectures": {},
        }
        if path.is_file() and not fresh:
            self._read()

    @property
    def architectures(self) -> dict[str, dict[str, Any]]:
        """Entries by name."""
        entries: dict[str, dict[str, Any]] = self.content["architectures"]
        return entries

    @property
    def choices(self) -> dict[str, Any]:
        """What was chosen before scoring, by proxy."""
        chosen: dict[str, Any] = self.content["choices"]
        return chosen

    def get(self, name: str, part: str) -> Any:
        """Return a part of an architecture's entry, None when it is not there yet."""
        with self._lock:
            return self.architectures.get(name, {}).get(part)

    def put(self, name: str, part: str, value: Any) -> None:
        """Put a part into an architecture's entry and write the file.

        Raises:
            StorageError: It cannot be written.
        """
        with self._lock:
            self.architectures.setdefault(name, {})[part] = plain(value, strict=True)
            self._write()

    def choose(self, label: str, value: Mapping[str, Any]) -> None:
        """Note a choice and write the file."""
        with self._lock:
            self.choices[label] = plain(value, strict=True)
            self._write()

    def _write(self) -> None:
        text = json.dumps(self.content, indent=1, allow_nan=False, ensure_ascii=False)
        atomic_write(self.path, lambda file: file.write(text.encode()))

    def _read(self) -> None:
        try:
            read = json.loads(self.path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
            raise UserError(f"'{self.path}' is not a readable JSON file ({error}); start anew with --fresh") from error
        # Results that were kept before data was noted go on with the data as it is now.
        found: dict[str, Any] = {"data": None, **read} if isinstance(read, dict) else {}
        if set(found) != set(self.content) or found["format"] != FORMAT:
            raise UserError(f"'{self.path}' holds no results of a search; choose another --output")
        # Before the settings, which tell of changed data too where the teacher is made of it, but not in these words.
        if found["data"] is not None and self.content["data"] is not None:
            way_out = "choose another --output, or start anew with --fresh"
            require_unchanged(found["data"], self.content["data"], f"'{self.path}' holds results of a search", way_out)
        before, now = found["settings"], self.content["settings"]
        if before != now:
            keys = [key for key in {**before, **now} if before.get(key) != now.get(key)]
            raise UserError(
                f"'{self.path}' holds results of another search (different: {', '.join(keys)}); choose another "
                "--output, or start anew with --fresh"
            )
        self.content = found | {"data": found["data"] or self.content["data"]}
