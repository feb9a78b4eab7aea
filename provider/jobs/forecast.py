"""How long a newcomer waits. Rule: an estimate from what was measured; what nobody has measured counts as nothing."""

from __future__ import annotations

from collections.abc import Iterable
from heapq import heapify, heapreplace, nlargest

from gpufair.protocol.limits import RESERVE_MAX_MS
from gpufair.provider.jobs.preempting import AtWork
from gpufair.provider.jobs.turns import Turn


def wait_ms(running: Iterable[AtWork], ready: Iterable[Turn], size: int, now_ms: int, *, on_demand: bool) -> int:
    """About how long one more job waits for one of `size` workers, each job before it going where it is free first.

    `ready` is in the order of ranks. What is interruptible makes way for a job on demand, and is not waited for.
    """
    if size < 1:
        return RESERVE_MAX_MS  # all are held for others: nobody knows whether for longer than they are paid for
    busy = [work for work in running if not (on_demand and work.turn.interruptible)]
    # Those who share a worker have one time each: the longest of them count.
    free = nlargest(size, (left_ms(work, now_ms) for work in busy))
    free += [0] * (size - len(free))
    heapify(free)
    for turn in ready:
        if not (on_demand and turn.interruptible):
            heapreplace(free, free[0] + turn.lasts_ms)
    return free[0]


def left_ms(work: AtWork, now_ms: int) -> int:
    """About how long an attempt at work still takes: by its own steps once it has done some, else as was foretold."""
    left = work.left_ms(now_ms)
    return max(0, work.since_ms + work.turn.lasts_ms - now_ms) if left is None else max(0, left)
