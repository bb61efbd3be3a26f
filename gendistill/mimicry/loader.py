"""Importing torch-mimicry without TensorFlow.

Two of its parts, ``metrics`` and ``datasets``, need TensorFlow, or a module that torch no longer has, as soon as they
are imported, and the package imports both. They are replaced by modules that refuse any use; the rest is its own code,
unchanged.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import warnings
from types import ModuleType
from typing import Any

from gendistill.errors import UserError

PACKAGE = "torch_mimicry"
INSTALL = "pip install --no-deps torch-mimicry==0.1.16 && pip install scikit-image"
REPLACED = {
    f"{PACKAGE}.metrics": "judge the generator with 'gendistill evaluate'",
    f"{PACKAGE}.datasets": "load data with gendistill.data.load",
}


class RefusingModule(ModuleType):
    """Stands for a part of torch-mimicry that is not loaded; nothing in it pretends to work.

    Args:
        name: The module's dotted name.
        instead: What to use in its place.
    """

    def __init__(self, name: str, instead: str) -> None:
        super().__init__(name, f"Not loaded: {instead}.")
        self.__dict__["_instead"] = instead

    def __getattr__(self, name: str) -> Any:
        """Refuse every attribute but those that the import system asks for."""
        if name.startswith("__"):
            raise AttributeError(name)
        raise ImportError(
            f"'{self.__name__}.{name}' is not available: {self.__name__} needs TensorFlow and is not loaded here; "
            f"{self.__dict__['_instead']}"
        )


def installed() -> bool:
    """Return whether torch-mimicry can be found, without importing it."""
    return PACKAGE in sys.modules or importlib.util.find_spec(PACKAGE) is not None


def load() -> ModuleType:
    """Import torch-mimicry, its metrics and data sets replaced by modules that refuse any use.

    After it, dotted paths such as ``torch_mimicry.nets.sngan.SNGANGenerator32`` can be imported as usual. A package
    that the caller has already imported is returned as it is.

    Returns:
        The package.

    Raises:
        UserError: It is not installed, or lacks something that it imports.
    """
    if PACKAGE in sys.modules:
        return sys.modules[PACKAGE]
    if not installed():
        raise UserError(f"torch-mimicry is not installed; run: {INSTALL}")
    if importlib.util.find_spec("tensorflow") is not None:
        # It imports TensorBoard, which imports TensorFlow where there is one; after that the interpreter aborts when
        # torch's compiler is imported. The other order is fine.
        importlib.import_module("torch._dynamo")
    before = set(sys.modules)
    sys.modules.update({name: RefusingModule(name, instead) for name, instead in REPLACED.items()})
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            return importlib.import_module(PACKAGE)
    except BaseException as error:
        for name in set(sys.modules) - before:
            if name.split(".")[0] == PACKAGE:
                del sys.modules[name]
        if isinstance(error, ImportError):
            raise UserError(f"torch-mimicry cannot be imported ({error}); run: {INSTALL}") from error
        raise
