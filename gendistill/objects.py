"""Objects named in a file: ``{"class_path": "package.module.Class", "init_args": {...}}``.

Nothing is registered anywhere. A class is named by its dotted path and built with the arguments beside it. The same
form stands in YAML configs (written by the user, trusted) and in teacher files (perhaps a stranger's, not trusted), so
the two are resolved differently: see :func:`locate`.
"""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Mapping
from typing import Any, TypeVar

from gendistill.class_names import PACKAGES, paths_of, suggestion
from gendistill.errors import UserError, did_you_mean

T = TypeVar("T")


def locate(path: str, base: type | None = None, *, trusted: bool = True) -> Any:
    """Import the object that a dotted path names.

    Args:
        path: ``package.module.Name``.
        base: If given, the object must be this class or a subclass of it.
        trusted: ``True`` for a path that the user wrote. ``False`` for a path read from a teacher file: then only this
            project's packages and modules that the caller has already imported are looked at, so that no file can make
            the program import something new.

    Returns:
        The object.

    Raises:
        UserError: The path does not name an importable object, is not allowed, or is not of type ``base``.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        hint = suggestion(path, base) if trusted else ""
        raise UserError(f"'{path}' is not a dotted path; {hint}write it as package.module.Name")
    if not trusted and module_name.split(".")[0] not in PACKAGES and module_name not in sys.modules:
        raise UserError(
            f"the file names the class '{path}' from outside this project; import '{module_name}' yourself before "
            "loading if you trust it"
        )
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        hint = f"; {suggestion(path, base)}" if trusted else ""
        raise UserError(f"'{path}' cannot be imported: {error}{hint}".rstrip("; ")) from error
    if not hasattr(module, name):
        hint = did_you_mean(name, vars(module)) or (suggestion(path, base) if trusted else "")
        raise UserError(f"module '{module_name}' has no '{name}'; {hint}".rstrip("; "))
    found = getattr(module, name)
    if base is not None and not (isinstance(found, type) and issubclass(found, base)):
        raise UserError(f"'{path}' is not a subclass of {base.__module__}.{base.__qualname__}")
    return found


def full_path(name: str, base: type | None = None) -> str:
    """Return the dotted path of a class of this project that is given by its name alone, other words as they are.

    Args:
        name: Such as ``ConvNet``, or a dotted path.
        base: What the class must be; None: any class.

    Raises:
        UserError: Several classes have the name.
    """
    if not name[:1].isupper() or not name.isidentifier():
        return name
    found = paths_of(name, base)
    if len(found) > 1:
        raise UserError(f"'{name}' may be {' or '.join(found)}; write the whole dotted path")
    return found[0] if found else name


def full_paths(spec: Any) -> Any:
    """Return plain values in which every ``class_path`` that names a class of this project alone has its dotted path.

    Names that several classes have are left as they are: who builds the object knows what it must be.
    """
    if isinstance(spec, list | tuple):
        return type(spec)(full_paths(item) for item in spec)
    if not isinstance(spec, Mapping):
        return spec
    whole = {key: full_paths(value) for key, value in spec.items()}
    name = whole.get("class_path")
    if isinstance(name, str) and name.isidentifier() and len(found := paths_of(name)) == 1:
        whole["class_path"] = found[0]
    return whole


def accepted_arguments(target: type) -> dict[str, inspect.Parameter]:
    """Return the keyword arguments that a class takes, followed through ``**kwargs`` up its bases."""
    accepted: dict[str, inspect.Parameter] = {}
    for cls in target.__mro__:
        init = cls.__dict__.get("__init__")
        if init is None or cls is object:
            continue
        parameters = list(inspect.signature(init).parameters.values())[1:]
        for parameter in parameters:
            if parameter.kind not in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                accepted.setdefault(parameter.name, parameter)
        if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
            break
    return accepted


def build(spec: str | Mapping[str, Any], base: type[T], *, trusted: bool = True, **provided: Any) -> T:
    """Build the object that a spec names and note on it the complete spec that builds it again.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}`` or just the dotted path.
        base: The class that the object must derive from.
        trusted: See :func:`locate`.
        **provided: Arguments that the program knows (image shape, number of classes). They are passed where the class
            takes them; the spec's own ``init_args`` win.

    Returns:
        The object, with an attribute ``spec`` (a plain dict) that rebuilds it.

    Raises:
        UserError: Unknown class or argument, a missing argument, or a value that the class refuses.
    """
    if isinstance(spec, str):
        spec = {"class_path": spec}
    unknown = set(spec) - {"class_path", "init_args"}
    if unknown or not isinstance(spec.get("class_path"), str):
        raise UserError(f"expected class_path and init_args, got {sorted(map(str, spec))}")
    path = str(spec["class_path"])
    target = locate(path, base, trusted=trusted)
    accepted = accepted_arguments(target)
    given = dict(spec.get("init_args") or {})
    for name in given:
        # What was called otherwise once is read by the class itself: gendistill.renamed.
        if name not in accepted and name not in getattr(target, "OLD_NAMES", {}):
            raise UserError(
                f"{path} has no option '{name}'; {did_you_mean(name, accepted)}it takes: {', '.join(accepted)}"
            )
    arguments = {name: value for name, value in provided.items() if name in accepted} | given
    missing = [
        name for name, parameter in accepted.items() if parameter.default is parameter.empty and name not in arguments
    ]
    lacking = f"{path} needs a value for: {', '.join(missing)}"
    # What only a base asks for, the class may give it itself.
    if not inspect.signature(target).parameters.keys().isdisjoint(missing):
        raise UserError(lacking)
    try:
        built: T = target(**arguments)
    except (TypeError, ValueError) as error:
        if missing:
            raise UserError(lacking) from error
        raise UserError(f"{path} refuses its arguments: {error}") from error
    object.__setattr__(built, "spec", {"class_path": path, "init_args": arguments})
    return built
