"""Whose turn it is: class, pay, age; a few warm or sharing ones before their turn; and nobody starves."""

from __future__ import annotations

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.limits import AGEING_MS, PASSES_MAX, PROMOTED_MS, RATE_MAX, SECOND, WORKER_BATCH_MAX
from gpufair.provider.jobs.turns import Turn, Turns, choose, went
from gpufair.provider.workers.places import Wish

WARM, COLD = b"w" * 32, b"c" * 32


def turn(number: int, model: bytes = WARM, *, shares: bool = False) -> Turn:
    return Turn(bytes([number]), b"lease %d" % number, b"job", Wish(model, shares=shares), number, 60, 20)


def bid(number: int, since_ms: int, rate: int, *, interruptible: bool = False) -> Turn:
    name = number.to_bytes(4, "big")
    return Turn(name, name, name, Wish(WARM), since_ms, rate, 20, interruptible)


def order(turns: list[Turn], now_ms: int) -> list[Turn]:
    queue = Turns()
    for one in turns:
        queue.add(one)
    return queue.ready((), now_ms)


rates = st.integers(1, RATE_MAX)
ages = st.integers(0, 2 * PROMOTED_MS)


def test_on_demand_goes_before_interruptible_and_who_pays_more_before_who_pays_less() -> None:
    cheap, dear = bid(1, 0, 60), bid(2, 10, 90)
    spot, better = bid(3, 0, 30, interruptible=True), bid(4, 10, 200, interruptible=True)
    assert order([spot, better, cheap, dear], 20) == [dear, cheap, better, spot]
    a_little_more = bid(1, 5, RATE_MAX), bid(2, 5, RATE_MAX + 1)
    assert order([*a_little_more], 20) == [*a_little_more[::-1]]
    same = [bid(number, 10 - number, 60) for number in range(5)]
    assert order(same, 20) == same[::-1], "age breaks ties"


def test_waiting_counts_as_paying_and_an_order_never_turns() -> None:
    for interruptible in (False, True):
        old = bid(1, 0, 100, interruptible=interruptible)
        for periods in (1, 2, 5):
            since = periods * AGEING_MS
            less, more = (bid(2, since, 100 * 2**periods + d, interruptible=interruptible) for d in (-1, 1))
            for now in range(since, PROMOTED_MS, AGEING_MS // 3):
                assert order([less, old], now) == [old, less]
                assert order([old, more], now) == [more, old]


def test_who_has_waited_for_long_goes_by_age_alone() -> None:
    patient, dear = bid(1, 1, 1, interruptible=True), bid(2, 2, RATE_MAX)
    assert order([patient, dear], PROMOTED_MS) == [dear, patient]
    assert order([patient, dear], PROMOTED_MS + 1) == [patient, dear]
    assert order([patient, dear], PROMOTED_MS + 2) == [patient, dear], "both have waited for long"


@given(rates, rates, ages, st.integers(0, PROMOTED_MS))
def test_on_demand_never_waits_behind_an_interruptible_of_its_age(a: int, b: int, waited: int, more: int) -> None:
    demand, spot = bid(1, more, a), bid(2, more, b, interruptible=True)
    assert order([spot, demand], more + waited) == [demand, spot]
    older = bid(1, 0, a)
    assert order([spot, older], more + waited) == [older, spot]


@given(st.lists(st.tuples(rates, ages, st.booleans()), max_size=20), st.randoms(use_true_random=False), ages)
def test_the_order_does_not_depend_on_how_they_came(kinds: list[tuple[int, int, bool]], dice: Random, now: int) -> None:
    turns = [bid(number, since, rate, interruptible=spot) for number, (rate, since, spot) in enumerate(kinds)]
    before = [one.rank(now) for one in order(turns, now)]
    dice.shuffle(turns)
    assert [one.rank(now) for one in order(turns, now)] == before == sorted(before)


@given(st.lists(st.tuples(st.integers(1, 20_000), st.booleans()), min_size=1, max_size=12), st.integers(1, 5))
def test_whoever_pays_least_is_served_whatever_better_ones_come(better: list[tuple[int, bool]], at_once: int) -> None:
    """One worker, jobs of 20 s, and before each of them so many newcomers that pay more than the one who waits."""
    queue, poor, now, number = Turns(), bid(0, 0, 1, interruptible=True), 1, 0
    queue.add(poor)
    while poor in (waiting := queue.ready((), now)):
        for _ in range(at_once):
            number += 1
            rate, spot = better[number % len(better)]
            if len(waiting) < 64:
                queue.add(bid(number, now, 1 + rate, interruptible=spot))
        ready = queue.ready((), now)
        chosen = choose(ready, [], 1, {WARM})
        assert chosen is not None
        went(chosen, ready)
        queue.remove(chosen.attempt)
        now += 20_000
    # Nobody else is so old: it goes first once it is promoted.
    assert now <= PROMOTED_MS + 2 * 20_000, "however many they are"


def test_the_oldest_goes_first() -> None:
    ready = [turn(1), turn(2)]
    assert choose(ready, [], 1, {WARM}) is ready[0]
    assert choose(ready, [], 1, ()) is ready[0], "both are cold"
    assert choose(ready, [Wish(WARM)], 1, {WARM}) is None, "no place"
    assert choose([], [], 1, ()) is None


def test_the_warm_pass_the_cold_so_often_and_not_once_more() -> None:
    cold = turn(0, COLD)
    for passes in range(PASSES_MAX + 1):
        ready = [cold, turn(1), turn(2)]
        chosen = choose(ready, [], 1, {WARM})
        assert chosen is (ready[1] if passes < PASSES_MAX else cold)
        went(chosen, ready)
    assert cold.passed == PASSES_MAX


def test_who_shares_passes_who_must_be_alone_so_often_and_then_waits_too() -> None:
    alone, running = turn(0), [Wish(WARM, shares=True)]
    for passes in range(PASSES_MAX + 2):
        ready = [alone, turn(1, shares=True)]
        chosen = choose(ready, running, 1, {WARM})
        if passes < PASSES_MAX:
            assert chosen is ready[1]
            went(chosen, ready)
            running.append(chosen.wish)
        else:
            assert chosen is None
    assert choose(ready, [], 1, {WARM}) is alone


def test_a_worker_takes_no_more_than_a_batch() -> None:
    running = [Wish(WARM, shares=True)] * WORKER_BATCH_MAX
    ready = [turn(0, shares=True)]
    assert choose(ready, running, 1, {WARM}) is None
    assert choose(ready, running, 2, {WARM}) is ready[0]
    assert choose(ready, running[1:], 1, {WARM}) is ready[0]
    assert choose([turn(0, COLD, shares=True)], running[1:], 1, {WARM}) is None, "another model needs another worker"


def test_a_lease_at_work_is_not_ready_and_loses_no_turn() -> None:
    queue, first, second = Turns(), turn(1), turn(2)
    for one in (first, second, turn(1)):
        queue.add(one)
    assert (len(queue), queue.ready({first.lease}, 9), queue.ready((), 9)) == (2, [second], [first, second])
    queue.remove(first.attempt)
    queue.remove(first.attempt)
    assert queue.ready((), 9) == [second]


def test_whatever_comes_nobody_waits_for_ever() -> None:
    """One worker, a stream of warm sharing jobs, and now and then a cold or lonely one: each is served in time."""
    dice, queue, running, waited = Random(5), Turns(), list[Turn](), dict[bytes, int]()
    for now in range(2_000):
        if dice.random() < 0.6:
            number = now.to_bytes(2, "big")
            kind = dice.choice([Wish(WARM, shares=True)] * 6 + [Wish(WARM), Wish(COLD)])
            if len(queue) < 20:
                rate, spot = dice.randint(1, 1000), dice.random() < 0.5
                queue.add(Turn(number, number, number, kind, now * SECOND, rate, 20, spot))
                waited[number] = now
        running = [one for one in running if dice.random() < 0.8]
        warm = {one.wish.model for one in running} or {WARM}
        ready = queue.ready((), now * SECOND)
        chosen = choose(ready, [one.wish for one in running], 1, warm)
        if chosen is not None:
            went(chosen, ready)
            queue.remove(chosen.attempt)
            running.append(chosen)
            assert now - waited.pop(chosen.attempt) < 500
    assert all(2_000 - since < 500 for since in waited.values())
