"""The answer to a job's header. Rule: a signed acceptance with the price, or a signed decline with every reason."""

from __future__ import annotations

from collections.abc import Callable

from gpufair.protocol import limits
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Decline, Envelope, JobAcceptance, JobHeader, Reason
from gpufair.protocol.pricing import is_first, quote
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.objections import Admission, objections
from gpufair.provider.jobs.requests import remember
from gpufair.provider.jobs.store import AttemptRow, LeaseRow


class Answers:
    """Answers headers that were not seen before."""

    def __init__(self, desk: Desk, admission: Admission, carries: Callable[[bytes], bool]) -> None:
        self._desk, self._admission, self._carries = desk, admission, carries

    def answer(self, rows: Rows, account: Account, signed: Signed[JobHeader], *, late: Reason | None) -> Envelope:
        """Record the attempt, or the refusal, and say so; `late` is why nothing more is made under the lease."""
        header, now = signed.doc, self._desk.now_ms()
        self._desk.receive(signed.envelope, JobHeader)
        first = is_first(account.bid.sheet, account.jobs, account.dearest_upfront)
        carries = self._carries(header.spec.model)
        reasons = objections(rows, account, header, self._admission, first=first, carries=carries)
        if late is not None:
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
