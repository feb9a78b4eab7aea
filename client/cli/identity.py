"""`init`, `id`, `backup`, `restore`. Rule: a key is never shown and never overwritten."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from gpufair.client.cli.stage import Answer, HomeDir, Json, Stage, perform


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command(rich_help_panel="Identity")(init)
    app.command(name="id", rich_help_panel="Identity")(show_id)
    app.command(rich_help_panel="Identity")(backup)
    app.command(rich_help_panel="Identity")(restore)


def init(
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Protect the keys with a passphrase.")] = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Make your identity, an empty wallet and an explained config.toml."""
    perform(home, as_json, lambda stage: _init(stage, protect=passphrase))


def show_id(home: HomeDir = None, as_json: Json = False) -> None:
    """Show who you are: the did that a ledger issues credits to."""
    perform(home, as_json, _id)


def backup(
    file: Annotated[Path, typer.Argument(help="A new file; nothing is overwritten.")],
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Write your identity into one file that only a secret opens (asked for, or GPUFAIR_BACKUP_SECRET)."""
    perform(home, as_json, lambda stage: _backup(stage, file))


def restore(
    file: Annotated[Path, typer.Argument(help="A file that backup wrote.")],
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Protect the keys here with a passphrase.")] = False,
    home: HomeDir = None,
    as_json: Json = False,
) -> None:
    """Bring an identity back from its backup, into a folder that has none."""
    perform(home, as_json, lambda stage: _restore(stage, file, protect=passphrase))


def _init(stage: Stage, *, protect: bool) -> Answer:
    from gpufair.client import config
    from gpufair.client.cli.answers import answer
    from gpufair.client.wallet.store import open_wallet
    from gpufair.protocol.edge import keys

    config.make_folder(stage.home)
    made = keys.create(stage.home.keys, passphrase=_new_passphrase(stage) if protect else None)
    config.write_template(stage.home)
    open_wallet(stage.home.wallet).close()
    stage.home.wallet.chmod(0o600)
    stage.say("You are")
    stage.say(f"  {made.did}\n", style="bold")
    stage.say(f"  keys, wallet and config.toml lie in {stage.home.folder}")
    stage.say("\nNext: gpufair peers add HOST:PORT      a node to start looking from")
    stage.say("Then: ask a ledger's operator to issue credits to your did, and keep a backup: gpufair backup FILE")
    return answer("init", did=made.did, home=str(stage.home.folder), protected=protect)


def _id(stage: Stage) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.keyring import is_protected, load_keys

    keys = load_keys(stage.home, stage.passphrase())
    stage.say(keys.did)
    return answer("id", did=keys.did, home=str(stage.home.folder), protected=is_protected(stage.home))


def _backup(stage: Stage, file: Path) -> Answer:
    from gpufair.client.cli.answers import answer
    from gpufair.client.keyring import load_keys
    from gpufair.protocol.edge import keys

    passphrase = stage.passphrase()
    load_keys(stage.home, passphrase)
    secret = stage.secret("GPUFAIR_BACKUP_SECRET", "A secret for the backup, 8 characters or more", confirm=True)
    did = keys.backup(stage.home.keys, file, secret=secret, passphrase=passphrase)
    stage.say(f"Your identity is in {file}, and only the secret opens it.")
    stage.say("It holds the keys, not the wallet: pictures and receipts stay in your folder.", style="dim")
    return answer("backup", did=did, file=str(file))


def _restore(stage: Stage, file: Path, *, protect: bool) -> Answer:
    from gpufair.client import config
    from gpufair.client.cli.answers import answer
    from gpufair.protocol.edge import keys

    secret = stage.secret("GPUFAIR_BACKUP_SECRET", "The secret of the backup")
    passphrase = _new_passphrase(stage) if protect else None
    restored = keys.restore(file, stage.home.keys, secret=secret, passphrase=passphrase)
    config.write_template(stage.home)
    stage.say(f"You are {restored.did} again, in {stage.home.folder}.")
    return answer("restore", did=restored.did, home=str(stage.home.folder), protected=protect)


def _new_passphrase(stage: Stage) -> str:
    return stage.secret("GPUFAIR_PASSPHRASE", "A passphrase for the new keys", confirm=True)
