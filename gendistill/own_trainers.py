"""The name ``trainers`` means this project's package, whatever else has that name.

The methods are a package of their own beside ``gendistill``, of a name that a folder of the user's or another
distribution may have, too. Where a name of it is looked up it is found by the place of this project's files; what lies
elsewhere is hidden, and said to be so when somebody asks for it.
"""

from __future__ import annotations

import filecmp
import importlib
import importlib.util
import re
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

from gendistill.errors import UserError
from gendistill.regular import read_text
from gendistill.shipped import HERE, TRAINERS, folder

NAME = TRAINERS


class OwnTrainers(MetaPathFinder):
    """Finds ``trainers`` where this project has it, before anything else is asked."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return where the package is; of its modules, say only what hides one that is not there."""
        place = folder(NAME)
        if fullname == NAME:
            return importlib.util.spec_from_file_location(
                NAME, place / "__init__.py", submodule_search_locations=[str(place)]
            )
        if fullname.startswith(f"{NAME}.") and list(path or ()) == [str(place)]:
            hides = hidden(fullname)
            if hides and PathFinder.find_spec(fullname, path) is None:
                raise ModuleNotFoundError(hides, name=fullname)
        return None


def use_own() -> None:
    """Let ``trainers`` mean this project's package from now on.

    Raises:
        UserError: Another package of that name was imported before.
    """
    known = sys.modules.get(NAME)
    if known is not None and not _is_own(known):
        where = getattr(known, "__file__", None) or ", ".join(getattr(known, "__path__", ()))
        raise UserError(
            f"another package '{NAME}' ({where}) was imported before this project's own, which has its methods; "
            "rename that package, or import trainers.trainer of gendistill in a process of its own"
        )
    if not any(isinstance(finder, OwnTrainers) for finder in sys.meta_path):
        sys.meta_path.insert(0, OwnTrainers())


def import_module(name: str) -> ModuleType:
    """Import a module; those of ``trainers`` from this project.

    Raises:
        ImportError: There is none.
        UserError: Another package ``trainers`` was imported before.
    """
    if name.partition(".")[0] == NAME:
        use_own()
    return importlib.import_module(name)


def hidden(module: str, name: str = "") -> str:
    """Return what to do about a module of another ``trainers`` that this project's package hides, or an empty string.

    Args:
        module: Its dotted path, such as ``trainers.mine``.
        name: What is looked for in it; a module whose source has no such word is not meant. Empty: the module itself.
    """
    inner = Path(*module.split(".")[1:])
    for entry in sys.path:
        place = Path(entry or ".").absolute() / NAME
        if not place.is_dir() or _same(place, folder(NAME)) or _untouched(place):
            continue
        found = place / inner
        source = found / "__init__.py" if found.is_dir() else found.with_suffix(".py")
        if (found.is_dir() or source.is_file()) and (not name or _says(source, name)):
            return (
                f"'{module}' is in {place}, which gendistill's own package '{NAME}' hides; rename that folder, to "
                f"my_{NAME} for example, and write my_{module}"
            )
    return ""


def _says(source: Path, name: str) -> bool:
    try:
        return re.search(rf"\b{re.escape(name)}\b", read_text(source)) is not None
    except (OSError, UnicodeDecodeError, UserError):
        return False


def _is_own(known: ModuleType) -> bool:
    places = [Path(place) for place in getattr(known, "__path__", ())]
    own = (folder(NAME), HERE.parent / NAME)
    return bool(places) and any(_same(places[0], place) and _untouched(place) for place in own)


def _untouched(place: Path) -> bool:
    """Tell whether no other distribution has written its package over ours."""
    first = folder(NAME)
    return all(
        (place / name).is_file() and filecmp.cmp(place / name, first / name, shallow=False)
        for name in ("__init__.py", "trainer.py")
    )


def _same(one: Path, other: Path) -> bool:
    return one.exists() and other.exists() and one.samefile(other)
