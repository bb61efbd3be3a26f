"""Whether a run that is continued is still the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.errors import UserError
from gendistill.plain import plain
from gendistill.renamed import class_named, completed, modern
from gendistill.runs.directory import RunDirectory
from gendistill.yaml_file import dump_yaml, parse_yaml

# What may change between two parts of one run: where and how it is shown, and how long it goes.
SHOWN_OR_PLACED = (
    "name",
    "root",
    "steps",
    "device",
    "save_every",
    "log_every",
    "sample_every",
    "evaluate_every",
    "evaluate_samples",
    "histograms",
    "progress",
    "tune",  # what was chosen stands in the state
    "timeout",
    "cuda_graphs",
    # What is done, told or kept beside the steps, which stay the same to the bit.
    "callbacks",
    "loggers",
    "keep_best",
)
FREE = frozenset(f"run.{key}" for key in (*SHOWN_OR_PLACED, "fresh")) | {"data_root", "data.root"}


class _Nothing:
    """Stands for a key that is not there."""

    def __repr__(self) -> str:
        return "nothing"


MISSING = _Nothing()


def flatten(config: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return a nested configuration with dotted keys."""
    flat: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def as_stored(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration as a file of it gives it back: what YAML writes differently is no difference."""
    found: dict[str, Any] = parse_yaml(dump_yaml(plain(config)), "the configuration")
    return found


def differing(before: Mapping[str, Any], now: Mapping[str, Any], free: frozenset[str] = FREE) -> list[str]:
    """Return the dotted keys in which two configurations are those of different runs.

    Args:
        before: The one of a run, see :func:`as_stored`.
        now: Another one.
        free: Dotted keys that may differ.
    """
    # By old and new names of its options, with and without those left at their defaults, a config is the same one.
    then, there = flatten(as_stored(as_now(before))), flatten(as_stored(as_now(now)))
    # An option that came with a later version and is not set is no difference either.
    known = dict.fromkeys([*then, *there])
    return [key for key in known if not is_free(key, free) and then.get(key) != there.get(key)]


def is_free(key: str, free: frozenset[str]) -> bool:
    """Return whether a dotted key, or a section that it is in, may differ."""
    parts = key.split(".")
    return any(".".join(parts[:length]) in free for length in range(1, len(parts) + 1))


def bound(config: Mapping[str, Any], free: frozenset[str] = FREE, prefix: str = "") -> dict[str, Any]:
    """Return what a run is bound to of a configuration: all but the dotted keys that may differ."""
    return {
        key: bound(value, free, f"{prefix}{key}.") if isinstance(value, Mapping) else value
        for key, value in config.items()
        if f"{prefix}{key}" not in free
    }


def _is_part(key: str, flat: Mapping[str, Any]) -> bool:
    """Return whether a dotted key is a section of a flat configuration, or lies in what is one value there."""
    return any(other.startswith(f"{key}.") or key.startswith(f"{other}.") for other in flat)


def as_now(config: Mapping[str, Any]) -> dict[str, Any]:
    """Return a configuration with the present names of options, and with those that came with a later version."""
    found: dict[str, Any] = modern(config, trusted=False)
    trainer = found.get("trainer")
    if isinstance(trainer, Mapping) and isinstance(trainer.get("init_args"), Mapping):
        target = class_named(trainer.get("class_path"), trusted=False)
        if target is not None:
            found["trainer"] = {**trainer, "init_args": completed(target, trainer["init_args"])}
    return found


def require_same(directory: RunDirectory, config: Mapping[str, Any], free: frozenset[str] = FREE) -> None:
    """Refuse to continue a run under another configuration.

    Args:
        directory: The run's directory with its stored ``config.yaml``.
        config: What was given now.
        free: Dotted keys that may differ.

    Raises:
        UserError: Something else differs, the file is gone or names what no setting is called; the message names the
            first keys and the ways out.
    """
    stored = directory.read_config()
    if stored is None:
        raise UserError(
            f"'{directory}' holds a saved state but no {directory.config.name}, so that nobody can say with which "
            "settings it was made; put the file back, choose another run.name, or set run.fresh to true to discard the "
            "run"
        )
    before, now = flatten(as_stored(as_now(stored))), flatten(as_stored(as_now(config)))
    if not (differ := differing(stored, config, free)):
        # What is not set is no difference, but an option that there is not says that somebody has changed the file.
        named = flatten(modern(stored, trusted=False))
        if unknown := [key for key in named if key not in now and not _is_part(key, now) and not is_free(key, free)]:
            raise UserError(
                f"'{directory.config}' names {unknown[0]}, which no setting of this run is called; take it out of the "
                "file, choose another run.name, or set run.fresh to true to discard that run"
            )
        return
    shown = ", ".join(
        f"{key} (stored {before.get(key, MISSING)!r}, given {now.get(key, MISSING)!r})" for key in differ[:3]
    )
    more = f" and {len(differ) - 3} more" if len(differ) > 3 else ""
    raise UserError(
        f"'{directory}' holds a run with other settings: {shown}{more}; choose another run.name, or set run.fresh to "
        "true to discard that run"
    )
