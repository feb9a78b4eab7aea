"""`ledger issue|redeem|balance|statement|audit`. Rule: the operator signs orders like anybody; no back door."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.protocol.errors import FairError, Fault, LocalError, printable
from gpufair.protocol.units import parse_credits
from gpufair.protocol.units import show as amount_text
from gpufair.provider.cli.common import Exit, HomeOption, JsonOption, ask_node, say, show

if TYPE_CHECKING:
    from gpufair.protocol.messages import Posted
    from gpufair.provider.cli.operator import Operator

app = typer.Typer(no_args_is_help=True, rich_markup_mode=None)

AUDIT_S = 3600.0

Account = Annotated[str, typer.Argument(help="The account: a did:key.")]
OptionalAccount = Annotated[str, typer.Argument(help="The account, a did:key (default: this node's own).")]
Amount = Annotated[str, typer.Argument(help="In credits: 5 or 0.25.")]
Reference = Annotated[str, typer.Option("--reference", help="The payment outside that this is for; used once.")]


def _run(home: Path | None, work: Callable[[Operator], Awaitable[dict[str, Any]]]) -> dict[str, Any]:
    import asyncio

    from gpufair.provider.cli.operator import operator

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
    _check_account(account)

    async def work(ledger: Operator) -> dict[str, Any]:
        return _posted(await ledger.issue(account, value, reference))

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        text = f"issued {amount_text(value)}: the account has {amount_text(answer['available'])}"
        say(text)


@app.command()
def redeem(
    account: Account, amount: Amount, reference: Reference, home: HomeOption = None, as_json: JsonOption = False
) -> None:
    """Take credits out of an account, against a payment outside."""
    value = _amount(amount)
    _check_account(account)

    async def work(ledger: Operator) -> dict[str, Any]:
        return _posted(await ledger.redeem(account, value, reference))

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        text = f"redeemed {amount_text(value)}: {amount_text(answer['available'])} are left (event {answer['event']})"
        say(text)


@app.command()
def balance(account: OptionalAccount = "", home: HomeOption = None, as_json: JsonOption = False) -> None:
    """An account's funds."""

    async def work(ledger: Operator) -> dict[str, Any]:
        funds = await ledger.balance(account or ledger.desk.did)
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
        whose = account or ledger.desk.did
        rows = [
            {
                "event": event.sequence,
                "at_ms": event.at_ms,
                "kind": event.kind.name.lower(),
                **{leg.bucket.name.lower(): leg.amount for leg in event.legs if leg.account == whose},
            }
            async for event in ledger.statement(whose)
        ]
        return {"account": whose, "events": rows}

    answer = _run(home, work)
    if not show(answer, as_json=as_json):
        for row in answer["events"]:
            buckets = [name for name in ("issued", "available", "held") if name in row]
            moved = ", ".join(f"{name} {amount_text(row[name])}" for name in buckets)
            say(f"{row['event']:6}  {row['kind']:9} {moved}")


@app.command()
def audit(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Re-execute the whole journal from its first event, and compare every table with what comes of it."""
    answer = ask_node(home, "audit", timeout_s=AUDIT_S)
    if not show(answer, as_json=as_json):
        verdict = "the book is sound" if answer["ok"] else f"{len(answer['findings'])} findings"
        say(f"{verdict}: {answer['events']} events, head {answer['head'][:16]}")
        for finding in answer["findings"]:
            say(f"  event {finding['event']}: {finding['what']}")
    raise typer.Exit(Exit.OK if answer["ok"] else Exit.UNSOUND)


def _posted(posted: Posted) -> dict[str, Any]:
    return {"account": posted.account, "available": posted.available, "held": posted.held, "event": posted.event}


def _check_account(text: str) -> None:
    from gpufair.protocol import identity

    try:
        identity.public_key(text)
    except FairError as error:
        hint = "it begins with did:key:z6Mk; `gpufair id` shows a buyer's"
        raise LocalError(Fault.MALFORMED, f"{printable(text, limit=80)} is no account", hint=hint) from error


def _amount(text: str) -> int:
    try:
        return parse_credits(text)
    except ValueError as error:
        raise LocalError(Fault.MALFORMED, str(error)) from error
