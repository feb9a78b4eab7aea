"""Who makes way for a better bid. Rule: the worst paid, then the youngest; and only if somebody gains by it.

On demand displaces interruptible; an interruptible bid displaces one that pays less by `PREEMPT_MARGIN_MILLI`. Nobody
is stopped who is about to finish, who has waited for `PROMOTED_MS` before, whose place would be of no use, or whose job
was displaced `PREEMPTIONS_MAX` times.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from gpufair.protocol.limits import PREEMPT_GAIN_MS, PREEMPT_MARGIN_MILLI, PREEMPTED_KEPT, PREEMPTIONS_MAX, PROMOTED_MS
from gpufair.protocol.messages import Reason, ReasonCode
from gpufair.protocol.pricing import MILLI
from gpufair.provider.jobs.turns import Turn
from gpufair.provider.workers.places import Wish, needed


@dataclass
class AtWork:
    """An attempt with a worker: whose turn it was, since when, its steps so far, whether it was told to stop."""

    turn: Turn
    since_ms: int
    done: int = 0
    stopping: bool = False

    @property
    def waited_long(self) -> bool:
        """Whether it had its turn by its age alone."""
        return self.since_ms - self.turn.since_ms >= PROMOTED_MS

    def left_ms(self, now_ms: int) -> int | None:
        """How long it still takes, by what its steps took so far; None before the first."""
        return (now_ms - self.since_ms) * max(0, self.turn.steps - self.done) // self.done if self.done else None


class Displaced:
    """How often each job was ended for better bids: it comes back under another lease, with the id that it had.

    What is remembered is bounded, and a restart forgets it: then a job may be displaced a few times more.
    """

    def __init__(self) -> None:
        self._times: OrderedDict[bytes, int] = OrderedDict()

    def add(self, job: bytes) -> None:
        """It was ended once more."""
        self._times[job] = self._times.pop(job, 0) + 1
        if len(self._times) > PREEMPTED_KEPT:
            self._times.popitem(last=False)

    def spares(self, job: bytes) -> bool:
        """Whether it was displaced as often as any may be."""
        return self._times.get(job, 0) >= PREEMPTIONS_MAX


def displaced(
    ready: Iterable[Turn], running: Sequence[AtWork], size: int, now_ms: int, before: Displaced
) -> tuple[list[AtWork], Turn] | None:
    """Who has to stop at `size` workers, and for whom; None if nobody has to.

    `ready` are those who wait, in the order of their ranks. They are helped one at a time: once those who make way for
    one of them were told to stop, ask again.
    """
    staying = [work for work in running if not work.stopping]
    taken = [work.turn.wish for work in staying]
    for turn in ready:
        if needed([*taken, turn.wish]) > size:
            worse = [work for work in staying if _yields(work, turn, now_ms) and not before.spares(work.turn.job)]
            stopped = _fewest(worse, taken, turn.wish, size)
            return (stopped, turn) if stopped else None
        taken.append(turn.wish)
    return None


def why(worse: Turn, better: Turn) -> Reason:
    """What the one who stops is told."""
    if not better.attempt:
        return Reason(ReasonCode.PREEMPTED, detail="its worker is held for another buyer")
    what = "a better bid came" if better.interruptible else "a bid on demand came"
    return Reason(ReasonCode.PREEMPTED, worse.rate, better.rate, "micro-credits per step-megapixel", what)


def _yields(work: AtWork, better: Turn, now_ms: int) -> bool:
    left_ms, worse = work.left_ms(now_ms), work.turn
    if not worse.interruptible or work.waited_long or (left_ms is not None and left_ms < PREEMPT_GAIN_MS):
        return False
    return not better.interruptible or worse.rate * MILLI <= better.rate * (MILLI - PREEMPT_MARGIN_MILLI)


def _fewest(worse: list[AtWork], taken: list[Wish], wish: Wish, size: int) -> list[AtWork]:
    """Those who have to stop so that there is room for a wish, several if they share a worker; nobody if that won't do.

    The worst paid first, and of equals the youngest, who loses least.
    """
    stopped: list[AtWork] = []
    for work in sorted(worse, key=lambda work: (work.turn.rate, -work.since_ms)):
        stopped.append(work)
        if _has_room(taken, stopped, wish, size):
            break
    else:
        return []
    for work in stopped[-2::-1]:  # the last one is what made the room; who makes no difference stays
        rest = [one for one in stopped if one is not work]
        if _has_room(taken, rest, wish, size):
            stopped = rest
    return stopped


def _has_room(taken: list[Wish], stopped: list[AtWork], wish: Wish, size: int) -> bool:
    left = [*taken]
    for work in stopped:
        left.remove(work.turn.wish)
    return needed([*left, wish]) <= size
