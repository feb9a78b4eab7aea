"""The owner's line to the running node. Rule: a Unix socket that only the owner can open; one JSON line in, one out."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.errors import FairError, Fault, LocalError

log = logging.getLogger(__name__)

ASKED_S = 10.0
"""How long a connection may take to say what it wants."""


class NoNodeError(LocalError):
    """No node runs in this home, or it does not answer."""


class NodeRefusedError(LocalError):
    """The node, or its ledger, understood and refuses."""


Command = Callable[..., Awaitable[dict[str, Any]]]
"""What answers a command; its arguments are whole numbers, by name."""


class ControlServer:
    """Answers the owner's commands."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path, self._commands = path, commands
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        """Listen. A socket that a crash left behind is replaced: the node's lock says that nobody else runs."""
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()
        try:
            self._server = await asyncio.start_unix_server(self._serve, str(self._path), limit=limits.CONTROL_MAX)
        except OSError as error:  # a path of more than some hundred characters, most likely
            hint = "give the node a --home with a shorter name"
            raise LocalError(Fault.UNAVAILABLE, f"no socket can be made at {self._path}: {error}", hint=hint) from error
        self._path.chmod(0o600)

    async def stop(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        with contextlib.suppress(FileNotFoundError):
            self._path.unlink()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(ASKED_S):
                line = await reader.readline()
            answer = await self._answer(line)
            writer.write(json.dumps(answer).encode() + b"\n")
            await writer.drain()
        except (OSError, ValueError) as error:  # OSError: a lost connection, or silence
            log.debug("a control connection broke: %s", error)
        finally:
            writer.close()

    async def _answer(self, line: bytes) -> dict[str, Any]:
        try:
            asked = json.loads(line)
            command = self._commands[asked["command"]]
            words = _words(asked.get("words", {}), command)
        except (ValueError, KeyError, TypeError, RecursionError):
            return {"error": f"unknown command: there are {', '.join(sorted(self._commands))}"}
        try:
            return await command(**words)
        except FairError as error:
            return {"error": str(error)}


def _words(given: dict[str, Any], command: Command) -> dict[str, int]:
    """A command's arguments. ValueError for what it does not take, or is no whole number."""
    known = inspect.signature(command).parameters
    if any(name not in known or type(value) is not int or value < 0 for name, value in given.items()):
        raise ValueError("not an argument of this command")
    return given


async def ask(path: Path, command: str, *, timeout_s: float = 30, **words: int) -> dict[str, Any]:
    """Send a command to the node that runs in this home. Raises NoNodeError, NodeRefusedError."""
    try:
        async with asyncio.timeout(timeout_s):
            reader, writer = await asyncio.open_unix_connection(str(path), limit=limits.CONTROL_MAX)
            writer.write(json.dumps({"command": command, "words": words}).encode() + b"\n")
            await writer.drain()
            answer: dict[str, Any] = json.loads(await reader.readline())
            writer.close()
    except (OSError, ValueError, TimeoutError) as error:
        raise NoNodeError(Fault.UNAVAILABLE, "no node answers here", hint="start it with `gpufaird up`") from error
    if "error" in answer:
        raise NodeRefusedError(Fault.NOT_ALLOWED, str(answer["error"]))
    return answer
