"""What the commands share. Rule: with `--json` a command prints one JSON object and nothing else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from gpufair.protocol.errors import printable
from gpufair.provider import config
from gpufair.provider.config import Config
from gpufair.provider.home import Home

if TYPE_CHECKING:
    from gpufair.protocol.edge.keys import Keys

HomeOption = Annotated[
    Path | None,
    typer.Option("--home", help="The node's folder (default: $GPUFAIRD_HOME, else the user's data folder)."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object, nothing else.")]


def say(text: str = "") -> None:
    """A line for people, as it is: no markup, no wrapping, nothing invisible."""
    Console(highlight=False, emoji=False, soft_wrap=True).print(printable(text, limit=20_000), markup=False)


def open_home(path: Path | None) -> tuple[Home, Config, Keys]:
    """A node's folder, configuration and keys. Raises LocalError that names the next command."""
    from gpufair.protocol.edge import keys

    home = Home.find(path)
    settings = config.load(home.config)
    return home, settings, keys.load(home.keys, passphrase=passphrase())


def passphrase() -> str | None:
    """The identity's passphrase, if the owner set one, from the environment: never from a file or an argument."""
    import os

    return os.environ.get("GPUFAIR_PASSPHRASE")


def show(answer: dict[str, Any], *, as_json: bool) -> bool:
    """Print JSON if that was asked for; whether it was."""
    if as_json:
        print(json.dumps(answer, ensure_ascii=False, sort_keys=True))
    return as_json
