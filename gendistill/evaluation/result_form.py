"""The form of results, as other people's files may or may not have it: checked before anything is made of them."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping
from typing import Any

from gendistill.errors import UserError
from gendistill.words import counted

CLOSE = 1e-3
"""How far a mean may be from the mean of its runs: rounded numbers are let through."""
LARGEST = 2**63
"""Numbers from here on are none that an evaluation writes; nor is NaN, which is not below."""
Check = Callable[[Any], bool]


def check_results(results: Any, source: str) -> list[Mapping[str, Any]]:
    """Return the entries of ``{"teachers": [...]}`` if all that is read from them has the form that evaluators give it.

    Args:
        results: Anything.
        source: What to call it in an error: a file.

    Raises:
        UserError: One sentence that names the entry and what is expected there.
    """
    if not isinstance(results, Mapping):
        raise UserError(f"{source} holds no teachers; expected what gendistill evaluate or compare writes")
    teachers = results.get("teachers")
    if not isinstance(teachers, list | tuple) or not all(isinstance(one, Mapping) for one in teachers):
        raise UserError(f"{source} holds no list of teachers; expected what gendistill evaluate or compare writes")
    _check(results, TOP, source)
    for place, one in enumerate(teachers):
        check_result(one, f"{source}: entry {place} of teachers")
    return list(teachers)


def check_result(result: Mapping[str, Any], where: str) -> None:
    """Refuse one teacher's result if it has not the form that evaluators give it.

    Args:
        result: The result.
        where: What to call it in an error.

    Raises:
        UserError: See :func:`check_results`.
    """
    for section in ("teacher", "learning"):
        if section not in result:
            raise UserError(f"{where} lacks '{section}'; expected what gendistill evaluate or compare writes")
    _check(result, RESULT, where)
    _check(result["teacher"], TEACHER, f"{where}: teacher")
    if (learning := result["learning"]) is not None:
        _check(learning, LEARNING, f"{where}: learning")
        _check_curve(learning, f"{where}: learning")
    if (fidelity := result.get("fidelity")) is not None:
        _check(fidelity, FIDELITY, f"{where}: fidelity")


def _check_curve(learning: Mapping[str, Any], where: str) -> None:
    """Check that what is listed by number of updates, or by seed, has as many entries as there are of those."""
    updates, accuracy = learning.get("updates") or [], learning.get("accuracy") or {}
    if len(set(updates)) < len(updates):
        raise UserError(f"{where}: updates names a number twice; give every number of updates once")
    listed = {f"accuracy.{name}": accuracy.get(name) for name in ("mean", "std", "runs")}
    listed["images_seen"] = learning.get("images_seen")
    for name, values in listed.items():
        if values is not None and len(values) != len(updates):
            raise UserError(
                f"{where}: {name} has {len(values)} entries, expected one for each of {len(updates)} updates"
            )
    if updates and not accuracy.get("mean"):
        raise UserError(f"{where}: accuracy.mean is missing, expected one for each of {len(updates)} updates")
    seeds = learning.get("seeds")
    for mean, runs in zip(accuracy.get("mean") or [], accuracy.get("runs") or [], strict=False):
        if isinstance(seeds, list | tuple) and runs and len(runs) != len(seeds):
            raise UserError(
                f"{where}: {counted(len(seeds), 'seed')}, but {counted(len(runs), 'run')}; expected a run for each seed"
            )
        if runs and mean is not None and abs(statistics.fmean(runs) - mean) > CLOSE:
            raise UserError(
                f"{where}: a mean accuracy is {mean:g}, but that of its runs is {statistics.fmean(runs):g}; "
                "expected the same"
            )


def _check(section: Any, form: Mapping[str, tuple[Check, str]], where: str) -> None:
    if not isinstance(section, Mapping):
        raise UserError(f"{where} is {_shown(section)}, expected an object of keys and values")
    for key, (fits, expected) in form.items():
        if section.get(key) is not None and not fits(section[key]):
            raise UserError(f"{where}: {key} is {_shown(section[key])}, expected {expected}")


def _shown(value: Any) -> str:
    text = " ".join(repr(value).split())
    return text if len(text) <= 60 else f"{text[:57]}..."


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < LARGEST


def _size(value: Any) -> bool:
    return _number(value) and value >= 0


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < LARGEST


def _fraction(value: Any) -> bool:
    return _number(value) and 0 <= value <= 1


def _rate(value: Any) -> bool:
    return _text(value) or _number(value)


def _truth(value: Any) -> bool:
    return isinstance(value, bool)


def _measure(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        value.get(key) is None or fits(value[key]) for key, fits in (("value", _number), ("name", _text), ("n", _whole))
    )


def _maybe(fits: Check) -> Check:
    return lambda value: value is None or fits(value)


def _list(fits: Check) -> Check:
    return lambda value: isinstance(value, list | tuple) and all(map(fits, value))


def _objects(fits: Check) -> Check:
    return lambda value: isinstance(value, Mapping) and all(map(fits, value.values()))


def _learner(value: Any) -> bool:
    if isinstance(value, Mapping):
        return _text(value.get("class_path")) and isinstance(value.get("init_args") or {}, Mapping)
    return _text(value)


def _accuracy(value: Any) -> bool:
    forms: dict[str, Check] = {
        "mean": _list(_maybe(_fraction)), "std": _list(_maybe(_size)), "runs": _list(_list(_fraction)),
    }  # fmt: skip
    return isinstance(value, Mapping) and all(
        value.get(name) is None or fits(value[name]) for name, fits in forms.items()
    )


def _selection(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and (value.get("select") is None or _text(value["select"]))
        and (value.get("candidates") is None or _list(_rate)(value["candidates"]))
    )


def _epoch(value: Any) -> bool:
    return isinstance(value, Mapping) and _whole(value.get("updates")) and value["updates"] > 0


def _curve(value: Any) -> bool:
    if not isinstance(value, Mapping) or not _list(_number)(value.get("x")) or not value["x"]:
        return False
    lines = [value.get("y"), *(value[name] for name in ("lower", "upper") if value.get(name) is not None)]
    words = [value.get(name) for name in ("x_label", "y_label", "caption")]
    return (
        all(_list(_maybe(_number))(line) and len(line) == len(value["x"]) for line in lines)
        and (value.get("reference") is None or _number(value["reference"]))
        and all(word is None or _text(word) for word in words)
    )


def _momentum(value: Any) -> bool:
    return _number(value) or _list(_number)(value)


def _lists_of(fits: Check) -> Check:
    """Accept a list of values, or one of such lists: a pooled result has a list for each run."""
    return lambda value: _list(fits)(value) or _list(_list(fits))(value)


TOP: dict[str, tuple[Check, str]] = {
    "columns": (_list(_whole), "a list of numbers of updates"),
    "notes": (_list(_text), "a list of sentences"),
    "curves": (_objects(_curve), "curves by name, each with lists x and y of numbers, equally long"),
    "rank_at": (_whole, "a number of updates"),
}
RESULT: dict[str, tuple[Check, str]] = {
    "name": (_text, "a name"),
    "dataset": (_text, "a name"),
    "dataset_fingerprint": (_text, "text"),
    "software": (_objects(_maybe(_text)), "versions by name"),
    "notes": (_list(_text), "a list of sentences"),
    "seconds": (_size, "a number of seconds"),
}
TEACHER: dict[str, tuple[Check, str]] = {
    "kind": (_text, "a word"),
    "path": (_text, "a path"),
    "images": (_whole, "a number of images, or null"),
    "decoded_images": (_whole, "a number of images, or null"),
    **{name: (_whole, "a number of bytes") for name in ("bytes", "image_bytes", "label_bytes", "labeller_bytes")},
    "everything": (_truth, "true or false"),
}
LEARNING: dict[str, tuple[Check, str]] = {
    "learner": (_learner, "a dotted path, or class_path and init_args"),
    "initialisation": (_text, "a sentence"),
    "protocol": (_text, "a name"),
    "updates": (_list(_whole), "a list of numbers of updates"),
    "accuracy": (_accuracy, "lists mean, std and runs of fractions from 0 to 1"),
    "split": (_text, "a name"),
    "split_sizes": (_objects(_whole), "numbers of images by split"),
    "seeds": (_lists_of(_whole), "a list of seeds"),
    "batch_size": (_whole, "a number of images"),
    "momentum": (_momentum, "a number, or two"),
    "weight_decay": (_number, "a number"),
    "epochs": (_whole, "a number of epochs"),
    "epoch": (_epoch, "images and updates of an epoch"),
    "learner_updates": (_whole, "a number of updates"),
    "images_seen": (_list(_size), "a list of numbers of images"),
    "lr": (lambda value: _rate(value) or _lists_of(_rate)(value), "a list of rates"),
    "selection": (_selection, "select and candidates"),
    "seconds": (_size, "a number of seconds"),
    **{
        name: (_text, "a word")
        for name in ("optimizer", "schedule", "augment", "augment_mode", "labels", "normalisation")
    },
    "augment_strength": (_objects(_number), "numbers by operation"),
    "generated": (_rate, "a number of images or a word"),
}
FIDELITY: dict[str, tuple[Check, str]] = {
    "name": (_text, "a name"),
    "value": (_number, "a number"),
    "std": (_size, "a number of at least 0"),
    "draws": (_whole, "a number of draws"),
    "n": (_whole, "a number of images"),
    "reference": (_text, "a name"),
    "extractor": (_text, "a name"),
    "kid": (_measure, "an object with a value"),
    "whole": (_measure, "an object with a value"),
    "notes": (_list(_text), "a list of sentences"),
}
