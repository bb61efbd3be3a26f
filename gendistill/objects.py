"""Objects named in a file: ``{"class_path": "package.module.Class", "init_args": {...}}``.

Nothing is registered anywhere. A class is named by its dotted path and built with the arguments beside it. The same
form stands in YAML configs (written by the user, trusted) and in teacher files (perhaps a stranger's, not trusted). The
two are values of different types: what was read from a file is a :class:`gendistill.untrusted.UntrustedSpec`.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any, TypeVar

from gendistill.class_names import paths_of, suggestion
from gendistill.declared import accepted_arguments, require_types
from gendistill.errors import UserError, did_you_mean
from gendistill.own_trainers import hidden, import_module
from gendistill.shipped import TRAINERS
from gendistill.untrusted import UntrustedSpec

T = TypeVar("T")


def locate(path: str, base: type | None = None) -> Any:
    """Import the object that a dotted path names, which a person wrote.

    Args:
        path: ``package.module.Name``.
        base: If given, the object must be this class or a subclass of it.

    Returns:
        The object.

    Raises:
        UserError: The path does not name an importable object, is not allowed, or is not of type ``base``.
    """
    module_name, _, name = path.rpartition(".")
    if not module_name:
        hint = suggestion(path, base)
        raise UserError(f"'{path}' is not a dotted path; {hint}write it as package.module.Name")
    try:
        module = import_module(module_name)
    except ImportError as error:
        raise UserError(f"'{path}' cannot be imported: {error}; {suggestion(path, base)}".rstrip("; ")) from error
    if not hasattr(module, name):
        hides = hidden(module_name, name) if module_name.partition(".")[0] == TRAINERS else ""
        hint = hides or did_you_mean(name, vars(module)) or suggestion(path, base)
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


def build(spec: str | Mapping[str, Any] | UntrustedSpec, base: type[T], **provided: Any) -> T:
    """Build the object that a spec names and note on it the complete spec that builds it again.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}`` or just the dotted path, which a person wrote; or what a file
            names, which leads to networks of this project alone and is bounded in what it may build.
        base: The class that the object must derive from.
        **provided: Arguments that the program knows (image shape, number of classes). They are passed where the class
            takes them; the spec's own ``init_args`` win, but those of a file must say the same.

    Returns:
        The object, with an attribute ``spec`` (a plain dict) that rebuilds it.

    Raises:
        UserError: Unknown class or argument, a missing argument, or a value that the class refuses.
    """
    if isinstance(spec, UntrustedSpec):
        return _build_named(spec, base, provided)
    if isinstance(spec, str):
        spec = {"class_path": spec}
    unknown = set(spec) - {"class_path", "init_args"}
    if unknown or not isinstance(spec.get("class_path"), str):
        raise UserError(f"expected class_path and init_args, got {sorted(map(str, spec))}")
    path = str(spec["class_path"])
    return construct(locate(path, base), path, dict(spec.get("init_args") or {}), provided)


def as_spec(spec: str | Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a dotted path as ``class_path``, and anything else as it is."""
    return {"class_path": spec} if isinstance(spec, str) else spec


def laid_over(spec: Any, default: Mapping[str, Any]) -> Any:
    """Return what a person asks for, laid over the default where it names no class: ``{width: 64}``.

    Args:
        spec: ``class_path`` and ``init_args``, a dotted path, arguments alone (in ``init_args`` or not), or None.
        default: ``class_path`` and ``init_args``.
    """
    if not spec:
        return default
    if not isinstance(spec, Mapping) or "class_path" in spec:
        return spec
    given = {key: value for key, value in spec.items() if key != "init_args"} | dict(spec.get("init_args") or {})
    return {**default, "init_args": dict(default.get("init_args") or {}) | given}


def _build_named(spec: UntrustedSpec, base: type[T], provided: Mapping[str, Any]) -> T:
    """Build what a file names, no larger than it may be."""
    from gendistill.bounded import bounded

    target = spec.find(base)
    given = spec.arguments(target, accepted_arguments(target))
    for name in given.keys() & provided.keys():
        if _listed(given[name]) != _listed(provided[name]):
            raise UserError(
                f"{spec.where} gives {name} {given[name]}, which is {provided[name]} where the network is to be used"
            )
    try:
        with bounded(spec.where, spec.values, spec.parts):
            return construct(target, spec.class_path, given, provided)
    except UserError:
        raise
    except Exception as error:  # whatever a constructor does with arguments that nobody vouches for
        reason = (str(error) or type(error).__name__).strip().split("\n", 1)[0][:300]
        raise UserError(f"{spec.where} names {spec.class_path}, which cannot be built so: {reason}") from error


def _said(value: Any) -> Any:
    """Return arguments in which what files name is as they say it."""
    if isinstance(value, UntrustedSpec):
        return value.said
    if isinstance(value, dict):
        return {name: _said(one) for name, one in value.items()}
    return [_said(one) for one in value] if type(value) is list else value


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, list | tuple) else value


def construct(target: type[T], path: str, given: Mapping[str, Any], provided: Mapping[str, Any]) -> T:
    """Build an object of a class that is at hand; see :func:`build`.

    Args:
        target: The class.
        path: What it is called, for errors and in the object's ``spec``.
        given: Its arguments; they win.
        provided: Arguments that it is passed where it takes them.

    Raises:
        UserError: Unknown or missing arguments, or a value that the class refuses.
    """
    accepted = accepted_arguments(target)
    for name in given:
        # What was called otherwise once is read by the class itself: gendistill.renamed.
        if name not in accepted and name not in getattr(target, "OLD_NAMES", {}):
            raise UserError(
                f"{path} has no option '{name}'; {did_you_mean(name, accepted)}it takes: {', '.join(accepted)}"
            )
    arguments = {name: value for name, value in provided.items() if name in accepted} | dict(given)
    missing = [
        name for name, parameter in accepted.items() if parameter.default is parameter.empty and name not in arguments
    ]
    lacking = f"{path} needs a value for: {', '.join(missing)}"
    # What only a base asks for, the class may give it itself.
    if not inspect.signature(target).parameters.keys().isdisjoint(missing):
        raise UserError(lacking)
    require_types(target, arguments, path)
    try:
        built: T = target(**arguments)
    except (TypeError, ValueError) as error:
        if missing:
            raise UserError(lacking) from error
        raise UserError(f"{path} refuses its arguments: {error}") from error
    object.__setattr__(built, "spec", {"class_path": path, "init_args": _said(arguments)})
    return built
