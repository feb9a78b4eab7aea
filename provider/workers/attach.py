"""A container's standard streams over an engine's hijacked connection. Rule: whole frames are the channel's business.

The engine puts eight bytes before each piece: which stream (1 stdout, 2 stderr), three zeros, a big-endian length.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket

from gpufair.protocol.errors import Fault, PeerError
from gpufair.provider.workers.channel import LogTail

READ_BYTES = 64 * 1024
HEADER = 8
STDOUT, STDERR = 1, 2


class Demux:
    """Takes the engine's stream apart. Holds no more than one header."""

    def __init__(self) -> None:
        self._header = bytearray()
        self._stream, self._left = 0, 0

    def feed(self, data: bytes) -> tuple[bytes, bytes]:
        """What `data` holds of stdout and of stderr. `PeerError` if it is not the engine's format."""
        out, err = bytearray(), bytearray()
        view = memoryview(data)
        while view:
            if not self._left:
                view = self._head(view)
                continue
            piece, view = view[: self._left], view[self._left :]
            self._left -= len(piece)
            (out if self._stream == STDOUT else err).extend(piece)
        return bytes(out), bytes(err)

    def _head(self, view: memoryview) -> memoryview:
        missing = HEADER - len(self._header)
        self._header += view[:missing]
        if len(self._header) == HEADER:
            if self._header[0] not in (STDOUT, STDERR) or any(self._header[1:4]):
                raise PeerError(Fault.MALFORMED, "the engine's attachment is not in its own format")
            self._stream, self._left = self._header[0], int.from_bytes(self._header[4:], "big")
            self._header.clear()
        return view[missing:]


class AttachPipe:
    """A `BytePipe` over the socket that an attach call left."""

    def __init__(self, sock: socket.socket, log: LogTail) -> None:
        sock.setblocking(False)
        self._sock, self._log = sock, log
        self._demux = Demux()

    async def read(self) -> bytes:
        """Some of stdout; stderr goes to the log on the way."""
        loop = asyncio.get_running_loop()
        while data := await loop.sock_recv(self._sock, READ_BYTES):
            out, err = self._demux.feed(data)
            if err:
                self._log.add(err)
            if out:
                return out
        return b""

    async def write(self, data: bytes) -> None:
        """Send all of `data` to stdin."""
        await asyncio.get_running_loop().sock_sendall(self._sock, data)

    def close(self) -> None:
        """Detach, which closes the container's stdin."""
        with contextlib.suppress(OSError):
            self._sock.shutdown(socket.SHUT_RDWR)
        self._sock.close()
