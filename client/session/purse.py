"""The one hand that signs a lease's vouchers. Rule: fold, lock and sign are one transaction, and never above the cap.

Numbers refer to the rules in docs/payment.md.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session.checks import opened_faults
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import bans, works
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.deliveries import DeliveryKey, DeliveryRow
from gpufair.client.wallet.store import BodyRow, JobRow, LeaseRow
from gpufair.protocol import limits, payment, sealing, trace
from gpufair.protocol.edge.rows import Rows
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, JobEvent, JobState
from gpufair.protocol.messages import Body, Lock, Order, Receipt, Voucher
from gpufair.protocol.payment import Promise


class Purse:
    """Vouchers and keys of one lease."""

    def __init__(self, desk: Desk, lease: bytes) -> None:
        self._desk = desk
        self.lease = lease
        self._bodies_sent: set[bytes] = set()

    def new_stream(self) -> None:
        """What was sent on the last stream may not have come."""
        self._bodies_sent.clear()

    def row(self, rows: Rows) -> LeaseRow:
        """The lease's row."""
        row = rows.get(LeaseRow, id=self.lease)
        if row is None:
            raise LocalError(Fault.UNKNOWN, f"the wallet has no lease {self.lease.hex()[:12]}")
        return row

    def job(self, rows: Rows, job: bytes) -> JobRow:
        """The row of a job. Raises PeerError for one that we never ordered under this lease."""
        row = rows.get(JobRow, id=job, lease=self.lease)
        if row is None:
            raise PeerError(Fault.UNKNOWN, "a message about a job that we never ordered")
        return row

    def account(self, rows: Rows) -> Account:
        """The lease's account as it is now."""
        return Account.load(rows, self.row(rows))

    def pay_upfront(self, rows: Rows, job: JobRow, account: Account | None = None) -> Turn:
        """Pay a job's up-front lines, unlocked, and send its body; wait if the window has no room for them now (5).

        `account` is the lease's as it is now, for whoever has read it. An empty turn has changed nothing.
        """
        account = account or self.account(rows)
        if not account.is_paying or not works.is_wanted(rows, self.lease, job.id):
            return Turn()
        if not job.prepaid:
            if not account.may_prepay(job.id, job.upfront):
                return Turn()
            rows.change(JobRow, {"id": job.id, "lease": job.lease}, prepaid=True)
            account = account.with_prepaid(job.id)
        wanted = account.with_upfront()
        turn = self.sign(rows, account, wanted) if wanted.unlocked > account.promise.unlocked else Turn()
        if job.id not in self._bodies_sent:
            self._bodies_sent.add(job.id)
            turn.ups += self._body(rows, job)
        return turn

    def _body(self, rows: Rows, job: JobRow) -> list[Body]:
        """A job's sealed body, piece by piece."""
        row = rows.get(BodyRow, lease=job.lease, job=job.id)
        if row is None:
            raise LocalError(Fault.INTERNAL, "a job's body is gone from the wallet")
        pieces = range(0, len(row.sealed), limits.CHUNK)
        return [Body(job.id, row.sealed[offset : offset + limits.CHUNK], offset) for offset in pieces]

    def pay_deliveries(self, rows: Rows) -> Turn:
        """Fold every key that came and lock every delivery that fits the window; sign once (7)."""
        account = self.account(rows)
        if not account.is_paying:
            return Turn()
        turn, promise = Turn(), account.with_upfront()
        for delivery in account.deliveries:
            if delivery.locked or not account.may_lock(promise, delivery):
                continue
            if not works.is_wanted(rows, delivery.lease, delivery.job):
                continue
            promise = payment.with_lock(promise, Lock(delivery.amount, delivery.hashlock))
            rows.change(DeliveryKey, where(delivery), locked=True)
            turn.events.append(_locked(delivery))
        if turn.events:
            turn += self.sign(rows, account, promise)
        elif account.lease.voucher:
            # Nothing new to promise: the provider may have missed the newest voucher.
            turn.ups.append(Order(from_bytes(account.lease.voucher, Voucher).envelope))
        return turn

    def sign(self, rows: Rows, account: Account, promise: Promise) -> Turn:
        """Sign a promise and put it on disk; it goes out when the transaction is through."""
        lease = account.lease
        if promise.unlocked + sum(lock.amount for lock in promise.locks) > lease.cap:
            raise LocalError(Fault.INSUFFICIENT_FUNDS, "a voucher above the lease's cap would be signed")
        head = self._desk.head(lease.ledger, lease.provider, parent=lease.id, expires_at_ms=lease.hold_expires_ms)
        voucher = self._desk.sign(Voucher(head, lease.id, promise.unlocked, promise.locks))
        rows.change(LeaseRow, {"id": lease.id}, voucher=voucher.bytes)
        return Turn([Order(voucher.envelope)])

    def use_key(self, rows: Rows, delivery: DeliveryKey, key: bytes) -> Turn:
        """Open a delivery. A key that is not the lock's is refused; one that opens something else is evidence (9)."""
        if payment.hashlock(key) != delivery.hashlock:
            raise PeerError(Fault.MALFORMED, "the key is not the one of the lock")
        row = rows.get(DeliveryRow, **where(delivery))
        if row is None:
            raise LocalError(Fault.INTERNAL, "a delivery is gone from the wallet")
        job, receipt = self.job(rows, delivery.job), from_bytes(row.receipt, Receipt)
        try:
            plain = sealing.decrypt_output(row.cipher, key)
            wrong = opened_faults(receipt.doc, plain, row.leaves[-trace.DIGEST_BYTES :])
        except PeerError as error:
            plain, wrong = b"", [error.what]
        rows.change(DeliveryKey, where(delivery), key=key, plain=b"" if wrong else plain)
        if wrong:
            bans.ban(rows, self.row(rows).provider, f"a paid key opened noise: {'; '.join(wrong)}", self._desk.now_ms())
            return self.distrust(rows, job, "; ".join(wrong))
        mine = rows.all(DeliveryKey, lease=self.lease, job=job.id)
        if job.state == JobState.DELIVERED and all(d.key for d in mine):
            done = JOB.after(JobState.DELIVERED, JobEvent.PAY)
            rows.change(JobRow, {"id": job.id, "lease": job.lease}, state=done)
        if delivery.step:
            return Turn(events=[ev.CheckpointOpened(job.id, delivery.picture, delivery.step)])
        return Turn(events=[ev.PictureOpened(job.id, delivery.picture, plain, receipt.doc)])

    def go_on(self, rows: Rows) -> Turn:
        """A key has made room in the window: pay what waited for it."""
        turn = Turn()
        if rows.summary(DeliveryKey, "amount", lease=self.lease, locked=False).count:
            turn += self.pay_deliveries(rows)
        account: Account | None = None
        for job in rows.all(JobRow, lease=self.lease, state=JobState.PLACED):
            if job.acceptance and not (job.prepaid and job.id in self._bodies_sent):
                account = account or self.account(rows)
                paid = self.pay_upfront(rows, job, account)
                account = None if paid.ups else account
                turn += paid
        return turn

    def distrust(self, rows: Rows, job: JobRow, why: str) -> Turn:
        """The provider broke the deal: keep everything, sign nothing more under this lease."""
        why = why[: limits.TEXT_MAX]
        rows.save(replace(self.row(rows), distrust=why))
        if JOB.allows(JobState(job.state), JobEvent.FAIL):
            rows.save(replace(job, state=JOB.after(JobState(job.state), JobEvent.FAIL), note=why))
        return Turn(events=[ev.Cheated(job.id, why)])


def where(delivery: DeliveryKey) -> dict[str, object]:
    """The key of a delivery's row."""
    return {"lease": delivery.lease, "job": delivery.job, "picture": delivery.picture, "step": delivery.step}


def _locked(delivery: DeliveryKey) -> ev.Event:
    if delivery.step:
        return ev.CheckpointLocked(delivery.job, delivery.picture, delivery.step, delivery.amount)
    return ev.PictureLocked(delivery.job, delivery.picture, delivery.amount)
