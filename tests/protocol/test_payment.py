"""The payment rules as an accountant and an adversary would check them; numbers refer to docs/payment.md."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import limits, payment
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Lock
from gpufair.protocol.payment import NOTHING, Promise

KEYS = [hashlib.sha256(bytes([n])).digest() for n in range(20)]
LOCKS = [hashlib.sha256(key).digest() for key in KEYS]
amounts = st.integers(1, 10**6)
some_locks = st.dictionaries(st.integers(0, 15), amounts, max_size=limits.LOCKS_MAX).map(
    lambda d: tuple(Lock(amount, LOCKS[n]) for n, amount in d.items())
)
promises = st.builds(Promise, st.integers(0, 10**7), some_locks)
keys = st.sets(st.integers(0, 19)).map(lambda numbers: [KEYS[n] for n in sorted(numbers)])


def value(promise):
    return promise.unlocked + sum(lock.amount for lock in promise.locks)


@given(promises, keys, st.integers(0, 2 * 10**7), st.integers(0, 2 * 10**7))
def test_a_capture_pays_what_was_promised_once_and_never_above_the_hold(promise, known, hold, captured):
    paid = payment.payable(promise, known, hold=hold, captured=min(captured, hold))
    assert paid >= 0
    assert min(captured, hold) + paid <= hold
    assert payment.worth(promise, known) <= value(promise)
    again = payment.payable(promise, known, hold=hold, captured=min(captured, hold) + paid)
    assert again == 0, "the same voucher pays twice"


@given(promises, keys, keys)
def test_more_keys_are_never_worth_less(promise, some, more):
    assert payment.worth(promise, some) <= payment.worth(promise, [*some, *more])
    assert payment.worth(promise, [*some, *some]) == payment.worth(promise, some)


@given(promises, st.integers(0, 19))
def test_folding_a_key_keeps_the_value_and_needs_the_key_no_more(promise, number):
    folded = payment.fold(promise, KEYS[number])
    assert value(folded) == value(promise)
    assert LOCKS[number] not in {lock.hashlock for lock in folded.locks}
    assert payment.worth(folded, []) == payment.worth(promise, [KEYS[number]])
    assert payment.fold(folded, KEYS[number]) == folded


@given(promises, amounts)
def test_a_new_lock_is_worth_nothing_without_its_key(promise, amount):
    wanted = payment.with_lock(promise, Lock(amount, LOCKS[19]))
    assert payment.worth(wanted, KEYS[:16]) == payment.worth(promise, KEYS[:16])
    assert payment.worth(wanted, KEYS) == payment.worth(promise, KEYS) + amount


@given(promises, st.sets(st.integers(0, 15)), st.integers(0, 10**7))
def test_a_total_is_what_its_own_keys_are_worth(promise, own, hold):
    """Rule 2 against rule 1: what the provider counts on, the ledger pays."""
    total = payment.total(promise, {LOCKS[n] for n in own}, hold=hold)
    assert total == payment.payable(promise, [KEYS[n] for n in own], hold=hold, captured=0)


@given(promises, st.integers(0, 10**7), amounts, st.integers(0, 15))
def test_a_key_goes_out_only_when_all_that_is_due_is_covered(promise, due, amount, number):
    lock, own = Lock(amount, LOCKS[number]), set(LOCKS[:16])
    may = payment.may_reveal(promise, lock, own, due=due, hold=10**7)
    held = [have for have in promise.locks if have.hashlock == lock.hashlock]
    assert may == (bool(held) and held[0].amount >= amount and payment.total(promise, own, hold=10**7) >= due)
    assert not payment.may_reveal(NOTHING, lock, own, due=0, hold=10**7)


@pytest.mark.parametrize(
    ("kept", "amount", "due", "may"),
    [
        (Promise(0, (Lock(10, LOCKS[0]),)), 10, 10, True),
        (Promise(0, (Lock(9, LOCKS[0]),)), 10, 9, False),  # a partial lock, whatever the total says
        (Promise(5, (Lock(9, LOCKS[0]),)), 10, 10, False),
        (Promise(0, (Lock(10, LOCKS[0]),)), 10, 15, False),  # an up-front line of 5 is not paid
        (Promise(5, (Lock(10, LOCKS[0]),)), 10, 15, True),
        (Promise(15), 10, 15, False),  # enough money, but not locked to this delivery
        (Promise(0, (Lock(10, LOCKS[0]), Lock(99, LOCKS[9]))), 10, 15, False),  # a lock of nobody's counts for nothing
    ],
)
def test_revealing(kept, amount, due, may):
    assert payment.may_reveal(kept, Lock(amount, LOCKS[0]), {LOCKS[0]}, due=due, hold=100) is may


@pytest.mark.parametrize(("due", "kept", "may"), [(100, 0, True), (101, 0, False), (150, 50, True), (151, 50, False)])
def test_work_within_the_window(due, kept, may):
    assert payment.may_work(due_after=due, kept_total=kept, window=100) is may


@given(some_locks, amounts, st.integers(0, 10**7))
def test_locks_and_prepayments_stay_within_the_window(locks, amount, window):
    open_sum = sum(lock.amount for lock in locks)
    assert payment.may_lock(locks, amount, window=window) is (open_sum + amount <= window)
    assert payment.may_prepay(open_sum, amount, window=window) is (open_sum + amount <= window)


@pytest.mark.parametrize("size", [0, 1, 31, 33, 64])
def test_a_key_has_32_bytes(size):
    with pytest.raises(PeerError) as refusal:
        payment.hashlock(bytes(size))
    assert refusal.value.fault is Fault.MALFORMED


BAD = {
    "17 locks": Promise(0, tuple(Lock(1, LOCKS[n]) for n in range(17))),
    "the same hashlock twice": Promise(0, (Lock(1, LOCKS[0]), Lock(2, LOCKS[0]))),
    "a lock of nothing": Promise(0, (Lock(0, LOCKS[0]),)),
    "a negative lock": Promise(10, (Lock(-1, LOCKS[0]),)),
    "negative money": Promise(-1),
    "too much": Promise(limits.AMOUNT_MAX + 1),
    "too much in all": Promise(limits.AMOUNT_MAX, (Lock(1, LOCKS[0]),)),
}


@pytest.mark.parametrize("name", BAD)
def test_a_promise_out_of_shape_is_refused(name):
    with pytest.raises(PeerError) as refusal:
        payment.check_promise(BAD[name])
    assert refusal.value.fault is Fault.MALFORMED


@given(promises)
def test_every_promise_in_shape_passes(promise):
    payment.check_promise(promise)
