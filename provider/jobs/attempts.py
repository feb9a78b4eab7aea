"""A job's life at the provider. Rule: an attempt, a delivery and its key are on disk before a byte of them goes out."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace

from gpufair.protocol import limits, sealing, trace, wire
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import ATTEMPT, AttemptEvent, AttemptState
from gpufair.protocol.messages import (
    Answer,
    Body,
    Cancel,
    Envelope,
    JobEnded,
    JobHeader,
    Outcome,
    Reason,
    ReasonCode,
    Receipt,
)
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.answers import Answers
from gpufair.provider.jobs.bodies import Pieces, WrongBodyError
from gpufair.provider.jobs.deliveries import Deliveries, Made
from gpufair.provider.jobs.effects import Drop, Effect, Enqueue, Send, Stop
from gpufair.provider.jobs.lookup import find, find_attempt, find_delivery
from gpufair.provider.jobs.objections import Admission, lateness
from gpufair.provider.jobs.pieces import Piece
from gpufair.provider.jobs.requests import is_known, receive, remember
from gpufair.provider.jobs.resend import delivery_messages, reattach
from gpufair.provider.jobs.settling import settle_attempts
from gpufair.provider.jobs.store import AttemptRow, AttemptTime, BodyRow, DeliveryRow, RequestRow
from gpufair.provider.jobs.writing import Left

log = logging.getLogger(__name__)

WAITING = (AttemptState.ACCEPTED, AttemptState.QUEUED, AttemptState.RUNNING)

_EVENTS = {
    Outcome.REJECTED: AttemptEvent.REJECT,
    Outcome.FAILED: AttemptEvent.FAIL,
    Outcome.CANCELLED: AttemptEvent.CANCEL,
    Outcome.RECLAIMED: AttemptEvent.RECLAIM,
    Outcome.PREEMPTED: AttemptEvent.PREEMPT,
    Outcome.DRAINED: AttemptEvent.DRAIN,
    Outcome.EXPIRED: AttemptEvent.EXPIRE,
}
_CREDITED = {Outcome.REJECTED, Outcome.FAILED, Outcome.RECLAIMED, Outcome.PREEMPTED, Outcome.DRAINED}
"""Ends that the provider answers for: the job's up-front lines go back against what is due next (rule 5)."""


class Attempts:
    """The attempts of one provider. `carries`: whether a model's pictures can be taken up again from their states."""

    def __init__(
        self,
        desk: Desk,
        store: RowStore,
        admission: Admission,
        *,
        carries: Callable[[bytes], bool] = lambda _model: True,
        unpaid_ms: int = limits.WINDOW_TIMEOUT_MS,
    ) -> None:
        self._desk = desk
        self._store = store
        self.carries = carries
        self._answers = Answers(desk, admission, carries)
        self._deliveries = Deliveries(desk, carries)
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
                    account = Account.load(rows, lease)
                    answer = self._answers.answer(rows, account, signed, late=self._late(account))
                return [Send(lease.id, Answer(header.job, answer))]
            return reattach(rows, lease, header.job)

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
            attempt = self._startable(rows, attempt_id)
            if attempt is None:
                return None
            started = ATTEMPT.after(AttemptState.QUEUED, AttemptEvent.START)
            rows.change(AttemptRow, {"id": attempt_id}, state=started)
            return replace(attempt, state=started)

    def may_start(self, attempt_id: bytes) -> bool:
        """Whether `start` would let it go now."""
        with self._store.read() as rows:
            return self._startable(rows, attempt_id) is not None

    def _startable(self, rows: Rows, attempt_id: bytes) -> AttemptRow | None:
        """An attempt that waits, if it may begin: its lease has no other at work, and its window has room (rule 3)."""
        attempt = rows.get(AttemptRow, id=attempt_id)
        if attempt is None or attempt.state != AttemptState.QUEUED:
            return None
        account, piece = Account.load(rows, find(rows, attempt.lease)), self._deliveries.following(rows, attempt)
        has_room = piece is None or account.has_room(piece.price)
        return attempt if has_room and not account.is_at_work else None

    def following(self, attempt: AttemptRow) -> Piece | None:
        """What of an attempt at work comes next; None if all of it is delivered."""
        with self._store.read() as rows:
            return self._deliveries.following(rows, attempt)

    def has_room(self, attempt: AttemptRow) -> bool:
        """Whether the window allows the next piece of an attempt at work (rule 3)."""
        with self._store.read() as rows:
            piece = self._deliveries.following(rows, attempt)
            return piece is not None and Account.load(rows, find(rows, attempt.lease)).has_room(piece.price)

    def _late(self, account: Account) -> Reason | None:
        now = self._desk.now_ms()
        return lateness(account, now_ms=now, since_ms=self._since_ms, patience_ms=self._unpaid_ms)

    def delivered(self, attempt_id: bytes, picture: int, made: Made) -> list[Effect]:
        """A piece is made: encrypt it under a fresh key, sign its receipt, commit, send. Once a piece.

        The last piece of the last picture ends the attempt.
        """
        with self._store.begin() as rows:
            attempt = rows.get(AttemptRow, id=attempt_id)
            if attempt is None or attempt.state != AttemptState.RUNNING:
                return []
            piece = self._deliveries.following(rows, attempt)
            if piece is None or (piece.picture, piece.step) != (picture, made.step):
                raise ValueError(f"picture {picture} after step {made.step} came where {piece} was due")
            delivery = self._deliveries.add(rows, attempt, piece, made)
            if piece.whole and picture + 1 == attempt.count:
                done = ATTEMPT.after(AttemptState.RUNNING, AttemptEvent.DELIVER)
                rows.change(AttemptRow, {"id": attempt_id}, state=done)
                rows.delete(BodyRow, attempt=attempt_id)
        return [Send(delivery.lease, message) for message in delivery_messages(delivery)]

    # --- ending it -----------------------------------------------------------------------------------------------

    def cancel(self, lease_id: bytes, document: Envelope) -> list[Effect]:
        """The client stops a job under the lease of its stream; what was made stays due. Again changes nothing."""
        with self._store.begin() as rows:
            signed = receive(rows, self._desk, document, Cancel, stream=lease_id)
            if not is_known(rows, signed):
                remember(rows, signed)
            attempt = rows.get(AttemptRow, lease=lease_id, job=signed.doc.job)
            # A cancellation may cross the job's decline, or its end, on the way.
            return self._stop(rows, attempt, Outcome.CANCELLED, (Reason(ReasonCode.CANCELLED),))

    def stop(self, attempt_id: bytes, outcome: Outcome, *reasons: Reason) -> list[Effect]:
        """One of the five stops: what waits ends now, what is at work at its next step. One that has ended stays so."""
        with self._store.begin() as rows:
            return self._stop(rows, rows.get(AttemptRow, id=attempt_id), outcome, reasons)

    def _stop(
        self, rows: Rows, attempt: AttemptRow | None, outcome: Outcome, reasons: tuple[Reason, ...]
    ) -> list[Effect]:
        if attempt is None or not ATTEMPT.allows(AttemptState(attempt.state), _EVENTS[outcome]):
            return []
        if attempt.state != AttemptState.RUNNING:
            return self._end(rows, attempt, outcome, reasons)
        # Should we crash before its end is on disk, its time is over: nobody takes it up again.
        rows.change(AttemptRow, {"id": attempt.id}, deadline_ms=min(attempt.deadline_ms, self._desk.now_ms()))
        return [Stop(attempt.id, outcome, reasons)]

    def stopped(self, stop: Stop, picture: int = 0, made: Made | None = None) -> list[Effect]:
        """An attempt at work has come to the end of a step, with this state of a picture, if any of it was made.

        What was done since the last delivery is sold as a checkpoint, in one commit with the attempt's end.
        """
        with self._store.begin() as rows:
            attempt = rows.get(AttemptRow, id=stop.attempt)
            if attempt is None or attempt.state != AttemptState.RUNNING:
                return []
            delivery = self._deliveries.add_part(rows, attempt, picture, made) if made is not None else None
            sends = [Send(delivery.lease, one) for one in delivery_messages(delivery)] if delivery is not None else []
            return [*sends, *self._end(rows, attempt, stop.outcome, stop.reasons)]

    def tick(self) -> list[Effect]:
        """End what waits beyond its job's deadline, and what waits for a payment that does not come (rule 21).

        What is at work has its deadline watched by whoever runs it; nothing is being made while anything is unpaid.
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
        return [Drop(attempt.id), Send(attempt.lease, Answer(attempt.job, ended.envelope))]

    def checkpoint(self, attempt: AttemptRow, picture: int, step: int) -> Left:
        """A state that was delivered: what a restarted node goes on from."""
        with self._store.read() as rows:
            row = find_delivery(rows, attempt.lease, attempt.job, picture, step)
        profile = from_bytes(row.receipt, Receipt).doc.profile
        return Left(step, sealing.decrypt_output(row.cipher, row.key), tuple(trace.split(row.leaves)), profile)

    # --- looking ----------------------------------------------------------------------------------------------------

    def delivery(self, lease_id: bytes, job: bytes, picture: int, step: int) -> DeliveryRow:
        """A finished delivery. Raises PeerError where there is none, or none any more."""
        with self._store.read() as rows:
            return find_delivery(rows, lease_id, job, picture, step)

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
