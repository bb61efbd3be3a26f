"""Results by architecture on the disk, written after each one, so that a search goes on where it was stopped."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from gendistill.data.fingerprint import require_unchanged, text_fingerprint
from gendistill.errors import StorageError, UserError
from gendistill.files import atomic_write, storage_sentence
from gendistill.json_file import (
    Each,
    Is,
    JsonError,
    Keys,
    Shape,
    check,
    fraction,
    mapping,
    maybe,
    number,
    read_json,
    size,
    text,
    whole,
)
from gendistill.notes import note
from gendistill.plain import plain

FORMAT = 1
HEAD = ("format", "settings", "data")
"""What says which search it is."""
RESULT = Keys(required={"score": Is(maybe(number), "a number"), "seconds": Is(size, "a number of seconds")})
TRUTH = Keys(
    required={
        "accuracy": Is(fraction, "a fraction"),
        "runs": Each(Is(fraction, "a fraction"), at_least=1),
        "seconds": Is(maybe(size), "a number of seconds, or null"),
    }
)
CHOICE = Keys(
    optional={
        "lr": Is(lambda value: text(value) or number(value), "a rate"),
        "pilot_seconds": Is(size, "a number of seconds"),
    }
)
PARTS: dict[str, tuple[Shape, str]] = {
    "choices": (CHOICE, "the choice of"),
    "architectures": (Keys(optional={"proxies": Keys(others=RESULT), "truth": TRUTH}), "the results of"),
}
"""What is written piece by piece, each with a checksum, and what a piece is called."""
OBJECT = Is(mapping, "an object of keys and values")
SHAPE = Keys(
    required={"format": Is(whole, "a number"), "settings": OBJECT, "choices": OBJECT, "architectures": OBJECT},
    optional={"data": OBJECT},
)
SUMS = Keys(required={"head": Is(text, "a checksum"), "choices": OBJECT, "architectures": OBJECT})


class Ledger:
    """A JSON file with settings, choices and one entry an architecture; safe to use from several threads.

    Args:
        path: The file; read when it is there. Damaged entries are left out with a note, a file that is damaged as a
            whole is renamed.
        settings: What the results depend on. A file with others is refused.
        data: What the data holds, see :func:`gendistill.data.fingerprint.contents`; a file with another is refused.
            None: it is not known.
        fresh: Start anew, whatever is there.

    Raises:
        UserError: The file is no such file, or was written with other settings or other data.
        StorageError: A damaged file cannot be renamed.
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

    def sent(self, names: Collection[str]) -> bytes:
        """Return the file as it would be with these architectures alone, for who scores them elsewhere."""
        with self._lock:
            some = {name: self.architectures[name] for name in names if name in self.architectures}
            return self._words(self.content | {"architectures": some})

    def take(self, other: Ledger, names: Collection[str]) -> None:
        """Take what another file of the same search knows of architectures, and its choices, and write the file."""
        with self._lock:
            for label, choice in other.choices.items():
                self.choices.setdefault(label, choice)
            for name in names:
                theirs, ours = other.architectures.get(name, {}), self.architectures.setdefault(name, {})
                proxies = {**theirs.get("proxies", {}), **ours.get("proxies", {})}
                ours |= {**theirs, **ours, **({"proxies": proxies} if proxies else {})}
            self._write()

    def _write(self) -> None:
        words = self._words(self.content)
        atomic_write(self.path, lambda file: file.write(words))

    def _words(self, content: dict[str, Any]) -> bytes:
        sums = {part: {name: digest(value) for name, value in content[part].items()} for part in PARTS}
        written = content | {"sums": sums | {"head": digest([content[key] for key in HEAD])}}
        return json.dumps(written, indent=1, allow_nan=False, ensure_ascii=False).encode()

    def _read(self) -> None:
        try:
            read = read_json(self.path)
        except JsonError as error:
            self._put_aside(str(error))
            return
        # Results that were kept before data was noted go on with the data as it is now.
        found: dict[str, Any] = {"data": None, **read} if isinstance(read, dict) else {}
        if not {"format", "settings", "architectures"} <= set(found):
            raise UserError(f"'{self.path}' holds no results of a search; choose another --output")
        sums = found.pop("sums", None)
        try:
            check(found, SHAPE, f"'{self.path}'")
            if sums is not None:
                check(sums, SUMS, f"'{self.path}': sums")
                if sums["head"] != digest([found[key] for key in HEAD]):
                    raise JsonError(f"'{self.path}' does not match its checksum")
        except JsonError as error:
            self._put_aside(str(error))
            return
        if found["format"] != FORMAT:
            raise UserError(
                f"'{self.path}' has format {found['format']}, this program reads format {FORMAT}; choose another "
                "--output, or start anew with --fresh"
            )
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
        for part, (shape, what) in PARTS.items():
            self.content[part] = self._whole(found[part], None if sums is None else sums[part], shape, what)
        self.content["data"] = found["data"] or self.content["data"]

    def _whole(self, entries: dict[str, Any], sums: dict[str, Any] | None, shape: Shape, what: str) -> dict[str, Any]:
        """Return the entries that are as they were written; the others are made anew, and that is said."""
        left = {}
        for name, entry in entries.items():
            try:
                check(entry, shape, f"'{self.path}': {what} '{name}'")
                if sums is not None and sums.get(name) != digest(entry):
                    raise JsonError(f"'{self.path}': {what} '{name}' does not match its checksum")
            except JsonError as error:
                note(f"{error}; it is made anew")
                continue
            left[name] = entry
        return left

    def _put_aside(self, why: str) -> None:
        aside = self.path.with_name(f"{self.path.stem}.damaged{self.path.suffix}")
        try:
            os.replace(self.path, aside)
        except OSError as error:
            raise StorageError(storage_sentence(aside, error)) from error
        note(f"{why}; it is kept as '{aside.name}', and the search starts anew")


def digest(value: Any) -> str:
    """Return 16 hexadecimal digits that name a plain value."""
    return text_fingerprint(json.dumps(value, sort_keys=True))
