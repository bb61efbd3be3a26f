"""What a private run may start from: noise, a private teacher, whose sums count, or what is declared to be public."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gendistill.data.real import RealData
from gendistill.decodes import Decode
from gendistill.errors import UserError
from gendistill.privacy.ledger import ADJACENCIES, Ledger
from gendistill.privacy.promise import KEY, read_promise
from gendistill.runs.context import RunContext
from gendistill.teacher import Teacher, open_teacher
from gendistill.teacher.generated import Generated
from trainers.stored_start import is_stored

WORDS = ("noise", "real")
DECLARED = "what it starts from (declared by public_start)"


class Starting(Protocol):
    """A private trainer of stored images."""

    start: str
    decode: Decode
    public_start: bool
    declared: Sequence[str]
    ledger: Ledger
    run: RunContext
    data: RealData


def check_public_start(images: str) -> None:
    """Refuse to start from real images.

    Raises:
        UserError: Says what may start.
    """
    if images == "real" or images.startswith("real:"):
        raise UserError(
            f"images is '{images}', and a private teacher that starts from private images shows them; start from "
            "noise, or from the file of a teacher that is public or private itself"
        )


def count_start(trainer: Starting) -> None:
    """Count what the images of a run, and the generator that shows them, tell of private ones.

    A run that is continued does not read its first images again; what they have cost stands in its ledger.

    Args:
        trainer: The trainer, whose images and decode are there.

    Raises:
        UserError: One is neither private nor declared to be public, its promise is of other neighbours, or it has spent
            the budget.
    """
    stored, decode = is_stored(trainer.start, WORDS), trainer.decode
    if trainer.public_start:
        trainer.declared = (DECLARED,) if stored or isinstance(decode, Generated) else ()
        return
    if stored and not trainer.run.directory.has_state:
        _count(trainer.ledger, open_teacher(trainer.start, trainer.data, seed=trainer.run.options.seed), trainer.start)
    if isinstance(decode, Generated):
        _count(trainer.ledger, decode.source, str(decode.generator))


def _count(ledger: Ledger, teacher: Teacher, reference: str) -> None:
    noted = teacher.noted(KEY, dict)
    if noted is None:
        raise UserError(
            f"'{reference}' promises no privacy, so it may show private images, and so may what starts from it; start "
            "from noise or from a private teacher, or, if no private image has gone into it, declare that "
            "(--trainer.public_start true)"
        )
    made, wanted = read_promise(noted), ledger.budget.adjacency
    if made.adjacency != wanted:
        raise UserError(
            f"'{reference}' promises privacy for {ADJACENCIES[made.adjacency]}, and this run for "
            f"{ADJACENCIES[wanted]}, which do not add up; choose --trainer.adjacency {made.adjacency}, or start from "
            "noise"
        )
    ledger.include(made.entries, reference)
