"""Who may do what in the payment model: each agent yields every (label, next state) that is open to it, and no other.

The honest ones read the rules before they move. The cheats ask nobody.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import cache
from itertools import product
from typing import Any

from payment_rules import (
    AGAIN,
    BITS,
    DELIVERIES,
    HONEST,
    MASKS,
    NOTHING,
    PRICE,
    RELEASE,
    UP_FRONT,
    Capture,
    Mask,
    Move,
    State,
    Voucher,
    World,
    locked,
    with_lock,
    worth,
)

# --- Ledger ----------------------------------------------------------------------------------------------------------


def settle(world: World, s: State, capture: Capture, usable: bool = True) -> State:
    """The ledger's answer to one capture, first or repeated."""
    rules, voucher = world.rules, capture.voucher
    if not s.open or s.time >= rules.voucher_expiry:
        return s
    keys, settled = capture.keys & locked(voucher), s.settled
    match rules.capture:
        case "difference":
            due = max(0, min(worth(voucher, keys), rules.hold) - s.paid)
        case "with remembered keys":
            due = max(0, min(worth(voucher, keys | s.published), rules.hold) - s.paid)
        case "each lock once":
            fresh = max(0, voucher.unlocked - settled[0]) + worth(voucher._replace(unlocked=0), keys & ~settled[1])
            due = min(fresh, rules.hold - s.paid)
            settled = (max(settled[0], voucher.unlocked), settled[1] | keys)
        case "afresh":
            due = min(worth(voucher, keys), rules.hold)
        case "unbounded":
            due = max(0, worth(voucher, keys) - s.paid)
        case "signed":
            due = min(worth(voucher, keys), rules.hold) - s.paid
    published = 0 if world.setting.ledger_hides_keys or not usable else keys
    after = s._replace(held=s.held - due, paid=s.paid + due, published=s.published | published, settled=settled)
    return close(after) if capture.final else after


def close(s: State) -> State:
    return s._replace(open=False, held=0, returned=s.returned + s.held)


def ledger(world: World, s: State) -> Iterator[Move]:
    for capture in s.captures:
        if capture == RELEASE:
            yield ("ledger", "processes the release"), settle(world, s, capture)
        else:
            kind = "final capture" if capture.final else "capture"
            yield ("ledger", f"processes the {kind} of", capture.voucher), settle(world, s, capture)


def clock(world: World, s: State) -> Iterator[Move]:
    """Ticks, then expires the hold. Assumed: a provider that knows of the lease's end reaches the ledger in time."""
    rules = world.rules
    if s.time + 1 < rules.lease_expiry + rules.margin:
        yield ("clock", "ticks"), s._replace(time=s.time + 1)
        return
    can_capture = s.time < rules.voucher_expiry and s.paid < total(world, s.kept, keys_of(s))
    if not (can_capture and lease_is_over(world, s)):
        yield ("ledger", "expires the hold"), close(s)
    elif not rules.grace_after_outage:
        yield ("ledger", "was down for the whole margin, restarts and expires the hold"), close(s)


def any_time_expiry(_: World, s: State) -> Iterator[Move]:
    yield ("ledger", "expires the hold"), close(s)


# --- Honest provider -------------------------------------------------------------------------------------------------


def keys_of(s: State) -> Mask:
    return s.worked & ~s.lost_keys


def total(world: World, voucher: Voucher, keys: Mask) -> int:
    """What a voucher counts for with the provider (rule 2)."""
    if world.rules.counts_foreign_locks:
        keys = locked(voucher)
    counted = worth(voucher, keys)
    return counted if world.rules.counts_beyond_hold else min(counted, world.rules.hold)


def lease_is_over(world: World, s: State) -> bool:
    rules = world.rules
    return rules.stops_at_lease_expiry and s.time + rules.clock_error >= rules.lease_expiry


def is_serving(world: World, s: State) -> bool:
    return not lease_is_over(world, s) and not (s.closing and world.rules.deaf_once_closing)


def provider_works(world: World, s: State) -> Iterator[Move]:
    if s.kept.unlocked < UP_FRONT or not is_serving(world, s):
        return
    kept = total(world, s.kept, keys_of(s))
    for d in BITS[HONEST & ~s.worked]:
        after, done = DELIVERIES[d].after, s.worked | 1 << d
        if after is not None and not s.worked >> after & 1:
            continue
        if world.rules.window_is_per == "lease":
            unpaid = UP_FRONT + PRICE[done] - kept
        else:
            unpaid = sum(DELIVERIES[x].price for x in BITS[done] if DELIVERIES[x].job == DELIVERIES[d].job)
        if unpaid <= world.rules.window:
            yield ("provider", "works and delivers", d), s._replace(worked=done)


def provider_reveals(world: World, s: State) -> Iterator[Move]:
    if not is_serving(world, s):
        return
    keys = keys_of(s)
    for d in BITS[keys & ~s.released]:
        covered = total(world, s.kept, keys) >= UP_FRONT + PRICE[s.released | 1 << d]
        lock = s.kept.locks[d]
        match world.rules.reveals:
            case "lock and total":
                willing = covered and lock >= DELIVERIES[d].price
            case "any lock":
                willing = lock > 0
            case "full lock":
                willing = lock >= DELIVERIES[d].price
            case "total":
                willing = covered
        if willing:
            yield ("provider", "reveals the key of", d), s._replace(released=s.released | 1 << d)


def provider_keeps(world: World, s: State) -> Iterator[Move]:
    rules = world.rules
    if s.closing and rules.deaf_once_closing:
        return
    keys = keys_of(s)
    kept = total(world, s.kept, keys)
    if world.setting.client_cheats:
        vouchers: Iterable[Voucher] = forgeries(
            s.worked, rules.hold, world.setting.most_overpaid, rules.counts_foreign_locks
        )
    else:
        vouchers = s.sent
    for v in vouchers:
        if v != s.kept and (total(world, v, keys) > kept or rules.keeps == "latest"):
            yield ("provider", "keeps", v), s._replace(kept=v, disk=v if rules.voucher_on_disk_first else s.disk)


def provider_captures(world: World, s: State) -> Iterator[Move]:
    if s.kept == NOTHING or s.closing:
        return
    capture = Capture(s.kept, keys_of(s) & locked(s.kept))
    if world.setting.client_cheats:  # the client can't delay it; a late one pays nothing that a newer has not paid
        yield ("provider", "captures", s.kept), settle(world, s, capture)
    elif capture not in s.captures and len(s.captures) < world.setting.captures_in_flight:
        yield ("provider", "sends a capture of", s.kept), s._replace(captures=s.captures | {capture})
    if world.rules.closes_by == "final capture":
        last = {capture._replace(final=True)}
    else:
        last = {capture, RELEASE}
    yield ("provider", "sends its final capture, of", s.kept), s._replace(closing=True, captures=s.captures | last)


def provider_crashes(world: World, s: State) -> Iterator[Move]:
    """Only what a weakened rule 8 leaves in memory can be lost, so by the rules nothing happens here."""
    if s.disk != s.kept:
        yield ("provider", "writes to disk", s.kept), s._replace(disk=s.kept)
        yield ("provider", "crashes and finds on disk", s.disk), s._replace(kept=s.disk)
    if not world.rules.key_on_disk_first and (keys := keys_of(s) & ~s.released):
        yield ("provider", "crashes and has lost the keys of", BITS[keys]), s._replace(lost_keys=s.worked & ~s.released)
    if not world.rules.keeps_deliveries:
        for d in BITS[s.worked & ~s.deleted]:
            yield ("provider", "deletes its copy of", d), s._replace(deleted=s.deleted | 1 << d)


# --- Honest client ---------------------------------------------------------------------------------------------------


def sign(s: State, voucher: Voucher, *why: Any) -> Move:
    after = s._replace(latest=voucher, signed=s.signed | locked(voucher), sent=s.sent | {voucher})
    return ("client", "signs", voucher, *why), after


def client_pays_up_front(_: World, s: State) -> Iterator[Move]:
    if s.latest == NOTHING:
        yield sign(s, Voucher(UP_FRONT), "up front")


def client_receives(_: World, s: State) -> Iterator[Move]:
    for d in BITS[s.worked & ~s.received & ~s.deleted]:
        yield ("client", "receives", d), s._replace(received=s.received | 1 << d)


def client_crashes(world: World, s: State) -> Iterator[Move]:
    if world.rules.lock_needs == "ciphertext in memory" and (gone := s.received & ~s.opened):
        yield ("client", "crashes and has lost the ciphertexts of", BITS[gone]), s._replace(received=s.received & ~gone)


def may_lock(world: World, s: State) -> Iterator[int]:
    rules = world.rules
    if s.latest == NOTHING or s.garbage & s.opened:  # having opened garbage, it signs no more
        return
    outstanding = PRICE[locked(s.latest) & ~s.opened]
    if rules.counts_up_front_in_bound and not s.opened & 1:
        outstanding += UP_FRONT
    seen = s.worked if rules.lock_needs == "hashlock" else s.received
    for d in BITS[seen & ~s.signed]:
        price = DELIVERIES[d].price
        if rules.one_hashlock_per_range and any(DELIVERIES[x].steps == DELIVERIES[d].steps for x in BITS[s.signed]):
            continue
        if rules.client_bounds_locks and outstanding + price > rules.window:
            continue
        if worth(s.latest, locked(s.latest)) + price <= rules.hold:
            yield d


def client_locks(world: World, s: State) -> Iterator[Move]:
    for d in may_lock(world, s):
        locks = with_lock(s.latest, d, DELIVERIES[d].price)
        yield sign(s, Voucher(s.latest.unlocked, locks), "to lock", d)


def client_folds(world: World, s: State) -> Iterator[Move]:
    """A key that came, from the provider or through the ledger, turns its lock into unlocked money."""
    for d in BITS[(s.released | s.published) & locked(s.latest) & ~s.opened]:
        opened = s._replace(opened=s.opened | 1 << d)
        unlocked = s.latest.unlocked + s.latest.locks[d]
        yield sign(opened, Voucher(unlocked, with_lock(s.latest, d, 0)), "having got the key of", d)
        if not world.rules.one_writer:  # another task read the locks before the fold, and writes after it
            for e in may_lock(world, s):
                stale = Voucher(unlocked, with_lock(s.latest, e, DELIVERIES[e].price))
                label, after = sign(opened, stale, "folding", d, "while another task locks", e)
                yield label, after._replace(latest=stale._replace(locks=with_lock(stale, d, 0)))


# --- Cheats ----------------------------------------------------------------------------------------------------------


@cache
def forgeries(seen: Mask, hold: int, over: int, foreign: bool) -> tuple[Voucher, ...]:
    """All that a cheating client can sign: any sum, any lock on a hash that it has seen, a lock on a hash of its own.

    The last is the bit of a delivery that this provider never makes. A provider that counts only its own hashlocks
    strikes it out, which is the same as never having been sent it.
    """
    amounts = [range(DELIVERIES[d].price + over + 1) if seen >> d & 1 else (0,) for d in range(AGAIN)]
    own = (0, DELIVERIES[AGAIN].price) if foreign else (0,)
    return tuple(Voucher(sum_, locks) for sum_ in range(hold + 2) for locks in product(*amounts, own))


def client_releases(world: World, s: State) -> Iterator[Move]:
    if world.rules.client_may_release:
        yield ("client", "releases the hold early"), close(s)


def cheat_delivers(world: World, s: State) -> Iterator[Move]:
    """Delivers anything, or garbage, and reveals a key if it likes; delivering nothing is never doing it."""
    for d in BITS[~s.worked & MASKS[-1]]:
        announced = s._replace(worked=s.worked | 1 << d)
        delivered = announced._replace(received=s.received | 1 << d)
        yield ("provider", "delivers", d), delivered
        yield ("provider", "delivers GARBAGE as", d), delivered._replace(garbage=s.garbage | 1 << d)
        if world.rules.lock_needs == "hashlock":
            yield ("provider", "sends no more than the hashlock of", d), announced
    for d in BITS[s.signed & ~s.released & ~s.opened]:
        yield ("provider", "reveals the key of", d), s._replace(released=s.released | 1 << d)


def cheat_captures(world: World, s: State) -> Iterator[Move]:
    """Captures any voucher it was ever sent, with any of its keys."""
    for v in s.sent:
        usable = locked(v) & s.worked
        for keys in MASKS:
            if keys & ~usable:
                continue
            yield ("provider", "captures", v, "with keys", BITS[keys]), settle(world, s, Capture(v, keys))
            if keys and not world.rules.one_key_length:  # an over-long preimage: it hashes right and opens nothing
                after = settle(world, s, Capture(v, keys), usable=False)
                yield ("provider", "captures", v, "with over-long preimages", BITS[keys]), after
