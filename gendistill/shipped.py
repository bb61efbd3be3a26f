"""What comes with the project beside its code: configs and small teachers, found in a checkout and when installed.

In a checkout they are ``configs/`` and ``checkpoints/``. An installed package has them in
``gendistill/shipped_files/``, where no other package writes; ``setup.py`` puts them there.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gendistill.errors import UserError
from gendistill.notes import note
from gendistill.regular import regular

HERE = Path(__file__).resolve().parent
INSTALLED = HERE / "shipped_files"
CONFIGS, CHECKPOINTS, TRAINERS = "configs", "checkpoints", "trainers"
ENDINGS = {CONFIGS: ".yaml", CHECKPOINTS: ".safetensors"}
RESULTS = ".json"
"""Ending of what was measured of a shipped teacher, which lies beside it."""
TEACHER_KEY = "gendistill_teacher"
"""Metadata of a teacher's file under which it says what it is."""
LONGEST_HEADER = 2**20
"""Bytes of a shipped file's header, at most."""


def folder(name: str) -> Path:
    """Return where ``configs``, ``checkpoints`` or ``trainers`` of this project are, which may be nowhere.

    Args:
        name: One of the three.
    """
    installed = INSTALLED / name
    return installed if installed.is_dir() else HERE.parent / name


def names(kind: str) -> list[str]:
    """Return the names of all shipped configs (``gan/mnist-cgan-pd``) or teachers (``digits-gan``), sorted."""
    root, ending = folder(kind), ENDINGS[kind]
    found = root.rglob(f"*{ending}") if kind == CONFIGS else root.glob(f"*{ending}")  # below the others are runs
    return sorted(path.relative_to(root).as_posix().removesuffix(ending) for path in found)


def config(given: str | Path) -> Path:
    """Return the config that somebody means: a file, or one of the project's by its name.

    Args:
        given: A path, or a name such as ``gan/mnist-cgan-pd``, with or without ``configs/`` and ``.yaml``. What lies
            where the path says goes before what is shipped.

    Returns:
        The file; ``given`` itself where it is neither.
    """
    return _found(given, CONFIGS)


def teacher(given: str | Path) -> Path:
    """Return the teacher file or folder that somebody means, or a shipped one by its name (``digits-gan``).

    Args:
        given: A path or a name, as for :func:`config`.

    Returns:
        The place; ``given`` itself where there is nothing.
    """
    return _found(given, CHECKPOINTS)


def generators() -> list[str]:
    """Return the names of shipped generators that make images without end, whose latents can be searched."""
    return [name for name in names(CHECKPOINTS) if _said(name).get("kind") == "generator" and _stored(name) is None]


def sets() -> dict[str, str]:
    """Return the names of shipped teachers that store what they show, such as ``mnist-10``, each with its data set."""
    found = {name: _said(name).get("description") for name in names(CHECKPOINTS) if _stored(name) is not None}
    return {name: str(one.get("name")) for name, one in found.items() if isinstance(one, Mapping)}


def results(name: str) -> Path | None:
    """Return the file of what was measured of a shipped teacher; None where none lies beside it."""
    file = folder(CHECKPOINTS) / f"{name}{RESULTS}"
    return file if file.is_file() else None


def name_of(given: str | Path) -> str | None:
    """Return the name of the shipped teacher that somebody means (see :func:`teacher`); None where it is none."""
    path = Path(given)
    found = path if path.parent == folder(CHECKPOINTS) else _found(path, CHECKPOINTS, quietly=True)
    return found.stem if found.parent == folder(CHECKPOINTS) and found.stem in names(CHECKPOINTS) else None


def _said(name: str) -> Mapping[str, Any]:
    """Return what a shipped teacher's file says of itself, read without torch; nothing where it is no teacher."""
    try:
        with regular(folder(CHECKPOINTS) / f"{name}{ENDINGS[CHECKPOINTS]}").open("rb") as file:
            size = int.from_bytes(file.read(8), "little")
            text = file.read(size) if size <= LONGEST_HEADER else b""
        said = json.loads(json.loads(text)["__metadata__"][TEACHER_KEY])
    except (UserError, OSError, ValueError, LookupError, TypeError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _stored(name: str) -> int | None:
    images = _said(name).get("images")
    return images if isinstance(images, int) else None


def config_folder(below: str) -> Path:
    """Return ``configs/<below>`` of the folder where the command is given or, where there is none, of the project."""
    here = Path(CONFIGS) / below
    return here if here.is_dir() else folder(CONFIGS) / below


def _found(given: str | Path, kind: str, *, quietly: bool = False) -> Path:
    path, ending = Path(given), ENDINGS[kind]
    parts = path.parts[1:] if path.parts[:1] == (kind,) else path.parts
    if not parts or path.is_absolute() or ".." in parts or "\0" in str(given) or _lies(path):
        return path
    name = "/".join(parts).removesuffix(ending)
    known = folder(kind) / f"{name}{ending}"
    if name not in names(kind):
        return path
    if not quietly and (path.parts[0] != kind or path.suffix != ending):
        note(f"'{given}' is that of this project, {known}")
    return known


def _lies(path: Path) -> bool:
    """Tell whether anything lies there, also a link to nothing."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # too long for the name of a file
        return True
