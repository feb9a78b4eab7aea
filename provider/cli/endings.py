"""How a command of `gpufaird` ends badly. Rule: one number for each kind of ending; docs/gpufaird.md has them."""

from __future__ import annotations

import json

import typer

from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import FairError, Fault, PeerError, printable
from gpufair.provider.cli.common import Exit
from gpufair.provider.control import NodeRefusedError, NoNodeError

_ENDINGS: tuple[tuple[type[FairError], Exit], ...] = (
    (NoNodeError, Exit.NO_NODE),
    (NodeRefusedError, Exit.REFUSED),
    (RemoteRefusal, Exit.REFUSED),
    (PeerUnreachable, Exit.UNREACHABLE),
    (PeerError, Exit.UNSOUND),
)


def exit_code(error: FairError) -> Exit:
    """The exit code of a failure."""
    known = next((code for kind, code in _ENDINGS if isinstance(error, kind)), None)
    return known or (Exit.USAGE if error.fault is Fault.MALFORMED else Exit.LOCAL)


def tell(error: FairError, *, as_json: bool) -> Exit:
    """Say what went wrong and what to do next; the code to end with."""
    code = exit_code(error)
    if as_json:
        body = {
            "code": int(code), "kind": code.name.lower(), "fault": error.fault.name.lower(), "what": error.what,
            "hint": error.hint,
        }  # fmt: skip
        print(json.dumps({"error": body}))
        return code
    typer.secho("error: ", fg="red", nl=False, err=True)
    typer.echo(printable(error.what), err=True)
    if error.hint:
        typer.echo(f"       {printable(error.hint)}", err=True)
    return code
