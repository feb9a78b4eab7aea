"""Proof of a step for whoever paid. Rule: nothing is opened before its key is out (docs/payment.md, rule 10).

What is asked for follows from the job's header and the receipt alone, so the same picture always shows the same states,
however often it is audited.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import asdict

from gpufair.protocol import auditing, limits, trace
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Audit, AuditAnswer, Envelope, JobHeader, StatePiece
from gpufair.protocol.messages.audit import Opening, Profile
from gpufair.provider.jobs.fetches import Fetches
from gpufair.provider.jobs.lookup import find_attempt
from gpufair.provider.jobs.pieces import PICTURE
from gpufair.provider.jobs.requests import is_known, receive, remember
from gpufair.provider.jobs.store import DeliveryDue, RequestRow
from gpufair.provider.jobs.traces import KeptTrace, Traces


class Audits:
    """Answers audits, within the bounds of what a lease may fetch."""

    def __init__(self, desk: Desk, store: RowStore, traces: Traces, fetches: Fetches) -> None:
        self._desk, self._store, self._traces, self._fetches = desk, store, traces, fetches

    async def answer(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """The signed answer, then the states that it opens, in pieces. Raises PeerError for whoever may not ask."""
        with self._store.read() as rows:
            signed = receive(rows, self._desk, request, Audit)
            self._check(rows, signed.doc)
        ask = signed.doc
        with self._fetches.one(ask.lease) as spend:
            kept = self._traces.open(ask.lease, ask.job, ask.picture)
            if kept is None:
                hint = "the oldest traces make room for new ones: audit soon"
                raise PeerError(Fault.UNKNOWN, "this picture's trace is not kept any more", hint=hint)
            answer = self._answered(signed, kept)
            yield answer.envelope
            for opening in answer.doc.openings:
                data = kept.state(opening.step - kept.first)
                spend(len(data))
                for offset in range(0, len(data), limits.CHUNK):
                    yield StatePiece(opening.step, offset, data[offset : offset + limits.CHUNK])

    def _check(self, rows: Rows, ask: Audit) -> None:
        """Refuse what was not ordered so, what is not paid, and what is too old."""
        attempt = find_attempt(rows, ask.lease, ask.job)
        committed = from_bytes(attempt.header, JobHeader).doc.audit_commitment
        if committed != auditing.commitment(ask.nonce):
            raise PeerError(Fault.NOT_ALLOWED, "the nonce is not the one that the job's header commits to")
        delivery = rows.get(DeliveryDue, lease=ask.lease, job=ask.job, picture=ask.picture, step=PICTURE)
        if delivery is None:
            raise PeerError(Fault.UNKNOWN, f"picture {ask.picture} of this job was not delivered")
        if not delivery.revealed:
            hint = "pay for it first: what is not paid is not proved"
            raise PeerError(Fault.NOT_ALLOWED, "this picture's key is not out", hint=hint)
        late_ms = self._desk.now_ms() - delivery.made_ms - limits.AUDIT_WINDOW_MS
        if late_ms > 0:
            hours = limits.AUDIT_WINDOW_MS // limits.HOUR
            raise PeerError(Fault.EXPIRED, f"a picture may be audited for {hours} hours; that was {late_ms} ms ago")

    def _answered(self, signed: Signed[Audit], kept: KeptTrace) -> Signed[AuditAnswer]:
        """The answer to this very request, recorded before it goes out."""
        ask, leaves = signed.doc, list(kept.leaves)
        with self._store.begin() as rows:
            if is_known(rows, signed):
                known = rows.get(RequestRow, signer=signed.issuer, id=ask.head.id)
                assert known is not None
                return from_bytes(known.answer, AuditAnswer)
            steps = len(leaves) - 1
            place = auditing.drawn(trace.root(leaves), ask.nonce, steps)
            opened = tuple(
                Opening(kept.first + one, len(kept.state(one)), leaves[one], tuple(trace.proof(leaves, one)))
                for one in auditing.to_open(place, steps)
            )
            head = self._desk.head(signed.issuer, parent=signed.id, expires_at_ms=limits.TIME_MAX_MS)
            profile = Profile(**asdict(kept.profile))
            answer = self._desk.sign(
                AuditAnswer(head, ask.lease, ask.job, ask.picture, kept.first + place, profile, opened)
            )
            remember(rows, signed, answer.bytes)
        return answer
