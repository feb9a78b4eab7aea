"""Whose turn it is: the oldest first, a few warm or sharing ones before it, and nobody starves."""

from __future__ import annotations

from random import Random

from gpufair.protocol.limits import PASSES_MAX, WORKER_BATCH_MAX
from gpufair.provider.jobs.turns import Turn, Turns, choose, went
from gpufair.provider.workers.places import Wish

WARM, COLD = b"w" * 32, b"c" * 32


def turn(number: int, model: bytes = WARM, *, shares: bool = False) -> Turn:
    return Turn(bytes([number]), b"lease %d" % number, Wish(model, shares=shares))


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
    assert (len(queue), queue.ready({first.lease}), queue.ready(())) == (2, [second], [first, second])
    queue.remove(first.attempt)
    queue.remove(first.attempt)
    assert queue.ready(()) == [second]


def test_whatever_comes_nobody_waits_for_ever() -> None:
    """One worker, a stream of warm sharing jobs, and now and then a cold or lonely one: each is served in time."""
    dice, queue, running, waited = Random(5), Turns(), list[Turn](), dict[bytes, int]()
    for now in range(2_000):
        if dice.random() < 0.6:
            number = now.to_bytes(2, "big")
            kind = dice.choice([Wish(WARM, shares=True)] * 6 + [Wish(WARM), Wish(COLD)])
            if len(queue) < 20:
                queue.add(Turn(number, number, kind))
                waited[number] = now
        running = [one for one in running if dice.random() < 0.8]
        warm = {one.wish.model for one in running} or {WARM}
        ready = queue.ready(())
        chosen = choose(ready, [one.wish for one in running], 1, warm)
        if chosen is not None:
            went(chosen, ready)
            queue.remove(chosen.attempt)
            running.append(chosen)
            assert now - waited.pop(chosen.attempt) < 500
    assert all(2_000 - since < 500 for since in waited.values())
