"""A worker held for a lease, over the network: paid by the second, and its jobs need not wait."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, World, another_provider

from gpufair.client.failures import DeclinedError
from gpufair.client.sdk import Client
from gpufair.protocol.errors import LocalError

SECONDS, RATE = 10, 2


def test_a_worker_is_held_while_its_seconds_are_paid(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        async with another_provider(w, tmp_path / "holds", rate=60, held=1) as holds:
            client = Client(w.buyer)
            options = {"budget": 200, "dearest": 50, "bid_class": "reserved"}
            async with client.lease(**options) as lease:
                assert lease.provider == holds.keys.did, "the other one holds none"
                until = await lease.reserve(SECONDS)
                assert until == await _again(lease, until)
                picture = await lease.run("a fox")
                assert picture.price == PRICE
                with pytest.raises(DeclinedError, match="reserved: 2 workers held asked, 1 possible"):
                    async with client.lease(**options):
                        raise AssertionError
            assert await w.balance() == START - PRICE - 2 * SECONDS * RATE
            with pytest.raises(LocalError, match="class"):
                async with client.lease(budget=200) as lease:
                    await lease.reserve(SECONDS)
            async with client.lease(**options) as lease:
                with pytest.raises(LocalError, match="seconds"):
                    await lease.reserve(0)
                holds.seller.gate.paused = True  # type: ignore[union-attr]
                with pytest.raises(DeclinedError, match="paused"):
                    await lease.reserve(SECONDS)

    world(story)


async def _again(lease: Any, until: Any) -> Any:
    """The second slice goes on from the first one's end."""
    later = await lease.reserve(SECONDS)
    assert (later - until).total_seconds() == SECONDS
    return until
