"""Under which settings results were measured, and whether they may be held against one another.

Nothing is concluded from results that differ in a setting: what then looks like a better teacher may be a longer
training or another test. What belongs to the teacher itself (its own learned rates, the first weights that it names,
the batches of its curriculum) is no such setting.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from gendistill.errors import UserError

OWN = "teacher"
"""What a result calls the rates that a teacher learned."""
LEARNED = "learned"
"""What a result calls the one rate that a teacher learned, taken with the momentum, decay and schedule asked for."""
ASKED_OWN = (OWN, LEARNED)
"""Requests for rates that are the teacher's own."""
NOT_SAID = "not said"
OWN_NETWORKS = "gendistill.nets."
Read = Callable[[Mapping[str, Any], Mapping[str, Any]], str | None]


@dataclass(frozen=True)
class Differing:
    """A setting in which results differ.

    Attributes:
        name: What it is called.
        values: What each result says, in words, in their order; None where the setting does not concern it.
    """

    name: str
    values: tuple[str | None, ...]

    def groups(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Return the names of the results by what they say."""
        found: dict[str, list[str]] = {}
        for name, value in zip(names, self.values, strict=True):
            if value is not None:
                found.setdefault(value, []).append(name)
        return found

    def odd(self, place: int) -> bool:
        """Return whether one result says something else than the first that says anything."""
        first = next(value for value in self.values if value is not None)
        return self.values[place] not in (None, first)


def differing(results: Sequence[Mapping[str, Any]]) -> list[Differing]:
    """Return every setting in which results differ, so that nothing may be concluded from them side by side.

    A setting that no result names is the same for all. Settings that results name only since later versions are
    compared where both name them, others also where one of two does not.

    Args:
        results: What :func:`gendistill.evaluation.evaluate.evaluate` returned, or files hold.
    """
    found = []
    learnings = [result.get("learning") or None for result in results]
    for name, read in SETTINGS.items():
        values = [
            None if learning is None else read(result, learning)
            for result, learning in zip(results, learnings, strict=True)
        ]
        if len({value for value in values if value is not None}) > 1:
            found.append(Differing(name, tuple(values)))
    return found


def own_rates(learning: Mapping[str, Any]) -> bool:
    """Return whether learners took the rates that the teacher learned, by plain SGD, at every number of updates.

    Momentum, weight decay and schedule that were asked for did not apply then.
    """
    rates = _flat(learning.get("lr"))
    return bool(rates) and all(rate == OWN for rate in rates)


def rates_tried(learning: Mapping[str, Any]) -> list[float | str]:
    """Return the rates that the validation split chose among, or the one that was taken, without doubles."""
    selection = learning.get("selection") or {}
    listed = selection.get("candidates") or _flat(learning.get("lr"))
    return list(dict.fromkeys(listed))


def _option(name: str, default: Any = NOT_SAID) -> Read:
    """Read an option of learning that holds for every learner."""
    return lambda result, learning: _words(learning.get(name, default))


def _unless_own(name: str) -> Read:
    """Read an option that does not apply to a teacher's own rates."""
    return lambda result, learning: None if own_rates(learning) else _words(learning.get(name, NOT_SAID))


def _if_named(name: str, key: str | None = None) -> Read:
    """Read what older results do not hold: an entry of the result, or of one of its sections."""

    def read(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str | None:
        value = result.get(name) if key is None else (learning.get(name) or {}).get(key)
        return None if value is None else _words(value)

    return read


def _unless_private(read: Read) -> Read:
    """Read what a private teacher's learners never saw: it is judged on the test images alone."""
    return lambda result, learning: None if result.get("privacy") else read(result, learning)


def _learner(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str:
    spec = learning.get("learner", NOT_SAID)
    if not isinstance(spec, Mapping):
        return str(spec)
    path, arguments = spec.get("class_path", NOT_SAID), spec.get("init_args") or {}
    usual = _defaults(path) if isinstance(path, str) and path.startswith(OWN_NETWORKS) else {}
    arguments = {key: value for key, value in arguments.items() if key not in usual or usual[key] != value}
    inside = ", ".join(f"{key}={_words(arguments[key])}" for key in sorted(arguments))
    return str(path) + (f"({inside})" if inside else "")


@cache
def _defaults(path: str) -> dict[str, Any]:
    """Return what a network of this project takes for arguments that are not given: to say one is no difference."""
    from torch import nn

    from gendistill.declared import accepted_arguments
    from gendistill.objects import locate

    try:
        parameters = accepted_arguments(locate(path, nn.Module))
    except (UserError, TypeError):
        return {}
    return {name: one.default for name, one in parameters.items() if one.default is not one.empty}


def _rates(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str | None:
    if learning.get("lr_asked") in ASKED_OWN or own_rates(learning):
        return None
    tried = [rate for rate in rates_tried(learning) if rate != OWN]
    return ", ".join(map(_words, sorted(tried, key=str))) if tried else None


def _select(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str | None:
    selection = learning.get("selection")
    return _words(selection["select"]) if selection and selection.get("select") else None


def _measure(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str | None:
    """Return the score that chose among rates, where there was a choice."""
    return _words(learning.get("measure", "accuracy")) if learning.get("selection") else None


def planned_length(learning: Mapping[str, Any]) -> int | None:
    """Return the length of the training in updates where the points before its end depend on it, else None.

    Points of two trainings that were planned for different lengths cannot be compared, even after equal updates.
    """
    selection = learning.get("selection") or {}
    planned = (learning.get("schedule") or "constant") != "constant" or selection.get("select") == "last"
    return learning.get("learner_updates") if planned and not own_rates(learning) else None


def _length(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str | None:
    """Return the planned length; one in epochs depends on the size of the teacher, and is no setting."""
    total = None if learning.get("epochs") else planned_length(learning)
    return None if total is None else _words(total)


def _strategy(learning: Mapping[str, Any]) -> Any:
    strategy = learning.get("augment", NOT_SAID)
    return None if strategy in ("", "none") else strategy


def _augment(result: Mapping[str, Any], learning: Mapping[str, Any]) -> str:
    return _words(_strategy(learning))


def _of_augment(name: str, default: Any) -> Read:
    """Read what matters where there is an augmentation."""
    return lambda result, learning: (
        None if _strategy(learning) in (None, NOT_SAID) else _words(learning.get(name, default))
    )


SETTINGS: dict[str, Read] = {
    "data set": _if_named("dataset"),
    "data (fingerprint)": _unless_private(_if_named("dataset_fingerprint")),
    "training images": _unless_private(_if_named("split_sizes", "train")),
    "validation images": _unless_private(_if_named("split_sizes", "validation")),
    "test images": _if_named("split_sizes", "test"),
    "test images (fingerprint)": _if_named("test_fingerprint"),
    "split": _option("split"),
    "protocol": _option("protocol", None),
    "learner": _learner,
    "batch size": _option("batch_size"),
    "epochs": _option("epochs", None),
    "optimizer": _option("optimizer"),
    "momentum": _unless_own("momentum"),
    "weight decay": _unless_own("weight_decay"),
    "schedule": _unless_own("schedule"),
    "length of the training": _length,
    "learning rates tried": _rates,
    "select": _select,
    "rates chosen by": _measure,
    "augment": _augment,
    "augment mode": _of_augment("augment_mode", "single"),
    "augment strength": _of_augment("augment_strength", None),
    "cutmix": _option("cutmix", 0.0),
    "labels": _option("labels", "given"),
    "normalisation": _option("normalisation", "data"),
    "precision": _option("precision", "float32"),
    "generated": _option("generated", "fresh"),
}
"""How each setting that must be the same is read from a result and its section ``learning``."""


def _words(value: Any) -> str:
    """Return a value as a person would write it; equal values have equal words."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return f"{int(value):,}" if isinstance(value, int) or value.is_integer() else f"{value:.12g}"
    if isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return ", ".join(f"{key}={_words(value[key])}" for key in sorted(value))
    if isinstance(value, list | tuple):
        return " to ".join(map(_words, value)) if len(value) == 2 else ", ".join(map(_words, value))
    return json.dumps(value, default=str)


def _flat(rates: Any) -> list[Any]:
    """Return the chosen rates of one evaluation, or of the runs of a pooled one, in one list."""
    if not isinstance(rates, list | tuple):
        return [] if rates is None else [rates]
    return [one for rate in rates for one in (rate if isinstance(rate, list | tuple) else [rate])]
