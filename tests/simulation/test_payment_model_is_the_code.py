"""The model's arithmetic is the code's: `gpufair.protocol.payment` answers alike on every input that the model knows.

What the model proves would say little about gpufair if the two counted differently.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import product
from pathlib import Path

import pytest

from gpufair.protocol import payment
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Lock
from gpufair.protocol.payment import Promise

sys.path.insert(0, str(Path(__file__).parent))

import payment_agents as model
from payment_invariants import BAD_CLIENT, HONEST_PAIR
from payment_rules import BITS, DELIVERIES, HONEST, MASKS, PRICE, UP_FRONT, Capture, Rules, State, Voucher, World

KEYS = [bytes([d + 1]) * 32 for d in range(len(DELIVERIES))]
HASHES = [payment.hashlock(key) for key in KEYS]
HOLDS = (2, 3, 5)


def promise(voucher: Voucher) -> Promise:
    return Promise(voucher.unlocked, tuple(lock_of(d, amount) for d, amount in enumerate(voucher.locks) if amount))


def lock_of(delivery: int, amount: int) -> Lock:
    return Lock(amount=amount, hashlock=HASHES[delivery])


def vouchers(hold: int) -> tuple[Voucher, ...]:
    """Every voucher that a cheat can sign, foreign and overpaid locks included."""
    return model.forgeries(HONEST, hold, 1, True)


def world(hold: int) -> World:
    return World(Rules(hold=hold), BAD_CLIENT)


@pytest.mark.parametrize("hold", HOLDS)
def test_a_capture_pays_the_same(hold: int) -> None:
    for voucher in vouchers(hold):
        for keys in range(HONEST + 1):
            shown = [KEYS[d] for d in BITS[keys]]
            for paid in range(hold + 1):
                before = State(held=hold - paid, paid=paid)
                moved = model.settle(world(hold), before, Capture(voucher, keys)).paid - paid
                assert moved == payment.payable(promise(voucher), shown, hold=hold, captured=paid)


@pytest.mark.parametrize("hold", HOLDS)
def test_the_provider_counts_the_same(hold: int) -> None:
    for voucher, own in product(vouchers(hold), MASKS):
        counted = payment.total(promise(voucher), {HASHES[d] for d in BITS[own]}, hold=hold)
        assert counted == model.total(world(hold), voucher, own)


def states(hold: int) -> Iterator[State]:
    for voucher, worked in product(vouchers(hold), range(HONEST + 1)):
        yield State(held=hold, worked=worked, kept=voucher, disk=voucher)


@pytest.mark.parametrize("hold", HOLDS)
def test_the_provider_works_and_reveals_the_same(hold: int) -> None:
    here = world(hold)
    for s in states(hold):
        own = {HASHES[d] for d in BITS[s.worked]}
        kept = payment.total(promise(s.kept), own, hold=hold)
        works = {label[2] for label, _ in model.provider_works(here, s)}
        reveals = {label[2] for label, _ in model.provider_reveals(here, s)}
        for d in BITS[HONEST & ~s.worked]:
            startable = s.kept.unlocked >= UP_FRONT and (d != 1 or s.worked & 1)
            due = UP_FRONT + PRICE[s.worked | 1 << d]
            willing = payment.may_work(due_after=due, kept_total=kept, window=here.rules.window)
            assert (d in works) == bool(startable and willing)
        for d in BITS[s.worked]:
            due = UP_FRONT + PRICE[1 << d]
            lock = lock_of(d, DELIVERIES[d].price)
            assert (d in reveals) == payment.may_reveal(promise(s.kept), lock, own, due=due, hold=hold)


def test_the_client_locks_and_folds_the_same() -> None:
    here = World(Rules(), HONEST_PAIR)
    for locks in MASKS[: HONEST + 1]:
        amounts = tuple(DELIVERIES[d].price if locks >> d & 1 else 0 for d in range(len(DELIVERIES)))
        latest = Voucher(UP_FRONT, amounts)
        s = State(latest=latest, signed=locks, received=HONEST, released=HONEST, worked=HONEST)
        allowed = set(model.may_lock(here, s))
        for d in BITS[HONEST & ~locks]:
            assert (d in allowed) == payment.may_lock(
                promise(latest).locks, DELIVERIES[d].price, window=here.rules.window
            )
        for label, after in model.client_folds(here, s):
            assert promise(after.latest) == payment.fold(promise(latest), KEYS[label[-1]])
        for label, after in model.client_locks(here, s):
            lock = lock_of(label[-1], DELIVERIES[label[-1]].price)
            added = payment.with_lock(promise(latest), lock)
            assert (after.latest.unlocked, set(promise(after.latest).locks)) == (added.unlocked, set(added.locks))


@pytest.mark.parametrize("length", [0, 31, 33, 64])
def test_a_key_has_one_length(length: int) -> None:
    with pytest.raises(PeerError):
        payment.hashlock(bytes(length))
