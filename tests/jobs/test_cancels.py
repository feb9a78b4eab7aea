"""Cancelling again and again: what was done is sold to its step; who does not pay gets no worker; there is an end."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from office_world import World

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed, read
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Answer, Bid, Cancel, Decline, Lock, ReasonCode
from gpufair.provider.jobs.effects import Send
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 30))


async def cancel(world: World, lease: Signed[Bid], attempt: bytes) -> None:
    with world.store.read() as rows:
        row = rows.get(AttemptRow, id=attempt)
    assert row is not None
    order = world.client.sign(Cancel(world.client.head(world.desk.did, parent=lease.id), lease.id, row.job))
    world.office.perform(world.office.order(lease.id, order.envelope))
    await world.until(lambda: world.state(attempt) == AttemptState.CANCELLED)
    await world.until(lambda: not world.office.busy())


def parts(world: World) -> list[DeliveryRow]:
    with world.store.read() as rows:
        return rows.all(DeliveryRow, order="made_ms")


def refused(world: World, lease: Signed[Bid]) -> set[ReasonCode]:
    """Why one more job is declined; nothing if it is taken."""
    _, order, _ = world.job(lease)
    (said,) = world.office.order(lease.id, order.envelope)
    assert isinstance(said, Send)
    assert isinstance(said.message, Answer)
    if said.message.envelope.payload_type != Decline.TYPE:
        return set()
    return {reason.code for reason in read(said.message.envelope, Decline).doc.reasons}


async def begun(world: World, lease: Signed[Bid], *, held_before: int) -> bytes:
    """A job of which the steps before this one are done."""
    world.workers.held_before = held_before
    attempt = world.begin(lease)
    await world.until(lambda: attempt in world.workers.started)
    await world.until(lambda: [work.done for work in world.office.runner._works()] == [held_before - 1])
    return attempt


def test_who_cancels_in_the_middle_pays_to_the_step_or_gets_nothing_more(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        await cancel(world, lease, await begun(world, lease, held_before=3))
        (part,) = parts(world)
        assert (part.step, part.amount) == (2, 2 * 64), "two of three steps"
        more = world.begin(lease)
        assert world.state(more) == AttemptState.QUEUED, "no worker before that is paid"
        world.now += limits.WINDOW_TIMEOUT_MS
        world.office.perform(world.office.attempts.tick())
        assert world.state(more) == AttemptState.EXPIRED
        assert refused(world, lease) == {ReasonCode.UNPAID}

    play(story())


def test_those_who_pay_may_cancel_as_often_as_they_like(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, paid = world.lease(), 0
        for times in range(limits.CANCELS_PER_LEASE_MAX + 1):
            await cancel(world, lease, await begun(world, lease, held_before=3))
            part = parts(world)[times]
            world.pay(lease, paid, Lock(part.amount, part.hashlock))
            paid += part.amount
        assert refused(world, lease) == set()

    play(story())


def test_those_who_cancel_before_a_step_can_be_sold_do_so_a_few_times(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        for _ in range(limits.CANCELS_PER_LEASE_MAX):
            await cancel(world, lease, await begun(world, lease, held_before=1))
        assert parts(world) == []
        assert refused(world, lease) == {ReasonCode.LIMIT}

    play(story())
