"""What must hold after every event, whoever cheats. Rule: judged from the databases, past all code under test.

Each check looks only when a commit has changed what it judges. A broken promise raises `Broken`, with its numbers.
"""

from __future__ import annotations

import hashlib
from typing import Any

from gpufair.protocol import payment
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Capture, JobAcceptance, Voucher
from gpufair.protocol.payment import Promise


class BrokenError(AssertionError):
    """A promise of docs/payment.md was not kept."""


def insist(holds: bool, what: str, *numbers: Any) -> None:
    """Raise unless it holds."""
    if not holds:
        raise BrokenError(f"{what} {numbers if numbers else ''}")


class Watch:
    """The judge of one run: it remembers what it saw, so that nothing can go back."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self._seen = {"ledger": -1, "provider": -1, "client": -1}
        self._holds: dict[bytes, tuple[int, int, int]] = {}
        self._kept: dict[bytes, int] = {}
        self._hashlocks: dict[tuple[bytes, bytes, int], bytes] = {}
        self._signed: dict[bytes, Promise] = {}
        self._upfronts: dict[bytes, int] = {}

    def check(self) -> None:
        """Judge whatever has changed."""
        for actor, judge in (
            (self.world.ledger, self._ledger), (self.world.provider, self._provider), (self.world.client, self._client)
        ):  # fmt: skip
            if actor.db.writes != self._seen[actor.role]:
                self._seen[actor.role] = actor.db.writes
                judge()

    # --- the ledger ----------------------------------------------------------------------------------------------

    def _ledger(self) -> None:
        rows = self.world.ledger.db.rows
        accounts = rows("SELECT did, issued, available, held FROM accounts")
        insist(sum(i + a + h for _, i, a, h in accounts) == 0, "money appeared or disappeared", accounts)
        insist(all(a >= 0 and h >= 0 for _, _, a, h in accounts), "an account is below zero", accounts)
        insist(rows("SELECT coalesce(sum(amount), 0) FROM postings")[0][0] == 0, "the postings do not sum to zero")
        holds = rows("SELECT lease, payer, amount, captured, released, closed FROM holds")
        rest: dict[str, int] = {}
        for lease, payer, amount, captured, released, closed in holds:
            insist(0 <= captured <= amount, "more was captured than held", captured, amount)
            insist(not closed or captured + released == amount, "a closed hold keeps money", captured, released)
            before = self._holds.get(lease, (0, 0, 0))
            insist(captured >= before[0], "a capture was taken back", before, captured)
            insist(not before[2] or before == (captured, released, closed), "a closed hold has changed", before)
            self._holds[lease] = (captured, released, closed)
            rest[payer] = rest.get(payer, 0) + amount - captured - released
        for did, _, _, held in accounts:
            insist(held == rest.get(did, 0), "held funds are not those of the open holds", did, held)
        self._losses()

    def captured(self) -> int:
        """What the ledger has paid so far under the lease."""
        return sum(row[0] for row in self.world.ledger.db.rows("SELECT captured FROM holds"))

    def _losses(self) -> None:
        """An honest client has paid for pictures that it can open, up-front lines, and at most one window more."""
        if not self.world.client.honest or not self.captured():
            return
        loss = self.captured() - self.client_got()
        bound = self.world.window if not self.world.provider.honest else 0
        insist(loss <= bound + self.upfront_signed(), "the client lost more than the window", loss, bound)

    def client_got(self) -> int:
        """The worth of every picture that the client has, or can open with a key that the ledger shows it."""
        keys = {hashlib.sha256(k).digest() for (k,) in self.world.ledger.db.rows("SELECT key FROM keys")}
        rows = self.world.client.db.rows("SELECT hashlock, amount, length(key), length(plain) FROM deliveries")
        return sum(amount for lock, amount, key, png in rows if png or (lock in keys and not key))

    def upfront_signed(self) -> int:
        """Every up-front line that the client ever agreed to pay."""
        for job, acceptance in self.world.client.db.rows("SELECT id, acceptance FROM jobs WHERE length(acceptance)"):
            if job not in self._upfronts:
                self._upfronts[job] = from_bytes(acceptance, JobAcceptance).doc.upfront
        return sum(self._upfronts.values())

    # --- the provider ----------------------------------------------------------------------------------------------

    def _provider(self) -> None:
        if not self.world.provider.honest:
            return
        rows = self.world.provider.db.rows
        for lease, hold, kept, captured in rows("SELECT id, hold, kept, captured FROM leases"):
            if not hold:
                continue
            own = dict(rows("SELECT hashlock, key FROM deliveries WHERE lease=?", lease))
            promise = Promise.of(from_bytes(kept, Voucher).doc) if kept else payment.NOTHING
            total = payment.total(promise, own.keys(), hold=hold)
            insist(total >= self._kept.get(lease, 0), "a kept voucher was lowered", total, self._kept.get(lease))
            self._kept[lease] = total
            insist(payment.worth(promise, [own[x.hashlock] for x in promise.locks if x.hashlock in own]) >= total,
                   "the kept voucher is worth less than its total")  # fmt: skip
            [(revealed,)] = rows("SELECT coalesce(sum(amount), 0) FROM deliveries WHERE lease=? AND revealed", lease)
            [(upfront,)] = rows(
                "SELECT coalesce(sum(upfront), 0) FROM attempts WHERE lease=? AND state != 'accepted'", lease
            )
            insist(revealed + upfront <= total, "keys are out that nobody pays for", revealed, upfront, total)
            [(made,)] = rows("SELECT coalesce(sum(amount), 0) FROM deliveries WHERE lease=?", lease)
            insist(made + upfront - total <= self.world.window, "more work than the window", made, upfront, total)
            insist(captured <= hold, "captured above the hold", captured, hold)
        for (envelope,) in rows("SELECT envelope FROM outbox"):
            capture = from_bytes(envelope, Capture).doc
            opened = {payment.hashlock(key) for key in capture.keys}
            promised = from_bytes(capture.voucher, Voucher).doc.locks if capture.voucher else ()
            locks = {x.hashlock: x.amount for x in promised}
            insist(opened <= locks.keys(), "a capture shows keys without locks")
            prices = dict(rows("SELECT hashlock, amount FROM deliveries WHERE lease=?", capture.lease))
            insist(all(locks[x] >= prices[x] for x in opened), "a capture shows a key for less than its price")

    def key_goes_out(self, lease: bytes, job: bytes, picture: int) -> None:
        """A key leaves an honest provider: the disk must say so already."""
        found = self.world.provider.db.rows(
            "SELECT revealed FROM deliveries WHERE lease=? AND job=? AND picture=?", lease, job, picture
        )
        insist(found == [(1,)], "a key goes out that the disk calls unrevealed", job, picture)

    # --- the client ------------------------------------------------------------------------------------------------

    def _client(self) -> None:
        rows = self.world.client.db.rows
        for lease, job, picture, lock in rows("SELECT lease, job, picture, hashlock FROM deliveries"):
            before = self._hashlocks.setdefault((lease, job, picture), lock)
            insist(before == lock, "another hashlock for the same picture", job, picture)
        if not self.world.client.honest:
            return
        for lease, cap, window, voucher in rows("SELECT id, cap, window, voucher FROM leases WHERE length(voucher)"):
            promise = Promise.of(from_bytes(voucher, Voucher).doc)
            before_promise = self._signed.get(lease, payment.NOTHING)
            if promise == before_promise:
                continue
            self._signed[lease] = promise
            total = promise.unlocked + sum(x.amount for x in promise.locks)
            old_total = before_promise.unlocked + sum(x.amount for x in before_promise.locks)
            insist(total >= old_total, "the client lowered its own promise", old_total, total)
            insist(total <= cap, "a promise above the cap", total, cap)
            insist(sum(x.amount for x in promise.locks) <= window, "locks beyond the window", promise, window)
            known = dict(rows("SELECT hashlock, amount FROM deliveries WHERE locked"))
            for x in promise.locks:
                insist(known.get(x.hashlock) == x.amount, "a lock for nothing that is on disk", x.amount)
            opened = rows("SELECT coalesce(sum(amount), 0) FROM deliveries WHERE locked AND length(key)")[0][0]
            insist(promise.unlocked <= opened + self.upfront_signed(), "unlocked money for nothing", promise.unlocked)

    def voucher_goes_out(self, voucher: Voucher) -> None:
        """A voucher leaves an honest client: the one on disk must promise as much."""
        [(stored,)] = self.world.client.db.rows("SELECT voucher FROM leases WHERE id=?", voucher.lease)
        said = voucher.unlocked + sum(x.amount for x in voucher.locks)
        kept = Promise.of(from_bytes(stored, Voucher).doc) if stored else payment.NOTHING
        insist(kept.unlocked + sum(x.amount for x in kept.locks) >= said, "a voucher goes out that is not on disk")
