"""Reading deliveries again is bounded for each lease, at a time and a minute, and one lease's greed costs no other."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import World

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Bid, Fetch


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


async def delivered(world: World) -> tuple[Signed[Bid], bytes]:
    """A lease with a finished picture; its job."""
    world.workers.gate.set()
    lease = world.lease()
    attempt = world.begin(lease)
    await world.until(lambda: world.state(attempt) == AttemptState.DELIVERED)
    return lease, next(a.job for a in world.office.attempts.in_state(AttemptState.DELIVERED) if a.id == attempt)


def fetch(world: World, lease: Signed[Bid], job: bytes) -> Any:
    """The parts of its picture, one by one."""
    asked = Fetch(world.client.head(world.desk.did), lease.id, job, 0)
    return world.office.fetch(world.client.sign(asked).envelope)


async def whole(parts: Any) -> int:
    return len([part async for part in parts])


async def refused(parts: Any) -> str:
    with pytest.raises(PeerError) as caught:
        await anext(parts)
    assert caught.value.fault is Fault.LIMIT
    assert caught.value.hint
    return caught.value.what


def test_so_many_at_a_time(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        (lease, job), (other, others) = await delivered(world), await delivered(world)
        slow = [fetch(world, lease, job) for _ in range(limits.FETCHES_PER_LEASE_MAX)]
        for parts in slow:
            await anext(parts)  # it reads the receipt, and then nothing more
        assert "are being fetched already" in await refused(fetch(world, lease, job))
        assert await whole(fetch(world, other, others)) == 2
        await slow[0].aclose()  # it goes away
        assert await whole(fetch(world, lease, job)) == 2
        await slow[1].aclose()

    play(story())


def test_so_many_bytes_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FETCH_BYTES_MAX", 200)  # a picture has 124

    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        (lease, job), (other, others) = await delivered(world), await delivered(world)
        for _ in range(2):
            assert await whole(fetch(world, lease, job)) == 2
        assert "within a minute" in await refused(fetch(world, lease, job))
        assert await whole(fetch(world, other, others)) == 2
        world.now += limits.MINUTE - 1
        await refused(fetch(world, lease, job))
        world.now += 1
        assert await whole(fetch(world, lease, job)) == 2
        assert len(world.office._fetches) == 1, "who has not fetched for a minute is forgotten"

    play(story())
