"""What the client's tests stand on: honest cores in memory, sellers who sign for real, whole nodes in this process.

`deal()` makes a lease between two honest cores and a ledger; see tests/simulation/pair.py.
"""

from __future__ import annotations

import asyncio
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "simulation"))

from pair import Deal
from sellers import Seller, market_of, model
from whole_nodes import World, a_world

from gpufair.client.market.market import Market


@pytest.fixture
def deal():
    """A funded and open lease, made to measure."""
    return lambda **terms: Deal(**terms).agree().fund().open()


@pytest.fixture
def agreed():
    """A lease that nobody has funded."""
    return lambda **terms: Deal(**terms).agree()


@pytest.fixture
def a_model() -> Any:
    return model


@pytest.fixture
def a_seller() -> Any:
    return Seller


@pytest.fixture
def a_market() -> Any:
    def make(*rates: int, **fields: Any) -> Market:
        pairs = []
        for number, rate in enumerate(rates, 1):
            seller = Seller(number)
            record = seller.record()
            pairs.append((record, seller.offer(record, model(rate=rate), **fields)))
        return market_of(*pairs)

    return make


@pytest.fixture
def a_png() -> bytes:
    """Two by two pixels of grey, with chunks that a viewer would read."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 0)
    pixels = zlib.compress(b"\0\x40\x80\0\xc0\xff")
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


@pytest.fixture
def world(tmp_path: Path) -> Any:
    """Run a story in a world of its own."""

    def run(story: Callable[[World], Any]) -> None:
        async def body() -> None:
            async with asyncio.timeout(50), a_world(tmp_path) as made:
                await story(made)

        asyncio.run(body())

    return run
