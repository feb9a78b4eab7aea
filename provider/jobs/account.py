"""What is due under one lease. Rule: dues are derived from what was done, never stored beside it.

What is still open (jobs that have not ended, deliveries whose keys are not out or whose locks are not folded) is read
row by row; the rest, which only grows, the database adds up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpufair.protocol import limits, payment
from gpufair.protocol.edge.rows import Rows, Summary
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import ATTEMPT, AttemptState
from gpufair.protocol.messages import Bid, BidClass, Lock, Voucher
from gpufair.protocol.payment import NOTHING, Promise
from gpufair.provider.jobs.store import AttemptDue, DeliveryDue, LeaseRow, ReservationRow

ENDED = tuple(state for state in AttemptState if ATTEMPT.is_terminal(state))
GOING = tuple(state for state in AttemptState if not ATTEMPT.is_terminal(state))


def in_order(delivery: DeliveryDue) -> tuple[int, int]:
    """Where a delivery comes among those of its job: a picture after its checkpoints."""
    return delivery.picture, delivery.step or limits.STEPS_MAX + 1


@dataclass(frozen=True)
class Account:
    """A lease's money as its rows say it is."""

    lease: LeaseRow
    bid: Bid
    attempts: tuple[AttemptDue, ...]
    """Those that have not ended, in the order of their acceptance."""
    ended: Summary
    """The up-front lines of those that have, less what was credited back."""
    deliveries: tuple[DeliveryDue, ...]
    """Those whose keys are not out, and those that a voucher locks: each picture's checkpoints, then the picture."""
    revealed_due: int
    """The deliveries whose keys are out."""
    kept: Promise
    reservations: tuple[ReservationRow, ...] = ()
    """Those that are not over, in the order in which they came."""
    reserved_before: int = 0
    """What was paid for those that are, less what was credited back."""

    @classmethod
    def load(cls, rows: Rows, lease: LeaseRow, offered: Promise = NOTHING) -> Account:
        """Read the account of a lease; a promise that is `offered` names deliveries beside those of the kept one."""
        kept = Promise.of(from_bytes(lease.kept, Voucher).doc) if lease.kept else NOTHING
        deliveries = rows.all(DeliveryDue, lease=lease.id, revealed=False)
        if locks := {lock.hashlock for lock in (*kept.locks, *offered.locks)}:
            deliveries += rows.all(DeliveryDue, lease=lease.id, revealed=True, hashlock=locks)
        bid = from_bytes(lease.envelope, Bid).doc
        reservations, reserved_before = list[ReservationRow](), 0
        if bid.bid_class is BidClass.RESERVED:
            reservations = rows.all(ReservationRow, order="asked_ms", lease=lease.id, over=False)
            reserved_before = rows.summary(ReservationRow, "amount", lease=lease.id, over=True, paid=True).total
        return cls(
            lease,
            bid,
            tuple(rows.all(AttemptDue, order="accepted_ms", lease=lease.id, state=GOING)),
            rows.summary(AttemptDue, "upfront", lease=lease.id, state=ENDED),
            tuple(sorted(deliveries, key=in_order)),
            rows.summary(DeliveryDue, "amount", lease=lease.id, revealed=True).total,
            kept,
            tuple(reservations),
            reserved_before,
        )

    def with_revealed(self, bought: list[DeliveryDue]) -> Account:
        """The account once the keys of these deliveries are out, as the rows say by now."""
        if not bought:
            return self
        deliveries = tuple(replace(d, revealed=True) if d in bought else d for d in self.deliveries)
        return replace(self, deliveries=deliveries, revealed_due=self.revealed_due + sum(d.amount for d in bought))

    def with_queued(self, attempt: AttemptDue) -> Account:
        """The account once this attempt is queued, as the rows say by now."""
        attempts = tuple(replace(a, state=AttemptState.QUEUED) if a is attempt else a for a in self.attempts)
        return replace(self, attempts=attempts)

    def with_reserved(self, paid: ReservationRow) -> Account:
        """The account once this reservation is paid, as the rows say by now."""
        return replace(self, reservations=tuple(paid if one.id == paid.id else one for one in self.reservations))

    @property
    def own(self) -> frozenset[bytes]:
        """The hashlocks of our deliveries that a voucher may lock: no other counts in it (rule 2)."""
        return frozenset(d.hashlock for d in self.deliveries)

    @property
    def kept_total(self) -> int:
        """What the kept voucher promises us."""
        return payment.total(self.kept, self.own, hold=self.lease.hold)

    @property
    def upfront_due(self) -> int:
        """The up-front lines of every job that was queued and did not fail through us, and what was reserved."""
        jobs = self.ended.total + sum(a.upfront for a in self.attempts if a.state != AttemptState.ACCEPTED)
        return jobs + self.reserved_before + sum(one.amount for one in self.reservations if one.paid)

    @property
    def delivered_due(self) -> int:
        """Every delivery, its key out or not."""
        return self.revealed_due + sum(d.amount for d in self.deliveries if not d.revealed)

    @property
    def work_due(self) -> int:
        """All that was done under the lease, paid or not, but for pieces that are still being made."""
        return self.upfront_due + self.delivered_due

    @property
    def _full(self) -> frozenset[bytes]:
        """The hashlocks that the kept voucher locks in full: a lock for less buys nothing, now or at the ledger."""
        offered = {lock.hashlock: lock.amount for lock in self.kept.locks}
        return frozenset(d.hashlock for d in self.deliveries if offered.get(d.hashlock, 0) >= d.amount)

    @property
    def unpaid(self) -> list[DeliveryDue]:
        """The deliveries that nobody has promised to pay: while there is one, the window has no room."""
        full = self._full
        return [d for d in self.deliveries if not d.revealed and d.hashlock not in full]

    def has_room(self, increment: int) -> bool:
        """Whether the window allows one more piece of `increment` beside all that is made (rule 3).

        Whoever we do business with is a stranger so far, whose window is one payable increment at most (rule 22): no
        piece is begun while another waits for its payment, and one job of a lease at most is at work.
        Unlocked money beyond what is due is meant for up-front lines, of a job on its way or of the next one: were it
        to widen the window as well, it would pay twice.
        """
        locked = sum(d.amount for d in self.deliveries if not d.revealed and d.hashlock in self._full)
        earned = min(self.kept_total, self.upfront_due + self.revealed_due + locked)
        due_after, window = self.work_due + increment, min(self.bid.window, increment)
        return payment.may_work(due_after=due_after, kept_total=earned, window=window)

    @property
    def surplus(self) -> int:
        """Unlocked money beyond what is due: it serves the up-front lines of jobs to come (rule 5)."""
        revealed = {d.hashlock for d in self.deliveries if d.revealed}
        spendable = self.kept.unlocked + sum(lock.amount for lock in self.kept.locks if lock.hashlock in revealed)
        return min(spendable, self.lease.hold) - self.upfront_due - self.revealed_due

    def prepaid(self, upfront: int) -> bool:
        """Whether one more job's up-front lines are paid: by unlocked money, not by a lock that waits (rule 5)."""
        return self.surplus >= upfront

    def revealable(self) -> list[DeliveryDue]:
        """The deliveries whose keys the kept voucher has bought and that are not out yet, in the order to reveal."""
        due, ready = self.upfront_due + self.revealed_due, []
        for delivery in self.deliveries:
            lock = Lock(delivery.amount, delivery.hashlock)
            if not delivery.revealed and payment.may_reveal(
                self.kept, lock, self.own, due=due + delivery.amount, hold=self.lease.hold
            ):
                ready.append(delivery)
                due += delivery.amount
        return ready

    @property
    def bought(self) -> list[DeliveryDue]:
        """The deliveries whose keys are out and whose locks the client has not folded yet."""
        locked = {lock.hashlock for lock in self.kept.locks}
        return [d for d in self.deliveries if d.revealed and d.hashlock in locked]

    @property
    def jobs(self) -> int:
        """How many jobs the lease has had."""
        return self.ended.count + len(self.attempts)

    @property
    def dearest_upfront(self) -> int:
        """The most that any job was charged up front, less what was credited back."""
        return max((self.ended.highest, *(a.upfront for a in self.attempts)))

    def committed(self, rows: Rows) -> int:
        """What the lease's jobs and reservations can cost in all, paid or not: what a new price is added to."""
        going = tuple(a.id for a in self.attempts)
        made = rows.summary(DeliveryDue, "amount", lease=self.lease.id, attempt=going).total
        planned = sum(a.upfront + a.increment * a.count for a in self.attempts)
        reserved = self.reserved_before + sum(one.amount for one in self.reservations)
        return self.ended.total + self.delivered_due - made + planned + reserved

    @property
    def spare(self) -> int:
        """Unlocked money that no job has a use for so far: it came back from one that failed, and can't be unsigned."""
        prepaid = sum(a.upfront for a in self.attempts if a.state == AttemptState.ACCEPTED)
        prepaid += sum(one.amount for one in self.reservations if not one.paid)
        return max(0, self.surplus - prepaid)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """Every key that the kept voucher buys (rule 1): none for a lock of less than its picture's price.

        The payer reads at the ledger what a capture shows: a picture must not be had for the smallest lock there is.
        """
        full, locked = self._full, {lock.hashlock for lock in self.kept.locks}
        return tuple(d.key for d in self.deliveries if d.hashlock in full or (d.revealed and d.hashlock in locked))

    @property
    def uncaptured(self) -> int:
        """What a capture would pay now."""
        return payment.payable(self.kept, self.keys, hold=self.lease.hold, captured=self.lease.captured)

    @property
    def only_waits_for_money(self) -> bool:
        """Whether everything that was ordered is made, and some of it is not paid for."""
        return {a.state for a in self.attempts} == {AttemptState.DELIVERED}

    @property
    def is_at_work(self) -> bool:
        """Whether a picture may be in the making."""
        return any(a.state == AttemptState.RUNNING for a in self.attempts)

    @property
    def working(self) -> bool:
        """Whether a job waits or runs: one that is delivered and unpaid keeps no lease open."""
        return any(a.state != AttemptState.DELIVERED for a in self.attempts)

    @property
    def is_reserved(self) -> bool:
        """Whether a worker is paid to be held for it."""
        return any(one.paid for one in self.reservations)
