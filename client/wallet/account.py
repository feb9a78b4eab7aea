"""What we owe under one lease. Rule: the next voucher follows from the rows alone.

Jobs that are paid, and their pictures, only grow in number: the database adds them up. All else is read row by row.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpufair.client.wallet.deliveries import DeliveryKey
from gpufair.client.wallet.reservations import ReservationDue
from gpufair.client.wallet.store import JobDue, LeaseRow
from gpufair.protocol import limits, payment
from gpufair.protocol.edge.rows import Rows, Summary
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import JOB, LIVE, JobState
from gpufair.protocol.messages import Bid, BidClass, Lock, Voucher
from gpufair.protocol.payment import NOTHING, Promise
from gpufair.protocol.pricing import is_first

UNPAID = tuple(state for state in JobState if state is not JobState.PAID)


@dataclass(frozen=True)
class Account:
    """A lease's money as the wallet has it."""

    lease: LeaseRow
    bid: Bid
    jobs: tuple[JobDue, ...]
    """Every job that is not paid, whatever became of it, in the order of their making."""
    paid: Summary
    """The up-front lines of those that are."""
    deliveries: tuple[DeliveryKey, ...]
    """What came for those jobs, and what the newest voucher locks, in the order of their making."""
    locked: int
    """The deliveries that we signed for, their keys here or not."""
    reservations: tuple[ReservationDue, ...] = ()
    """Every worker that was to be held for the lease, whatever came of it."""

    @classmethod
    def load(cls, rows: Rows, lease: LeaseRow) -> Account:
        """Read the account of a lease."""
        jobs = tuple(rows.all(JobDue, order="created_ms", lease=lease.id, state=UNPAID))
        found: list[DeliveryKey] = []
        if jobs:
            found = rows.all(DeliveryKey, lease=lease.id, job={job.id for job in jobs})
        if locks := {lock.hashlock for lock in _signed(lease).locks}:
            known = {delivery.hashlock for delivery in found}
            found += rows.all(DeliveryKey, lease=lease.id, hashlock=locks - known)
        bid = from_bytes(lease.envelope, Bid).doc
        held = rows.all(ReservationDue, lease=lease.id) if bid.bid_class is BidClass.RESERVED else []
        return cls(
            lease,
            bid,
            jobs,
            rows.summary(JobDue, "upfront", lease=lease.id, state=JobState.PAID),
            tuple(sorted(found, key=lambda delivery: delivery.place)),
            rows.summary(DeliveryKey, "amount", lease=lease.id, locked=True).total,
            tuple(held),
        )

    @property
    def signed(self) -> Promise:
        """The newest promise that we signed."""
        return _signed(self.lease)

    @property
    def promise(self) -> Promise:
        """The newest promise with every key that came since folded in."""
        promise = self.signed
        locked = {lock.hashlock for lock in promise.locks}
        for delivery in self.deliveries:
            if delivery.key and delivery.hashlock in locked:
                promise = payment.fold(promise, delivery.key)
        return promise

    @property
    def upfront(self) -> int:
        """The up-front lines of accepted jobs and what was reserved, less what came back."""
        return self.paid.total + sum(job.upfront for job in self.jobs) + self._reserved

    @property
    def prepaid(self) -> int:
        """Those of them that were promised."""
        return self.paid.total + sum(job.upfront for job in self.jobs if job.prepaid) + self._reserved

    @property
    def _reserved(self) -> int:
        return sum(one.amount for one in self.reservations if one.paid)

    @property
    def spare(self) -> int:
        """Unlocked money that no job has a use for so far: it came back from one that failed, and can't be unsigned."""
        return max(0, self.promise.unlocked - self.prepaid - self.paid_for)

    @property
    def is_paying(self) -> bool:
        """Whether we sign anything under the lease: not once it closes, and nothing for a cheat."""
        return self.lease.state in LIVE and not self.lease.distrust

    @property
    def paid_for(self) -> int:
        """The deliveries whose keys we have."""
        return self.locked - sum(d.amount for d in self.deliveries if d.locked and not d.key)

    @property
    def spent(self) -> int:
        """Everything promised so far, keys or not: what the lease may cost us as things stand."""
        promise = self.promise
        return promise.unlocked + sum(lock.amount for lock in promise.locks)

    @property
    def committed(self) -> int:
        """What the lease's jobs and reservations can still cost in all, paid or not."""
        unpaid = {job.id for job in self.jobs}
        made = {job.id: 0 for job in self.jobs}
        for delivery in self.deliveries:
            if delivery.job in unpaid:
                made[delivery.job] += delivery.amount
        locked = sum(d.amount for d in self.deliveries if d.job in unpaid and d.locked)
        over = {job.id for job in self.jobs if JOB.is_terminal(JobState(job.state))}
        planned = sum(made[job.id] if job.id in over else job.increment * job.count for job in self.jobs)
        ordered = sum(one.amount for one in self.reservations if not one.paid)
        return self.upfront + self.locked - locked + planned + ordered

    def first(self) -> bool:
        """Whether the next job is charged the cold load."""
        accepted = [job.upfront for job in self.jobs if job.acceptance]
        return is_first(self.bid.sheet, self.paid.count + len(accepted), max((self.paid.highest, *accepted)))

    def with_upfront(self) -> Promise:
        """The promise that pays every prepaid job's up-front lines; credits of failed jobs count first (rule 5)."""
        promise = self.promise
        return Promise(max(promise.unlocked, self.prepaid + self.paid_for), promise.locks)

    def with_prepaid(self, job: bytes) -> Account:
        """The account once a job's up-front lines are promised, as the rows say by now."""
        return replace(self, jobs=tuple(replace(j, prepaid=True) if j.id == job else j for j in self.jobs))

    def may_prepay(self, job: bytes, upfront: int) -> bool:
        """Whether its up-front lines stay within the window, with those of every other job that brought nothing (3).

        A job that ended without a picture and without its credit still counts: else each one that "expires" would cost
        us its lines again.
        """
        started = {d.job for d in self.deliveries} | {job}
        others = sum(j.upfront for j in self.jobs if j.prepaid and j.id not in started)
        return payment.may_prepay(others, upfront, window=self.lease.window)

    def may_lock(self, promise: Promise, delivery: DeliveryKey) -> bool:
        """Whether its lock, added to `promise`, fits the window, the cap and the 16 locks of a voucher (rules 3, 15).

        A range has one row and so one hashlock for ever: we never sign a second one for it (rule 6).
        """
        wanted = payment.with_lock(promise, Lock(delivery.amount, delivery.hashlock))
        total = wanted.unlocked + sum(lock.amount for lock in wanted.locks)
        if len(wanted.locks) > limits.LOCKS_MAX or total > self.lease.cap:
            return False
        return payment.may_lock(promise.locks, delivery.amount, window=self.lease.window)


def _signed(lease: LeaseRow) -> Promise:
    return Promise.of(from_bytes(lease.voucher, Voucher).doc) if lease.voucher else NOTHING
