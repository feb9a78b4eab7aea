"""`init` and `doctor`. Rule: a newcomer needs no editor: init writes a configuration that works and explains itself."""

from __future__ import annotations

import asyncio
from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider import config as configuration
from gpufair.provider.cli.common import HomeOption, JsonOption, open_home, passphrase, say, show
from gpufair.provider.cli.template import Choices, render
from gpufair.provider.hardware.probe import probe
from gpufair.provider.home import Home
from gpufair.provider.sales.ask import DEFAULT_CPU, DEFAULT_GPU

DEFAULT_ROLES = ("provider", "directory")
OPTIONS = {"roles": "--role", "peers": "--peer", "accepted": "--ledger", "per_step_megapixel": "--price"}
"""The option of `init` by which a key of the configuration is given, where the two differ."""


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
    demo_model: Annotated[bool, typer.Option(help="Put the small demo model into the store.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Make keys and a configuration. Nothing is overwritten."""
    from gpufair.protocol.edge import keys

    where = Home.find(home)
    if where.config.exists():
        raise LocalError(Fault.CONFLICT, f"{where.config} is there already", hint="edit it, or give another --home")
    where.make()
    made = keys.load(where.keys, passphrase=passphrase()) if keys.exists(where.keys) else keys.create(
        where.keys, passphrase=passphrase()
    )  # fmt: skip
    hardware = probe(where.models)
    gpus = tuple(device.uuid for device in hardware.gpus.devices)
    roles, ledgers = tuple(role or DEFAULT_ROLES), tuple(ledger or ())
    own_ledger = "provider" in roles and not ledgers
    if own_ledger:
        roles = (*roles, "ledger") if "ledger" not in roles else roles
        port = listen.rpartition(":")[2]
        ledgers = (f"{made.did}@{(announce or [f'127.0.0.1:{port}'])[0]}",)
    choices = Choices(
        roles=roles, listen=listen, announce=tuple(announce or ()), peers=tuple(peer or ()), ledgers=ledgers,
        runtime=runtime, image=image, gpus=gpus, price=DEFAULT_GPU if gpus else DEFAULT_CPU, rate=price,
    )  # fmt: skip
    where.config.write_text(render(choices), encoding="utf-8")
    try:
        configuration.load(where.config)
    except LocalError as error:
        where.config.unlink()
        # It was given as an option: the line of a file that is gone again would mislead.
        key, _, what = error.what.removeprefix(str(where.config)).partition(": ")[2].partition(" ")
        hint = "correct it and run this again; `gpufaird init --help` explains the options"
        raise LocalError(error.fault, f"{OPTIONS.get(key, f'--{key}')} {what}", hint=hint) from error
    model = _demo_model(where) if demo_model and "provider" in roles else ""
    if show({"did": made.did, "home": str(where.root), "config": str(where.config), "model": model}, as_json=as_json):
        return
    say(f"did      {made.did}\nhome     {where.root}\nconfig   {where.config}")
    if model:
        say(f"model    {model} (the demo model; add your own with `gpufaird models add FOLDER`)")
    if own_ledger:
        say(
            "ledger   this node's own. Strangers will refuse it: a seller should not keep the buyer's book.\n"
            "         Better: write one that both sides trust into `accepted` in config.toml, as did:key:…@host:port.",
        )
    say("\nnext: `gpufaird doctor`, then `gpufaird up`")


def _demo_model(home: Home) -> str:
    from gpufair.provider.models.store import ModelStore

    folder = Path(str(files("gpufair.provider.models"))) / "demo"
    return ModelStore(home.models).add(folder, name="demo").name


def doctor(home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Look at engine, GPU, disk, port, clock and models; say what is wrong and what to do."""
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
    raise typer.Exit(0 if ok else 1)
