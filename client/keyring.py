"""The buyer's own keys. Rule: where there are none, the error names the command that makes them."""

from __future__ import annotations

from gpufair.client.config import Home
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.errors import Fault, LocalError


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
