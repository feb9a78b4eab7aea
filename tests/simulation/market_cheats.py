"""Nodes that lie in the gossip. Rule: each signs with its own keys only, and counts its lies.

What they would have others believe: forged bodies, what nobody asked for, documents of others with other words, and a
flood of identities that are made for nothing.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from actor import signer
from market_selling import SellerActor, certificate

from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Bodies, Compared, Envelope, Leaf, NodeRecord, Pull, Role
from gpufair.provider.directory import documents


class LyingNode(SellerActor):
    """A node whose answers to other directories are changed on their way out."""

    honest = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.lies = 0

    def _asked(self, request: Any) -> Any:
        reply = super()._asked(request)
        lie = self.lie(request, reply)
        self.lies += lie is not reply
        return lie

    def lie(self, _request: Any, reply: Any) -> Any:
        """What is answered instead."""
        return reply


class Forger(LyingNode):
    """Changes what others have signed: bytes, signatures, issuers."""

    def lie(self, request: Any, reply: Any) -> Any:
        if not isinstance(request, Pull) or not reply.documents:
            return reply
        return Bodies(tuple(self._forged(one) for one in reply.documents))

    def _forged(self, document: Envelope) -> Envelope:
        doc = documents.read(document).signed.doc
        match self.sim.rng.randrange(3):
            case 0:
                return replace(document, payload=document.payload[:-1] + bytes([document.payload[-1] ^ 1]))
            case 1:
                newer = self.desk.sign(replace(doc, head=replace(doc.head, issuer=self.desk.did)))
                return replace(newer.envelope, payload=document.payload)
        own = Desk(signer("stranger"), self, self)
        return own.sign(replace(doc, head=replace(doc.head, issuer=own.did))).envelope


class Promiser(LyingNode):
    """Says that it has newer documents of everybody's than there are, and gives what it was not asked for."""

    def lie(self, request: Any, reply: Any) -> Any:
        if isinstance(reply, Compared) and reply.leaves:
            newer = tuple(
                Leaf(leaf.prefix, tuple(replace(one, sequence=one.sequence + 10**6) for one in leaf.headings))
                for leaf in reply.leaves
            )
            return replace(reply, leaves=newer)
        if isinstance(request, Pull):
            return Bodies((self.broadcasts.record().envelope,))
        return reply


class Crowd(LyingNode):
    """Makes identities for nothing, and has them in its directory."""

    COUNT = 60

    def open_directory(self) -> None:
        super().open_directory()
        for number in range(self.COUNT):
            desk = Desk(signer(f"{self.name}-sybil-{number}"), self, self)
            record = NodeRecord(
                desk.broadcast_head(), self.now_ms(), (Role.DIRECTORY,), (f"10.77.{number}.1:7700",), certificate(),
                bytes(32), "nobody",
            )  # fmt: skip
            self.directory.publish(desk.sign(record).envelope)
            self.lies += 1


LIARS = (Forger, Promiser, Crowd)
