"""What a ledger, a provider and a client must keep to. Rule: nothing that was promised or paid ever goes back."""

from __future__ import annotations

import hashlib
from typing import Any

from judging import Judge, insist

from gpufair.protocol import payment
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import LIVE
from gpufair.protocol.messages import Capture, JobAcceptance, Voucher
from gpufair.protocol.payment import Promise

_HOLDS = "SELECT lease, payer, payee, amount, captured, released, closed FROM holds"


class LedgerJudge(Judge):
    """Money neither appears nor disappears; holds only go forward; nobody loses more than a lease allows."""

    def __init__(self, stage: Any, actor: Any) -> None:
        super().__init__(stage, actor)
        self._open: set[bytes] = set()
        self._holds: dict[bytes, tuple[int, int, int]] = {}

    def changed(self) -> None:
        holds = self.rows(f"{_HOLDS} WHERE NOT closed")
        for lease in self._open - {hold[0] for hold in holds}:
            holds += self.rows(f"{_HOLDS} WHERE lease=?", lease)
        self._money()
        self._judge(holds)

    def whole(self) -> None:
        holds = self.rows(_HOLDS)
        self._money()
        insist(self.rows("SELECT coalesce(sum(amount), 0) FROM postings")[0][0] == 0, "the postings sum to something")
        insist(self._holds.keys() <= {hold[0] for hold in holds}, "a hold is gone")
        self._judge(holds)
        held: dict[str, int] = {}
        for _, payer, _, amount, captured, released, _ in holds:
            held[payer] = held.get(payer, 0) + amount - captured - released
        for did, has in self.rows("SELECT did, held FROM accounts"):
            insist(has == held.get(did, 0), "held funds are not those of the open holds", did, has)

    def _money(self) -> None:
        [(total, available, held, in_holds)] = self.rows(
            "SELECT coalesce(sum(issued + available + held), 0), coalesce(min(available), 0), coalesce(min(held), 0), "
            "coalesce(sum(held), 0) FROM accounts"
        )
        insist(total == 0, "money appeared or disappeared", total)
        insist(available >= 0 and held >= 0, "an account is below zero", available, held)
        [(reserved,)] = self.rows("SELECT coalesce(sum(amount - captured - released), 0) FROM holds WHERE NOT closed")
        insist(in_holds == reserved, "held funds are not those of the open holds", in_holds, reserved)

    def _judge(self, holds: list[Any]) -> None:
        for lease, payer, payee, amount, captured, released, closed in holds:
            before = self._holds.get(lease, (0, 0, 0))
            if before == (captured, released, closed):
                continue
            insist(0 <= captured <= amount, "more was captured than held", captured, amount)
            insist(not closed or captured + released == amount, "a closed hold keeps money", captured, released)
            insist(captured >= before[0], "a capture was taken back", before, captured)
            insist(not before[2], "a closed hold has changed", before)
            self._holds[lease] = (captured, released, closed)
            if captured > before[0]:
                self._loss(lease, payer, payee, captured)
        self._open = {hold[0] for hold in holds if not hold[6]}

    def _loss(self, lease: bytes, payer: str, payee: str, captured: int) -> None:
        """An honest client has paid for pictures that it can open, up-front lines, and at most one window more."""
        client, shop = self.stage.buyers.get(payer), self.stage.shops.get(payee)
        if client is None or not client.honest:
            return
        keys = {hashlib.sha256(key).digest() for (key,) in self.rows("SELECT key FROM keys WHERE lease=?", lease)}
        loss = captured - worth_of_what_opens(client, lease, keys)
        [(window,)] = client.db.rows("SELECT window FROM leases WHERE id=?", lease)
        bound = 0 if shop is not None and shop.honest else window
        insist(loss <= bound + upfront_agreed(client, lease), "the client lost more than the window", loss, bound)


def worth_of_what_opens(client: Any, lease: bytes, keys: set[bytes]) -> int:
    """The worth of every delivery that a client has, or can open with a key (its SHA-256) that its ledger shows it."""
    query = "SELECT hashlock, amount, length(key), length(plain) FROM deliveries WHERE lease=?"
    return sum(
        amount for lock, amount, key, plain in client.db.rows(query, lease) if plain or (lock in keys and not key)
    )


def upfront_agreed(client: Any, lease: bytes) -> int:
    """Every up-front line that a client ever agreed to pay under a lease."""
    found = client.db.rows("SELECT acceptance FROM jobs WHERE lease=? AND length(acceptance)", lease)
    return sum(from_bytes(acceptance, JobAcceptance).doc.upfront for (acceptance,) in found)


class ProviderJudge(Judge):
    """An honest provider keeps the best voucher, gives no key away, and works no further than the window."""

    def __init__(self, stage: Any, actor: Any) -> None:
        super().__init__(stage, actor)
        self._kept: dict[bytes, int] = {}
        self._live: set[bytes] = set()
        self._orders = 0

    def changed(self) -> None:
        live = {lease for (lease,) in self.rows("SELECT id FROM leases WHERE state IN (?, ?)", *LIVE)}
        self._judge(live | self._live)
        self._live = live

    def whole(self) -> None:
        self._orders = 0
        self._judge({lease for (lease,) in self.rows("SELECT id FROM leases")})

    def _judge(self, leases: set[bytes]) -> None:
        if not self.actor.honest:
            return
        for lease in sorted(leases):
            self._lease(lease)
        found = self.rows("SELECT rowid, envelope FROM outbox WHERE rowid > ? ORDER BY rowid", self._orders)
        for self._orders, order in found:
            self._capture(from_bytes(order, Capture).doc)

    def _lease(self, lease: bytes) -> None:
        rows = self.rows
        [(hold, kept, captured, window)] = rows("SELECT hold, kept, captured, window FROM leases WHERE id=?", lease)
        if not hold:
            return
        own = dict(rows("SELECT hashlock, key FROM deliveries WHERE lease=?", lease))
        promise = Promise.of(from_bytes(kept, Voucher).doc) if kept else payment.NOTHING
        total = payment.total(promise, own.keys(), hold=hold)
        insist(total >= self._kept.get(lease, 0), "a kept voucher was lowered", total, self._kept.get(lease))
        self._kept[lease] = total
        worth = payment.worth(promise, [own[x.hashlock] for x in promise.locks if x.hashlock in own])
        insist(worth >= total, "the kept voucher is worth less than its total", worth, total)
        [(revealed, made)] = rows(
            "SELECT coalesce(sum(CASE WHEN revealed THEN amount END), 0), coalesce(sum(amount), 0) "
            "FROM deliveries WHERE lease=?", lease
        )  # fmt: skip
        [(upfront,)] = rows(
            "SELECT coalesce(sum(upfront), 0) FROM attempts WHERE lease=? AND state != 'accepted'", lease
        )
        insist(revealed + upfront <= total, "keys are out that nobody pays for", revealed, upfront, total)
        insist(made + upfront - total <= window, "more work than the window", made, upfront, total)
        insist(captured <= hold, "captured above the hold", captured, hold)

    def _capture(self, capture: Capture) -> None:
        opened = {payment.hashlock(key) for key in capture.keys}
        promised = from_bytes(capture.voucher, Voucher).doc.locks if capture.voucher else ()
        locks = {x.hashlock: x.amount for x in promised}
        insist(opened <= locks.keys(), "a capture shows keys without locks")
        prices = dict(self.rows("SELECT hashlock, amount FROM deliveries WHERE lease=?", capture.lease))
        insist(all(locks[x] >= prices[x] for x in opened), "a capture shows a key for less than its price")


class ClientJudge(Judge):
    """A client has one hashlock for each delivery; an honest one promises only more, and never for nothing."""

    def __init__(self, stage: Any, actor: Any) -> None:
        super().__init__(stage, actor)
        self._hashlocks: dict[tuple[Any, ...], bytes] = {}
        self._deliveries = 0
        self._signed: dict[bytes, Promise] = {}
        self._sequences: dict[tuple[str, str], int] = {}
        self._read: list[Any] = []

    def changed(self) -> None:
        self._locks(after=self._deliveries)
        self._promises()
        self._readers()

    def whole(self) -> None:
        self._locks(after=0)
        self._promises()
        self._readers()

    def _locks(self, after: int) -> None:
        query = "SELECT rowid, lease, job, picture, step, hashlock FROM deliveries WHERE rowid > ? ORDER BY rowid"
        for row, *place, lock in self.rows(query, after):
            self._deliveries = row
            before = self._hashlocks.setdefault(tuple(place), lock)
            insist(before == lock, "another hashlock for the same delivery", place)

    def _promises(self) -> None:
        if not self.actor.honest:
            return
        query = "SELECT id, cap, window, voucher FROM leases WHERE length(voucher) AND state != 'settled'"
        for lease, cap, window, voucher in self.rows(query):
            promise = Promise.of(from_bytes(voucher, Voucher).doc)
            if promise != (before := self._signed.get(lease, payment.NOTHING)):
                self._signed[lease] = promise
                self._promise(lease, promise, before, cap, window)

    def _promise(self, lease: bytes, promise: Promise, before: Promise, cap: int, window: int) -> None:
        total, old_total = (p.unlocked + sum(x.amount for x in p.locks) for p in (promise, before))
        insist(total >= old_total, "the client lowered its own promise", old_total, total)
        insist(total <= cap, "a promise above the cap", total, cap)
        insist(sum(x.amount for x in promise.locks) <= window, "locks beyond the window", promise, window)
        found = self.rows("SELECT hashlock, amount, length(key) FROM deliveries WHERE lease=? AND locked", lease)
        known = {lock: amount for lock, amount, _ in found}
        for x in promise.locks:
            insist(known.get(x.hashlock) == x.amount, "a lock for nothing that is on disk", x.amount)
        opened = sum(amount for _, amount, key in found if key)
        allowed = opened + upfront_agreed(self.actor, lease)
        insist(promise.unlocked <= allowed, "unlocked money for nothing", promise.unlocked, allowed)

    def _readers(self) -> None:
        """A sequence that a reader has taken never falls."""
        summary = self.rows("SELECT count(*), sum(sequence) FROM sequences")
        if summary == self._read:
            return
        self._read = summary
        for did, kind, sequence in self.rows("SELECT did, kind, sequence FROM sequences"):
            before = self._sequences.get((did, kind), 0)
            insist(sequence >= before, "a sequence fell", did, kind, before, sequence)
            self._sequences[did, kind] = sequence
