"""The commands of `gpufaird`, put together. Rule: every failure says what, why and what next, and has an exit code."""

from __future__ import annotations

import json
import sys
from importlib import metadata
from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from gpufair.protocol.errors import FairError, printable
from gpufair.provider.cli import backups, ledger, lifecycle, models, setup

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # rich would read did:key:… as an emoji
)
setup.register(app)
lifecycle.register(app)
backups.register(app)
app.add_typer(models.app, name="models", help="The model store.")
app.add_typer(ledger.app, name="ledger", help="The ledger: issue, redeem, look, check.")


def _version(asked: bool) -> None:
    if asked:
        print(f"gpufaird {metadata.version('gpufair')}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Own and serve: sell this machine's GPU time, keep a directory, run a ledger."""


def run() -> None:
    """Run a command; an error of ours is a sentence, not a traceback."""
    try:
        app()
    except FairError as error:
        if "--json" in sys.argv:
            print(json.dumps({"error": {"fault": error.fault.name.lower(), "what": error.what, "hint": error.hint}}))
        else:
            console = Console(stderr=True, highlight=False, emoji=False)
            console.print(f"[red]error:[/] {escape(printable(error.what))}", soft_wrap=True)
            if error.hint:
                console.print(f"       {printable(error.hint)}", markup=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
