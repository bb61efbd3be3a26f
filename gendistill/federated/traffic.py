"""What travelled: messages and bytes of each kind, counted where they are made and where they arrive."""

from __future__ import annotations

from collections import Counter
from typing import Any

from gendistill.federated.messages import HEAD, KINDS


class Traffic:
    """A ledger of messages.

    Attributes:
        messages: Number of each kind.
        bytes: Bytes of each kind, heads included, those of the transport (TLS, HTTP/2) not.
        refused: Messages that were not accepted.
    """

    def __init__(self) -> None:
        self.messages: Counter[str] = Counter()
        self.bytes: Counter[str] = Counter()
        self.refused = 0

    def count(self, data: bytes) -> None:
        """Count a message."""
        kind = data[5] if len(data) >= HEAD.size else 0
        name = KINDS[kind].__name__.lower() if kind in KINDS else "unknown"
        self.messages[name] += 1
        self.bytes[name] += len(data)

    @property
    def total(self) -> int:
        """Bytes of all messages."""
        return sum(self.bytes.values())

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        kinds = {name: {"messages": self.messages[name], "bytes": self.bytes[name]} for name in sorted(self.messages)}
        return {"bytes": self.total, "messages": sum(self.messages.values()), "refused": self.refused, "kinds": kinds}

    def load(self, known: dict[str, Any]) -> None:
        """Go on from what :meth:`to_dict` returned."""
        self.refused = int(known["refused"])
        self.messages = Counter({name: int(kind["messages"]) for name, kind in known["kinds"].items()})
        self.bytes = Counter({name: int(kind["bytes"]) for name, kind in known["kinds"].items()})
