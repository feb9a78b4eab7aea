"""The market as the gRPC edge wants it. Rule: bids go to admission, everything under a lease to the jobs room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from gpufair.protocol.messages import Chunk, Down, Envelope, KeyReveal, StatePiece, Up
from gpufair.provider.jobs.office import JobOffice
from gpufair.provider.sales.admission import Admission


class MarketDesk:
    """Serves bids, holds, streams and deliveries."""

    def __init__(self, admission: Admission, jobs: JobOffice) -> None:
        self._admission, self._jobs = admission, jobs

    async def place(self, bid: Envelope, source: str) -> Envelope:
        """See `Admission.place`."""
        return self._admission.place(bid, source)

    async def fund(self, hold: Envelope) -> None:
        """Take the ledger's hold for a lease."""
        self._jobs.perform(self._jobs.leases.fund(hold))

    async def execute(self, up: AsyncIterator[Up], send: Callable[[Down], Awaitable[None]]) -> None:
        """See `JobOffice.execute`."""
        await self._jobs.execute(up, send)

    def fetch(self, request: Envelope) -> AsyncIterator[Envelope | Chunk | KeyReveal]:
        """See `JobOffice.fetch`."""
        return self._jobs.fetch(request)

    def audit(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """See `JobOffice.audit`."""
        return self._jobs.audit(request)
