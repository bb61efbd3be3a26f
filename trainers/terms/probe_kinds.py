"""The words for the kinds of probes in a config."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.errors import UserError, did_you_mean
from gendistill.objects import build
from trainers.terms.pools import Growing, Interpolated
from trainers.terms.probes import Fresh, Probes, Trunk
from trainers.terms.trained_probes import Pool, Pretrained

KINDS: dict[str, type[Probes]] = {
    "fresh": Fresh,
    "pretrained": Pretrained,
    "pool": Pool,
    "growing": Growing,
    "interpolated": Interpolated,
    "trunk": Trunk,
}


def make_probes(spec: Mapping[str, Any] | None) -> Probes:
    """Make a source of probes.

    Args:
        spec: ``state``, one of ``fresh`` (when left out), ``pretrained``, ``pool``, ``growing``, ``interpolated``,
            ``trunk``, and beside it the arguments of that kind; or ``class_path`` and ``init_args`` of a kind of your
            own.

    Raises:
        UserError: An unknown kind or argument, or a value that the kind refuses.
    """
    options = dict(spec or {})
    if "class_path" in options:
        return build(options, Probes)  # type: ignore[type-abstract]
    state = options.pop("state", "fresh")
    if state not in KINDS:
        hint = did_you_mean(str(state), KINDS)
        raise UserError(f"the probe's state is '{state}'; {hint}choose one of {', '.join(KINDS)}")
    kind = KINDS[state]
    path = f"{kind.__module__}.{kind.__qualname__}"
    return build({"class_path": path, "init_args": options}, Probes)  # type: ignore[type-abstract]
