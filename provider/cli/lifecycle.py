"""`up`, `status`, `pause`, `resume`, `drain`, `stop`. Rule: `up` stays in front; the others talk to it."""

from __future__ import annotations

import asyncio
import logging
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.units import show as amount
from gpufair.provider.cli.common import HomeOption, JsonOption, open_home, say, show
from gpufair.provider.config import Config
from gpufair.provider.control import ask
from gpufair.provider.home import Home

if TYPE_CHECKING:
    from gpufair.protocol.edge.keys import Keys


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (up, status, pause, resume, drain, stop):
        app.command()(command)


def up(
    home: HomeOption = None,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Say more.")] = False,
) -> None:
    """Run the node until Ctrl-C or SIGTERM."""
    level = logging.DEBUG if verbose else logging.INFO
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("gpufair").setLevel(level)
    where, settings, identity = open_home(home)
    asyncio.run(_serve(where, settings, identity))


async def _serve(where: Home, settings: Config, identity: Keys) -> None:
    from gpufair.provider.daemon import Node

    node = Node(where, settings, identity)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, node.stopping.set)
    await node.start()
    try:
        say(f"node     {identity.did}\naddress  {identity.did}@{_address(node.port, settings)}")
        say(f"roles    {', '.join(settings.node.roles)}\nready    Ctrl-C stops it")
        await node.run()
    finally:
        await node.stop()


def _address(port: int, settings: Config) -> str:
    if settings.node.announce:
        return settings.node.announce[0]
    host = settings.node.listen.rpartition(":")[0]
    return f"{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"  # noqa: S104


def _command(home: Path | None, command: str) -> dict[str, Any]:
    where = Home.find(home)
    if not where.config.exists():
        raise LocalError(Fault.UNKNOWN, f"there is no {where.config}", hint="run `gpufaird init` first, or give --home")
    return asyncio.run(ask(where.socket, command))


def status(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Jobs, earnings, holds, peers, and the last thing that went wrong."""
    answer = _command(home, "status")
    if show(answer, as_json=as_json):
        return
    say(f"node       {answer['did']}")
    say(f"reach      {', '.join(answer['endpoints'])}   roles: {', '.join(answer['roles'])}")
    provider = answer.get("provider")
    if provider:
        state = "draining" if provider["draining"] else "paused" if provider["paused"] else "selling"
        say(f"state      {state}, {provider['running']} running, {provider['waiting']} waiting")
        say(
            f"earned     {amount(provider['earned_today'])} today, {amount(provider['earned'])} in all; "
            f"{amount(provider['pending'])} pending",
        )
        say(f"leases     {provider['open_leases']} open, {amount(provider['held'])} held for them")
        say(f"jobs       {provider['jobs_paid']} paid, {provider['jobs_failed']} failed")
        say(f"workers    {provider['workers']} by {provider['runtime']} (isolation {provider['isolation']})")
        for model in provider["models"]:
            say(f"model      {model['name']} {model['digest'][:16]} {model['state']}")
        if provider["last_error"]:
            say(f"last error {provider['last_error']}")
    if answer.get("ledger"):
        book = answer["ledger"]
        say(
            f"ledger     {book['accounts']} accounts, {amount(book['outstanding'])} outstanding, "
            f"{book['events']} events; {book['holds_open']} holds open over {amount(book['held'])}",
        )
    for peer in answer["peers"]:
        say(f"peer       {peer['address']}: {peer['error'] or 'knows us'}")


def pause(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take no new leases or jobs for now; what runs goes on."""
    if not show(_command(home, "pause"), as_json=as_json):
        say("paused: nothing new is taken, what runs goes on. `gpufaird resume` opens again")


def resume(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take new work again."""
    if not show(_command(home, "resume"), as_json=as_json):
        say("selling again")


def drain(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Take nothing new, finish what there is, settle, then stop."""
    if not show(_command(home, "drain"), as_json=as_json):
        say("draining: the node stops by itself when its leases are settled")


def stop(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Stop now: running jobs are handed back, open leases settled."""
    if not show(_command(home, "stop"), as_json=as_json):
        say("stopping")
