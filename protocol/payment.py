"""Who owes what, and which voucher is worth most. Rule: docs/payment.md to its letter; numbers refer to its rules.

All functions are pure; amounts are micro-credits. A hashlock is the SHA-256 of a 32-byte key.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Lock, Voucher
from gpufair.protocol.units import Credits


@dataclass(frozen=True, slots=True)
class Promise:
    """The money part of a voucher."""

    unlocked: int
    locks: tuple[Lock, ...] = ()

    @classmethod
    def of(cls, voucher: Voucher) -> Promise:
        """The promise in a voucher."""
        return cls(voucher.unlocked, voucher.locks)


NOTHING = Promise(0)


def hashlock(key: bytes) -> bytes:
    """The lock of a key. Raises PeerError for a key of any other length than 32 bytes (rule 6)."""
    if len(key) != limits.KEY_BYTES:
        raise PeerError(Fault.MALFORMED, f"a key has {len(key)} bytes: it must have {limits.KEY_BYTES}")
    return hashlib.sha256(key).digest()


def check_promise(promise: Promise) -> None:
    """Rule 15's shape: at most 16 locks, hashlocks distinct, amounts above zero, sums within limits."""
    locks = promise.locks
    if len(locks) > limits.LOCKS_MAX or len({lock.hashlock for lock in locks}) != len(locks):
        raise PeerError(Fault.MALFORMED, f"a voucher has at most {limits.LOCKS_MAX} locks, each of another key")
    total = promise.unlocked + sum(lock.amount for lock in locks)
    if promise.unlocked < 0 or any(lock.amount <= 0 for lock in locks) or total > limits.AMOUNT_MAX:
        raise PeerError(Fault.MALFORMED, "the amounts of a voucher are out of bounds")


def worth(promise: Promise, keys: Iterable[bytes]) -> Credits:
    """What a ledger pays for a voucher shown with these keys (rule 1), before the hold bounds it."""
    opened = {hashlock(key) for key in keys}
    return Credits(promise.unlocked + sum(lock.amount for lock in promise.locks if lock.hashlock in opened))


def payable(promise: Promise, keys: Iterable[bytes], *, hold: int, captured: int) -> Credits:
    """What a capture moves: min(worth, hold) less what this hold has paid already, if positive (rule 1)."""
    return Credits(max(0, min(worth(promise, keys), hold) - captured))


def total(promise: Promise, own: Collection[bytes], *, hold: int) -> Credits:
    """A voucher's total for the provider: only its own hashlocks of this lease count, up to the hold (rule 2)."""
    locked = sum(lock.amount for lock in promise.locks if lock.hashlock in own)
    return Credits(min(hold, promise.unlocked + locked))


def may_reveal(kept: Promise, lock: Lock, own: Collection[bytes], *, due: int, hold: int) -> bool:
    """Whether the kept voucher buys this delivery's key: its lock is there in full and the total covers `due` (rule 2).

    `due` is all that is due when this delivery is included: up-front lines and every delivery already revealed.
    """
    held_in_full = any(have.hashlock == lock.hashlock and have.amount >= lock.amount for have in kept.locks)
    return held_in_full and total(kept, own, hold=hold) >= due


def may_work(*, due_after: int, kept_total: int, window: int) -> bool:
    """Whether the provider may begin work that brings all it has done under the lease to `due_after` (rule 3)."""
    return due_after - kept_total <= window


def may_lock(open_locks: Iterable[Lock], amount: int, *, window: int) -> bool:
    """Whether the client may sign one more lock: those whose keys it lacks stay within the window (rule 3)."""
    return sum(lock.amount for lock in open_locks) + amount <= window


def may_prepay(prepaid: int, amount: int, *, window: int) -> bool:
    """Whether the client may pay more up-front lines: those of undelivered jobs stay within the window (rule 3)."""
    return prepaid + amount <= window


def fold(promise: Promise, key: bytes) -> Promise:
    """The promise once `key` is known: its lock moves into `unlocked`, in one step (rule 7)."""
    opened = hashlock(key)
    paid = sum(lock.amount for lock in promise.locks if lock.hashlock == opened)
    return Promise(promise.unlocked + paid, tuple(lock for lock in promise.locks if lock.hashlock != opened))


def with_lock(promise: Promise, lock: Lock) -> Promise:
    """The promise with one more delivery that waits for its key."""
    return Promise(promise.unlocked, (*promise.locks, lock))
