"""A buyer out of a folder. Rule: the one place where wallet and connections are opened and closed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gpufair.client import config
from gpufair.client.buyer import Buyer
from gpufair.client.config import Home
from gpufair.client.keyring import load_keys
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk


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
