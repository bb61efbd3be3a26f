"""Configs that stand on another: ``base: other.yaml`` names a file whose settings the config is laid over."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from gendistill import shipped
from gendistill.config.merge import lay
from gendistill.errors import UserError, did_you_mean
from gendistill.regular import real_path
from gendistill.yaml_file import read_yaml

KEY = "base"


def read_config(path: str | Path) -> dict[str, Any]:
    """Read a config file and everything that it stands on.

    Args:
        path: A YAML file, or the name of one that comes with the project. Its key ``base``, where it has one, names a
            file as seen from the folder of this one, which may have a base of its own.

    Returns:
        The merged config, without ``base``.

    Raises:
        UserError: A file is missing or no config, or files stand on each other in a circle.
    """
    found = shipped.config(path)
    try:
        return _read(found, ())
    except UserError as error:
        if found.exists() or found.is_symlink():
            raise
        name = found.with_suffix("").as_posix().removeprefix(f"{shipped.CONFIGS}/")
        hint = did_you_mean(name, shipped.names(shipped.CONFIGS))
        raise UserError(f"{error}; {hint}gendistill configs lists those of the project") from error


def _read(path: Path, above: tuple[Path, ...]) -> dict[str, Any]:
    here = real_path(path)
    if here in above:
        circle = " -> ".join(str(one.name) for one in (*above[above.index(here) :], here))
        raise UserError(f"{path} stands on itself: {circle}; take one 'base' away")
    config = read_yaml(path)
    base = config.pop(KEY, None)
    if base is None:
        return config
    if not isinstance(base, str):
        raise UserError(f"{path}: base is {base!r}; give the name of one YAML file, seen from {path.parent}")
    below = path.parent / base
    if not below.is_file():
        raise UserError(f"{path}: its base '{base}' is not there; expected {below}")
    return lay(_read(below, (*above, here)), config)
