"""What travels between a server and its sites, and the checks of whatever arrives.

A message is a head of fixed size and raw numbers, little-endian; there is no code to generate and nothing to unpickle.
Its kinds are all that can be said: a site has words for where it stands (:class:`Hello`, :class:`Ask`) and for what its
discriminator thinks of the images that it was sent (:class:`Feedback`). A private image, a weight or a gradient of
weights has no field, and nothing of another size than that of the feedback passes.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from gendistill.errors import GendistillError, UserError

MAGIC, VERSION = b"GDPG", 1
HEAD = struct.Struct("<4sBB16sQQ")
"""Magic, version, kind, run, session, round."""
TERMS = struct.Struct("<IIIIIIIIfBBB")
ROUNDS = 4
"""From which a site can go on, at most."""
LONGEST = 2**30
"""Bytes of a message at most, whatever was agreed."""
FEEDBACK = ("gradient", "score")
NUMBERS: dict[str, tuple[Any, torch.dtype]] = {
    "float32": (np.dtype("<f4"), torch.float32),
    "float64": (np.dtype("<f8"), torch.float64),
}
LARGEST_FEEDBACK = 1e6
"""Beyond this a gradient or a score says only that training has failed."""


class Refused(GendistillError):
    """A message or a site that is not accepted; the sentence says why, and everything else goes on."""

    exit_code = UserError.exit_code


class Stale(Refused):
    """A message of a connection that the server does not know, since it was started anew; the site joins again."""


@dataclass(frozen=True)
class Terms:
    """What a server and a site must agree on, for it is the size of everything that travels.

    Args:
        steps: Rounds of a site.
        batch: Images of a batch.
        updates: Updates of the discriminator in a round (``n_dis``): batches beside the one that is answered.
        save_every: Rounds between two saved states.
        channels: Of an image.
        height: In pixels.
        width: In pixels.
        classes: Of which each image has one; 0: images have no labels.
        limit: Pixels lie in [-limit, limit].
        answers: Rows of a batch that is answered, as a multiple of ``batch``: 2 where images are sent in pairs.
        feedback: ``gradient`` or ``score``.
        numbers: ``float32`` or ``float64``.
    """

    steps: int
    batch: int
    updates: int
    save_every: int
    channels: int
    height: int
    width: int
    classes: int
    limit: float
    answers: int = 1
    feedback: str = "gradient"
    numbers: str = "float32"

    def __post_init__(self) -> None:
        if self.feedback not in FEEDBACK or self.numbers not in NUMBERS:
            raise UserError(f"feedback is {self.feedback!r}; choose one of {', '.join(FEEDBACK)}")
        if self.largest > LONGEST:
            raise UserError(
                f"a round would send {self.largest:,} bytes, more than {LONGEST:,}; choose a smaller batch_size or "
                "n_dis"
            )

    @property
    def shape(self) -> tuple[int, int, int]:
        """Of an image, (C, H, W)."""
        return self.channels, self.height, self.width

    @property
    def images(self) -> int:
        """Images of a round, those included that are answered."""
        return (self.updates + self.answers) * self.batch

    @property
    def width_of_number(self) -> int:
        """Bytes of a number."""
        return int(NUMBERS[self.numbers][0].itemsize)

    @property
    def fakes_size(self) -> int:
        """Bytes of a message of generated images."""
        labels = 2 * self.images if self.classes else 0
        return HEAD.size + self.images * math.prod(self.shape) * self.width_of_number + labels

    @property
    def feedback_shape(self) -> tuple[int, ...]:
        """Of what a site answers."""
        rows = self.answers * self.batch
        return (rows, *self.shape) if self.feedback == "gradient" else (rows,)

    @property
    def feedback_size(self) -> int:
        """Bytes of a message of feedback."""
        return HEAD.size + math.prod(self.feedback_shape) * self.width_of_number

    @property
    def largest(self) -> int:
        """Bytes of the largest message."""
        return max(self.fakes_size, self.feedback_size, HEAD.size + TERMS.size + 8 * (ROUNDS + 1))

    def differences(self, other: Terms) -> list[str]:
        """Return in words what is not the same."""
        mine, theirs = asdict(self), asdict(other)
        return [f"{name} is {theirs[name]}, here {mine[name]}" for name in mine if mine[name] != theirs[name]]

    def pack(self) -> bytes:
        """Return it as bytes of a fixed number."""
        values = [getattr(self, field.name) for field in fields(self)]
        return TERMS.pack(*values[:9], values[9], FEEDBACK.index(self.feedback), list(NUMBERS).index(self.numbers))

    @classmethod
    def unpack(cls, data: bytes) -> Terms:
        """Read what :meth:`pack` wrote.

        Raises:
            Refused: It is something else.
        """
        *values, answers, feedback, numbers = TERMS.unpack(data)
        if feedback >= len(FEEDBACK) or numbers >= len(NUMBERS) or not math.isfinite(values[8]):
            raise Refused("it has no such terms")
        try:
            given: list[Any] = [*values, answers, FEEDBACK[feedback], list(NUMBERS)[numbers]]
            return cls(*given)
        except UserError as error:
            raise Refused(str(error)) from error


@dataclass(frozen=True)
class Hello:
    """A site's first word: what it takes for agreed, and the rounds from which it can go on, the best first."""

    kind: ClassVar[int] = 1
    terms: Terms
    rounds: tuple[int, ...]


@dataclass(frozen=True)
class Welcome:
    """The server's answer: the round to go on from; :attr:`Head.session` names the connection from now on."""

    kind: ClassVar[int] = 2


@dataclass(frozen=True)
class Ask:
    """A site asks for the generated images of a round."""

    kind: ClassVar[int] = 3


@dataclass(frozen=True)
class Fakes:
    """The generated images of a round.

    Attributes:
        images: (``terms.images``, C, H, W); the batches of the discriminator's updates, then the one to be answered.
        labels: (``terms.images``,) int64; None where there are none.
    """

    kind: ClassVar[int] = 4
    images: Tensor
    labels: Tensor | None


@dataclass(frozen=True)
class Feedback:
    """What a site answers: of each generated image the loss's gradient (B, C, H, W), or the score (B,)."""

    kind: ClassVar[int] = 5
    values: Tensor


@dataclass(frozen=True)
class Done:
    """All rounds of a site are made."""

    kind: ClassVar[int] = 6


Message = Hello | Welcome | Ask | Fakes | Feedback | Done
KINDS: dict[int, type] = {one.kind: one for one in (Hello, Welcome, Ask, Fakes, Feedback, Done)}


@dataclass(frozen=True)
class Head:
    """What every message begins with.

    Attributes:
        run: 16 bytes that name the run.
        session: A number that the server gave to this connection; 0 before.
        round: Which round it is about, from 0.
    """

    run: bytes
    session: int = 0
    round: int = 0


def encode(head: Head, message: Message, terms: Terms) -> bytes:
    """Return a message as bytes.

    Args:
        head: Where it belongs.
        message: The message; its numbers have the terms' shapes.
        terms: What was agreed.
    """
    data = [HEAD.pack(MAGIC, VERSION, message.kind, head.run, head.session, head.round)]
    if isinstance(message, Hello):
        rounds = [*message.rounds[:ROUNDS], *[0] * ROUNDS][:ROUNDS]
        data += [message.terms.pack(), struct.pack(f"<Q{ROUNDS}Q", min(len(message.rounds), ROUNDS), *rounds)]
    elif isinstance(message, Fakes):
        data.append(_raw(message.images, terms))
        if message.labels is not None:
            data.append(message.labels.cpu().numpy().astype("<u2").tobytes())
    elif isinstance(message, Feedback):
        data.append(_raw(message.values, terms))
    return b"".join(data)


def decode(data: bytes, run: bytes, terms: Terms, expected: Sequence[type]) -> tuple[Head, Message]:
    """Read a message, and refuse whatever is not exactly one that is expected.

    Args:
        data: What arrived.
        run: The run that it must belong to.
        terms: What was agreed.
        expected: Kinds of messages.

    Raises:
        Refused: It is too large or too small, malformed, of another run, of a kind that is not expected, or holds
            numbers that are not finite or out of range.
    """
    if len(data) > terms.largest:
        raise Refused(f"it has {len(data):,} bytes, more than the {terms.largest:,} of the largest message agreed on")
    if len(data) < HEAD.size:
        raise Refused(f"it has {len(data)} bytes, too few for a message")
    magic, version, kind, of_run, session, number = HEAD.unpack_from(data)
    if magic != MAGIC:
        raise Refused("it is no message of this program")
    if version != VERSION:
        raise Refused(f"it has version {version}, this program speaks version {VERSION}")
    if of_run != run:
        raise Refused(f"it belongs to another run ({of_run.hex()}, not {run.hex()})")
    if kind not in KINDS or KINDS[kind] not in expected:
        wanted = " or ".join(one.__name__ for one in expected)
        raise Refused(f"it is of kind {KINDS[kind].__name__ if kind in KINDS else kind}, expected {wanted}")
    return Head(of_run, session, number), _body(KINDS[kind], data[HEAD.size :], terms)


def _body(kind: type, body: bytes, terms: Terms) -> Message:
    if kind is Hello:
        _sized(body, TERMS.size + 8 * (ROUNDS + 1))
        count, *rounds = struct.unpack(f"<Q{ROUNDS}Q", body[TERMS.size :])
        if not 1 <= count <= ROUNDS:
            raise Refused(f"it names {count} rounds, expected 1 to {ROUNDS}")
        return Hello(Terms.unpack(body[: TERMS.size]), tuple(rounds[:count]))
    if kind is Fakes:
        _sized(body, terms.fakes_size - HEAD.size)
        pixels = terms.images * math.prod(terms.shape) * terms.width_of_number
        images = _numbers(body[:pixels], terms, (terms.images, *terms.shape), terms.limit)
        labels = None
        if terms.classes:
            labels = torch.from_numpy(np.frombuffer(body[pixels:], "<u2").astype(np.int64))
            if len(labels) and int(labels.max()) >= terms.classes:
                raise Refused(f"it holds the class {int(labels.max())}, there are {terms.classes}")
        return Fakes(images, labels)
    if kind is Feedback:
        _sized(body, terms.feedback_size - HEAD.size)
        return Feedback(_numbers(body, terms, terms.feedback_shape, LARGEST_FEEDBACK))
    _sized(body, 0)
    made: Message = kind()
    return made


def _sized(body: bytes, size: int) -> None:
    if len(body) != size:
        raise Refused(f"its content has {len(body):,} bytes, expected {size:,} (wrong shape or type of numbers)")


def _numbers(data: bytes, terms: Terms, shape: tuple[int, ...], limit: float) -> Tensor:
    stored, kind = NUMBERS[terms.numbers]
    values = torch.from_numpy(np.frombuffer(data, stored).copy()).to(kind).view(shape)
    if not bool(values.isfinite().all()):
        raise Refused("it holds numbers that are NaN or infinite")
    if values.numel() and float(values.abs().max()) > limit * (1 + 1e-5):
        raise Refused(f"it holds numbers beyond {limit:g}")
    return values


def _raw(values: Tensor, terms: Terms) -> bytes:
    raw: bytes = values.detach().cpu().numpy().astype(NUMBERS[terms.numbers][0], copy=False).tobytes()
    return raw
