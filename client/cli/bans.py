"""`bans list`, `bans lift`. Rule: who cheated stays out until a person says otherwise. Offline."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The providers that you don't buy from.", no_args_is_help=True, rich_markup_mode=None)
    group.command(name="list")(list_bans)
    group.command()(lift)
    app.add_typer(group, name="bans", rich_help_panel="Market")


def list_bans(home: HomeDir = None, as_json: Json = False) -> None:
    """List the providers that you don't buy from, and why. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _list(stage, buyer)))


def lift(
    did: Annotated[str, typer.Argument(help="The provider's did, or the end of it.")],
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Buy from a provider again. Offline."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _lift(stage, buyer, did)))


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
