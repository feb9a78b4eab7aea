"""Nobody is there: what gRPC says of it, against real ports and names, comes out in plain words."""

from __future__ import annotations

import asyncio
import socket

import grpc
import grpc.aio
import pytest

from gpufair.protocol.edge import status
from gpufair.protocol.edge.refusals import PeerUnreachable


async def failure(address: str) -> PeerUnreachable:
    async with grpc.aio.insecure_channel(address) as channel:
        try:
            await channel.unary_unary("/gpufair.v1.Directory/Record")(b"", timeout=10)
        except grpc.aio.AioRpcError as error:
            found = status.from_status(error, "the node")
    assert isinstance(found, PeerUnreachable)
    return found


@pytest.mark.parametrize(
    ("host", "words"),
    [("127.0.0.1", "connection refused"), ("no.such.host.invalid", "its name can't be looked up")],
)
def test_it_is_said_in_plain_words(host: str, words: str) -> None:
    with socket.socket() as taken:  # bound and not listening: nobody else takes the port, and nobody answers
        taken.bind(("127.0.0.1", 0))
        found = asyncio.run(failure(f"{host}:{taken.getsockname()[1]}"))
    assert found.what == f"the node cannot be reached: {words}"
    assert "firewall" in found.hint
