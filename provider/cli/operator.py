"""The operator's way to the own ledger. Rule: over gRPC with signed orders, like everybody else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from gpufair.protocol import limits, wire
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    Balance,
    Decline,
    Envelope,
    Event,
    Issue,
    Posted,
    Query,
    QueryKind,
    ReasonCode,
    Redeem,
)
from gpufair.provider.cli.common import open_home
from gpufair.provider.control import NodeRefusedError, ask


@dataclass(frozen=True)
class Operator:
    """The node's ledger, as its operator meets it: over gRPC, with signed orders."""

    desk: Desk
    peer: Peer

    async def post(self, order: Signed[Issue] | Signed[Redeem]) -> Posted:
        """Have an order posted. Raises NodeRefusedError with the ledger's reasons."""
        stub = self.peer.ledger
        call = stub.issue if isinstance(order.doc, Issue) else stub.redeem
        answer = await call(order.envelope)
        refused(answer)
        return self.desk.receive(answer, Posted, lifetime_max_ms=limits.TIME_MAX_MS).doc

    async def issue(self, account: str, amount: int, reference: str) -> Posted:
        """Put credits into an account."""
        return await self.post(self.desk.sign(Issue(self.desk.head(self.peer.did), account, amount, reference)))

    async def redeem(self, account: str, amount: int, reference: str) -> Posted:
        """Take credits out of an account."""
        return await self.post(self.desk.sign(Redeem(self.desk.head(self.peer.did), account, amount, reference)))

    async def balance(self, account: str) -> Balance:
        """An account's funds."""
        answer = await self.peer.ledger.ask(self.query(QueryKind.BALANCE, account))
        refused(answer)
        return self.desk.receive(answer, Balance).doc

    async def statement(self, account: str) -> AsyncIterator[Event]:
        """Every event that moved an account's money, the oldest first."""
        async for items, _head in self.pages(QueryKind.STATEMENT, account):
            for item in items:
                yield wire.decode(Event, item)

    def query(self, kind: QueryKind, account: str, since: int = 0) -> Envelope:
        """A signed question."""
        return self.desk.sign(Query(self.desk.head(self.peer.did), kind, account, b"", since)).envelope

    async def pages(self, kind: QueryKind, account: str) -> AsyncIterator[tuple[tuple[bytes, ...], Envelope]]:
        """The journal or a statement, page by page; the last page is empty."""
        since = 1
        while True:
            items, head = await self.peer.ledger.journal(self.query(kind, account, since))
            refused(head)
            yield items, head
            if not items:
                return
            since = wire.decode(Event, items[-1]).sequence + 1 if len(items[-1]) != 32 else since + len(items)


@asynccontextmanager
async def operator(home: Path | None) -> AsyncIterator[Operator]:
    """Meet the ledger of the node that runs in this home."""
    where, _settings, identity = open_home(home)
    running = await ask(where.socket, "status")
    if "ledger" not in running:
        raise NodeRefusedError(Fault.NOT_ALLOWED, "this node keeps no ledger", hint='add "ledger" to its roles')
    desk = Desk(identity.signer, SystemClock(), SystemRandom())
    async with Peers(desk.clock) as peers:
        yield Operator(desk, await peers.meet(f"{identity.did}@127.0.0.1:{running['port']}"))


def refused(answer: Envelope) -> None:
    """Raise NodeRefusedError with the ledger's reasons if its answer is a decline."""
    if answer.payload_type == Decline.TYPE:
        reasons = wire.decode(Decline, answer.payload).reasons
        known = any(reason.code is ReasonCode.REFERENCE_USED for reason in reasons)
        hint = "that payment is in the book: `gpufaird ledger statement DID` shows it" if known else ""
        raise NodeRefusedError(Fault.NOT_ALLOWED, "the ledger refuses: " + "; ".join(map(str, reasons)), hint=hint)
