"""Asking a provider for its proof. Rule: what it signed is told apart from what it merely sent.

A signed answer that is wrong convicts its signer. Bytes that are no answer, or not those behind a signed leaf, prove
nothing to anybody: that is no answer at all.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import auditing
from gpufair.protocol.edge.peers import MarketPeer
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Audit, AuditAnswer, Envelope
from gpufair.protocol.messages.audit import State


@dataclass(frozen=True, slots=True)
class Answered:
    """A provider's signed answer, and the states behind the leaves that it opens, in their order."""

    answer: Signed[AuditAnswer]
    states: tuple[State, ...]


async def ask(desk: Desk, market: MarketPeer, request: Signed[Audit], provider: str) -> Answered:
    """Ask. Raises PeerUnreachable, RemoteRefusal, and PeerError for what is no answer."""
    answer: Signed[AuditAnswer] | None = None
    came: dict[int, bytearray] = {}
    async for part in market.audit_delivery(request.envelope):
        if isinstance(part, Envelope):
            if answer is not None:
                raise PeerError(Fault.MALFORMED, "two answers to one audit")
            answer = desk.receive_recorded(part, AuditAnswer)
            if answer.issuer != provider or answer.doc.head.parent != request.id:
                raise PeerError(Fault.BAD_SIGNATURE, "the answer is not the provider's to this audit")
            lengths = {opening.step: opening.length for opening in answer.doc.openings}
            continue
        if answer is None or part.step not in lengths:
            raise PeerError(Fault.MALFORMED, f"bytes of state {part.step}, which the answer does not open")
        state = came.setdefault(part.step, bytearray())
        if part.offset != len(state) or len(state) + len(part.data) > lengths[part.step]:
            raise PeerError(Fault.MALFORMED, f"bytes of state {part.step} out of their order or beyond its length")
        state += part.data
    if answer is None:
        raise PeerError(Fault.MALFORMED, "an answer to an audit without a word")
    states = tuple(State(step, bytes(data)) for step, data in sorted(came.items()) if data)
    return Answered(answer, states)


def is_whole(answer: AuditAnswer, states: tuple[State, ...]) -> bool:
    """Whether just the states that an answer opens are here, each the one that its leaf commits to."""
    have = {state.step: state for state in states}
    opened = {opening.step: opening for opening in answer.openings}
    return have.keys() == opened.keys() and all(auditing.is_behind(opened[step], have[step]) for step in opened)
