"""What the provider signs in answer to our orders. Rule: believed only if it is the provider's, to this very order."""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.purse import Purse
from gpufair.client.session.reserving import Reserving
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import evidence
from gpufair.client.wallet.store import JobRow
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, JobEvent, JobState
from gpufair.protocol.messages import (
    Answer,
    Decline,
    Document,
    JobAcceptance,
    JobEnded,
    JobHeader,
    Outcome,
    Reserved,
    ReserveEnded,
)
from gpufair.protocol.pricing import quote

_KINDS: dict[str, type[JobAcceptance | Decline | JobEnded | Reserved | ReserveEnded]] = {
    kind.TYPE: kind for kind in (JobAcceptance, Decline, JobEnded, Reserved, ReserveEnded)
}
_ENDS = {
    Outcome.CANCELLED: JobEvent.CANCEL,
    Outcome.EXPIRED: JobEvent.EXPIRE,
    Outcome.RECLAIMED: JobEvent.STOP,
    Outcome.PREEMPTED: JobEvent.STOP,
    Outcome.DRAINED: JobEvent.STOP,
}
"""What an outcome is for the job; any other is a failure. After a stop it can go on elsewhere."""


class Answers:
    """The provider's answers under one lease."""

    def __init__(self, desk: Desk, store: RowStore, purse: Purse, reserving: Reserving) -> None:
        self._desk = desk
        self._store = store
        self._purse = purse
        self._reserving = reserving

    def on(self, message: Answer) -> Turn:
        """Take an answer. Raises PeerError for one that is no answer to what we ordered."""
        kind = _KINDS.get(message.envelope.payload_type)
        if kind is None:
            raise PeerError(Fault.WRONG_TYPE, "an answer to a job of a kind that this version does not know")
        signed = self._desk.receive_recorded(message.envelope, kind)
        with self._store.begin() as rows:
            held = self._reserving.row(rows, message.job)
            if held is not None:
                self._check(rows, signed, held.document)
                return self._reserving.answered(rows, held, signed)
            job = self._purse.job(rows, message.job)
            self._check(rows, signed, job.document)
            match signed.doc:
                case JobAcceptance():
                    return self._accepted(rows, job, signed.doc, signed)
                case Decline():
                    return self._declined(rows, job, signed.doc)
                case JobEnded():
                    return self._ended(rows, job, signed.doc, signed.bytes)
        raise PeerError(Fault.WRONG_TYPE, "the answer to a job is one for a held worker")

    def _check(self, rows: Rows, signed: Signed[Document], asked: bytes) -> None:
        if signed.issuer != self._purse.row(rows).provider or signed.doc.head.parent != asked:
            raise PeerError(Fault.BAD_SIGNATURE, "the answer is not the provider's to this order")

    def _accepted(self, rows: Rows, job: JobRow, answer: JobAcceptance, signed: Signed[Document]) -> Turn:
        if job.state != JobState.PLACED:
            return Turn()
        if job.acceptance:
            return self._purse.pay_upfront(rows, job)
        account = self._purse.account(rows)
        spec = from_bytes(job.header, JobHeader).doc.spec
        asked = (answer.upfront, answer.total)
        again, cold = (
            (price.upfront, price.total) for price in (quote(spec, account.bid.sheet, first=f) for f in (False, True))
        )
        if asked not in (again, cold):
            expected = cold if account.first() else again
            why = f"the provider asks {answer.total} for the job, the quote says {expected[1]}"
            rows.save(replace(job, state=JOB.after(JobState.PLACED, JobEvent.FAIL), note=why))
            evidence.keep(rows, self._purse.lease, why, signed, job=job.id)
            return Turn(events=[ev.Cheated(job.id, why)])
        if asked != again and not account.first():
            # Another job pays the cold load. Either this was signed before that one, and has ended since, which we
            # are about to hear; or it is asked for twice, and then nobody pays it.
            return Turn()
        job = replace(job, acceptance=signed.bytes, upfront=answer.upfront)
        rows.change(JobRow, {"id": job.id, "lease": job.lease}, acceptance=job.acceptance, upfront=answer.upfront)
        turn = Turn(events=[ev.JobAccepted(job.id, answer.upfront, answer.total)])
        turn += self._purse.pay_upfront(rows, job)
        return turn

    def _declined(self, rows: Rows, job: JobRow, answer: Decline) -> Turn:
        if job.acceptance or not JOB.allows(JobState(job.state), JobEvent.FAIL):
            return Turn()
        note = "; ".join(map(str, answer.reasons))
        rows.save(replace(job, state=JOB.after(JobState(job.state), JobEvent.FAIL), note=note))
        return Turn(events=[ev.JobDeclined(job.id, answer.reasons)])

    def _ended(self, rows: Rows, job: JobRow, answer: JobEnded, data: bytes) -> Turn:
        event = _ENDS.get(answer.outcome, JobEvent.FAIL)
        if job.ended or not JOB.allows(JobState(job.state), event):
            return Turn()
        note = "; ".join(map(str, answer.reasons)) or answer.outcome.name.lower()
        credit = min(answer.upfront_credit, job.upfront)
        after = JOB.after(JobState(job.state), event)
        rows.save(replace(job, state=after, ended=data, note=note, upfront=job.upfront - credit))
        turn = Turn(events=[ev.JobOver(job.id, answer)])
        turn += self._purse.go_on(rows)
        return turn
