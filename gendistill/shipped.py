"""What comes with the project beside its code: configs and small generators, found in a checkout and when installed.

In a checkout they are ``configs/`` and ``checkpoints/``. An installed package has them in
``gendistill/shipped_files/``, where no other package writes; ``setup.py`` puts them there.
"""

from __future__ import annotations

from pathlib import Path

from gendistill.notes import note

HERE = Path(__file__).resolve().parent
INSTALLED = HERE / "shipped_files"
CONFIGS, CHECKPOINTS, TRAINERS = "configs", "checkpoints", "trainers"
ENDINGS = {CONFIGS: ".yaml", CHECKPOINTS: ".safetensors"}


def folder(name: str) -> Path:
    """Return where ``configs``, ``checkpoints`` or ``trainers`` of this project are, which may be nowhere.

    Args:
        name: One of the three.
    """
    installed = INSTALLED / name
    return installed if installed.is_dir() else HERE.parent / name


def names(kind: str) -> list[str]:
    """Return the names of all shipped configs (``gan/mnist-cgan-pd``) or generators (``digits-gan``), sorted."""
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
    """Return the teacher file or folder that somebody means, or a shipped generator by its name (``digits-gan``).

    Args:
        given: A path or a name, as for :func:`config`.

    Returns:
        The place; ``given`` itself where there is nothing.
    """
    return _found(given, CHECKPOINTS)


def config_folder(below: str) -> Path:
    """Return ``configs/<below>`` of the folder where the command is given or, where there is none, of the project."""
    here = Path(CONFIGS) / below
    return here if here.is_dir() else folder(CONFIGS) / below


def _found(given: str | Path, kind: str) -> Path:
    path, ending = Path(given), ENDINGS[kind]
    parts = path.parts[1:] if path.parts[:1] == (kind,) else path.parts
    if not parts or path.is_absolute() or ".." in parts or "\0" in str(given) or _lies(path):
        return path
    name = "/".join(parts).removesuffix(ending)
    known = folder(kind) / f"{name}{ending}"
    if name not in names(kind):
        return path
    if path.parts[0] != kind or path.suffix != ending:
        note(f"'{given}' is that of this project, {known}")
    return known


def _lies(path: Path) -> bool:
    """Tell whether anything lies there, also a link to nothing."""
    try:
        return path.exists() or path.is_symlink()
    except OSError:  # too long for the name of a file
        return True
