"""A job's life at the provider. Rule: an attempt, a delivery and its key are on disk before a byte of them goes out."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass, replace

from gpufair.protocol import limits, payment, sealing, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import ATTEMPT, AttemptEvent, AttemptState
from gpufair.protocol.messages import (
    Aead,
    Answer,
    Body,
    Cancel,
    Decline,
    Envelope,
    Goods,
    JobAcceptance,
    JobEnded,
    JobHeader,
    Outcome,
    Reason,
    ReasonCode,
    Receipt,
)
from gpufair.protocol.pricing import is_first, quote
from gpufair.provider.jobs.account import Account, startable
from gpufair.provider.jobs.bodies import Pieces, WrongBodyError
from gpufair.provider.jobs.effects import Effect, Enqueue, Send, Stop
from gpufair.provider.jobs.leases import settle_attempts
from gpufair.provider.jobs.lookup import find, find_attempt, find_delivery
from gpufair.provider.jobs.objections import Admission, lateness, objections
from gpufair.provider.jobs.requests import is_known, receive, remember
from gpufair.provider.jobs.resend import delivery_messages, reattach
from gpufair.provider.jobs.store import AttemptRow, AttemptTime, BodyRow, DeliveryRow, LeaseRow, RequestRow

log = logging.getLogger(__name__)

WAITING = (AttemptState.ACCEPTED, AttemptState.QUEUED, AttemptState.RUNNING)

_EVENTS = {
    Outcome.REJECTED: AttemptEvent.REJECT,
    Outcome.FAILED: AttemptEvent.FAIL,
    Outcome.CANCELLED: AttemptEvent.CANCEL,
    Outcome.RECLAIMED: AttemptEvent.RECLAIM,
    Outcome.PREEMPTED: AttemptEvent.PREEMPT,
    Outcome.EXPIRED: AttemptEvent.EXPIRE,
}
_CREDITED = {Outcome.REJECTED, Outcome.FAILED, Outcome.RECLAIMED, Outcome.PREEMPTED}
"""Ends that the provider answers for: the job's up-front lines go back against what is due next (rule 5)."""


@dataclass(frozen=True, slots=True)
class Made:
    """A finished picture as the worker handed it over, checked: PNG bytes, trace leaves (32 bytes each), profile."""

    png: bytes
    leaves: tuple[bytes, ...]
    trace_root: bytes
    profile: bytes


class Attempts:
    """The attempts of one provider."""

    def __init__(
        self, desk: Desk, store: RowStore, admission: Admission, *, unpaid_ms: int = limits.WINDOW_TIMEOUT_MS
    ) -> None:
        self._desk = desk
        self._store = store
        self._admission = admission
        self._unpaid_ms = unpaid_ms
        self._since_ms = desk.now_ms()
        """Nobody could pay us before."""

    # --- taking a job --------------------------------------------------------------------------------------------

    def take(self, signed: Signed[JobHeader]) -> list[Effect]:
        """Answer a job with a signed acceptance or decline. The same bytes re-attach; other bytes are refused."""
        header = signed.doc
        with self._store.begin() as rows:
            lease = find(rows, header.lease)
            if signed.issuer != lease.client:
                raise PeerError(Fault.BAD_SIGNATURE, "the job is not signed by the lease's client")
            known = rows.get(AttemptRow, lease=lease.id, job=header.job)
            request = rows.get(RequestRow, signer=signed.issuer, id=header.head.id)
            before = request.document if request is not None else known.document if known is not None else None
            if before is not None and before != signed.id:
                raise PeerError(Fault.REPLAYED_DIFFERENT, "this id belongs to another job", hint="make a new id")
            if known is None or known.document != signed.id:
                if request is not None:
                    answer = wire.decode(Envelope, request.answer)
                else:
                    answer = self._answer(rows, Account.load(rows, lease), signed)
                return [Send(lease.id, Answer(header.job, answer))]
            return reattach(rows, lease, header.job)

    def _answer(self, rows: Rows, account: Account, signed: Signed[JobHeader]) -> Envelope:
        header, now = signed.doc, self._desk.now_ms()
        self._desk.receive(signed.envelope, JobHeader)
        first = is_first(account.bid.sheet, account.jobs, account.dearest_upfront)
        reasons = objections(rows, account, header, self._admission, first=first)
        if (late := self._late(account)) is not None:
            reasons = (late, *reasons)
        if reasons:
            head = self._desk.head(signed.issuer, parent=signed.id)
            refusal = self._desk.sign(Decline(head, reasons[: limits.REASONS_MAX]))
            remember(rows, signed, refusal.bytes)
            return refusal.envelope
        price = quote(header.spec, account.bid.sheet, first=first)
        attempt = self._desk.random.bytes(16)
        head = self._desk.head(signed.issuer, parent=signed.id, expires_at_ms=account.lease.expires_ms)
        terms = JobAcceptance(head, header.lease, header.job, attempt, price.upfront, price.total)
        acceptance = self._desk.sign(terms)
        rows.insert(
            AttemptRow(
                id=attempt, lease=header.lease, job=header.job, document=signed.id, header=signed.bytes,
                answer=acceptance.bytes, state=AttemptState.ACCEPTED, upfront=price.upfront, increment=price.increment,
                count=price.count, accepted_ms=now, deadline_ms=now + header.deadline_ms, ended=b"", bodied=False,
            )
        )  # fmt: skip
        remember(rows, signed, acceptance.bytes)
        rows.change(LeaseRow, {"id": header.lease}, active_ms=now)
        return acceptance.envelope

    def body(self, lease_id: bytes, piece: Body, pieces: Pieces) -> list[Effect]:
        """Take a piece of an accepted job's sealed body. With the last one, and its up-front lines paid, it is queued.

        `pieces` is what came before on the same stream.
        """
        with self._store.read() as rows:
            attempt = find_attempt(rows, lease_id, piece.job)
        if attempt.state != AttemptState.ACCEPTED or attempt.bodied:
            pieces.drop(piece.job)
            return []
        try:
            sealed = pieces.take(piece, from_bytes(attempt.header, JobHeader).doc)
        except WrongBodyError as error:
            return self.end(attempt.id, Outcome.REJECTED, error.reason)
        if sealed is None:
            return []
        # Nobody is told that it came. A power cut before the attempt starts leaves it accepted, and its client, which
        # attaches again, sends the body again.
        with self._store.note() as rows:
            rows.insert(BodyRow(attempt.id, lease_id, sealed))
            rows.change(AttemptRow, {"id": attempt.id}, bodied=True)
            account = Account.load(rows, find(rows, lease_id))
            return [Enqueue(queued) for queued in settle_attempts(rows, account)]

    # --- doing it ------------------------------------------------------------------------------------------------

    def start(self, attempt_id: bytes) -> AttemptRow | None:
        """The attempt goes to a worker now. None if it must wait for its lease's window (rule 3), or has ended."""
        # On disk before the first trace leaf goes out: run again after a power cut, it might give other leaves.
        with self._store.begin() as rows:
            attempt = startable(rows, attempt_id)
            if attempt is None:
                return None
            started = ATTEMPT.after(AttemptState.QUEUED, AttemptEvent.START)
            rows.change(AttemptRow, {"id": attempt_id}, state=started)
            return replace(attempt, state=started)

    def may_start(self, attempt_id: bytes) -> bool:
        """Whether `start` would let it go now."""
        with self._store.read() as rows:
            return startable(rows, attempt_id) is not None

    def has_room(self, attempt: AttemptRow) -> bool:
        """Whether the window allows the next picture of an attempt at work (rule 3)."""
        with self._store.read() as rows:
            return Account.load(rows, find(rows, attempt.lease)).has_room(attempt.increment)

    def _late(self, account: Account) -> Reason | None:
        now = self._desk.now_ms()
        return lateness(account, now_ms=now, since_ms=self._since_ms, patience_ms=self._unpaid_ms)

    def delivered(self, attempt_id: bytes, picture: int, made: Made) -> list[Effect]:
        """A picture is finished: encrypt it under a fresh key, sign its receipt, commit, send. Once a picture."""
        with self._store.begin() as rows:
            attempt = rows.get(AttemptRow, id=attempt_id)
            if attempt is None or attempt.state != AttemptState.RUNNING:
                return []
            account = Account.load(rows, find(rows, attempt.lease))
            delivery = self._delivery(account, attempt, picture, made)
            rows.insert(delivery)
            rows.change(LeaseRow, {"id": attempt.lease}, active_ms=delivery.made_ms)
            if picture + 1 == attempt.count:
                done = ATTEMPT.after(AttemptState.RUNNING, AttemptEvent.DELIVER)
                rows.change(AttemptRow, {"id": attempt_id}, state=done)
                rows.delete(BodyRow, attempt=attempt_id)
        return [Send(delivery.lease, message) for message in delivery_messages(delivery)]

    def _delivery(self, account: Account, attempt: AttemptRow, picture: int, made: Made) -> DeliveryRow:
        header = from_bytes(attempt.header, JobHeader)
        key = self._desk.random.bytes(limits.KEY_BYTES)
        cipher = sealing.encrypt_output(made.png, key)
        lock = payment.hashlock(key)
        receipt = Receipt(
            head=self._desk.head(BROADCAST, parent=header.id, expires_at_ms=limits.TIME_MAX_MS),
            lease=attempt.lease, job=attempt.job, attempt=attempt.id, goods=Goods.PICTURE, picture=picture,
            first_step=0, last_step=header.doc.spec.steps,
            cipher_sha256=hashlib.sha256(cipher).digest(), cipher_length=len(cipher),
            plain_sha256=hashlib.sha256(made.png).digest(), plain_length=len(made.png),
            hashlock=lock, aead=Aead.AES_256_GCM, increment=attempt.increment,
            total_due=account.work_due + attempt.increment, trace_root=made.trace_root, leaf_count=len(made.leaves),
            profile=made.profile, spec=header.doc.spec,
        )  # fmt: skip
        return DeliveryRow(
            lease=attempt.lease, job=attempt.job, picture=picture, attempt=attempt.id,
            receipt=self._desk.sign(receipt).bytes, cipher=cipher, leaves=b"".join(made.leaves), key=key, hashlock=lock,
            amount=attempt.increment, revealed=False, made_ms=self._desk.now_ms(),
        )  # fmt: skip

    # --- ending it -----------------------------------------------------------------------------------------------

    def cancel(self, lease_id: bytes, document: Envelope) -> list[Effect]:
        """The client stops a job under the lease of its stream; delivered pictures stay due. Again changes nothing."""
        with self._store.begin() as rows:
            signed = receive(rows, self._desk, document, Cancel, stream=lease_id)
            if is_known(rows, signed):
                return []
            remember(rows, signed)
            attempt = rows.get(AttemptRow, lease=lease_id, job=signed.doc.job)
            # A cancellation may cross the job's decline, or its end, on the way.
            if attempt is None or not ATTEMPT.allows(AttemptState(attempt.state), AttemptEvent.CANCEL):
                return []
            return self._end(rows, attempt, Outcome.CANCELLED, (Reason(ReasonCode.CANCELLED),))

    def tick(self) -> list[Effect]:
        """End what waits beyond its job's deadline, and what waits for a payment that does not come (rule 21).

        What is at work has its deadline watched by whoever runs it; no picture is being made while one is unpaid.
        """
        now, effects = self._desk.now_ms(), []
        with self._store.begin() as rows:
            waiting = rows.all(AttemptTime, state=WAITING)
            late = {lease: self._late(Account.load(rows, find(rows, lease))) for lease in {a.lease for a in waiting}}
            for attempt in waiting:
                why = late[attempt.lease] if attempt.state != AttemptState.ACCEPTED else None
                if attempt.state != AttemptState.RUNNING and now >= attempt.deadline_ms:
                    why = Reason(ReasonCode.EXPIRED)
                if why is not None and (row := rows.get(AttemptRow, id=attempt.id)) is not None:
                    effects += self._end(rows, row, Outcome.EXPIRED, (why,))
        return effects

    def end(self, attempt_id: bytes, outcome: Outcome, *reasons: Reason) -> list[Effect]:
        """End an attempt for a reason; nothing happens if it has ended already."""
        with self._store.begin() as rows:
            attempt = rows.get(AttemptRow, id=attempt_id)
            if attempt is None or not ATTEMPT.allows(AttemptState(attempt.state), _EVENTS[outcome]):
                return []
            return self._end(rows, attempt, outcome, reasons)

    def _end(self, rows: Rows, attempt: AttemptRow, outcome: Outcome, reasons: tuple[Reason, ...]) -> list[Effect]:
        # A job that was never queued was not charged its up-front lines; one that failed through us, or waited here
        # until its time was over, gets them back.
        waited = attempt.state == AttemptState.QUEUED and outcome is Outcome.EXPIRED
        is_credited = waited or outcome in _CREDITED or attempt.state == AttemptState.ACCEPTED
        credit = attempt.upfront if is_credited else 0
        head = self._desk.head(from_bytes(attempt.header, JobHeader).issuer, parent=attempt.document)
        told = reasons[: limits.REASONS_MAX]
        ended = self._desk.sign(JobEnded(head, attempt.lease, attempt.job, attempt.id, outcome, credit, told))
        after = ATTEMPT.after(AttemptState(attempt.state), _EVENTS[outcome])
        rows.save(replace(attempt, state=after, upfront=attempt.upfront - credit, ended=ended.bytes))
        rows.delete(BodyRow, attempt=attempt.id)
        log.info("attempt %s %s: %s", attempt.id.hex()[:12], after, "; ".join(map(str, reasons)))
        return [Stop(attempt.id, outcome), Send(attempt.lease, Answer(attempt.job, ended.envelope))]

    # --- looking ----------------------------------------------------------------------------------------------------

    def delivery(self, lease_id: bytes, job: bytes, picture: int) -> DeliveryRow:
        """A finished delivery. Raises PeerError where there is none, or none any more."""
        with self._store.read() as rows:
            return find_delivery(rows, lease_id, job, picture)

    def in_state(self, *states: AttemptState) -> list[AttemptRow]:
        """Attempts in any of these states, the oldest first."""
        with self._store.read() as rows:
            return rows.all(AttemptRow, order="accepted_ms", state=states)

    def sealed(self, attempt: AttemptRow) -> bytes:
        """The sealed body of an attempt. Raises PeerError if it has ended meanwhile."""
        with self._store.read() as rows:
            row = rows.get(BodyRow, attempt=attempt.id)
        if row is None:
            raise PeerError(Fault.UNKNOWN, "the body is gone, as its attempt has ended")
        return row.sealed

    def sealing_key(self, attempt: AttemptRow) -> bytes:
        """The public key that an attempt's body is sealed to."""
        with self._store.read() as rows:
            return find(rows, attempt.lease).sealing_key
