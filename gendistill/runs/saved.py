"""What a saved state holds for the loop, and what is told of where it comes from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

import gendistill
from gendistill.json_file import Is, Keys, mapping, real, size, table_of, text, truth, whole
from gendistill.links.record import ROWS
from gendistill.runs.best import RECORD
from gendistill.runs.metrics import METRICS
from gendistill.runs.watch import WATCH
from gendistill.words import listed

STATE = Keys(
    required={
        "format": Is(text, "text"),
        "version": Is(whole, "a number"),
        "step": Is(whole, "a number of steps"),
        "seconds": Is(size, "a number of seconds"),
        "device": Is(text, "a kind of device"),
        "checked": Is(truth, "true or false"),
        **{name: Is(mapping, "an object") for name in ("trainer", "streams", "global")},
        "metrics": METRICS,
        "reported": Is(table_of(real), "means of metrics"),
    },
    optional={
        **{name: Is(mapping, "an object") for name in ("software", "config", "data")},
        "cpu_seconds": Is(size, "a number of seconds"),
        "peaks": Is(table_of(whole), "numbers of bytes by name"),
        "other_data": Is(table_of(mapping), "what other data sets hold"),
        "watch": WATCH,
        "kept_best": RECORD,
        "best": Is(
            table_of(lambda one: isinstance(one, list) and len(one) == 2 and whole(one[0]) and real(one[1])),
            "steps and numbers by name",
        ),
        "links": ROWS,
        "tuned": Is(text, "what the run's trial chose, as text"),
    },
    # What a later version saves is no use without that version.
    others=Is(lambda value: False, "nothing of that name; continue the run with the version that saved it"),
)
"""What the loop reads of a saved state."""


def software() -> dict[str, str]:
    """Return the versions that a saved state was made with."""
    return {"gendistill": gendistill.__version__, "torch": str(torch.__version__)}


def notes_on_origin(state: Mapping[str, Any]) -> list[str]:
    """Return what is to be told of the version of this program, and of torch, that saved a state."""
    if not state["checked"]:
        return ["the saved state has no checksum, as those of earlier versions; damage to it could not be seen"]
    before, now = state.get("software") or {}, software()
    differing = [name for name in now if before.get(name) != now[name]]
    if not differing:
        return []
    then = listed([f"{name} {before.get(name, 'of a version that is not known')}" for name in differing])
    today = listed([f"{name} {now[name]}" for name in differing])
    return [f"the state was saved with {then} and is continued with {today}: later steps may differ in last digits"]
