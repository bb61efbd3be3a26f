"""A teacher's sentences in words: the words nearest to the vectors that it stores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from gendistill.data.embedding import Metric
from gendistill.data.tokens import decode
from gendistill.errors import UserError
from gendistill.escapes import spreadsheet_cell
from gendistill.seeds import stream
from gendistill.teacher.base import Teacher
from gendistill.teacher.stored import StoredImages
from gendistill.visible import visible

TITLES = {"euclidean": "Euclidean distance", "cosine": "cosine distance"}
DRAWN = 100
"""Sentences that are looked at of a teacher that makes them without end."""


@dataclass(frozen=True)
class Sentence:
    """One sentence of a teacher.

    Attributes:
        step: The step of an epoch that it belongs to, from 1; None where the teacher's order is not fixed.
        class_name: Its class; of a soft label the likeliest.
        label: Its soft label, a number a class; None where it is hard.
        text: The nearest word at each place, without the padding at the end.
        nearest: The nearest words at each place, nearest first.
        distance: From a place to its nearest word, the mean over the places.
    """

    step: int | None
    class_name: str
    label: list[float] | None
    text: str
    nearest: list[list[str]]
    distance: float

    def to_dict(self) -> dict[str, Any]:
        """Return plain values that JSON can hold."""
        return dict(vars(self))


def sentences(
    teacher: Teacher, *, metric: Metric | str = "euclidean", nearest: int = 1, count: int | None = None
) -> list[Sentence]:
    """Return a teacher's sentences in words.

    Args:
        teacher: Any teacher of a text. Of one that makes sentences without end a hundred are drawn, always the same.
        metric: See :meth:`gendistill.data.embedding.Embedding.nearest`.
        nearest: Words at each place.
        count: The first so many sentences; None: all.

    Raises:
        UserError: The teacher is of no text, or an option is out of range.
    """
    embedding = teacher.description.embedding
    if embedding is None:
        kind = teacher.description.kind
        raise UserError(f"this teacher of '{teacher.description.name}' holds {kind}; words are nearest to sentences")
    if count is not None and count < 1:
        raise UserError(f"count is {count}; give a number of sentences, at least 1")
    vectors, labels = _shown(teacher)
    vectors, labels = vectors[:count].cpu(), labels[:count].cpu()
    tokens, distances = embedding.nearest(vectors.squeeze(1), nearest, metric)  # (N, L, nearest)
    classes = labels.argmax(1) if labels.ndim == 2 else labels
    made = []
    for number, row in enumerate(tokens.tolist()):
        made.append(
            Sentence(
                step=_step(teacher, number),
                class_name=teacher.description.class_names[int(classes[number])],
                label=labels[number].tolist() if labels.ndim == 2 else None,
                text=decode([place[0] for place in row], embedding.words),
                nearest=[[embedding.words[token] for token in place] for place in row],
                distance=float(distances[number, :, 0].mean()),
            )
        )
    return made


def listing(teacher: Teacher, *, metric: Metric | str = "euclidean", nearest: int = 1, count: int | None = None) -> str:
    """Return a teacher's sentences as lines for a person: step, label, mean distance, nearest words.

    Args:
        teacher: See :func:`sentences`.
        metric: See there.
        nearest: Words at each place; those after the first stand in brackets behind it.
        count: See :func:`sentences`.
    """
    names = teacher.description.class_names
    lines = [f"nearest words by {TITLES.get(metric, metric)}; the number is its mean over a sentence's places"]
    for one in sentences(teacher, metric=metric, nearest=nearest, count=count):
        soft = "" if one.label is None else " ".join(
            f"{name} {value:+.2f}" for name, value in zip(names, one.label, strict=True)
        )  # fmt: skip
        words = one.text if nearest == 1 else " ".join(_with_others(place) for place in one.nearest)
        step = "" if one.step is None else f"step {one.step}  "
        lines.append(f"{step}{soft or one.class_name}  {one.distance:.2f}  {words}")
    return "\n".join(map(visible, lines)) + "\n"


def table(teacher: Teacher, *, metric: Metric | str = "euclidean", count: int | None = None) -> str:
    """Return the nearest sentences as lines of class, tab, words: a text that can be loaded as real data.

    What a spreadsheet would take for a formula has an apostrophe in front. A sentence of padding alone, which no text
    holds, is left out.
    """
    found = sentences(teacher, metric=metric, count=count)
    cells = ((spreadsheet_cell(one.class_name), spreadsheet_cell(one.text)) for one in found if one.text)
    return "".join(f"{name}\t{text}\n" for name, text in cells)


def _shown(teacher: Teacher) -> tuple[Tensor, Tensor]:
    if teacher.images_stored is not None:
        return teacher.everything()
    return teacher.sample(DRAWN, stream(0, "sentences", teacher.device))


def _step(teacher: Teacher, number: int) -> int | None:
    if not isinstance(teacher, StoredImages) or teacher.order != "fixed" or teacher.batch_size is None:
        return None
    return number // teacher.batch_size + 1


def _with_others(place: list[str]) -> str:
    return place[0] if len(place) == 1 else f"{place[0]}({','.join(place[1:])})"
