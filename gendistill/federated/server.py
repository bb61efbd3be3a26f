"""The server's part of the protocol: every site's generator, and what is accepted of each site.

Sites do not wait for each other: each has a generator of its own, at a round of its own. Of what a site sends nothing
is believed: who it is says its certificate, and its messages are read by :mod:`gendistill.federated.messages`.
"""

from __future__ import annotations

import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from gendistill.errors import GendistillError
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
from gendistill.federated.sides import GeneratorHalf
from gendistill.federated.states import States
from gendistill.federated.traffic import Traffic
from gendistill.visible import visible

LINES = 20
"""Refusals of one site that are logged one by one."""


@dataclass
class Seat:
    """What the server keeps of a site.

    Attributes:
        half: Its generator.
        states: Where that is saved.
        round: The round to be answered.
        session: Of the connection that is accepted; 0: none yet.
        reply: The images of the round, as they were sent.
        failed: Why it goes no further; None: nothing is wrong.
    """

    half: GeneratorHalf
    states: States = field(default_factory=lambda: States(None))
    round: int = 0
    session: int = 0
    reply: bytes | None = None
    failed: str | None = None
    traffic: Traffic = field(default_factory=Traffic)


class Hub:
    """Answers sites, one message at a time.

    Args:
        run: 16 bytes that name the run.
        terms: What sites must agree to.
        seats: What is kept of each site, by name.
        say: Where lines of the log go.
    """

    def __init__(self, run: bytes, terms: Terms, seats: Mapping[str, Seat], say: Callable[[str], Any]) -> None:
        self.run, self.terms, self.seats, self._say = run, terms, dict(seats), say
        self._lock = threading.Lock()
        self._refusals: Counter[str] = Counter()
        self._changed = threading.Condition()
        for seat in self.seats.values():
            if seat.states.rounds:
                self._load(seat, seat.states.rounds[0])
            else:
                seat.states.save(0, seat.half.state_dict(), {"traffic": seat.traffic.to_dict()})

    # -- what a transport calls ---------------------------------------------------------------------------------------

    def handle(self, site: str, data: bytes) -> bytes:
        """Answer a message.

        Args:
            site: Who sent it, as its certificate says.
            data: The message.

        Returns:
            The answer.

        Raises:
            Refused: The message is not accepted, for the reason that the sentence gives; nothing has changed.
        """
        seat = self.seats.get(site)
        try:
            if seat is None:
                raise Refused(f"there is no site '{visible(site, 60)}' in this run")
            with self._lock:  # one computation at a time; who is slow is slow elsewhere
                reply = self._answer(site, seat, data)
                seat.traffic.count(data)
                seat.traffic.count(reply)
        except Stale:
            raise
        except Refused as refusal:
            self.refuse(site, str(refusal))
            raise
        with self._changed:
            self._changed.notify_all()
        return reply

    def refuse(self, site: str, why: str) -> None:
        """Log that something was not accepted, in one line."""
        self._refusals[site] += 1
        if (seat := self.seats.get(site)) is not None:
            seat.traffic.refused += 1
        count = self._refusals[site]
        if count <= LINES:
            more = "; further refusals of this site are counted and not logged" if count == LINES else ""
            self._say(f"refused a message of site '{visible(site, 60)}': {why}{more}")

    @property
    def finished(self) -> bool:
        """Whether no site has anything left to do."""
        return all(seat.failed or seat.round >= self.terms.steps for seat in self.seats.values())

    def wait(self, seconds: float) -> bool:
        """Wait until a message was answered; return whether all is finished."""
        with self._changed:
            if not self.finished:
                self._changed.wait(seconds)
        return self.finished

    def save(self) -> None:
        """Save the state of every site, between two rounds."""
        with self._lock:
            for seat in self.seats.values():
                if not seat.failed:
                    self._save(seat)

    # -- one message --------------------------------------------------------------------------------------------------

    def _answer(self, site: str, seat: Seat, data: bytes) -> bytes:
        head, message = decode(data, self.run, self.terms, (Hello, Ask, Feedback))
        if seat.failed:
            raise Refused(f"its training has ended: {seat.failed}")
        if isinstance(message, Hello):
            return self._join(site, seat, message)
        if not seat.session:
            raise Stale("the server was started anew; join again")
        if head.session != seat.session:
            raise Refused("it belongs to an earlier connection; another process has joined as this site since")
        if isinstance(message, Feedback):
            self._in_turn(seat, head)
            self._learn(site, seat, message)
        elif head.round != seat.round:
            raise Refused(f"it asks for round {head.round}, the site is at round {seat.round}")
        return self._images(seat)

    def _in_turn(self, seat: Seat, head: Head) -> None:
        if head.round < seat.round:
            raise Refused(f"it answers round {head.round} once more (replayed); the site is at round {seat.round}")
        if head.round > seat.round or seat.reply is None:
            raise Refused(f"it answers round {head.round} out of order; the site is at round {seat.round}")
        if seat.round >= self.terms.steps:
            raise Refused("all rounds of this site are made")

    def _join(self, site: str, seat: Seat, hello: Hello) -> bytes:
        if differences := hello.terms.differences(self.terms):
            raise Refused(
                f"its settings are others than the server's: {'; '.join(differences)} at the site (wanted by it); give "
                "both the same config"
            )
        live = seat.round
        shared = [number for number in hello.rounds if number == live or number in seat.states.kept]
        chosen = max(shared, default=live)
        if chosen != live:
            self._load(seat, chosen)
        seat.session, seat.reply = int.from_bytes(os.urandom(8), "little") or 1, None
        if not shared:
            self._say(
                f"site '{site}' joined without a state of round {live}; its discriminator goes on from what it has"
            )
        elif chosen != live:
            self._say(f"site '{site}' joined; both go back from round {live} to the saved round {chosen}")
        else:
            self._say(f"site '{site}' joined at round {chosen} of {self.terms.steps}")
        return self._encode(seat, Welcome())

    def _images(self, seat: Seat) -> bytes:
        if seat.round >= self.terms.steps:
            return self._encode(seat, Done())
        if seat.reply is None:
            images, labels = seat.half.fakes()
            limit = self.terms.limit
            seat.reply = self._encode(seat, Fakes(images.clamp(-limit, limit), labels))
        return seat.reply

    def _learn(self, site: str, seat: Seat, feedback: Feedback) -> None:
        try:
            seat.half.learn(feedback.values)
        except GendistillError as error:  # one site's generator; the others' go on
            seat.failed = str(error)
            raise Refused(f"its generator stops: {error}") from error
        seat.round, seat.reply = seat.round + 1, None
        if seat.round % self.terms.save_every == 0 or seat.round == self.terms.steps:
            self._save(seat)
            self._say(f"site '{site}' finished round {seat.round} of {self.terms.steps}")

    def _save(self, seat: Seat) -> None:
        seat.states.save(seat.round, seat.half.state_dict(), {"traffic": seat.traffic.to_dict()})

    def _load(self, seat: Seat, number: int) -> None:
        state = seat.states.load(number)
        seat.half.load_state_dict(state["half"])
        seat.states.forget_after(number)
        seat.round, seat.reply = number, None
        if not seat.session:  # started anew; what travelled in vain meanwhile has travelled
            seat.traffic.load(state["traffic"])

    def _encode(self, seat: Seat, message: Message) -> bytes:
        return encode(Head(self.run, seat.session, seat.round), message, self.terms)
