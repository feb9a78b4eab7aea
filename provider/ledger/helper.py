"""A process that checks signatures for a ledger. Rule: it has no keys and no database, and it ends when its node does.

Run by its path (see `verifiers`), so that it loads nothing of the ledger. Its standard input is a socket: in come lists
of did, bytes and signature, each behind its length; out goes one byte for each of them, 1 where the signature holds.
"""

from __future__ import annotations

import marshal
import signal
import socket
import sys

from gpufair.protocol import identity
from gpufair.protocol.errors import PeerError

READY = b"+"
"""Said once, before the first answer."""
LENGTH_BYTES = 4


def main() -> None:
    """Answer until the node closes the socket, or is no more."""
    # A node that is told to stop still answers what is in line; then it closes the socket.
    for told in (signal.SIGINT, signal.SIGTERM):
        signal.signal(told, signal.SIG_IGN)
    with socket.socket(fileno=sys.stdin.fileno()) as line, line.makefile("rb") as asked:
        line.sendall(READY)
        while len(length := asked.read(LENGTH_BYTES)) == LENGTH_BYTES:
            claims = marshal.loads(asked.read(int.from_bytes(length, "big")))  # noqa: S302 -- from our own node
            line.sendall(bytes(_holds(*claim) for claim in claims))


def _holds(did: str, data: bytes, signature: bytes) -> bool:
    try:
        identity.verify(did, data, signature)
    except PeerError:
        return False
    return True


if __name__ == "__main__":
    try:
        main()
    except (ConnectionError, EOFError):
        sys.exit(1)  # the node died in the middle of a word
