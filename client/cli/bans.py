"""`bans list`, `bans lift`, `bans check`. Rule: who cheated stays out until a person says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer
    from gpufair.protocol.auditing import Table


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="Whom you don't buy from or pay at.", no_args_is_help=True, rich_markup_mode=None)
    group.command(name="list")(list_bans)
    group.command()(lift)
    group.command()(check)
    app.add_typer(group, name="bans", rich_help_panel="Market")


def list_bans(home: HomeDir = None, as_json: Json = False) -> None:
    """List the providers that you don't buy from, the ledgers that you don't pay at, and why. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _list(stage, buyer)))


def lift(
    did: Annotated[str, typer.Argument(help="The provider's did, or the end of it.")],
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Buy from a provider again. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _lift(stage, buyer, did)))


def check(
    models: Annotated[
        Path | None,
        typer.Option("--models", metavar="FOLDER", help="Where the models are: a model's folder, a node's home."),
    ] = None,
    tolerances: Annotated[
        Path | None, typer.Option("--tolerances", metavar="FILE", help="Rows of your own for the table of tolerances.")
    ] = None,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Ask the nodes for failed audits of others, do their steps again here, and ban whose audit fails here too."""

    def work(stage: Stage) -> Answer:
        from gpufair.protocol.edge import tolerances as rows

        table = rows.load(tolerances)
        return stage.with_buyer(lambda buyer: _check(stage, buyer, table, models))

    perform(home, as_json, work)


async def _list(stage: Stage, buyer: Buyer) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.cli.views import when
    from gpufair.client.wallet.bans import listed

    found = listed(buyer.store)
    for one in found:
        stage.say(f"✗ {one.did}")
        stage.say(f"    {when(one.since_ms)}  {one.why}", style="dim")
    if not found:
        stage.say("Nobody is banned.")
    return answer("bans", bans=[{"did": one.did, "why": one.why, "since_ms": one.since_ms} for one in found])


async def _lift(stage: Stage, buyer: Buyer, did: str) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.wallet import bans

    lifted = bans.lift(buyer.store, did)
    stage.say(f"Its offers count again: {lifted.did}")
    return answer("bans-lift", did=lifted.did, why=lifted.why)


async def _check(stage: Stage, buyer: Buyer, table: Table, models: Path | None) -> Answer:
    from gpufair.client.audit.reported import judge_reported
    from gpufair.client.cli.answers import answer

    reports = [
        await judge_reported(
            buyer.store, doubt.accused, doubt.evidence.doc.blobs[0], table, buyer.desk.now_ms(), folder=models
        )
        for doubt in (await buyer.market()).doubts
    ]
    for one in reports:
        stage.say(f"{'✗' if one.convicts else '·'} {one.accused}", style="red" if one.convicts else None)
        stage.say(f"    {one.why}", style="dim")
    if not reports:
        stage.say("No node reports a failed audit of a seller that it shows.")
    told = [
        {"did": one.accused, "verdict": one.verdict.name.lower() if one.verdict else None, "why": one.why}
        for one in reports
    ]
    return answer("bans-check", reports=told)
