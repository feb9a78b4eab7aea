"""The market as the gRPC edge wants it. Rule: bids go to admission, everything under a lease to the jobs room."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable

from gpufair.protocol import envelope as dsse
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import Chunk, Down, Envelope, Hold, KeyReveal, StatePiece, Up
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
        """Take the ledger's hold for a lease. Raises PeerError if it is given back: others were first, or it is late.

        The same hold again is refused again.
        """
        self._jobs.perform(self._jobs.leases.fund(hold))
        lease = self._jobs.leases.get(dsse.read(hold, Hold).doc.lease)
        if lease.state == LeaseState.ABANDONED:
            hint = "the hold is given back whole: bid again, or elsewhere"
            raise PeerError(Fault.CONFLICT, lease.closing_reason, hint=hint)

    async def execute(self, up: AsyncIterator[Up], send: Callable[[Down], Awaitable[None]]) -> None:
        """See `JobOffice.execute`."""
        await self._jobs.execute(up, send)

    def fetch(self, request: Envelope) -> AsyncIterator[Envelope | Chunk | KeyReveal]:
        """See `JobOffice.fetch`."""
        return self._jobs.fetch(request)

    def audit(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """See `JobOffice.audit`."""
        return self._jobs.audit(request)
