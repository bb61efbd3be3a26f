"""What a person should know who goes on with a run to another length than it was begun with."""

from __future__ import annotations


def linear_decay(lr_decay: str, step: int, before: int, now: int) -> list[str]:
    """Say how learning rates that fall to 0 at the end of a run change with its length.

    Args:
        lr_decay: ``linear`` (the rates at step t are those at the start times 1 - t / steps); others say nothing.
        step: Completed steps.
        before: Steps that the run was to have.
        now: Steps that it is to have.

    Returns:
        A sentence, or none.
    """
    if lr_decay != "linear":
        return []
    then, here = (max(0.0, 1 - step / steps) for steps in (before, now))
    return [
        f"lr_decay is linear and the length went from {before:,} to {now:,} steps: at step {step:,} the learning "
        f"rates, which were at {then:.0%} of those at the start, go on at {here:.0%}; a run begun with {now:,} steps "
        "is another one"
    ]
