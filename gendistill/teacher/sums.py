"""Checksums of a folder that is published, as sha256sum writes and checks them."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from gendistill.errors import UserError
from gendistill.regular import real_path, regular

SUMS = "SHA256SUMS"
"""A line for each file but the card, which a person may edit, as sha256sum writes and checks it."""
MOST_BYTES = 1_000_000


def write_sums(folder: Path) -> dict[str, str]:
    """Write the SHA-256 of every file of a folder into :data:`SUMS`, and return them by name."""
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    sums = {name: _sum(folder / name) for name in files}
    text = "".join(f"{value}  {name}\n" for name, value in sums.items())
    (folder / SUMS).write_text(text, encoding="utf-8")
    return sums


def check_sums(folder: Path, needed: Collection[str]) -> None:
    """Refuse a published folder whose files are not those that :data:`SUMS` lists.

    Args:
        folder: The folder.
        needed: Files that the list must have.

    Raises:
        UserError: The list is missing or damaged, or a file is missing, another one, or outside of the folder.
    """
    file = regular(folder / SUMS)
    if not file.is_file():
        raise UserError(f"{SUMS} is missing, by which its files are checked; fetch the folder again")
    if file.stat().st_size > MOST_BYTES:
        raise UserError(f"{SUMS} is larger than a list of this project's files; export again")
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise UserError(f"{SUMS} is damaged; export again") from error
    listed = set()
    for line in lines:
        value, _, name = line.partition("  ")
        if len(value) != 64 or not name or not real_path(folder / name).is_relative_to(real_path(folder)):
            raise UserError(f"{SUMS} is damaged; export again")
        if not (path := regular(folder / name)).is_file():
            raise UserError(f"'{name}' is missing, which {SUMS} lists; fetch the folder again")
        if _sum(path) != value:
            raise UserError(f"'{name}' is not the file that {SUMS} lists; fetch the folder again")
        listed.add(name)
    if unlisted := sorted(set(needed) - listed):
        raise UserError(f"{SUMS} does not list '{unlisted[0]}'; fetch the folder again")


def _sum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
