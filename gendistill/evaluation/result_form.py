"""The form of results, as other people's files may or may not have it: checked before anything is made of them."""

from __future__ import annotations

import statistics
from collections.abc import Mapping
from typing import Any

from gendistill.errors import UserError
from gendistill.json_file import (
    Check,
    Each,
    Is,
    Keys,
    check,
    fraction,
    list_of,
    mapping,
    maybe,
    number,
    size,
    table_of,
    text,
    truth,
    whole,
)
from gendistill.making import COUNTS, SECONDS, is_count, is_seconds
from gendistill.words import counted

CLOSE = 1e-3
"""How far a mean may be from the mean of its runs: rounded numbers are let through."""


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
    check(results, TOP, source)
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
    check(result, RESULT, where)
    check(result["teacher"], TEACHER, f"{where}: teacher")
    if (learning := result["learning"]) is not None:
        check(learning, LEARNING, f"{where}: learning")
        _check_curve(learning, f"{where}: learning")
    kinds: set[str] = set()
    for place, one in enumerate(result.get("architectures") or ()):
        # Its learners are of the same seeds as the first ones.
        seeds = {} if learning is None else {"seeds": learning.get("seeds")}
        _check_curve({**one, **seeds}, f"{where}: architectures: entry {place}")
        if one["name"] in kinds:
            raise UserError(f"{where}: architectures names '{one['name'][:60]}' twice; give every kind of learner once")
        kinds.add(one["name"])
    if (fidelity := result.get("fidelity")) is not None:
        check(fidelity, FIDELITY, f"{where}: fidelity")


def check_kept(result: Mapping[str, Any], where: str) -> None:
    """Refuse a result that an evaluation of ours kept if anything is missing that is read of it later.

    Args:
        result: The result.
        where: What to call it in an error.

    Raises:
        UserError: See :func:`check_results`.
    """
    check_result(result, where)
    check(result, KEPT, where)
    if result["learning"] is not None:
        check(result["learning"], KEPT_LEARNING, f"{where}: learning")
    if result.get("fidelity") is not None:
        check(result["fidelity"], KEPT_FIDELITY, f"{where}: fidelity")


def _check_curve(learning: Mapping[str, Any], where: str) -> None:
    """Check that what is listed by number of updates, or by seed, has as many entries as there are of those."""
    updates, accuracy = learning.get("updates") or [], learning.get("accuracy") or {}
    if len(set(updates)) < len(updates):
        raise UserError(f"{where}: updates names a number twice; give every number of updates once")
    listed = {f"accuracy.{name}": accuracy.get(name) for name in ("mean", "std", "runs")}
    listed["images_seen"] = learning.get("images_seen")
    listed["accuracy.per_class"] = accuracy.get("per_class")
    for name in ("mean", "std", "runs"):
        listed[f"accuracy.balanced.{name}"] = (accuracy.get("balanced") or {}).get(name)
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


def _rate(value: Any) -> bool:
    return text(value) or number(value)


def _measure(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        value.get(key) is None or fits(value[key]) for key, fits in (("value", number), ("name", text), ("n", whole))
    )


def _learner(value: Any) -> bool:
    if isinstance(value, Mapping):
        return text(value.get("class_path")) and isinstance(value.get("init_args") or {}, Mapping)
    return text(value)


def _accuracy(value: Any) -> bool:
    forms: dict[str, Check] = {
        "mean": list_of(maybe(fraction)), "std": list_of(maybe(size)), "runs": list_of(list_of(fraction)),
        "balanced": _balanced, "per_class": list_of(list_of(maybe(fraction))),
    }  # fmt: skip
    return isinstance(value, Mapping) and all(
        value.get(name) is None or fits(value[name]) for name, fits in forms.items()
    )


def _balanced(value: Any) -> bool:
    forms: dict[str, Check] = {
        "mean": list_of(maybe(number)), "std": list_of(maybe(size)), "runs": list_of(list_of(maybe(number))),
    }  # fmt: skip
    return isinstance(value, Mapping) and all(
        value.get(name) is None or fits(value[name]) for name, fits in forms.items()
    )


def _selection(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and (value.get("select") is None or text(value["select"]))
        and (value.get("candidates") is None or list_of(_rate)(value["candidates"]))
    )


def _epoch(value: Any) -> bool:
    return isinstance(value, Mapping) and whole(value.get("updates")) and value["updates"] > 0


def _curve(value: Any) -> bool:
    if not isinstance(value, Mapping) or not list_of(number)(value.get("x")) or not value["x"]:
        return False
    lines = [value.get("y"), *(value[name] for name in ("lower", "upper") if value.get(name) is not None)]
    words = [value.get(name) for name in ("x_label", "y_label", "caption")]
    return (
        all(list_of(maybe(number))(line) and len(line) == len(value["x"]) for line in lines)
        and (value.get("reference") is None or number(value["reference"]))
        and all(word is None or text(word) for word in words)
    )


def _modes(value: Any) -> bool:
    if not isinstance(value, Mapping) or not (whole(value.get("total")) and whole(value.get("n"))):
        return False
    views, each = value.get("views"), value.get("per_generator") or {}
    if not text(value.get("of")) or not isinstance(views, list | tuple) or not isinstance(each, Mapping):
        return False
    if not _mode_spread(value.get("spread")):
        return False
    spread = [one for one in each.values() if not (isinstance(one, Mapping) and {"mean", "std"} <= set(one))]
    numbers = [item for one in each.values() if isinstance(one, Mapping) for item in one.values()]
    return (
        not spread
        and all(maybe(number)(one) for one in numbers)
        and all(
            isinstance(view, Mapping)
            and text(view.get("name"))
            and number(view.get("captured"))
            and number(view.get("covered"))
            and all(maybe(number)(one) for key, one in view.items() if key != "name")
            for view in views
        )
    )


def _mode_spread(value: Any) -> bool:
    """Return whether a value is, for each view, standard deviation and runs of each number; or not there."""
    rows = table_of(table_of(mapping))(value) and [row for one in value.values() for row in one.values()]
    return value is None or (
        isinstance(rows, list)
        and all(maybe(number)(row.get("std")) and list_of(maybe(number))(row.get("runs")) for row in rows)
    )


def _momentum(value: Any) -> bool:
    return number(value) or list_of(number)(value)


def _lists_of(fits: Check) -> Check:
    """Accept a list of values, or one of such lists: a pooled result has a list for each run."""
    return lambda value: list_of(fits)(value) or list_of(list_of(fits))(value)


TOP = Keys(
    optional={
        "columns": Is(list_of(whole), "a list of numbers of updates"),
        "notes": Is(list_of(text), "a list of sentences"),
        "curves": Is(table_of(_curve), "curves by name, each with lists x and y of numbers, equally long"),
        "rank_at": Is(whole, "a number of updates"),
    }
)
ARCHITECTURE = Keys(
    required={
        "name": Is(text, "a name"),
        "parameters": Is(whole, "a number"),
        "updates": Is(list_of(whole), "a list of numbers of updates"),
        "accuracy": Is(_accuracy, "lists mean, std and runs of fractions from 0 to 1"),
    },
    optional={"seen": Is(truth, "true or false")},
    others=Is(lambda value: True, "anything"),
)
PRIVACY = Keys(
    required={
        "epsilon": Is(size, "a number from 0"),
        "delta": Is(fraction, "a number from 0 to 1"),
        "sums": Is(text, "what its private sums are of"),
    }
)
RESULT = Keys(
    optional={
        "name": Is(text, "a name"),
        "dataset": Is(text, "a name"),
        "dataset_fingerprint": Is(text, "text"),
        "test_fingerprint": Is(text, "text"),
        "data": Is(mapping, "how the data was loaded"),
        "software": Is(table_of(maybe(text)), "versions by name"),
        "command": Is(maybe(text), "a command line"),
        "notes": Is(list_of(text), "a list of sentences"),
        "seconds": Is(size, "a number of seconds"),
        "architectures": Each(ARCHITECTURE),
        "budget": Keys(
            optional={name: Is(whole, "a number") for name in ("distinct_images", "learner_updates")},
        ),
        "modes": Is(_modes, "total, of, n and views of the modes that are captured"),
        "privacy": PRIVACY,
    }
)
TEACHER = Keys(
    optional={
        "kind": Is(text, "a word"),
        "path": Is(text, "a path"),
        "checksum": Is(text, "a checksum"),
        "checksums": Is(list_of(maybe(text)), "a list of checksums"),
        "images": Is(whole, "a number of images, or null"),
        "decoded_images": Is(whole, "a number of images, or null"),
        **{name: Is(whole, "a number of bytes") for name in ("bytes", "image_bytes", "label_bytes", "labeller_bytes")},
        "everything": Is(truth, "true or false"),
        "making": Keys(
            optional={
                **{name: Is(is_count, "a whole number") for name in COUNTS},
                **{name: Is(is_seconds, "a number of seconds") for name in SECONDS},
            }
        ),
    }
)
LEARNING = Keys(
    optional={
        "learner": Is(_learner, "a dotted path, or class_path and init_args"),
        "initialisation": Is(text, "a sentence"),
        "protocol": Is(text, "a name"),
        "updates": Is(list_of(whole), "a list of numbers of updates"),
        "accuracy": Is(_accuracy, "lists mean, std and runs of fractions from 0 to 1"),
        "split": Is(text, "a name"),
        "split_sizes": Is(table_of(whole), "numbers of images by split"),
        "seeds": Is(_lists_of(whole), "a list of seeds"),
        "batch_size": Is(whole, "a number of images"),
        "momentum": Is(_momentum, "a number, or two"),
        "weight_decay": Is(number, "a number"),
        "epochs": Is(whole, "a number of epochs"),
        "epoch": Is(_epoch, "images and updates of an epoch"),
        "learner_updates": Is(whole, "a number of updates"),
        "images_seen": Is(list_of(size), "a list of numbers of images"),
        "lr": Is(lambda value: _rate(value) or _lists_of(_rate)(value), "a list of rates"),
        "selection": Is(_selection, "select and candidates"),
        "seconds": Is(size, "a number of seconds"),
        **{
            name: Is(text, "a word")
            for name in ("optimizer", "schedule", "augment", "augment_mode", "labels", "normalisation")
        },
        "augment_strength": Is(table_of(number), "numbers by operation"),
        "cutmix": Is(fraction, "a probability"),
        "generated": Is(_rate, "a number of images or a word"),
    }
)
FIDELITY = Keys(
    optional={
        "name": Is(text, "a name"),
        "value": Is(number, "a number"),
        "std": Is(size, "a number of at least 0"),
        "draws": Is(whole, "a number of draws"),
        "n": Is(whole, "a number of images"),
        "reference": Is(text, "a name"),
        "runs": Is(list_of(maybe(number)), "a list of numbers"),
        "extractor": Is(text, "a name"),
        "kid": Is(_measure, "an object with a value"),
        "whole": Is(_measure, "an object with a value"),
        "notes": Is(list_of(text), "a list of sentences"),
    }
)
KEPT = Keys(required={"fidelity": Is(lambda value: value is None or mapping(value), "an object of keys, or null")})
KEPT_LEARNING = Keys(
    required={
        "updates": Is(list_of(whole), "a list of numbers of updates"),
        "accuracy": Keys(
            required={
                "mean": Is(list_of(fraction), "fractions"),
                "std": Is(list_of(maybe(size)), "numbers of at least 0, or null"),
                "runs": Is(list_of(list_of(fraction)), "lists of fractions"),
            }
        ),
        "seeds": Is(list_of(whole), "a list of seeds"),
        "lr": Is(lambda value: True, "rates"),
        "seconds": Is(size, "a number of seconds"),
    }
)
KEPT_FIDELITY = Keys(
    required={
        "name": Is(text, "a name"),
        "value": Is(maybe(number), "a number, or null"),
        "n": Is(maybe(whole), "a number of images, or null"),
    }
)
"""What is read of a result that a command keeps, beyond what a table takes."""
