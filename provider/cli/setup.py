"""`init` and `doctor`. Rule: a newcomer needs no editor: init writes a configuration that works and explains itself."""

from __future__ import annotations

from typing import Annotated

import typer

from gpufair.provider.cli.common import Exit, HomeOption, JsonOption, open_home, say, show
from gpufair.provider.home import Home


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(init)
    app.command()(doctor)


def init(
    home: HomeOption = None,
    role: Annotated[list[str] | None, typer.Option(help="provider, directory, ledger; may be repeated.")] = None,
    listen: Annotated[str, typer.Option(help="Where to listen, host:port.")] = "0.0.0.0:7700",
    announce: Annotated[list[str] | None, typer.Option(help="How others reach this node, host:port.")] = None,
    ledger: Annotated[list[str] | None, typer.Option(help="A ledger you trust, did:key:…@host:port.")] = None,
    peer: Annotated[list[str] | None, typer.Option(help="A node to be known at, [did@]host:port.")] = None,
    runtime: Annotated[str, typer.Option(help="auto, docker or process.")] = "auto",
    image: Annotated[str, typer.Option(help="The worker image, sha256:… (docker).")] = "",
    price: Annotated[int, typer.Option(help="Micro-credits per step-megapixel (0: a sensible one).")] = 0,
    demo_model: Annotated[bool, typer.Option(help="Put the small demo model and its LoRA into the store.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make keys and a configuration. Nothing is overwritten."""
    from gpufair.provider.cli.making import Wishes, make

    made = make(Home.find(home), Wishes(
        roles=tuple(role or ()), listen=listen, announce=tuple(announce or ()), ledgers=tuple(ledger or ()),
        peers=tuple(peer or ()), runtime=runtime, image=image, price=price, demo_model=demo_model,
    ))  # fmt: skip
    where = made.home
    answer = {"did": made.did, "home": str(where.root), "config": str(where.config), "model": made.model}
    if show(answer, as_json=as_json):
        return
    say(f"did      {made.did}\nhome     {where.root}\nconfig   {where.config}")
    if made.model:
        say(f"model    {made.model} (and the LoRA pencil; add your own models with `gpufaird models add FOLDER`)")
    if made.own_ledger:
        say(
            "ledger   this node's own. Strangers will refuse it: a seller should not keep the buyer's book.\n"
            "         Better: write one that both sides trust into `accepted` in config.toml, as did:key:…@host:port.",
        )
    say("\nnext: `gpufaird doctor`, then `gpufaird up`")


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look at engine, GPU, disk, port, clock and models; say what is wrong and what to do."""
    import asyncio

    from gpufair.provider.doctor import examine

    where, settings, identity = open_home(home)
    checks = asyncio.run(examine(where, settings, identity))
    ok = all(check.ok for check in checks)
    answer = {"ok": ok, "checks": [{"name": c.name, "ok": c.ok, "found": c.found, "fix": c.fix} for c in checks]}
    if not show(answer, as_json=as_json):
        for check in checks:
            say(f"{'ok ' if check.ok else 'BAD'}  {check.name:8} {check.found}")
            if check.fix:
                say(f"{'':14}{check.fix}")
        next_step = "the node is running" if where.running() else "`gpufaird up`"
        say(f"\nall is well: {next_step}" if ok else "\nmend what is marked, then run this again")
    raise typer.Exit(Exit.OK if ok else Exit.UNSOUND)
