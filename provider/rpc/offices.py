"""What the gRPC edge needs from the rooms behind it. Rule: messages in, messages out; a refusal is a raised PeerError.

The offices are structural: a room implements one without importing this. Anything but PeerError that an office raises
is this node's own trouble, and no word of it leaves the node.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from typing import Protocol

from gpufair.protocol.addresses import Reach
from gpufair.protocol.messages import (
    Bodies,
    Chunk,
    Compare,
    Compared,
    Down,
    Envelope,
    KeyReveal,
    Pull,
    SearchAnswer,
    SearchRequest,
    StatePiece,
    Tell,
    Told,
    Up,
)

Send = Callable[[Down], Awaitable[None]]
"""Sends one message of an `Execute` stream; safe from several tasks."""


class DirectoryOffice(Protocol):
    """Who is there and what they sell."""

    async def record(self) -> Envelope:
        """The node's own record, renewed in time."""
        ...

    async def publish(self, document: Envelope, source: str, heard: Reach) -> tuple[int, bool]:
        """Take a node record or an offer: the highest sequence now held for its issuer, and whether it is this one.

        `source` is who answers for the room that it takes, `heard` how far away that is.
        """
        ...

    async def find_records(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        """A page of node records in the order of dids, and the `after` of the next page (empty: none)."""
        ...

    async def find_offers(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        """A page of offers, likewise."""
        ...

    async def search(self, asked: SearchRequest) -> SearchAnswer:
        """The best offers, and how many pass each filter."""
        ...

    async def find_evidence(self, dids: tuple[str, ...], after: str) -> tuple[Sequence[Envelope], str]:
        """A page of evidence against these dids, in the order of places."""
        ...

    async def differ(self, asked: Compare) -> Compared:
        """Where the documents here differ from the asker's."""
        ...

    async def hear(self, told: Tell) -> Told:
        """Somebody says that it has documents: how many of them are news."""
        ...

    async def give(self, asked: Pull) -> Bodies:
        """Documents by their places, as many as fit into one message."""
        ...


class MarketOffice(Protocol):
    """Where leases are made and jobs run."""

    async def place(self, bid: Envelope, source: str) -> Envelope:
        """Bid -> lease (the same payload, signed by both) | Decline. `source` is the address that it came from."""
        ...

    async def fund(self, hold: Envelope) -> None:
        """Take the ledger's hold for a lease."""
        ...

    async def execute(self, up: AsyncIterator[Up], send: Send) -> None:
        """One stream. Returning ends it; it is cancelled when the client goes; `up` raises PeerError on bad bytes."""
        ...

    def fetch(self, request: Envelope) -> AsyncIterator[Envelope | Chunk | KeyReveal]:
        """A delivery again: its receipt, its ciphertext, and its key if that is due."""
        ...

    def audit(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """The proof of one step of a paid delivery: the signed answer, then the states that it opens."""
        ...


class LedgerOffice(Protocol):
    """Double-entry accounts."""

    async def submit(self, order: Envelope) -> Envelope:
        """HoldOrder, Capture, Pay, Issue or Redeem -> the ledger's signed answer or a Decline."""
        ...

    async def ask(self, query: Envelope) -> Envelope:
        """Query -> Balance | HoldState | Decline."""
        ...

    async def journal(self, query: Envelope) -> tuple[Sequence[bytes], Envelope]:
        """Events from the query's `since` on, as many as fit into one message, and the signed head."""
        ...
