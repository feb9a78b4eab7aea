"""What the commands share. Rule: with `--json` a command prints one JSON object and nothing else."""

from __future__ import annotations

import json
import os
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gpufair.protocol.errors import Fault, LocalError, printable
from gpufair.provider.home import Home

if TYPE_CHECKING:
    from gpufair.protocol.edge.keys import Keys
    from gpufair.provider.config import Config

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The node's folder (default: $GPUFAIRD_HOME, else the user's data folder)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")]


class Exit(IntEnum):
    """How a command ends. Where `gpufair` has the same kind of ending, it has the same number; they never change."""

    OK = 0
    LOCAL = 1
    USAGE = 2
    NO_NODE = 3
    REFUSED = 4
    UNREACHABLE = 6
    UNSOUND = 7
    INTERRUPTED = 130


def say(text: str = "") -> None:
    """A line for people, as it is: no markup, no wrapping, nothing invisible."""
    typer.echo(printable(text, limit=20_000))


def open_home(path: Path | None) -> tuple[Home, Config, Keys]:
    """A node's folder, configuration and keys. Raises LocalError that names the next command."""
    from gpufair.protocol.edge import keys
    from gpufair.provider import config

    home = Home.find(path)
    settings = config.load(home.config)
    return home, settings, keys.load(home.keys, passphrase=passphrase())


def ask_node(home: Path | None, command: str, *, timeout_s: float = 30, **words: int) -> dict[str, Any]:
    """The running node's answer to a command. Raises LocalError that names the next command."""
    import asyncio

    from gpufair.provider.control import ask

    where = Home.find(home)
    if not where.config.exists():
        raise LocalError(Fault.UNKNOWN, f"there is no {where.config}", hint="run `gpufaird init` first, or give --home")
    return asyncio.run(ask(where.socket, command, timeout_s=timeout_s, **words))


def passphrase() -> str | None:
    """The identity's passphrase, if the owner set one, from the environment: never from a file or an argument."""
    return os.environ.get("GPUFAIR_PASSPHRASE")


def show(answer: dict[str, Any], *, as_json: bool) -> bool:
    """Print JSON if that was asked for; whether it was."""
    if as_json:
        print(json.dumps(answer, ensure_ascii=False, sort_keys=True))
    return as_json
