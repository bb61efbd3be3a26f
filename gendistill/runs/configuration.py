"""Whether a run that is continued is still the same run."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.errors import UserError
from gendistill.plain import plain
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
    "histograms",
    "progress",
    "tune",  # what was chosen stands in the state
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


def require_same(directory: RunDirectory, config: Mapping[str, Any], free: frozenset[str] = FREE) -> None:
    """Refuse to continue a run under another configuration.

    Args:
        directory: The run's directory with its stored ``config.yaml``.
        config: What was given now.
        free: Dotted keys that may differ.

    Raises:
        UserError: Something else differs; the message names the first keys and both ways out.
    """
    stored = directory.read_config()
    if stored is None:
        return
    # Through YAML as the stored one went, so that what YAML writes differently is no difference.
    before, now = flatten(stored), flatten(parse_yaml(dump_yaml(plain(config)), "the configuration"))
    keys = [key for key in dict.fromkeys([*before, *now]) if key not in free]
    # An option that came with a later version and is not set is no difference either.
    differing = [key for key in keys if before.get(key) != now.get(key)]
    if not differing:
        return
    shown = ", ".join(
        f"{key} (stored {before.get(key, MISSING)!r}, given {now.get(key, MISSING)!r})" for key in differing[:3]
    )
    more = f" and {len(differing) - 3} more" if len(differing) > 3 else ""
    raise UserError(
        f"'{directory}' holds a run with other settings: {shown}{more}; choose another run.name, or set run.fresh to "
        "true to discard that run"
    )
