"""A spec that comes out of somebody's file: not trusted, and that by its type.

A spec that a person wrote, in a config, on a command line or in Python, is a text or a mapping, and may name any class
that can be imported. Whoever reads one from a file (a teacher's metadata, a result) makes an :class:`UntrustedSpec` of
it, which is no mapping: it cannot be taken for the other kind by mistake. It leads to two places alone:

- networks of this project of the kind that is asked for, which :mod:`gendistill.class_names` finds in the source files;
- classes of modules of the caller's own that he has imported, of which nothing is imported here. Installed packages,
  some of whose networks download what they need, are none of his own until he says so (:func:`trust`).

Its arguments are plain values of the declared types and of bounded size; see :mod:`gendistill.bounded` for what
building may cost.
"""

from __future__ import annotations

import copy
import inspect
import math
import re
import sys
import types
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn, TypeVar, Union, get_args, get_origin

from gendistill.class_names import PACKAGES, paths_of
from gendistill.declared import hints_of
from gendistill.errors import UserError
from gendistill.own_trainers import import_module
from gendistill.visible import visible

T = TypeVar("T")

DOTTED = re.compile(r"[A-Za-z_]\w*(\.(?!__)[A-Za-z_]\w*)+", re.ASCII)
"""No part after the first is dunder: importing a package's ``__main__`` would run a program."""
OURS = ("gendistill.nets.", "gendistill.mimicry.adapter.", "gendistill.decodes.")
"""Where this project has what a file may name: networks, and what turns stored values into images."""
LIBRARIES = frozenset(
    (
        *("torch", "torchvision", "torchaudio", "functorch", "torchgen", "triton", "numpy", "scipy", "sklearn", "PIL"),
        *("pandas", "matplotlib", "mpl_toolkits", "tqdm", "yaml", "jsonargparse", "safetensors", "pyarrow", "h5py"),
        *("optuna", "tensorboard", "tensorflow", "pip", "setuptools", "pkg_resources", "pytest", "_pytest"),
    )
)
"""Packages that this project imports, so that their being imported says nothing of what the user trusts."""

MIMICRY = "torch_mimicry"
"""Its networks may be named within a :class:`gendistill.mimicry.adapter.GeneratorAdapter`, which imports it."""
INSTALLED = ("site-packages", "dist-packages")

LARGEST = 2**20
"""The largest whole number among a network's arguments: no width or depth of a network is above it."""
LONGEST, DEEPEST, MOST = 1_000, 16, 100_000
"""Characters of a text, levels of nesting and values altogether."""
PIXELS = 2**24
"""Values of the largest image that a file's network is built for."""
VALUES, PARTS = 2**24, 4_000
"""Numbers and tensors (and modules) of the largest network that a file may name without holding its weights."""


_trusted: set[str] = set()


def trust(package: str) -> None:
    """Let files name networks of an installed package, as soon as it is imported.

    Args:
        package: Its name, such as ``timm``.
    """
    _trusted.add(package)


class UntrustedSpec:
    """What a file names: a dotted path and arguments, looked at but not trusted.

    Args:
        spec: ``{"class_path": ..., "init_args": {...}}`` or a dotted path, as it was read.
        where: What names it, for sentences: ``the teacher's 'learner'``.
        values: Numbers that the network may have; None: :data:`VALUES`. A file that holds weights holds about as many.
        parts: Tensors and modules that it may have; None: :data:`PARTS`.

    Attributes:
        class_path: The dotted path.
        where: As given.
        values: As given.
        parts: As given.

    Raises:
        UserError: It has another form, or a value is too large, too deep or not plain.
    """

    __slots__ = ("_arguments", "class_path", "parts", "values", "where")

    def __init__(self, spec: Any, where: str, *, values: int | None = None, parts: int | None = None) -> None:
        self.where = where
        self.values, self.parts = VALUES if values is None else values, PARTS if parts is None else parts
        given = {"class_path": spec} if isinstance(spec, str) else spec
        path = given.get("class_path") if isinstance(given, Mapping) else None
        if not isinstance(given, Mapping) or not isinstance(path, str):
            raise UserError(f"{where} does not name a class as 'class_path'")
        if set(given) - {"class_path", "init_args"}:
            raise UserError(f"{where} has other keys than class_path and init_args: {_listed(given)}")
        if len(path) > LONGEST or not DOTTED.fullmatch(path):
            raise UserError(f"{where} does not name a class by a dotted path, but {_shown(path)}")
        arguments = given.get("init_args")
        if arguments is not None and not isinstance(arguments, Mapping):
            raise UserError(f"{where} gives init_args that are no keys and values")
        self.class_path = path
        self._check(arguments or {})
        self._arguments: dict[str, Any] | None = None if arguments is None else copy.deepcopy(dict(arguments))

    @property
    def said(self) -> dict[str, Any]:
        """What the file says, in plain values: to be shown and written down, not to be built."""
        spec: dict[str, Any] = {"class_path": self.class_path}
        return spec if self._arguments is None else spec | {"init_args": copy.deepcopy(self._arguments)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, UntrustedSpec) and self.said == other.said

    def __hash__(self) -> int:
        return hash(self.class_path)

    def __repr__(self) -> str:
        return f"UntrustedSpec({_shown(self.class_path)}, {self.where!r})"

    def find(self, base: type[T]) -> type[T]:
        """Return the class that is meant.

        Args:
            base: What it must be if it is this project's; of networks the user's own need only be ``torch.nn.Module``.

        Raises:
            UserError: It is nothing that a file may name.
        """
        path, name = self.class_path, self.class_path.rpartition(".")[2]
        module_name = path.rpartition(".")[0]
        top = path.partition(".")[0]
        if top in PACKAGES:
            if not path.startswith(OURS) or path not in paths_of(name):
                self._refuse("which is no network of gendistill.nets; a file names no other class of this project")
            return self._of_kind(vars(import_module(module_name)).get(name), base)
        if top in LIBRARIES or top in sys.stdlib_module_names:
            raise UserError(
                f"{self.where} names the class '{path}' from outside this project, which is no network of a module of "
                "yours; a file may name nothing else"
            )
        module = sys.modules.get(module_name)
        if top == MIMICRY and not path.startswith(f"{MIMICRY}.nets."):
            self._refuse("which is no network of torch_mimicry.nets")
        if module is None:
            raise UserError(
                f"{self.where} names the class '{path}' from outside this project; import '{module_name}' yourself "
                "before loading if you trust it"
            )
        found = getattr(module, "__dict__", {}).get(name)
        if top not in _trusted and not _is_own(module, module_name):
            raise UserError(
                f"{self.where} names the class '{path}' of an installed package; name one of a module of yours, or "
                f"call gendistill.untrusted.trust('{top}') before loading if you trust it"
            )
        if isinstance(found, type) and found.__module__.partition(".")[0] != top:
            self._refuse(f"which is {found.__module__}.{found.__qualname__}; a file names a class where it is defined")
        from torch import nn

        return typing.cast(type[T], self._of_kind(found, nn.Module if issubclass(base, nn.Module) else base))

    def arguments(self, target: type, accepted: Mapping[str, inspect.Parameter]) -> dict[str, Any]:
        """Return the arguments, specs among them again as :class:`UntrustedSpec`.

        Args:
            target: The class.
            accepted: The keyword arguments that it takes.

        Raises:
            UserError: One is not of the type that the class declares.
        """
        hints = hints_of(target)
        found: dict[str, Any] = {}
        for name, value in (self._arguments or {}).items():
            if name in accepted and name in hints and not _fits(value, hints[name]):
                kind = _kind(hints[name])
                raise UserError(f"{self.where} gives {name} as {_shown(value)}; {target.__name__} takes {kind}")
            found[name] = self._marked(value)
        return found

    def _marked(self, value: Any) -> Any:
        """Return a copy of a value in which every spec is as little trusted as this one."""
        if isinstance(value, list | tuple):
            return [self._marked(one) for one in value]
        if not isinstance(value, Mapping):
            return value
        if "class_path" in value:
            return UntrustedSpec(value, self.where, values=self.values, parts=self.parts)
        return {name: self._marked(one) for name, one in value.items()}

    def _of_kind(self, found: Any, base: type[T]) -> type[T]:
        if not (isinstance(found, type) and issubclass(found, base)):
            self._refuse(f"which is not a subclass of {base.__module__}.{base.__qualname__}")
        if inspect.isabstract(found):
            self._refuse("which is a base of networks and none itself")
        return found

    def _refuse(self, reason: str) -> NoReturn:
        raise UserError(f"{self.where} names the class '{self.class_path}', {reason}")

    def _check(self, arguments: Mapping[Any, Any]) -> None:
        """Look at every value before anything is made of it."""
        left = MOST
        waiting: list[tuple[str, Any, int]] = [(str(name)[:LONGEST], value, 1) for name, value in arguments.items()]
        while waiting:
            name, value, depth = waiting.pop()
            left -= 1
            reason = _at_fault(value) if left >= 0 else "more values than a network's arguments have"
            inner: list[tuple[str, Any]] = []
            if isinstance(value, Mapping):
                inner = [(str(key), one) for key, one in value.items()]
            elif isinstance(value, list | tuple):
                inner = [(name, one) for one in value]
            if depth > DEEPEST and inner:
                reason = f"values nested more than {DEEPEST} deep"
            if reason:
                raise UserError(f"{self.where} gives {visible(name, 60)} {reason}")
            sizes = [one for _, one in inner if type(one) is int]
            if name == "image_shape" and math.prod(sizes) > PIXELS:
                raise UserError(f"{self.where} gives image_shape {_shown(value)}, of more than {PIXELS:,} values")
            waiting += [(key, one, depth + 1) for key, one in inner]


Spec = str | Mapping[str, Any] | UntrustedSpec
"""What names an object to build: written by a person, or read from a file."""


def said(spec: Spec) -> dict[str, Any]:
    """Return a spec of either kind in plain values, to be shown and written down."""
    if isinstance(spec, UntrustedSpec):
        return spec.said
    return {"class_path": spec} if isinstance(spec, str) else dict(spec)


def _is_own(module: Any, name: str) -> bool:
    """Tell whether a module that is imported is the user's own, and not of an installed package."""
    if name == "__main__" or name.startswith(f"{MIMICRY}."):
        return True
    file = getattr(module, "__file__", None)
    return isinstance(file, str) and not set(INSTALLED) & set(Path(file).parts)


def _at_fault(value: Any) -> str | None:
    if value is None or isinstance(value, bool | Mapping | list | tuple):
        return None
    if isinstance(value, int):
        return None if abs(value) <= LARGEST else f"a number beyond {LARGEST:,}, which no size of a network is"
    if isinstance(value, float):
        return None if math.isfinite(value) else f"{value}, which is no finite number"
    if isinstance(value, str):
        return None if len(value) <= LONGEST else f"a text of {len(value):,} characters"
    return f"a value of the kind {type(value).__name__}, which no file holds"


def _fits(value: Any, hint: Any) -> bool:
    """Tell whether a plain value is of a declared type; one that says nothing of plain values lets everything pass."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is typing.Literal:
        return value in parts
    if hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint in (int, bool, str):
        return type(value) is hint
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return isinstance(value, Mapping)
    if isinstance(origin, type) and issubclass(origin, Sequence):
        if not isinstance(value, list | tuple):
            return False
        if origin is tuple and parts and parts[-1] is not Ellipsis:
            return len(value) == len(parts) and all(map(_fits, value, parts))
        return not parts or all(_fits(one, parts[0]) for one in value)
    # Protocols and the like are nothing that plain values could be asked for.
    return not isinstance(hint, type) or hint is Any or hint is object or isinstance(value, hint)


def _kind(hint: Any) -> str:
    words = {int: "a whole number", float: "a number", bool: "true or false", str: "text", type(None): "null"}
    parts = get_args(hint)
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_kind(part) for part in parts))
    if get_origin(hint) is tuple and parts and parts[-1] is not Ellipsis:
        return f"a list of {len(parts)} values"
    return words.get(hint, getattr(hint, "__name__", str(hint)))


def _shown(value: Any) -> str:
    return visible(repr(value), 80)


def _listed(values: Mapping[Any, Any]) -> str:
    return visible(", ".join(sorted(map(str, values))), 80)
