"""Orders on their way to ledgers. Rule: an order leaves the outbox only when it was answered, or can be no more."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Protocol

from gpufair.protocol import limits, wire
from gpufair.protocol.errors import FairError, Fault
from gpufair.protocol.messages import Envelope
from gpufair.protocol.ports import Clock
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.store import OutboxRow

log = logging.getLogger(__name__)

RETRY_FIRST_S = 0.5
RETRY_MAX_S = 60.0
IDLE_S = 5.0


class LedgerPort(Protocol):
    """How captures reach a ledger, this node's own included: over gRPC."""

    async def capture(self, ledger: str, order: Envelope) -> Envelope:
        """The ledger's signed answer. Raises FairError if there is none for now."""
        ...


class Collector:
    """Sends what is in the outbox, again and again until it is answered."""

    def __init__(self, leases: Leases, ledgers: LedgerPort, clock: Clock) -> None:
        self._leases, self._ledgers, self._clock = leases, ledgers, clock
        self._wanted = asyncio.Event()
        self._waits: dict[bytes, float] = {}
        self._not_before: dict[bytes, float] = {}
        self.last_error = ""

    def post(self) -> None:
        """The outbox has something new."""
        self._wanted.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                await self.round()
            except Exception as error:  # a full disk, or a bug: what is in the outbox must go out all the same
                log.exception("the outbox could not be worked through")
                self.last_error = f"outbox: {error}"
                await asyncio.sleep(RETRY_FIRST_S)
                continue
            # Not `wait_for`: it loses a cancellation that comes together with what it waits for.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(RETRY_FIRST_S if self._waits else IDLE_S):
                    await self._wanted.wait()
            self._wanted.clear()

    async def round(self) -> None:
        """Try every order whose time has come, once: one after the other at a ledger, and all ledgers at a time."""
        now, lines = asyncio.get_running_loop().time(), dict[str, list[OutboxRow]]()
        for order in self._leases.captures.outbox():
            if self._not_before.get(order.id, 0.0) <= now:
                lines.setdefault(order.ledger, []).append(order)
        async with asyncio.TaskGroup() as group:
            for line in lines.values():
                group.create_task(self._at_one_ledger(line))

    async def _at_one_ledger(self, orders: list[OutboxRow]) -> None:
        for order in orders:
            if not await self._try(order):
                return  # nobody is there: were all of them tried now, the next round would come too late for others

    async def _try(self, order: OutboxRow) -> bool:
        """Send an order. Whether its ledger is there."""
        try:
            answer = await self._ledgers.capture(order.ledger, wire.decode(Envelope, order.envelope))
            self._leases.captures.captured(order, answer)
        except Exception as error:  # also a bug: the orders behind this one must go out all the same
            if not isinstance(error, FairError):
                log.exception("capture %s could not be sent", order.id.hex()[:12])
            self.last_error = f"ledger: {error}"
            wait = min(RETRY_MAX_S, self._waits.get(order.id, RETRY_FIRST_S / 2) * 2)
            self._waits[order.id] = wait
            self._not_before[order.id] = asyncio.get_running_loop().time() + wait
            log.warning("capture %s not answered, again in %.0f s: %s", order.id.hex()[:12], wait, error)
            if not self._leases.captures.give_up(order, self._clock.now_ms() - limits.SKEW_MS):
                return not (isinstance(error, FairError) and error.fault is Fault.UNAVAILABLE)
        self._waits.pop(order.id, None)
        self._not_before.pop(order.id, None)
        return True
