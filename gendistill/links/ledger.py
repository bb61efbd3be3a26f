"""What was sent: bytes and messages by link, role and kind, counted by the process that sends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

PARTS = ("link", "role", "kind")
COUNTS = ("bytes", "messages")
OF_A_CALL = frozenset({"control", "description", "metrics", "state"})
"""Kinds that depend on how often a run was continued and saved; the others are those of its steps."""


@dataclass
class Count:
    """How much was sent.

    Attributes:
        bytes: Of the tensors themselves, without what the transport adds.
        messages: How many pieces.
    """

    bytes: int = 0
    messages: int = 0


class Ledger:
    """Counts of what this process has sent.

    A message of n bytes between two processes counts n where it is sent. An exchange among P processes counts as the
    ring that gloo and nccl make of it: every process sends all but one of P pieces twice, together 2 (P - 1) n.
    """

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], Count] = {}

    def add(self, link: str, role: str, kind: str, size: int, messages: int = 1) -> None:
        """Count what is sent.

        Args:
            link: Between whom, such as ``pair 0``.
            role: Who sends: ``generator``, ``discriminator``, ``server`` or ``process``.
            kind: What it is, such as ``fakes``.
            size: Bytes.
            messages: Pieces.
        """
        count = self._counts.setdefault((link, role, kind), Count())
        count.bytes += size
        count.messages += messages

    def rows(self) -> list[dict[str, Any]]:
        """Return a row for each link, role and kind, sorted."""
        return [
            dict(zip(PARTS, parts, strict=True)) | {"bytes": count.bytes, "messages": count.messages}
            for parts, count in sorted(self._counts.items())
        ]

    def take(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Add what was counted before, or by others."""
        for row in rows:
            self.add(str(row["link"]), str(row["role"]), str(row["kind"]), int(row["bytes"]), int(row["messages"]))


def of_steps(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that are the same however often a run was continued."""
    return [dict(row) for row in rows if row["kind"] not in OF_A_CALL]


def together(ledgers: Iterable[Iterable[Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """Return the rows of several processes' ledgers as those of one."""
    total = Ledger()
    total.take(row for rows in ledgers for row in rows)
    return total.rows()


def total(rows: Iterable[Mapping[str, Any]], what: str = "bytes", **only: str) -> int:
    """Return a sum over rows.

    Args:
        rows: Of a ledger.
        what: ``bytes`` or ``messages``.
        **only: Parts of a row that must be so, such as ``kind="fakes"``.
    """
    return sum(int(row[what]) for row in rows if all(row[part] == value for part, value in only.items()))


def ring(elements: int, width: int, members: int, place: int) -> int:
    """Return the bytes that one member of a ring sends when all of them sum a tensor.

    Args:
        elements: Of the tensor.
        width: Bytes of an element.
        members: How many there are.
        place: The member's number.
    """
    pieces = [elements // members + (piece < elements % members) for piece in range(members)]
    return width * (2 * elements - pieces[(place + 1) % members] - pieces[(place + 2) % members])
