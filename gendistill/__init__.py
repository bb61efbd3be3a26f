"""Make and judge teachers: generators and small synthetic data sets on which a fresh network learns fast.

``import gendistill as gd`` loads nothing but this file; what it offers is imported when it is first asked for. What
each name is, type checkers read in ``__init__.pyi`` beside it, and people in docs/library.md.
"""

import importlib

__version__ = "0.2.0"

_ROOMS = {
    "gendistill.data.real": ("RealData",),
    "gendistill.errors": ("DivergenceError", "GendistillError", "StorageError", "UserError"),
    "gendistill.library.judging": ("compare", "evaluate"),
    "gendistill.library.opening": ("load", "load_data"),
    "gendistill.library.results": ("Comparison", "Result"),
    "gendistill.library.training": ("Run", "train"),
    "gendistill.runs.best": ("KeepBest",),
    "gendistill.runs.callbacks": ("AtEnd", "Callback", "Every", "Now", "OnSave"),
    "gendistill.runs.loggers": ("Logger",),
    "gendistill.teacher": ("Teacher", "export", "save"),
    "gendistill.teacher.dataset": ("TeacherDataset",),
}
"""Where each name of the library is found. Nothing here is imported before it is asked for: every room imports this
file for the version, and the program's help must not wait for torch."""
_PLACES = {name: room for room, names in _ROOMS.items() for name in names}
_MODULES = ("plot",)

__all__ = ["__version__", *sorted([*_PLACES, *_MODULES])]


def __getattr__(name: str) -> object:
    """Import a name of the library when it is first asked for (PEP 562)."""
    if name in _PLACES:
        found: object = getattr(importlib.import_module(_PLACES[name]), name)
    elif name in _MODULES:
        found = importlib.import_module(f"gendistill.{name}")
    else:
        raise AttributeError(f"module 'gendistill' has no attribute '{name}'; it has: {', '.join(__all__[1:])}")
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    """Return the names of the library, those too that are not imported yet."""
    return sorted({*globals(), *__all__})
