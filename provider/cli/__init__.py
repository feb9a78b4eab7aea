"""`gpufaird`: the owner's command. Rule: a command reads, calls, prints; what it does lives in the rooms."""

from __future__ import annotations


def main() -> None:
    """Entry point of `gpufaird`."""
    from gpufair.protocol.edge import loading

    loading.begin()
    from gpufair.provider.cli.app import run

    run()
