"""All commands in one place. Rule: nothing heavy is imported before a command runs, so that `--help` comes at once."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from gpufair.client.cli import audit, bans, batch, identity, jobs, ledger, offers, peers, run, verify

app = typer.Typer(
    name="gpufair",
    help="Buy pictures from idle GPUs: by the step, paid when they arrive, settled in a ledger that you can audit.",
    epilog="New here? gpufair init, then gpufair peers add HOST:PORT, then gpufair run 'a fox on a green background'.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpufair {importlib.metadata.version('gpufair')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    """Buy pictures from idle GPUs: by the step, paid when they arrive, settled in a ledger that you can audit."""


run.register(app)
batch.register(app)
offers.register(app)
peers.register(app)
bans.register(app)
jobs.register(app)
verify.register(app)
audit.register(app)
ledger.register(app)
identity.register(app)
