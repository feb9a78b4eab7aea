"""Keeps a model warm ahead of the next job. Rule: only while nothing runs or waits, and never for ever in vain.

A worker that is gone is replaced at the next look. One that keeps failing or dying is tried again after longer and
longer rests, and then not any more until the models on sale change or one has stayed warm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.errors import FairError
from gpufair.provider.workers.outcome import WorkerFailedError
from gpufair.provider.workers.pool import Pool

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Pace:
    """Milliseconds between looks; looks to rest before each try; looks without a try after which all is well."""

    look_ms: int = 2 * limits.SECOND
    rests: tuple[int, ...] = (0, 1, 5, 30, 150)
    steady: int = 60


class Keeper:
    """Warms the first of the models that `wanted` names, whenever none of them is warm.

    `wanted` gives the digests on sale, none while no work is taken; `quiet` says that no job runs or waits.
    """

    def __init__(
        self, pool: Pool, wanted: Callable[[], Sequence[bytes]], quiet: Callable[[], bool], pace: Pace | None = None
    ) -> None:
        self._pool, self._wanted, self._quiet, self._pace = pool, wanted, quiet, pace or Pace()
        self._seen: Sequence[bytes] = ()
        self._tries = 0
        self._looks = 0
        """Looks since the last try."""
        self._said = ""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self._look()
            except (WorkerFailedError, FairError, OSError) as error:
                last = self._tries == len(self._pace.rests)
                said, self._said = self._said, f"{error}{'; the next job tries again' if last else ''}"
                if said != self._said:
                    log.warning("no worker could be warmed: %s", self._said)
            await asyncio.sleep(self._pace.look_ms / limits.SECOND)

    async def _look(self) -> None:
        wanted = tuple(self._wanted())
        if wanted != self._seen:
            self._seen, self._tries = wanted, 0
        self._looks += 1
        if not self._pool.warm_models.isdisjoint(wanted):
            if self._looks >= self._pace.steady:
                self._tries = 0
            return
        if not wanted or self._pool.busy or not self._quiet() or self._tries == len(self._pace.rests):
            return
        if self._looks <= self._pace.rests[self._tries]:
            return
        self._tries, self._looks = self._tries + 1, 0
        load_ms = await self._pool.warm(wanted[0])
        log.info("model %s is warm after %d ms", wanted[0].hex()[:16], load_ms)
