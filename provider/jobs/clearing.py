"""Everybody's stop at once. Rule: whoever is at work has the notice that its lease names, and nobody waits for ever.

The owner takes the machine back (reclaim), or the node goes down (drain). What waits ends at once; what is at work ends
at a step, and hands over what was done.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Bid, Outcome, Reason, ReasonCode
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.runner import Runner

WAITING = (AttemptState.ACCEPTED, AttemptState.QUEUED)
GRACE_S = 10.0
"""How long a node that goes down waits for steps to end."""
PAID_S = 3.0
"""How long it then waits for what was handed over to be paid for."""
LOOK_S = 0.05


class Clearing:
    """Stops everything under way. `owed` says whether a client that is connected has still to pay for something.

    `release` lets go of the workers that are held for leases, for a reason.
    """

    def __init__(
        self,
        attempts: Attempts,
        leases: Leases,
        runner: Runner,
        owed: Callable[[], bool],
        release: Callable[[Reason], None],
    ) -> None:
        self._attempts, self._leases, self._runner = attempts, leases, runner
        self._owed, self._release = owed, release
        self._notices: list[asyncio.TimerHandle] = []

    def reclaim(self, notice_ms: int) -> int:
        """Stop each job after its lease's notice, or after `notice_ms` where that is longer; the longest of them."""
        needed = Reason(ReasonCode.RECLAIMED, detail="the owner needs it")
        self._release(needed)
        for attempt in self._attempts.in_state(*WAITING):
            self._runner.stop(attempt.id, Outcome.RECLAIMED, needed)
        longest, loop = 0, asyncio.get_running_loop()
        for attempt in self._attempts.in_state(AttemptState.RUNNING):
            agreed_ms = from_bytes(self._leases.get(attempt.lease).envelope, Bid).doc.notice_ms
            given_ms = max(agreed_ms, notice_ms)
            why = Reason(ReasonCode.RECLAIMED, agreed_ms, given_ms, "ms of notice")
            stop = loop.call_later(given_ms / limits.SECOND, self._runner.stop, attempt.id, Outcome.RECLAIMED, why)
            self._notices.append(stop)
            longest = max(longest, given_ms)
        return longest

    def keep(self) -> None:
        """The owner has changed its mind: who has not been stopped by now is not."""
        for notice in self._notices:
            notice.cancel()
        self._notices.clear()

    async def drain(self) -> None:
        """Stop everything now, and wait until it has ended and is paid for, as far as that comes soon."""
        self.keep()
        why = Reason(ReasonCode.DRAINING, detail="the provider is stopping")
        self._release(why)
        for attempt in self._attempts.in_state(*WAITING, AttemptState.RUNNING):
            self._runner.stop(attempt.id, Outcome.DRAINED, why)
        await _until(lambda: self._runner.idle, GRACE_S)
        await _until(lambda: not self._owed(), PAID_S)


async def _until(come: Callable[[], bool], patience_s: float) -> None:
    loop = asyncio.get_running_loop()
    end = loop.time() + patience_s
    while not come() and loop.time() < end:
        await asyncio.sleep(LOOK_S)
