"""Signs of life. Rule: of each job that waits or runs its client hears every `limits.BEAT_MS` that we have it.

Who hears nothing takes us for lost and goes on elsewhere, so a beat says no more than what is true: the job is here,
so many go before it, and it will take about so long.
"""

from __future__ import annotations

from collections.abc import Sequence

from gpufair.protocol.messages import Beat
from gpufair.provider.jobs import forecast
from gpufair.provider.jobs.effects import Send
from gpufair.provider.jobs.preempting import AtWork
from gpufair.provider.jobs.turns import Turn


def beats(running: Sequence[AtWork], waiting: Sequence[Turn], size: int, now_ms: int) -> list[Send]:
    """One for each job; `waiting` are in the order of their ranks."""
    told = [_beat(work.turn, 0, forecast.left_ms(work, now_ms)) for work in running]
    for place, turn in enumerate(waiting):
        wait_ms = forecast.wait_ms(running, waiting[:place], size, now_ms, on_demand=not turn.interruptible)
        told.append(_beat(turn, len(running) + place, wait_ms + turn.lasts_ms))
    return told


def _beat(turn: Turn, ahead: int, left_ms: int) -> Send:
    return Send(turn.lease, Beat(turn.job, ahead, left_ms))
