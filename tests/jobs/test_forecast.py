"""How long one more job waits: each job before it goes where it is free first, and what makes way is not waited for."""

from __future__ import annotations

from gpufair.protocol.limits import RESERVE_MAX_MS
from gpufair.provider.jobs.forecast import wait_ms
from gpufair.provider.jobs.preempting import AtWork
from gpufair.provider.jobs.turns import Turn
from gpufair.provider.workers.places import Wish

NOW = 1_000_000


def turn(lasts_ms: int, *, spot: bool = False) -> Turn:
    return Turn(b"a", b"l", b"j", Wish(b"m"), NOW, 60, 20, spot, lasts_ms)


def test_each_goes_where_it_is_free_first() -> None:
    fresh = AtWork(turn(9_000), NOW - 1_000)  # foretold: 8 s are left
    half = AtWork(turn(0), NOW - 5_000, done=10)  # by its own steps: 5 s
    assert wait_ms([], [], 1, NOW, on_demand=True) == 0
    assert wait_ms([fresh], [], 2, NOW, on_demand=True) == 0
    assert wait_ms([fresh, half], [], 2, NOW, on_demand=True) == 5_000
    assert wait_ms([fresh, half], [turn(2_000)], 2, NOW, on_demand=True) == 7_000
    assert wait_ms([fresh, half], [turn(2_000), turn(4_000)], 2, NOW, on_demand=True) == 8_000
    assert wait_ms([fresh, half], [turn(0)], 2, NOW, on_demand=True) == 5_000, "nobody has measured it"
    assert wait_ms([fresh, half], [], 1, NOW, on_demand=True) == 8_000, "they share a worker"
    assert wait_ms([AtWork(turn(500), NOW - 1_000)], [], 1, NOW, on_demand=True) == 0, "it takes longer than foretold"


def test_on_demand_waits_for_nothing_interruptible() -> None:
    works, ready = [AtWork(turn(9_000, spot=True), NOW)], [turn(1_000), turn(2_000, spot=True)]
    assert wait_ms(works, ready, 1, NOW, on_demand=True) == 1_000
    assert wait_ms(works, ready, 1, NOW, on_demand=False) == 12_000


def test_where_all_workers_are_held_for_others_the_wait_is_as_long_as_one_order_holds_them() -> None:
    assert wait_ms([], [], 0, NOW, on_demand=True) == RESERVE_MAX_MS
