"""Captures, from the commit that makes them to the ledger's answer. Rule: each is in the outbox until it is answered.

A lease has one final capture for ever (the database refuses a second), and any number before it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, field, replace

from gpufair.protocol import limits, payment, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LeaseEvent, LeaseState
from gpufair.protocol.messages import Capture, Captured, Decline, Envelope, Voucher
from gpufair.protocol.payment import Promise
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.capacity import Capacity
from gpufair.provider.jobs.effects import Effect, Post
from gpufair.provider.jobs.lookup import after, find
from gpufair.provider.jobs.requests import receive_answer
from gpufair.provider.jobs.store import DeliveryRow, LeaseRow, OutboxRow

log = logging.getLogger(__name__)

GIVEN_UP = b"-"
"""In an order's `answer`: no ledger answered it while it could."""


@dataclass(frozen=True)
class Policy:
    """What an owner is ready to wait for and to risk, in micro-credits, and for how many at a time."""

    capture_at: int
    """Capture before the end as soon as this much waits."""
    unsecured: int = limits.AMOUNT_MAX
    """The windows of all funded leases together: what all strangers can owe at a time (rule 22)."""
    capacity: Capacity = field(default_factory=Capacity)
    """For how many jobs there is room."""


class Captures:
    """What is claimed from ledgers."""

    def __init__(self, desk: Desk, store: RowStore, policy: Policy) -> None:
        self._desk = desk
        self._store = store
        self._policy = policy

    def write(self, rows: Rows, account: Account, *, final: bool) -> None:
        """Put a capture of the kept voucher, with every key for it, into the outbox."""
        lease = account.lease
        # It must reach the ledger whenever that is up again. A ledger that was down when the hold's time was over still
        # pays for a while after its start (rule 12), so this lives as long as any ledger lets it.
        head = self._desk.head(lease.ledger, parent=lease.id, expires_at_ms=self._desk.now_ms() + limits.HOLD_MAX_MS)
        order = self._desk.sign(Capture(head, lease.id, lease.kept, account.keys if lease.kept else (), final))
        rows.insert(OutboxRow(order.id, lease.id, lease.ledger, order.bytes, final, head.issued_at_ms, b""))

    def write_if_much(self, rows: Rows, account: Account) -> list[Effect]:
        """Capture in between once enough has gathered, unless one is under way (rule 12)."""
        waiting = rows.all(OutboxRow, lease=account.lease.id, answer=b"")
        if account.uncaptured < self._policy.capture_at or waiting:
            return []
        self.write(rows, account, final=False)
        return [Post()]

    def outbox(self) -> list[OutboxRow]:
        """Orders that no ledger has answered yet, oldest first."""
        with self._store.read() as rows:
            return rows.all(OutboxRow, order="created_ms", answer=b"")

    def captured(self, order: OutboxRow, answer: Envelope) -> None:
        """Record the ledger's answer to a capture, checked; a final one settles the lease and frees what it kept."""
        with self._store.begin() as rows:
            lease = find(rows, order.lease)
            if answer.payload_type == Captured.TYPE:
                signed = receive_answer(self._desk, order, answer, Captured)
                if signed.doc.lease != lease.id:
                    raise PeerError(Fault.MALFORMED, "the answer is about another lease")
                if signed.doc.captured > lease.hold:
                    raise PeerError(Fault.MALFORMED, "the ledger says it paid more than it held")
                _compare(order, lease, signed.doc.captured)
                lease = replace(lease, captured=max(lease.captured, signed.doc.captured))
            else:
                refusal = receive_answer(self._desk, order, answer, Decline)
                # Harmless where a later, final capture overtook this one; else the ledger's signed word why not.
                log.warning("capture refused by the ledger: %s", "; ".join(map(str, refusal.doc.reasons)))
            rows.save(replace(order, answer=wire.encode(answer)))
            rows.save(_settled(rows, lease) if order.final else lease)

    def give_up(self, order: OutboxRow, now_ms: int) -> bool:
        """Forget an order that is too old for any ledger, if it is. Its lease is settled with what came."""
        if from_bytes(order.envelope, Capture).doc.head.expires_at_ms > now_ms:
            return False
        log.error("capture %s given up: no ledger answered while it could", order.id.hex()[:12])
        with self._store.begin() as rows:
            lease = find(rows, order.lease)
            rows.save(replace(order, answer=GIVEN_UP))
            if order.final:
                rows.save(_settled(rows, lease))
        return True


def _compare(order: OutboxRow, lease: LeaseRow, captured: int) -> None:
    """Say so if the ledger has paid less than the voucher is worth; its signed answer is kept beside our order."""
    capture = from_bytes(order.envelope, Capture).doc
    promise = Promise.of(from_bytes(capture.voucher, Voucher).doc) if capture.voucher else payment.NOTHING
    owed = min(payment.worth(promise, capture.keys), lease.hold)
    if captured < owed:
        log.error("ledger %s paid %d of %d for lease %s", lease.ledger, captured, owed, lease.id.hex()[:12])


def _settled(rows: Rows, lease: LeaseRow) -> LeaseRow:
    """The lease once its hold is closed: ciphertexts have done their work (rule 8)."""
    if lease.state != LeaseState.CLOSING:
        return lease
    rows.change(DeliveryRow, {"lease": lease.id}, cipher=b"", leaves=b"")
    return after(lease, LeaseEvent.SETTLE)
