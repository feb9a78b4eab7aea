"""`ledger issue|redeem|balance|statement|audit`. Rule: the operator signs orders like anybody; no back door."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from gpufair.protocol import limits, wire
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.journal import Auditor
from gpufair.protocol.messages import Balance, Decline, Envelope, Event, Issue, Posted, Query, QueryKind, Redeem
from gpufair.protocol.units import parse_credits
from gpufair.protocol.units import show as amount_text
from gpufair.provider.cli.common import HomeOption, JsonOption, open_home, say, show
from gpufair.provider.control import ask

app = typer.Typer(no_args_is_help=True)

Account = Annotated[str, typer.Argument(help="The account: a did:key.")]
OptionalAccount = Annotated[str, typer.Argument(help="The account, a did:key (default: this node's own).")]
Amount = Annotated[str, typer.Argument(help="In credits: 5 or 0.25.")]
Reference = Annotated[str, typer.Option("--reference", help="The payment outside that this is for; used once.")]


@dataclass(frozen=True)
class Operator:
    """The node's ledger, as its operator meets it: over gRPC, with signed orders."""

    desk: Desk
    peer: Peer

    async def post(self, order: Signed[Issue] | Signed[Redeem]) -> Posted:
        """Have an order posted. Raises LocalError with the ledger's reasons if it refuses."""
        stub = self.peer.ledger
        call = stub.issue if isinstance(order.doc, Issue) else stub.redeem
        answer = await call(order.envelope)
        _refused(answer)
        return self.desk.receive(answer, Posted, lifetime_max_ms=limits.TIME_MAX_MS).doc

    def query(self, kind: QueryKind, account: str, since: int = 0) -> Envelope:
        """A signed question."""
        return self.desk.sign(Query(self.desk.head(self.peer.did), kind, account, b"", since)).envelope

    async def pages(self, kind: QueryKind, account: str) -> AsyncIterator[tuple[tuple[bytes, ...], Envelope]]:
        """The journal or a statement, page by page; the last page is empty."""
        since = 1
        while True:
            items, head = await self.peer.ledger.journal(self.query(kind, account, since))
            _refused(head)
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
        raise LocalError(Fault.NOT_ALLOWED, "this node keeps no ledger", hint='add "ledger" to its roles')
    desk = Desk(identity.signer, SystemClock(), SystemRandom())
    async with Peers(desk.clock) as peers:
        yield Operator(desk, await peers.meet(f"{identity.did}@127.0.0.1:{running['port']}"))


def _run(home: Path | None, work: Callable[[Operator], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    async def meet() -> dict[str, Any]:
        async with operator(home) as ledger:
            return await work(ledger)

    return asyncio.run(meet())


@app.command()
def issue(
    account: Account, amount: Amount, reference: Reference, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Put credits into an account, against a payment outside."""
    value = _amount(amount)

    async def work(ledger: Operator) -> dict[str, Any]:
        head = ledger.desk.head(ledger.peer.did)
        return _posted(await ledger.post(ledger.desk.sign(Issue(head, account, value, reference))))

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        text = (
            f"issued {amount_text(value)}: there are {amount_text(answer['available'])} now (event {answer['event']})"
        )
        say(text)


@app.command()
def redeem(
    account: Account, amount: Amount, reference: Reference, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Take credits out of an account, against a payment outside."""
    value = _amount(amount)

    async def work(ledger: Operator) -> dict[str, Any]:
        head = ledger.desk.head(ledger.peer.did)
        return _posted(await ledger.post(ledger.desk.sign(Redeem(head, account, value, reference))))

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        text = f"redeemed {amount_text(value)}: {amount_text(answer['available'])} are left (event {answer['event']})"
        say(text)


@app.command()
def balance(account: OptionalAccount = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """An account's funds."""

    async def work(ledger: Operator) -> dict[str, Any]:
        answer = await ledger.peer.ledger.ask(ledger.query(QueryKind.BALANCE, account or ledger.desk.did))
        _refused(answer)
        funds = ledger.desk.receive(answer, Balance).doc
        return {
            "account": funds.account, "available": funds.available, "held": funds.held, "earning": funds.earning,
            "event": funds.event,
        }  # fmt: skip

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        for name in ("available", "held", "earning"):
            say(f"{name:10} {amount_text(answer[name])}")


@app.command()
def statement(account: OptionalAccount = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Every event that moved an account's money."""

    async def work(ledger: Operator) -> dict[str, Any]:
        whose, rows = account or ledger.desk.did, []
        async for items, _head in ledger.pages(QueryKind.STATEMENT, whose):
            for item in items:
                event = wire.decode(Event, item)
                moved = {leg.bucket.name.lower(): leg.amount for leg in event.legs if leg.account == whose}
                rows.append({"event": event.sequence, "at_ms": event.at_ms, "kind": event.kind.name.lower(), **moved})
        return {"account": whose, "events": rows}

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        for row in answer["events"]:
            buckets = [name for name in ("issued", "available", "held") if name in row]
            moved = ", ".join(f"{name} {amount_text(row[name])}" for name in buckets)
            say(f"{row['event']:6}  {row['kind']:9} {moved}")


@app.command()
def audit(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Re-execute the whole journal from its first event: every signature, sum, balance and link."""

    async def work(ledger: Operator) -> dict[str, Any]:
        auditor = Auditor(ledger.peer.did)
        async for items, head in ledger.pages(QueryKind.JOURNAL, ledger.desk.did):
            auditor.feed(items, head)
        found = auditor.report()
        findings = [{"event": finding.sequence, "what": finding.what} for finding in found.findings]
        return {"ok": found.ok, "events": found.sequence, "head": found.hash.hex(), "findings": findings}

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        verdict = "the book is sound" if answer["ok"] else f"{len(answer['findings'])} findings"
        say(f"{verdict}: {answer['events']} events, head {answer['head'][:16]}")
        for finding in answer["findings"]:
            say(f"  event {finding['event']}: {finding['what']}")
    raise typer.Exit(0 if answer["ok"] else 1)


def _posted(posted: Posted) -> dict[str, Any]:
    return {"account": posted.account, "available": posted.available, "held": posted.held, "event": posted.event}


def _refused(answer: Envelope) -> None:
    if answer.payload_type == Decline.TYPE:
        reasons = wire.decode(Decline, answer.payload).reasons
        raise LocalError(Fault.NOT_ALLOWED, "the ledger refuses: " + "; ".join(map(str, reasons)))


def _amount(text: str) -> int:
    try:
        return parse_credits(text)
    except ValueError as error:
        raise LocalError(Fault.MALFORMED, str(error)) from error
