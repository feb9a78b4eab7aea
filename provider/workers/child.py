"""A child process and its three streams, awaitable. Rule: it leads a session of its own, and ends with all of it.

Not asyncio's own subprocess, whose start can't be cancelled safely and whose `wait` also waits for pipes. Streams are
socket pairs, one a direction: what the child's end left unread never turns its end of stream into an error here.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from gpufair.protocol.errors import Fault, LocalError

READ_BYTES = 64 * 1024
POLL_SECONDS = 0.005
END_SECONDS = 10


class Child:
    """A started program. Also the `BytePipe` over its stdin and stdout."""

    def __init__(self, command: Sequence[str], cwd: Path, env: Mapping[str, str]) -> None:
        """Start it. `OSError` if that can't be; nothing is left open then."""
        pairs = [socket.socketpair() for _ in range(3)]
        try:
            self._process = subprocess.Popen(  # noqa: S603 -- the callers are adapters with fixed commands
                command,
                stdin=pairs[0][1].fileno(),
                stdout=pairs[1][1].fileno(),
                stderr=pairs[2][1].fileno(),
                cwd=cwd,
                env=dict(env),
                start_new_session=True,
            )
        except BaseException:
            for ours, _theirs in pairs:
                ours.close()
            raise
        finally:
            for _ours, theirs in pairs:
                theirs.close()
        self._stdin, self._stdout, self._stderr = (ours for ours, _theirs in pairs)
        for ours in (self._stdin, self._stdout, self._stderr):
            ours.setblocking(False)

    @property
    def pid(self) -> int:
        """Its process number, which is also that of its session and process group."""
        return self._process.pid

    async def read(self) -> bytes:
        """Some of its stdout; none at the end."""
        return await asyncio.get_running_loop().sock_recv(self._stdout, READ_BYTES)

    async def read_log(self) -> bytes:
        """Some of its stderr; none at the end."""
        return await asyncio.get_running_loop().sock_recv(self._stderr, READ_BYTES)

    async def write(self, data: bytes) -> None:
        """All of `data` to its stdin."""
        await asyncio.get_running_loop().sock_sendall(self._stdin, data)

    async def ended(self, patience_s: float) -> int | None:
        """Its exit status (negative: a signal), or None if it still runs after that many seconds."""
        loop = asyncio.get_running_loop()
        end = loop.time() + patience_s
        while (status := self._process.poll()) is None and loop.time() < end:
            await asyncio.sleep(POLL_SECONDS)
        return status

    def strike(self) -> None:
        """SIGKILL to its whole process group; nothing if it has been waited for already."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)

    async def kill(self) -> int:
        """End it with all that it started, and give its exit status. `LocalError` if the system can't end it."""
        self.strike()
        status = await self.ended(END_SECONDS)
        if status is None:
            raise LocalError(
                Fault.UNAVAILABLE, f"process {self.pid} doesn't end when it is killed", hint="see its state in ps"
            )
        return status

    def close(self) -> None:
        """Let go of its streams."""
        for ours in (self._stdin, self._stdout, self._stderr):
            ours.close()
