"""`balance`, `ledger audit`. Rule: the ledger is asked, and not believed: its events are executed again here."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import typer

from gpufair.client.cli.stage import Answer, Exit, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer
    from gpufair.client.counters import Counter


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The ledgers that hold your credits.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(audit)
    app.command(rich_help_panel="Money")(balance)
    app.add_typer(group, name="ledger", rich_help_panel="Money")


def balance(home: HomeDir = None, as_json: Json = False) -> None:
    """Show your credits at every ledger that you use or could use; settle what can be settled."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _balance(stage, buyer)))


def audit(home: HomeDir = None, as_json: Json = False) -> None:
    """Re-verify every signature, sum and link of the ledgers' journals, and your balance. Exit code 7 on a finding."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _audit(stage, buyer)))


async def _balance(stage: Stage, buyer: Buyer) -> Answer:
    from gpufair.client import counters
    from gpufair.client.cli.answers import answer
    from gpufair.client.cli.views import balance_lines
    from gpufair.protocol.units import show

    open_leases = await buyer.settle_open()
    found = await counters.balances(buyer)
    for line in balance_lines(found):
        stage.say(line)
    spent, cap = counters.today(buyer), buyer.config.daily_cap
    stage.say(f"last 24 hours: {show(spent)}" + (f" of your daily cap of {show(cap)}" if cap is not None else ""))
    if not found:
        stage.say("No ledger is known yet. Next: gpufair peers add HOST:PORT")
    elif not any(one.balance and one.balance.available for one in found):
        stage.say(f"\nNext: ask a ledger's operator to issue credits to\n  {buyer.desk.did}")
    return answer(
        "balance", did=buyer.desk.did, spent_24h=spent, daily_cap=cap,
        open_leases=[one.id.hex() for one in open_leases], ledgers=[_object(one) for one in found],
    )  # fmt: skip


def _object(one: Counter) -> dict[str, Any]:
    held = one.balance
    return {
        "ledger": one.ref.did, "endpoint": one.ref.endpoint, "reachable": held is not None, "error": one.error or None,
        "available": held.available if held else None, "held": held.held if held else None,
        "earning": held.earning if held else None, "event": held.event if held else None,
    }  # fmt: skip


async def _audit(stage: Stage, buyer: Buyer) -> Answer:
    from gpufair.client import counters
    from gpufair.client.cli.answers import answer
    from gpufair.protocol import identity

    results = []
    for ref in counters.used(buyer):
        name = identity.short(ref.did)
        report, auditor = await counters.audit(buyer, ref)
        mark = "✓" if report.ok else "✗"
        funds = auditor.funds(buyer.desk.did)
        stage.say(
            f"{mark} {name}  {report.sequence} events, {report.visible} of them yours, {report.heads} signed heads"
        )
        for finding in report.findings:
            stage.say(f"    event {finding.sequence}: {finding.what}", style="red")
        findings = [{"event": one.sequence, "what": one.what} for one in report.findings]
        results.append(
            {"ledger": ref.did, "ok": report.ok, "events": report.sequence, "visible": report.visible,
             "heads": report.heads, "hash": report.hash.hex(), "available": funds.available, "held": funds.held,
             "findings": findings}
        )  # fmt: skip
    good = all(one["ok"] for one in results)
    if not results:
        stage.say("You have used no ledger yet: there is nothing to audit.")
    elif good:
        stage.say("\nEvery signature, sum and link holds, and the balances are the fold of your events.")
    else:
        stage.say(
            "\nThe journal is not what an honest ledger writes: keep this output, and take your credits elsewhere."
        )
    return answer("ledger-audit", ok=good, ledgers=results, _exit=Exit.OK if good else Exit.CHEATED)
