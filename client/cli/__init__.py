"""The command `gpufair`. Rule: callbacks only name their options; what they do is in plain functions of the client."""

from __future__ import annotations


def main() -> None:
    """Run the command line; the process ends with one of the exit codes of docs/cli.md."""
    from gpufair.protocol.edge import loading

    loading.begin()
    from gpufair.client.cli.app import app

    app()
