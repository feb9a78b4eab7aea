"""`peers add`, `peers list`. Rule: a node is added under the identity that it proves now, and keeps it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform

if TYPE_CHECKING:
    from gpufair.client.buyer import Buyer


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = typer.Typer(help="The nodes that you start looking from.", no_args_is_help=True, rich_markup_mode=None)
    group.command()(add)
    group.command(name="list")(list_peers)
    group.command()(remove)
    app.add_typer(group, name="peers", rich_help_panel="Market")


def add(
    address: Annotated[str, typer.Argument(help="host:port, or did:key:…@host:port to insist on who it is.")],
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Add a node: it is met, proves who it is, and is remembered under that did."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _add(stage, buyer, address)))


def list_peers(home: HomeDir = None, as_json: Json = False) -> None:
    """List the nodes, and how many offers each shows now, or why none."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _list(stage, buyer)))


def remove(
    address: Annotated[str, typer.Argument(help="As `peers list` shows it: host:port.")],
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Forget a node."""
    perform(home, as_json, lambda stage: stage.with_buyer(lambda buyer: _remove(stage, buyer, address)))


async def _add(stage: Stage, buyer: Buyer, text: str) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.wallet.store import PeerRow
    from gpufair.protocol.addresses import PeerAddress
    from gpufair.protocol.errors import Fault, LocalError

    address = PeerAddress.parse(text)
    peer = await buyer.peers.meet(address)
    with buyer.store.begin() as rows:
        known = rows.get(PeerRow, address=str(address.endpoint))
        if known is not None and known.did != peer.did and not address.did:
            hint = f"if its owner set it up anew: gpufair peers add {peer.did}@{address.endpoint}"
            raise LocalError(Fault.CONFLICT, f"another node than before answers at {address.endpoint}", hint=hint)
        rows.save(PeerRow(str(address.endpoint), peer.did, buyer.desk.now_ms()))
    roles = [role.name.lower() for role in peer.record.doc.roles]
    stage.say(f"Added {address.endpoint}: {', '.join(roles)}")
    stage.say(f"  {peer.did}", style="dim")
    stage.say("\nNext: gpufair offers")
    return answer("peers-add", address=str(address.endpoint), did=peer.did, roles=roles)


async def _list(stage: Stage, buyer: Buyer) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.market.market import gather

    market = await gather(buyer.peers, buyer.addresses(), buyer.desk.clock, buyer.store)
    for one in market.sources:
        said = f"{one.silence}: {one.why.removeprefix(f'{one.address} ')}" if one.silence else _offers(one.offers)
        roles = ", ".join(role.name.lower() for role in one.roles)
        stage.say(f"{'●' if one.reached else '○'} {one.address}  {f'{roles}; ' if roles else ''}{said}")
        if one.did:
            stage.say(f"    {one.did}", style="dim")
    if not market.sources:
        stage.say("No node is known yet. Next: gpufair peers add HOST:PORT")
    peers = [
        {
            "address": one.address, "did": one.did or None, "reachable": one.reached, "offers": one.offers,
            "roles": [role.name.lower() for role in one.roles], "trouble": str(one.silence), "error": one.why or None,
        }
        for one in market.sources
    ]  # fmt: skip
    return answer("peers", peers=peers)


def _offers(count: int) -> str:
    return f"{count} offer{'' if count == 1 else 's'}"


async def _remove(stage: Stage, buyer: Buyer, text: str) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.wallet.store import PeerRow
    from gpufair.protocol.addresses import PeerAddress
    from gpufair.protocol.errors import Fault, LocalError

    address = PeerAddress.parse(text)
    with buyer.store.begin() as rows:
        if not rows.delete(PeerRow, address=str(address.endpoint)):
            hint = "`gpufair peers list` shows them; those in config.toml are removed there"
            raise LocalError(Fault.UNKNOWN, f"no node was added at {address.endpoint}", hint=hint)
    stage.say(f"Forgot {address.endpoint}.")
    return answer("peers-remove", address=str(address.endpoint))
