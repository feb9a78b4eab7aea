"""Changing a schema, by Alembic. Rule: inside the caller's transaction: a step that fails leaves the file as it was."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from gpufair.protocol.errors import Fault, LocalError


def upgrade(connection: sa.Connection, migrations: str, name: str) -> None:
    """Run the migrations of `package:folder` that are still to come. Raises LocalError for a newer schema."""
    config = Config()
    config.set_main_option("script_location", migrations)
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
    except CommandError as error:
        hint = "install the newer gpufair that wrote it, or restore an older backup"
        raise LocalError(Fault.INTERNAL, f"{name} has a schema unknown to this version", hint=hint) from error
