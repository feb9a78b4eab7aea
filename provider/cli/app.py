"""The commands of `gpufaird`, put together. Rule: every failure says what, why and what next, and has an exit code.

A module of commands loads what describes its options; what a command works with is loaded when it runs, so that
`gpufaird status` does not wait for gRPC, SQL and cryptography.
"""

from __future__ import annotations

import sys
from importlib import metadata
from typing import Annotated

import typer

from gpufair.protocol.errors import FairError
from gpufair.provider.cli import backups, bench, ledger, lifecycle, models, prices, setup
from gpufair.provider.cli.common import Exit

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode=None,  # rich would read did:key:… as an emoji
)
setup.register(app)
lifecycle.register(app)
prices.register(app)
bench.register(app)
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
        from gpufair.provider.cli.endings import tell

        sys.exit(tell(error, as_json="--json" in sys.argv))
    except KeyboardInterrupt:
        sys.exit(Exit.INTERRUPTED)
