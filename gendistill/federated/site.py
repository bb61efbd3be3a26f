"""A site's part of the protocol: rounds with the server, whatever carries the messages."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor

from gendistill.federated.messages import (
    Ask,
    Done,
    Fakes,
    Feedback,
    Head,
    Hello,
    Message,
    Refused,
    Stale,
    Terms,
    Welcome,
    decode,
    encode,
)
from gendistill.federated.sanitise import Sanitiser
from gendistill.federated.sides import DiscriminatorHalf
from gendistill.federated.states import States
from gendistill.federated.traffic import Traffic


class Transport(Protocol):
    """Carries a message to the server, and its answer back."""

    def send(self, data: bytes) -> bytes:
        """Return the answer.

        Raises:
            Refused: The server does not accept the message.
            Unreachable: It could not be reached.
        """


class Unreachable(Exception):
    """The server could not be reached, for now."""


class Site:
    """One site: its discriminator, and where it stands.

    Args:
        run: 16 bytes that name the run.
        terms: What was agreed.
        half: The discriminator.
        transport: Carries the messages.
        states: Where it is saved.
        sanitiser: Clips and noises what leaves; None: as it is.
        say: Where lines of the site's own log go.
        record: Is given every message that leaves or arrives, as it travels within TLS; None: nobody is.
    """

    def __init__(
        self,
        run: bytes,
        terms: Terms,
        half: DiscriminatorHalf,
        transport: Transport,
        *,
        states: States | None = None,
        sanitiser: Sanitiser | None = None,
        say: Callable[[str], Any] = lambda line: None,
        record: Callable[[bytes], Any] = lambda data: None,
    ) -> None:
        self.run, self.terms, self.half, self.transport = run, terms, half, transport
        self.states, self.sanitiser, self.say, self.record = states or States(None), sanitiser, say, record
        self.round = 0
        self.done = False
        self.traffic = Traffic()
        self._session = 0
        self._fakes: Fakes | None = None
        self._last: bytes | None = None  # the feedback of the round before, should it not have arrived
        if self.states.rounds:
            self._load(self.states.rounds[0])
        else:
            self.save()

    def save(self) -> None:
        """Save the state between two rounds."""
        self.states.save(self.round, self.half.state_dict(), {"last": as_tensor(self._last)})

    def join(self) -> None:
        """Connect, or connect again, and agree on the round to go on from.

        Raises:
            Refused: The server does not accept the site.
            Unreachable: It could not be reached.
        """
        before = [self.round - 1] if self._last is not None else []
        rounds = dict.fromkeys([self.round, *before, *self.states.rounds])
        self._session, self._fakes = 0, None
        head, _ = self._exchange(Hello(self.terms, tuple(rounds)), Welcome)
        if head.round > self.terms.steps:
            raise Refused(f"the server goes on from round {head.round}, but there are {self.terms.steps}")
        self._session = head.session
        if head.round == self.round:
            self._last = None
        elif self._last is not None and head.round == self.round - 1:
            self._resend()
            return
        elif head.round in self.states.kept:
            self.say(f"goes back from round {self.round} to the saved round {head.round}, as the server does")
            self._load(head.round)
        else:
            self.say(
                f"the server is at round {head.round}, this site at {self.round}; the rounds between are lost here"
            )
            self.round, self._last = head.round, None
            self.half.load_state_dict(self.half.state_dict() | {"round": head.round})
        self._take(self._exchange(Ask(), Fakes, Done))

    def _resend(self) -> None:
        """Send the last feedback again, which the server has not seen: the same bytes, so nothing more is released."""
        assert self._last is not None
        _, answered = decode(self._last, self.run, self.terms, (Feedback,))
        self._exchange(Ask(), Fakes, number=self.round - 1)
        self._take(self._exchange(answered, Fakes, Done, number=self.round - 1))
        self._last = None

    def turn(self) -> None:
        """Make one round: learn from the images at hand, answer, and take the next ones.

        Raises:
            Refused: The server does not accept the answer.
            Unreachable: It could not be reached; :meth:`join` sends the answer again.
        """
        if self._fakes is None:
            self.join()
        if self.done:
            return
        assert self._fakes is not None
        values = self.half.answer(self._fakes.images, self._fakes.labels)
        if self.sanitiser is not None:
            values = self.sanitiser.release(values)
        feedback = Feedback(values)
        self._last = self._encoded(feedback, self.round)
        self._fakes, self.round = None, self.round + 1
        if self.round % self.terms.save_every == 0 or self.round == self.terms.steps:
            self.save()
        self._take(self._exchange(feedback, Fakes, Done, number=self.round - 1))

    def _take(self, received: tuple[Head, Message]) -> None:
        head, message = received
        if head.round != self.round:
            raise Refused(f"the server sent round {head.round}, this site is at round {self.round}")
        if isinstance(message, Done):
            self.done = True
        else:
            assert isinstance(message, Fakes)
            self._fakes = message

    def _exchange(self, message: Message, *expected: type, number: int | None = None) -> tuple[Head, Message]:
        data = self._encoded(message, self.round if number is None else number)
        self.record(data)
        self.traffic.count(data)
        try:
            answer = self.transport.send(data)
        except Stale as stale:
            raise Unreachable("the server was started anew") from stale
        self.record(answer)
        self.traffic.count(answer)
        try:
            head, found = decode(answer, self.run, self.terms, expected)
        except Refused as refusal:
            raise Refused(f"an answer of the server is not accepted: {refusal}") from refusal
        if self._session and head.session != self._session:
            raise Refused("an answer of the server belongs to another connection")
        return head, found

    def _encoded(self, message: Message, number: int) -> bytes:
        return encode(Head(self.run, self._session, number), message, self.terms)

    def _load(self, number: int) -> None:
        state = self.states.load(number)
        self.half.load_state_dict(state["half"])
        self.states.forget_after(number)
        self.round, self._last, self._fakes = number, as_bytes(state["last"]), None


def as_tensor(data: bytes | None) -> Tensor:
    """Return bytes as a saved state may hold them; None is as none."""
    return torch.from_numpy(np.frombuffer(data or b"", np.uint8).copy())


def as_bytes(data: Tensor) -> bytes | None:
    """Return what :func:`as_tensor` was given."""
    return data.numpy().tobytes() or None


class InProcess:
    """Carries messages to a hub in the same process, by the same bytes.

    Args:
        hub: Answers.
        site: The name that a certificate would say.
    """

    def __init__(self, hub: Any, site: str) -> None:
        self._hub, self._site = hub, site

    def send(self, data: bytes) -> bytes:
        """Return the hub's answer."""
        answer: bytes = self._hub.handle(self._site, data)
        return answer
