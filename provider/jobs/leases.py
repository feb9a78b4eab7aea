"""A lease's life at the provider. Rule: closing and its final capture are one commit; after it no voucher, no key.

Every method is one transaction on one thread; it returns what is to be done now that the change is on disk.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, payment
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LIVE, AttemptState, LeaseEvent, LeaseState
from gpufair.protocol.messages import (
    Bid,
    BidClass,
    Closing,
    Envelope,
    Finish,
    Hold,
    Kept,
    KeyReveal,
    Opened,
    Outcome,
    Voucher,
)
from gpufair.protocol.payment import Promise
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.captures import Captures, Policy
from gpufair.provider.jobs.effects import Drop, Effect, Enqueue, Expect, LetGo, Post, Send, Wake
from gpufair.provider.jobs.lookup import after, find
from gpufair.provider.jobs.requests import is_known, receive, receive_hold, remember
from gpufair.provider.jobs.settling import end_reservations, ended, keeping, settle_attempts, settle_reservations
from gpufair.provider.jobs.store import AttemptRow, BodyRow, DeliveryDue, LeaseRow, LeaseSealing

log = logging.getLogger(__name__)


class Leases:
    """The leases of one provider, from the agreement to the last capture."""

    def __init__(self, desk: Desk, store: RowStore, policy: Policy) -> None:
        self._desk = desk
        self._store = store
        self._policy = policy
        self.captures = Captures(desk, store, policy)

    def get(self, lease: bytes) -> LeaseRow:
        """A lease's row. Raises PeerError for a lease that we don't know."""
        with self._store.read() as rows:
            return find(rows, lease)

    def agree(self, rows: Rows, signed: Signed[Bid], sealing_key: bytes) -> None:
        """Record a lease that admission has countersigned; the caller's transaction also records the answer.

        `sealing_key` is that of the node record which the lease names: it is kept as long as the lease lives.
        """
        now = self._desk.now_ms()
        bid = signed.doc
        rows.insert(
            LeaseRow(
                id=signed.id, state=LeaseState.AGREED, client=signed.issuer, ledger=bid.ledger, envelope=signed.bytes,
                hold_envelope=b"", hold=0, kept=b"", captured=0, agreed_ms=now, active_ms=now,
                expires_ms=bid.lease_expires_at_ms, closing_reason="", window=bid.window, sealing_key=sealing_key,
                interruptible=bid.bid_class is BidClass.INTERRUPTIBLE,
            )
        )  # fmt: skip

    def fund(self, document: Envelope) -> list[Effect]:
        """Take the ledger's signed hold (rule 14). The same again changes nothing; one that is late is given back."""
        with self._store.begin() as rows:
            signed, lease = receive_hold(rows, self._desk, document)
            if lease.state != LeaseState.AGREED:
                if lease.hold_envelope == signed.bytes:
                    return []
                if lease.state == LeaseState.ABANDONED and not lease.hold_envelope:
                    return self._give_back(rows, lease, signed, "it was paid too late")
                raise PeerError(Fault.CONFLICT, f"the lease is {lease.state}: it takes no hold")
            self._check_hold(lease, signed)
            if why := self._crowded(rows, lease):
                return self._give_back(rows, after(lease, LeaseEvent.ABANDON), signed, f"others were first: {why}")
            rows.save(
                replace(
                    after(lease, LeaseEvent.FUND), hold_envelope=signed.bytes, hold=signed.doc.amount,
                    active_ms=self._desk.now_ms(),
                )
            )  # fmt: skip
        return [Expect(from_bytes(lease.envelope, Bid).doc.sheet.model)]

    def _crowded(self, rows: Rows, lease: LeaseRow) -> str:
        """Why there is no room for a lease beside all others, if so: until it was funded it reserved nothing (22)."""
        if lease.window + rows.summary(LeaseRow, "window", state=LIVE).total > self._policy.unsecured:
            return "no more unpaid work is done at a time"
        capacity, now = self._policy.capacity, self._desk.now_ms()
        if capacity.taken(rows, now, on_demand=not lease.interruptible) >= capacity.places:
            return "all workers are busy, and no more jobs may wait"
        return ""

    def _give_back(self, rows: Rows, lease: LeaseRow, signed: Signed[Hold], why: str) -> list[Effect]:
        """A hold that is not wanted: nobody but its payee can end it early, so a final capture of nothing does."""
        self._check_hold(lease, signed)
        lease = replace(lease, hold_envelope=signed.bytes, hold=signed.doc.amount, closing_reason=why)
        rows.save(lease)
        self.captures.write(rows, Account.load(rows, lease), final=True)
        return [Post()]

    def _check_hold(self, lease: LeaseRow, signed: Signed[Hold]) -> None:
        hold, bid = signed.doc, from_bytes(lease.envelope, Bid).doc
        if (hold.payer, hold.payee) != (lease.client, self._desk.did):
            raise PeerError(Fault.NOT_ALLOWED, "the hold is not from the lease's client to its provider")
        if hold.amount < bid.cap:
            raise PeerError(Fault.NOT_ALLOWED, f"the hold of {hold.amount} is below the lease's cap of {bid.cap}")
        if hold.hold_expires_at_ms < bid.lease_expires_at_ms + bid.margin_ms:
            raise PeerError(Fault.NOT_ALLOWED, "the hold ends before the lease and its settlement margin do")

    def open(self, lease_id: bytes) -> list[Effect]:
        """A stream of the lease's client is open. Its deliveries so far are sent by `Attempts.reattach`."""
        with self._store.begin() as rows:
            lease = find(rows, lease_id)
            if lease.state == LeaseState.AGREED:
                raise PeerError(Fault.NOT_ALLOWED, "the lease is not funded", hint="send the ledger's hold first")
            if lease.state in LIVE:
                if lease.state == LeaseState.FUNDED:
                    lease = after(lease, LeaseEvent.OPEN)
                lease = replace(lease, active_ms=self._desk.now_ms())
                rows.save(lease)
        sends: list[Effect] = [Send(lease_id, Opened(lease.kept))]
        if lease.state not in LIVE:
            sends.append(Send(lease_id, Closing(lease.closing_reason)))
        return sends

    def voucher(self, signed: Signed[Voucher]) -> list[Effect]:
        """Take a voucher if it promises more than the kept one; reveal what it buys. The answer is the one kept."""
        voucher, now = signed.doc, self._desk.now_ms()
        with self._store.begin() as rows:
            lease = find(rows, voucher.lease)
            if lease.state not in LIVE:
                return [Send(lease.id, Closing(lease.closing_reason or f"the lease is {lease.state}"))]
            if now >= lease.expires_ms:
                # By our own clock the lease is over: no key goes out any more, and `tick` closes it (rule 12).
                return [Send(lease.id, Closing("the lease has expired"))]
            self._check_voucher(lease, signed)
            dsse.authenticate(signed)
            account = Account.load(rows, lease, Promise.of(voucher))
            better = payment.total(Promise.of(voucher), account.own, hold=lease.hold) > account.kept_total
            if better:
                lease = replace(lease, kept=signed.bytes, active_ms=now)
                rows.change(LeaseRow, {"id": lease.id}, kept=lease.kept, active_ms=now)
                account = replace(account, lease=lease, kept=Promise.of(voucher))
            bought = account.revealable()
            for delivery in bought:
                rows.change(DeliveryDue, {"hashlock": delivery.hashlock}, revealed=True)
            account = account.with_revealed(bought)
            account = settle_reservations(rows, account)
            queued = settle_attempts(rows, account)
            capture = self.captures.write_if_much(rows, account)
        effects: list[Effect] = [Send(lease.id, Kept(lease.kept))]
        # Keys that went out before go out again: the client may have missed them.
        effects += [Send(lease.id, KeyReveal(d.job, d.picture, d.key, d.step)) for d in account.bought]
        effects += [*keeping(account), *(Enqueue(a) for a in queued)]
        return effects + ([Wake(lease.id)] if better else []) + capture

    def _check_voucher(self, lease: LeaseRow, signed: Signed[Voucher]) -> None:
        head = signed.doc.head
        if signed.issuer != lease.client:
            raise PeerError(Fault.BAD_SIGNATURE, "the voucher is not issued by the lease's client")
        if head.audience != (lease.ledger, self._desk.did):
            raise PeerError(Fault.WRONG_AUDIENCE, "a voucher is for the lease's ledger and its provider")
        hold = from_bytes(lease.hold_envelope, Hold).doc
        if head.expires_at_ms < hold.hold_expires_at_ms:
            raise PeerError(Fault.EXPIRED, "a voucher lives as long as its hold")
        dsse.check_issued(head, self._desk.now_ms())
        payment.check_promise(Promise.of(signed.doc))

    def finish(self, lease_id: bytes, document: Envelope) -> list[Effect]:
        """The client wants nothing more under the lease of its stream: settle now. Again changes nothing."""
        with self._store.begin() as rows:
            signed = receive(rows, self._desk, document, Finish, stream=lease_id)
            if is_known(rows, signed):
                return []
            remember(rows, signed)
            return self._close(rows, lease_id, "the client has finished", Outcome.CANCELLED)

    def close(self, lease_id: bytes, why: str, outcome: Outcome) -> list[Effect]:
        """Commit the closing with its final capture; running attempts end with `outcome`. Again changes nothing."""
        with self._store.begin() as rows:
            return self._close(rows, lease_id, why, outcome)

    def _close(self, rows: Rows, lease_id: bytes, why: str, outcome: Outcome) -> list[Effect]:
        lease = find(rows, lease_id)
        if lease.state not in LIVE:
            return []
        account = Account.load(rows, lease)
        self.captures.write(rows, account, final=True)
        rows.save(replace(after(lease, LeaseEvent.CLOSE), closing_reason=why))
        for attempt in account.attempts:
            # What was never queued was never charged.
            upfront = 0 if attempt.state == AttemptState.ACCEPTED else attempt.upfront
            rows.change(AttemptRow, {"id": attempt.id}, state=ended(attempt, account, outcome), upfront=upfront)
        rows.delete(BodyRow, lease=lease_id)
        let_go = [LetGo(lease_id)] if end_reservations(rows, lease_id) else []
        log.info("lease %s closing: %s", lease_id.hex()[:12], why)
        return [Send(lease_id, Closing(why)), *(Drop(a.id) for a in account.attempts), *let_go, Post()]

    def pending(self) -> int:
        """How many leases are agreed, funded or open: their clients count on us."""
        with self._store.read() as rows:
            return rows.summary(LeaseRow, "window", state=(LeaseState.AGREED, *LIVE)).count

    def sealing_keys(self) -> frozenset[bytes]:
        """The sealing keys (their public halves) that leases need which are agreed, funded or open."""
        with self._store.read() as rows:
            leases = rows.all(LeaseSealing, state=(LeaseState.AGREED, *LIVE))
        return frozenset(lease.sealing_key for lease in leases)

    def forget(self) -> list[Effect]:
        """Drop the leases that nobody funded, a day after they were agreed: they cost whoever bid nothing."""
        # Noted: one that a power cut brings back is dropped again.
        with self._store.note() as rows:
            long_ago = self._desk.now_ms() - limits.ABANDONED_KEPT_MS
            rows.delete_below(LeaseRow, "agreed_ms", long_ago, state=LeaseState.ABANDONED, hold_envelope=b"")
        return []

    def close_all(self, why: str) -> list[Effect]:
        """Close every lease that is open (the node stops for good)."""
        with self._store.read() as rows:
            leases = rows.all(LeaseRow, state=LIVE)
        return [effect for lease in leases for effect in self._close_one(lease.id, why, Outcome.CANCELLED)]

    def _close_one(self, lease_id: bytes, why: str, outcome: Outcome) -> list[Effect]:
        """Close one lease of several. What goes wrong with it must not keep the others open until their holds end."""
        try:
            return self.close(lease_id, why, outcome)
        except Exception:
            log.exception("lease %s could not be closed", lease_id.hex()[:12])
            return []

    def tick(self) -> list[Effect]:
        """Let time do its work: abandon the unfunded, close the idle and the expired (rules 12, 21)."""
        now, effects = self._desk.now_ms(), []
        with self._store.begin() as rows:
            leases = rows.all(LeaseRow, state=(LeaseState.AGREED, *LIVE))
            for lease in leases:
                if lease.state == LeaseState.AGREED and now >= lease.agreed_ms + limits.FUNDING_TIMEOUT_MS:
                    rows.save(after(lease, LeaseEvent.ABANDON))
            accounts = [Account.load(rows, lease) for lease in leases if lease.state in LIVE and _is_due(lease, now)]
        for account in accounts:
            lease = account.lease
            if now >= lease.expires_ms:
                effects += self._close_one(lease.id, "the lease has expired", Outcome.EXPIRED)
            elif not (account.working or account.is_reserved):
                unpaid = "its deliveries were not paid for in time"
                why = unpaid if account.attempts else "no job for the lease's idle limit"
                effects += self._close_one(lease.id, why, Outcome.EXPIRED)
        return effects


def _is_due(lease: LeaseRow, now_ms: int) -> bool:
    """Whether a lease's time may be over: only then its account is looked at, for there are many leases."""
    idle_ms = from_bytes(lease.envelope, Bid).doc.idle_limit_ms
    return now_ms >= min(lease.expires_ms, lease.active_ms + idle_ms)
