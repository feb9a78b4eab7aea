"""The peer of `dispatch`: a bare grpc.aio echo over TLS. ONE RULE: it does what gRPC does and nothing else.

A process of its own: `python echo_server.py CERT KEY`. A message begins with the length that its answer is to have,
as eight digits; one of length 0 gets none. The port is printed.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc.aio


async def echo(requests: AsyncIterator[bytes], _context: Any) -> AsyncIterator[bytes]:
    """Answer each message with as many bytes as it asks for."""
    async for message in requests:
        if wanted := int(message[:8]):
            yield b"x" * wanted


async def main(certificate: str, key: str) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    handlers = {"Echo": grpc.stream_stream_rpc_method_handler(echo)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", handlers),))
    pair = (Path(key).read_bytes(), Path(certificate).read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:3]))
