"""The payment rules as data: what is sold, what a voucher says, the rules and their misreadings, what everyone knows.

`Rules` is the specification: one field a rule, numbered as in docs/payment.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal, NamedTuple


class Delivery(NamedTuple):
    """One hash-locked delivery; two deliveries of the same `steps` are the same goods."""

    name: str
    job: str
    price: int
    after: int | None
    steps: int


DELIVERIES = (
    Delivery("A.checkpoint", "A", price=1, after=None, steps=0),
    Delivery("A.picture", "A", price=1, after=0, steps=1),
    Delivery("B.picture", "B", price=2, after=None, steps=2),
    Delivery("B.picture-again", "B", price=2, after=None, steps=2),  # only a cheat makes this
)
HONEST, AGAIN = 0b0111, 3
UP_FRONT = 1

Mask = int  # a set of deliveries, or of their keys: bit d is DELIVERIES[d]
MASKS = range(1 << len(DELIVERIES))
BITS = [tuple(d for d in range(len(DELIVERIES)) if mask >> d & 1) for mask in MASKS]
PRICE = [sum(DELIVERIES[d].price for d in bits) for bits in BITS]
VALUE = [sum({DELIVERIES[d].steps: DELIVERIES[d].price for d in bits}.values()) for bits in BITS]  # goods count once


class Voucher(NamedTuple):
    """A cumulative promise: what is owed outright, and what is owed to whoever shows each delivery's key."""

    unlocked: int
    locks: tuple[int, ...] = (0, 0, 0, 0)


class Capture(NamedTuple):
    """What the payee sends to the ledger; `final` also closes the hold."""

    voucher: Voucher
    keys: Mask
    final: bool = False


NOTHING = Voucher(0)
RELEASE = Capture(NOTHING, 0, final=True)


@cache
def worth(voucher: Voucher, keys: Mask) -> int:
    return voucher.unlocked + sum(voucher.locks[d] for d in BITS[keys])


@cache
def locked(voucher: Voucher) -> Mask:
    return sum(1 << d for d, amount in enumerate(voucher.locks) if amount)


@cache
def with_lock(voucher: Voucher, delivery: int, amount: int) -> tuple[int, ...]:
    return (*voucher.locks[:delivery], amount, *voucher.locks[delivery + 1 :])


Capturing = Literal["difference", "with remembered keys", "each lock once", "afresh", "unbounded", "signed"]


@dataclass(frozen=True, slots=True)
class Rules:
    """Each default is the rule, numbered as in docs/payment.md; each other value is a way to get it wrong."""

    # 1  The ledger pays min(worth, hold) less what the hold has paid, if positive. It keeps nothing per lock.
    capture: Capturing = "difference"
    # 2  The provider keeps the voucher with the highest total,
    keeps: Literal["highest", "latest"] = "highest"
    #    counting only hashlocks of its own deliveries, and only up to the hold,
    counts_foreign_locks: bool = False
    counts_beyond_hold: bool = False
    #    and reveals a key only when the kept voucher holds that lock in full *and* its total covers all that is due.
    reveals: Literal["lock and total", "any lock", "full lock", "total"] = "lock and total"
    # 3  The window bounds the unpaid work of the whole lease, and the client's locks whose keys it lacks;
    window: int = 2
    window_is_per: Literal["lease", "job"] = "lease"
    client_bounds_locks: bool = True
    #    up-front lines are bounded apart.
    counts_up_front_in_bound: bool = False
    # 6  One hashlock per delivery; a key is exactly 32 bytes, or the ledger refuses it.
    one_hashlock_per_range: bool = True
    one_key_length: bool = True
    # 7  One writer makes a lease's vouchers.
    one_writer: bool = True
    # 8  On disk first: the voucher before it is acted on, the key before its ciphertext goes out, the ciphertext before
    #    its lock is signed (9: and it must be there at all). The provider keeps deliveries until the hold closes.
    voucher_on_disk_first: bool = True
    key_on_disk_first: bool = True
    lock_needs: Literal["ciphertext on disk", "ciphertext in memory", "hashlock"] = "ciphertext on disk"
    keeps_deliveries: bool = True
    # 11 The final capture pays and closes in one; only the payee ends a hold early; once closing, the provider is deaf.
    closes_by: Literal["final capture", "separate release"] = "final capture"
    client_may_release: bool = False
    deaf_once_closing: bool = True
    # 12 The hold outlives the lease by a margin larger than any clock error; at lease expiry the provider stops and
    #    captures; a voucher lives as long as its hold; after an outage the ledger first serves for one margin.
    hold: int = 5
    lease_expiry: int = 1
    margin: int = 2
    clock_error: int = -1
    stops_at_lease_expiry: bool = True
    voucher_expiry: int = 99
    grace_after_outage: bool = True


class State(NamedTuple):
    """Everything that anyone knows. Memory and disk differ only under a weakened rule 8."""

    time: int = 0
    # provider
    worked: Mask = 0  # done, key made, ciphertext and hashlock out
    garbage: Mask = 0  # ... whose key opens nothing of value
    lost_keys: Mask = 0
    deleted: Mask = 0
    kept: Voucher = NOTHING
    disk: Voucher = NOTHING
    released: Mask = 0  # keys given to the client
    closing: bool = False
    # client
    signed: Mask = 0  # deliveries for which it ever signed a lock
    latest: Voucher = NOTHING
    received: Mask = 0  # ciphertexts
    opened: Mask = 0  # keys
    # on the wire
    sent: frozenset[Voucher] = frozenset()
    captures: frozenset[Capture] = frozenset()
    # ledger
    open: bool = True
    held: int = 0
    paid: int = 0
    returned: int = 0
    published: Mask = 0  # keys that the payer can fetch
    settled: tuple[int, Mask] = (0, 0)  # kept by no ledger but the one that pays each lock once


Label = tuple[Any, ...]  # who, does what, and to what: told only when a story is printed
Move = tuple[Label, State]


@dataclass(frozen=True, slots=True)
class Setting:
    """Who plays, and what must hold for those of them that are honest."""

    name: str
    agents: tuple[Callable[[World, State], Iterable[Move]], ...]
    always: tuple[Callable[[World, State], bool], ...]
    each_step: tuple[Callable[[World, State, State], bool], ...] = ()
    client_cheats: bool = False
    ledger_hides_keys: bool = False
    must_finish: bool = False
    captures_in_flight: int = 2
    most_overpaid: int = 0  # by how much a cheating client's lock may exceed its delivery's price


@dataclass(frozen=True, slots=True)
class World:
    rules: Rules
    setting: Setting
