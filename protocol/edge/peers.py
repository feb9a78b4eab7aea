"""Other nodes as typed objects. Rule: messages go in, messages or typed errors come out; nothing of gRPC gets past.

Every question has a deadline. Errors: RemoteRefusal (the peer says no), PeerUnreachable (nobody answers), PeerError
(what came back is malformed).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence

import grpc.aio

from gpufair.protocol import limits, wire
from gpufair.protocol.edge import calls, status
from gpufair.protocol.edge.calls import Part
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.edge.streams import ExecuteStream, parts
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.journal import JournalPage
from gpufair.protocol.messages import (
    Bodies,
    Compare,
    Compared,
    Envelope,
    Pull,
    SearchAnswer,
    SearchRequest,
    StatePiece,
    Tell,
    Told,
)


class Use:
    """How many calls of a connection are under way: one that is in use is not closed to make room."""

    def __init__(self) -> None:
        self.calls = 0

    def begin(self, call: grpc.aio.Call) -> None:
        """Count a call until it is over, however it ends."""
        self.calls += 1
        call.add_done_callback(self._ended)

    def _ended(self, _call: grpc.aio.Call) -> None:
        self.calls -= 1


_Unary = grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]
_UnaryStream = grpc.aio.UnaryStreamMultiCallable[bytes, bytes]
_StreamStream = grpc.aio.StreamStreamMultiCallable[bytes, bytes]


class _Service:
    """One service of a peer; `peer` is its name for people."""

    name = ""

    def __init__(
        self,
        channel: grpc.aio.Channel,
        peer: str,
        use: Use | None = None,
        *,
        deadline_ms: int = limits.CALL_DEADLINE_MS,
    ) -> None:
        self._channel = channel
        self._peer = peer
        self._use = use or Use()
        self._deadline_s = deadline_ms / 1000

    async def _ask(self, method: str, request: bytes) -> bytes:
        try:
            ask: _Unary = self._channel.unary_unary(calls.path(self.name, method))
            call = ask(request, timeout=self._deadline_s)
            self._use.begin(call)
            answer: bytes = await call
        except grpc.aio.AioRpcError as error:
            raise status.from_status(error, self._peer) from error
        except grpc.aio.UsageError as error:
            raise PeerUnreachable(f"the connection to {self._peer} was closed") from error
        return answer

    async def _exchange(self, method: str, document: Envelope) -> Envelope:
        return wire.decode(Envelope, await self._ask(method, wire.encode(document)))


class DirectoryPeer(_Service):
    """A peer's directory. Every document proves itself: what comes from here is verified by whoever uses it."""

    name = calls.DIRECTORY

    async def record(self) -> Envelope:
        """The peer's own node record, not yet verified."""
        return wire.decode(Envelope, await self._ask("Record", calls.EMPTY))

    async def publish(self, document: Envelope) -> tuple[int, bool]:
        """Hand over a node record or an offer: the highest sequence held for its issuer, and whether it is this one."""
        answer = wire.decode(calls.PublishAnswer, await self._ask("Publish", wire.encode(document)))
        return answer.sequence, answer.stored

    async def find_records(self, dids: Sequence[str] = (), after: str = "") -> tuple[tuple[Envelope, ...], str]:
        """One page of node records, of `dids` or of all, and where the next page begins (empty: this was the last)."""
        return await self._find("FindRecords", dids, after)

    async def find_offers(self, dids: Sequence[str] = (), after: str = "") -> tuple[tuple[Envelope, ...], str]:
        """One page of offers, likewise."""
        return await self._find("FindOffers", dids, after)

    async def search(self, asked: SearchRequest) -> SearchAnswer:
        """The best offers that the peer knows, and how many pass each filter; not yet verified."""
        return wire.decode(SearchAnswer, await self._ask("Search", wire.encode(asked)))

    def all_records(self, dids: Sequence[str] = ()) -> AsyncIterator[Envelope]:
        """Every node record, page by page."""
        return self._all("FindRecords", dids)

    def all_offers(self, dids: Sequence[str] = (), after: str = "") -> AsyncIterator[Envelope]:
        """Every offer, page by page, from a page on."""
        return self._all("FindOffers", dids, after)

    def all_evidence(self, accused: Sequence[str] = ()) -> AsyncIterator[Envelope]:
        """What is said to convict these dids, page by page."""
        return self._all("FindEvidence", accused)

    async def differ(self, mine: Compare) -> Compared:
        """Where the peer's documents differ from ours."""
        return wire.decode(Compared, await self._ask("Differ", wire.encode(mine)))

    async def hear(self, news: Tell) -> Told:
        """Tell the peer what we have; how much of it is news there."""
        return wire.decode(Told, await self._ask("Hear", wire.encode(news)))

    async def give(self, wanted: Pull) -> Bodies:
        """Documents by their places, as many as fit; not yet verified."""
        return wire.decode(Bodies, await self._ask("Give", wire.encode(wanted)))

    async def _find(self, method: str, dids: Sequence[str], after: str) -> tuple[tuple[Envelope, ...], str]:
        request = wire.encode(calls.FindRequest(tuple(dids), after))
        page = wire.decode(calls.Documents, await self._ask(method, request))
        return page.documents, page.next

    async def _all(self, method: str, dids: Sequence[str], after: str = "") -> AsyncIterator[Envelope]:
        for _ in range(limits.FIND_PAGES_MAX):
            documents, following = await self._find(method, dids, after)
            for document in documents:
                yield document
            if not following:
                return
            if following <= after:
                raise PeerError(Fault.MALFORMED, f"the pages of {self._peer}'s directory run in a circle")
            after = following


class MarketPeer(_Service):
    """A provider's counter."""

    name = calls.MARKET

    async def place(self, bid: Envelope) -> Envelope:
        """Answer to a bid: the lease (the same payload, signed by both) or a decline; not yet verified."""
        return await self._exchange("Place", bid)

    async def fund(self, hold: Envelope) -> None:
        """Show the ledger's hold for a lease."""
        await self._ask("Fund", wire.encode(hold))

    def execute(self) -> ExecuteStream:
        """Open a job stream: `async with market.execute() as stream`."""
        method: _StreamStream = self._channel.stream_stream(calls.path(self.name, "Execute"))
        return ExecuteStream(self._open(method), self._peer)

    def fetch_delivery(self, request: Envelope) -> AsyncIterator[Part]:
        """A finished delivery again: its receipt, its ciphertext in chunks, then its key if it is due."""
        method: _UnaryStream = self._channel.unary_stream(calls.path(self.name, "FetchDelivery"))
        return parts(self._open(method, wire.encode(request)), self._peer, calls.decode_part)

    def audit_delivery(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """The proof of one step of a paid delivery: the signed answer, not yet verified, then the states' bytes."""
        method: _UnaryStream = self._channel.unary_stream(calls.path(self.name, "AuditDelivery"))
        return parts(self._open(method, wire.encode(request)), self._peer, calls.decode_proof)

    def _open(self, method: Callable[..., grpc.aio.Call], *request: bytes) -> grpc.aio.Call:
        try:
            call = method(*request)
        except grpc.aio.UsageError as error:
            raise PeerUnreachable(f"the connection to {self._peer} was closed") from error
        self._use.begin(call)
        return call


class LedgerPeer(_Service):
    """A ledger's counter. Every answer is a signed document, not yet verified; a refusal by the book is a decline."""

    name = calls.LEDGER

    async def place_hold(self, order: Envelope) -> Envelope:
        """HoldOrder -> Hold | Decline."""
        return await self._exchange("PlaceHold", order)

    async def capture(self, order: Envelope) -> Envelope:
        """Capture -> Captured | Decline."""
        return await self._exchange("Capture", order)

    async def pay(self, order: Envelope) -> Envelope:
        """Pay -> Posted | Decline."""
        return await self._exchange("Pay", order)

    async def issue(self, order: Envelope) -> Envelope:
        """Issue -> Posted | Decline; the operator's alone."""
        return await self._exchange("Issue", order)

    async def redeem(self, order: Envelope) -> Envelope:
        """Redeem -> Posted | Decline; the operator's alone."""
        return await self._exchange("Redeem", order)

    async def ask(self, query: Envelope) -> Envelope:
        """Query -> Balance | HoldState | Decline."""
        return await self._exchange("Ask", query)

    async def journal(self, query: Envelope) -> tuple[tuple[bytes, ...], Envelope]:
        """A page of events, verbatim, from the query's `since` on, and the signed head of the whole journal."""
        page = wire.decode(JournalPage, await self._ask("Journal", wire.encode(query)))
        return page.events, page.head
