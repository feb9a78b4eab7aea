"""Who makes way for a better bid: the worst paid and youngest, as few as will do, never for nothing, never for ever."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol.limits import PREEMPT_GAIN_MS, PREEMPTED_KEPT, PREEMPTIONS_MAX, PROMOTED_MS, WORKER_BATCH_MAX
from gpufair.protocol.messages import ReasonCode
from gpufair.provider.jobs.preempting import AtWork, Displaced, displaced, why
from gpufair.provider.jobs.turns import Turn, Turns, choose
from gpufair.provider.workers.places import Wish, needed

MODEL, OTHER = b"m" * 32, b"o" * 32
NOW = 1_000_000
ALONE, SHARED = Wish(MODEL), Wish(MODEL, shares=True)


def bid(number: int, rate: int, *, spot: bool = True, wish: Wish = ALONE) -> Turn:
    name = number.to_bytes(4, "big")
    return Turn(name, name, name, wish, NOW - 1000 + number, rate, 20, spot)


def work(number: int, rate: int, *, spot: bool = True, wish: Wish = ALONE, since: int = 100, done: int = 0) -> AtWork:
    return AtWork(bid(number, rate, spot=spot, wish=wish), NOW - since, done)


def stopped(
    waiting: list[Turn], running: list[AtWork], size: int | None = None, before: Displaced | None = None
) -> list[AtWork]:
    found = displaced(waiting, running, size or len(running), NOW, before or Displaced())
    return found[0] if found else []


def test_on_demand_displaces_the_worst_paid_and_of_equals_the_youngest() -> None:
    old, young = work(1, 40, since=900), work(2, 40, since=100)
    better, demand = work(3, 41), work(4, 1, spot=False)
    assert stopped([bid(9, 60, spot=False)], [old, better, young, demand]) == [young]
    assert stopped([bid(9, 60, spot=False)], [old, better, demand]) == [old]
    assert stopped([bid(9, 60, spot=False)], [demand]) == [], "another one on demand never makes way"
    assert stopped([bid(9, 1, spot=False)], [better]) == [better], "whatever the two pay"


def test_a_better_bid_displaces_a_tenth_less_and_no_smaller_difference() -> None:
    assert stopped([bid(9, 100)], [work(1, 90)])
    assert stopped([bid(9, 100)], [work(1, 91)]) == []
    assert stopped([bid(9, 90)], [work(1, 100)]) == []


def test_nobody_stops_for_nothing() -> None:
    waiting = [bid(9, 60, spot=False)]
    assert stopped([], [work(1, 40)]) == []
    assert stopped(waiting, [work(1, 40)], 2) == [], "there is a place"
    # After 19 of 20 steps in so many milliseconds, one step is left.
    long, short = 19 * PREEMPT_GAIN_MS, 19 * PREEMPT_GAIN_MS - 19
    assert stopped(waiting, [work(1, 40, since=short, done=19)]) == [], "it is about to finish"
    assert stopped(waiting, [work(1, 40, since=long, done=19)])
    leaving = work(1, 40)
    leaving.stopping = True
    assert stopped(waiting, [leaving, work(2, 40)]) == [], "a place is on its way"
    assert len(stopped([*waiting, bid(10, 60, spot=False)], [leaving, work(2, 40)])) == 1, "for one of them"


def test_who_has_had_its_turn_by_its_age_keeps_it() -> None:
    patient, other = work(1, 10), work(2, 50)
    patient.turn.since_ms = patient.since_ms - PROMOTED_MS
    assert stopped([bid(9, 60, spot=False)], [patient]) == []
    assert stopped([bid(9, 60, spot=False)], [patient, other]) == [other]
    patient.turn.since_ms += 1
    assert stopped([bid(9, 60, spot=False)], [patient, other]) == [patient]


def test_those_who_share_a_worker_stop_together_or_not_at_all() -> None:
    cheap, dear, loner = work(1, 10, wish=SHARED), work(2, 20, wish=SHARED), work(3, 30)
    demand = [bid(9, 60, spot=False)]
    assert stopped(demand, [cheap, dear], 1) == [cheap, dear]
    assert stopped(demand, [cheap, dear, loner], 2) == [cheap, dear]
    assert stopped(demand, [cheap, work(4, 50, spot=False, wish=SHARED), loner], 2) == [loner], (
        "not the one for nothing"
    )
    full = [work(number, 10 + number, wish=SHARED) for number in range(WORKER_BATCH_MAX)]
    assert stopped([bid(9, 60, spot=False, wish=SHARED)], full, 1) == full[:1], "one seat of a full worker is enough"
    assert len(stopped([bid(9, 60, spot=False, wish=Wish(OTHER, shares=True))], full, 1)) == WORKER_BATCH_MAX


def test_a_job_is_displaced_so_often_and_then_let_finish() -> None:
    before, running = Displaced(), [work(1, 40)]
    for _ in range(PREEMPTIONS_MAX):
        (victim,) = stopped([bid(9, 60, spot=False)], running, None, before)
        before.add(victim.turn.job)
    assert stopped([bid(9, 60, spot=False)], running, None, before) == []
    assert stopped([bid(9, 60, spot=False)], [*running, work(2, 50)], None, before) == [work(2, 50)]
    for number in range(PREEMPTED_KEPT):
        before.add(number.to_bytes(4, "little"))
    assert stopped([bid(9, 60, spot=False)], running, None, before), "what is remembered is bounded"


def test_who_stops_is_told_the_numbers() -> None:
    reason = why(bid(1, 40), bid(2, 60, spot=False))
    assert (reason.code, reason.wanted, reason.limit) == (ReasonCode.PREEMPTED, 40, 60)
    assert "on demand" in str(reason)
    assert "better bid" in str(why(bid(1, 40), bid(2, 60)))


wishes = st.sampled_from([ALONE, SHARED, Wish(OTHER), Wish(OTHER, shares=True)])
bids = st.lists(st.tuples(st.integers(1, 100), st.booleans(), wishes), max_size=8)


@given(bids, bids, st.integers(1, 4))
def test_whoever_is_made_way_for_gets_the_place_and_then_nobody_stops(
    at_work: list[tuple[int, bool, Wish]], waiting: list[tuple[int, bool, Wish]], size: int
) -> None:
    """Rounds of stopping and starting come to an end, and each stop is for one who outbids all that stopped for it."""
    running, queue = list[AtWork](), Turns()
    for number, (rate, spot, wish) in enumerate(at_work):
        if needed([*(one.turn.wish for one in running), wish]) <= size:
            running.append(work(number, rate, spot=spot, wish=wish))
    for number, (rate, spot, wish) in enumerate(waiting):
        queue.add(bid(100 + number, rate, spot=spot, wish=wish))
    for _ in range(len(at_work) + len(waiting) + 1):
        ready = queue.ready((), NOW)
        while (turn := choose(ready, [one.turn.wish for one in running], size, ())) is not None:
            queue.remove(turn.attempt)
            running.append(AtWork(turn, NOW))
            ready = queue.ready((), NOW)
        found = displaced(ready, running, size, NOW, Displaced())
        if found is None:
            break
        worse, better = found
        for one in worse:
            assert one.turn.interruptible
            assert not better.interruptible or one.turn.rate < better.rate
            running.remove(one)
        assert choose(queue.ready((), NOW), [one.turn.wish for one in running], size, ()) is not None
        if better is ready[0]:
            assert choose(ready, [one.turn.wish for one in running], size, ()) is better
    else:
        raise AssertionError("it never ends")
