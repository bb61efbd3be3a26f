"""A teacher in a few words, for a person who looks at one."""

from __future__ import annotations

from typing import Any, Protocol

from torch import Tensor

from gendistill.data.description import Description
from gendistill.making import KEY as MAKING
from gendistill.making import is_seconds
from gendistill.visible import visible
from gendistill.words import byte_size, counted


class Described(Protocol):
    """What is asked of a teacher."""

    description: Description
    metadata: dict[str, Any]
    learning_rates: Tensor | None
    labeller: Any

    @property
    def images_stored(self) -> int | None:
        """See :class:`gendistill.teacher.base.Teacher`, as for the others."""

    @property
    def decoded_images(self) -> int | None:
        """See there."""

    @property
    def bytes_stored(self) -> int:
        """See there."""

    @property
    def labels_are_soft(self) -> bool:
        """See there."""


def in_words(teacher: Described) -> list[str]:
    """Return what a teacher is: of which data, how many images of which shape, what they cost, how it was made.

    Names that a file has brought are shown as on a terminal.
    """
    description, stored, shown = teacher.description, teacher.images_stored, teacher.decoded_images
    count = "fresh images without end" if stored is None else counted(stored, "image")
    if stored is not None and shown != stored:
        count += f" that show {shown:,}"
    parts = [
        f"of '{visible(description.name, 60)}', {counted(description.num_classes, 'class', 'classes')}",
        f"{count} {tuple(description.image_shape)}",
        f"{'soft' if teacher.labels_are_soft else 'hard'} labels"
        + (", a labeller of what learners are shown" if teacher.labeller is not None else ""),
        byte_size(teacher.bytes_stored),
    ]
    if teacher.learning_rates is not None:
        parts.append(counted(len(teacher.learning_rates), "learned rate"))
    return parts + _made(teacher.metadata)


def _made(metadata: dict[str, Any]) -> list[str]:
    """Return how a teacher says that it was made, if it does."""
    found, source = [], metadata.get("source")
    if isinstance(source, str):
        found.append(f"made by {visible(source, 80)}")
    elif isinstance(source, dict) and isinstance(source.get("file"), str):
        found.append(f"read from {visible(source['file'], 80)}")
    if isinstance(metadata.get("seed"), int):
        found.append(f"seed {metadata['seed']}")
    if isinstance(metadata.get(MAKING), dict) and is_seconds(cpu := metadata[MAKING].get("cpu_seconds")):
        found.append(f"made in {cpu:,.0f} s of a processor" if cpu >= 10 else f"made in {cpu:.1f} s of a processor")
    if isinstance(metadata.get("warnings"), list) and metadata["warnings"]:
        found.append(f"warning: {visible(str(metadata['warnings'][0]), 120)}")
    return found
