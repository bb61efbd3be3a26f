"""What a process tells others of its data: all but the images and their labels, as plain values and tensors."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gendistill.data.description import Description
from gendistill.data.embedding import Embedding
from gendistill.data.fingerprint import split_fingerprint
from gendistill.data.real import Elsewhere, RealData, Split
from gendistill.data.whitening import Whitening
from gendistill.errors import UserError

PARTS = ("train", "validation", "test")


def told(data: RealData) -> dict[str, Any]:
    """Return what another process may know of data: values of Python and tensors, without an image or a label."""
    whitening, embedding = data.description.normalisation.whitening, data.description.embedding
    return {
        "description": data.description.to_dict(),
        "whitening": None if whitening is None else (whitening.mean, whitening.matrix),
        "embedding": None if embedding is None else (list(embedding.words), embedding.vectors),
        "notes": tuple(data.notes),
        "background": data.background,
        "options": dict(data.options),
        "parts": {name: _told_of(getattr(data, name)) for name in PARTS},
    }


def heard(values: Mapping[str, Any]) -> RealData:
    """Return data that other processes hold, from what :func:`told` says of it.

    Raises:
        UserError: A value is missing or of the wrong kind.
    """
    try:
        whitening = None if values["whitening"] is None else Whitening(*values["whitening"])
        embedding = None if values["embedding"] is None else Embedding(*values["embedding"])
        parts = {name: Elsewhere(**values["parts"][name]) for name in PARTS}
        return RealData(
            Description.from_dict(values["description"], whitening, embedding),
            notes=tuple(values["notes"]),
            background=values["background"],
            options=dict(values["options"]),
            **parts,
        )
    except (KeyError, TypeError) as error:
        raise UserError(f"what another process says of the data is not complete: {error!r}") from error


def _told_of(split: Split) -> dict[str, Any]:
    nothing = {"images": split.images[:0].cpu().clone(), "labels": split.labels[:0].cpu().clone()}
    return nothing | {"count": len(split), "digits": split_fingerprint(split)}
