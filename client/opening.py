"""A buyer out of a folder. Rule: the one place where the wallet, the keys and the connections are opened and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gpufair.client import config
from gpufair.client.buyer import Buyer
from gpufair.client.config import Home
from gpufair.client.wallet import open_wallet
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk


def load_keys(home: Home, passphrase: str | None = None) -> Keys:
    """The identity in a folder. Raises LocalError with the command that makes one where there is none."""
    if not keys.exists(home.keys):
        hint = "make one with: gpufair init"
        raise LocalError(Fault.UNKNOWN, f"there is no identity in {home.folder} yet", hint=hint)
    return keys.load(home.keys, passphrase=passphrase if is_protected(home) else None)


def is_protected(home: Home) -> bool:
    """Whether the identity lies under a passphrase."""
    try:
        return b"ENCRYPTED" in (home.keys / keys.IDENTITY).read_bytes()[:256]
    except OSError:
        return False  # `load` says better what is wrong


@asynccontextmanager
async def open_buyer(home: Home, passphrase: str | None = None) -> AsyncIterator[Buyer]:
    """Everything that a buyer needs, for as long as the block lasts. Raises LocalError."""
    settings = config.load(home)
    desk = Desk(load_keys(home, passphrase).signer, SystemClock(), SystemRandom())
    store = open_wallet(home.wallet)
    try:
        home.wallet.chmod(0o600)  # prompts and pictures lie in it
        async with Peers(desk.clock) as peers:
            yield Buyer(desk, store, peers, settings)
    finally:
        store.close()
