"""`backup` and `restore`. Rule: a copy is whole or not there, and nothing that exists is lost by putting one back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.cli.common import HomeOption, JsonOption, passphrase, say, show
from gpufair.provider.home import Home

KEYS = "keys.backup"
SECRET = "GPUFAIR_BACKUP_SECRET"  # noqa: S105 -- the name of a variable, not a secret
MIGRATIONS = {"ledger.db": "gpufair.provider.ledger:migrations", "jobs.db": "gpufair.provider.jobs:migrations"}

Folder = Annotated[Path, typer.Argument(help="The folder of the copies.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(backup)
    app.command()(restore)


def backup(target: Folder, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Copy ledger and job store as they are now (the node may run); with $GPUFAIR_BACKUP_SECRET set, the keys too."""
    from gpufair.protocol.edge import keys
    from gpufair.protocol.edge.sqlite import open_database

    where, copied = Home.find(home), []
    for name, migrations in MIGRATIONS.items():
        if (where.root / name).exists():
            database = open_database(where.root / name, migrations)
            database.backup(target / name)
            database.close()
            copied.append(name)
    secret = os.environ.get(SECRET)
    if secret:
        keys.backup(where.keys, target / KEYS, secret=secret, passphrase=passphrase())
        copied.append(KEYS)
    if not show({"copied": copied, "folder": str(target)}, as_json=as_json):
        say(f"copied {', '.join(copied) or 'nothing'} to {target}")
        if not secret:
            say(f"the keys were not copied: set {SECRET} to have them encrypted and copied too")


def restore(source: Folder, home: HomeOption = None, as_json: JsonOption = False) -> None:
    """Put copies back, the node being stopped. What is there now is kept beside it, as *.replaced."""
    where = Home.find(home)
    with where.take():
        put = _put_back(source, where)
    if not put:
        raise LocalError(Fault.UNKNOWN, f"there are no copies in {source}", hint="give the folder that `backup` wrote")
    if not show({"restored": put, "home": str(where.root)}, as_json=as_json):
        say(f"restored {', '.join(put)}. A ledger must not go back behind what it has answered:")
        say("if anything happened since the copy, tell your users before `gpufaird up`")


def _put_back(source: Path, where: Home) -> list[str]:
    from gpufair.protocol.edge import keys, sqlite

    put = []
    for name in MIGRATIONS:
        if (source / name).exists():
            sqlite.restore(source / name, where.root / name)
            put.append(name)
    if (source / KEYS).exists() and not keys.exists(where.keys):
        secret = os.environ.get(SECRET)
        if not secret:
            raise LocalError(Fault.NOT_ALLOWED, "the keys are encrypted", hint=f"set {SECRET} to the backup's secret")
        keys.restore(source / KEYS, where.keys, secret=secret, passphrase=passphrase())
        put.append(KEYS)
    return put
