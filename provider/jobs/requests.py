"""What names a lease, on its way in. Rule: checked cheapest first, the signature last; an id means one document.

The order is rule 23's: size, type, audience, time, a lease that we know and whose party speaks, then the signature. An
id that was seen before with the same bytes is not asked for its time again, and has no second effect (rule 19).
"""

from __future__ import annotations

from typing import TypeVar

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import D, Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    Audit,
    Cancel,
    Captured,
    Decline,
    Document,
    Envelope,
    Fetch,
    Finish,
    Hold,
    Reserve,
    StreamOpen,
)
from gpufair.provider.jobs.lookup import find
from gpufair.provider.jobs.store import LeaseRow, OutboxRow, RequestRow

R = TypeVar("R", Cancel, Finish, Fetch, StreamOpen, Audit, Reserve)
A = TypeVar("A", Captured, Decline)


def receive(rows: Rows, desk: Desk, document: Envelope, kind: type[R], *, stream: bytes = b"") -> Signed[R]:
    """Check a request of a lease's client; `stream` is the lease of the stream that it came on, if it came on one."""
    signed = dsse.read(document, kind)
    dsse.check_audience(signed.doc.head, desk.did)
    if not is_known(rows, signed):
        dsse.check_time(signed.doc.head, desk.now_ms(), lifetime_max_ms=limits.COMMAND_TTL_MS)
    check_stream(stream, signed.doc.lease)
    if signed.issuer != find(rows, signed.doc.lease).client:
        raise PeerError(Fault.NOT_ALLOWED, "only the lease's client may ask for this")
    return dsse.authenticate(signed)


def check_stream(stream: bytes, named: bytes) -> None:
    """Refuse an order that names another lease than its stream's."""
    if stream and named != stream:
        raise PeerError(Fault.NOT_ALLOWED, "the order is for another lease than this stream's")


def is_known(rows: Rows, signed: Signed[D]) -> bool:
    """Whether this request was taken before. Raises PeerError if its id was another document's."""
    known = rows.get(RequestRow, signer=signed.issuer, id=signed.doc.head.id)
    if known is not None and known.document != signed.id:
        raise PeerError(Fault.REPLAYED_DIFFERENT, "this id belongs to another request", hint="make a new id")
    return known is not None


def remember(rows: Rows, signed: Signed[Document], answer: bytes = b"", *, until_ms: int = 0) -> None:
    """Record a request that was checked, with its answer if it has one, for as long as its time check would pass it.

    Or until later, should it be asked for again then.
    """
    head = signed.doc.head
    forget_ms = max(head.expires_at_ms, until_ms) + limits.SKEW_MS
    rows.insert(RequestRow(head.issuer, head.id, signed.id, answer, forget_ms))


def receive_hold(rows: Rows, desk: Desk, document: Envelope) -> tuple[Signed[Hold], LeaseRow]:
    """Check a ledger's hold for a lease of ours. It may have been signed long ago, not in the future (rule 12)."""
    signed = dsse.read(document, Hold)
    _check_answer(signed, desk)
    lease = find(rows, signed.doc.lease)
    if signed.issuer != lease.ledger:
        raise PeerError(Fault.BAD_SIGNATURE, "the hold is not signed by the lease's ledger")
    return dsse.authenticate(signed), lease


def receive_answer(desk: Desk, order: OutboxRow, document: Envelope, kind: type[A]) -> Signed[A]:
    """Check a ledger's answer to an order of ours, which it may have recorded long ago."""
    signed = dsse.read(document, kind)
    _check_answer(signed, desk)
    if signed.issuer != order.ledger or signed.doc.head.parent != order.id:
        raise PeerError(Fault.BAD_SIGNATURE, "the answer is not the ledger's to this order")
    return dsse.authenticate(signed)


def _check_answer(signed: Signed[Document], desk: Desk) -> None:
    dsse.check_audience(signed.doc.head, desk.did)
    dsse.check_issued(signed.doc.head, desk.now_ms())
