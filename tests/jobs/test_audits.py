"""Audits at the provider: paid pictures alone are proved, to their buyer, as they were ordered, each time the same."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, PROFILE, STEPS, World, signer

from gpufair.protocol import auditing, frames, limits, trace
from gpufair.protocol.envelope import Signed, read
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import Audit, AuditAnswer, Bid, Envelope, Lock, StatePiece
from gpufair.protocol.messages.audit import State
from gpufair.provider.jobs.store import DeliveryDue

NONCE = b"n" * 32
LARGE = 3 * limits.CHUNK + 4


STATES = [bytes([step]) * LARGE for step in range(STEPS + 1)]
LEAVES = tuple(trace.leaf(step, data) for step, data in enumerate(STATES))


def keep(world: World, lease: bytes, job: bytes) -> None:
    """A trace of larger states than the scripted worker tells takes the place of its own."""
    traces = world.office._traces
    with traces.begin(bytes(16), 0) as writing:
        for step, data in enumerate(STATES):
            for at in range(0, LARGE, limits.OUTPUT_CHUNK):
                piece = data[at : at + limits.OUTPUT_CHUNK]
                writing.write(frames.State(bytes(16), 0, step, at, LARGE, piece))
        writing.keep((lease, job, 0), LEAVES, PROFILE, world.now + limits.AUDIT_WINDOW_MS)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


async def bought(world: World, *, pay: bool = True) -> tuple[Signed[Bid], bytes]:
    """A delivered picture, and its key out if it is paid for; its lease and job."""
    world.workers.gate.set()
    lease = world.lease()
    attempt = world.begin(lease, audit_commitment=auditing.commitment(NONCE))
    await world.until(lambda: world.state(attempt) == AttemptState.DELIVERED)
    with world.store.read() as rows:
        [delivery] = rows.all(DeliveryDue, lease=lease.id)
    if pay:
        world.pay(lease, 0, Lock(PICTURE, delivery.hashlock))
    keep(world, lease.id, delivery.job)
    return lease, delivery.job


def asked(world: World, lease: bytes, job: bytes, *, by: Desk | None = None, **changes: Any) -> Signed[Audit]:
    desk = by or world.client
    values: dict[str, Any] = {"lease": lease, "job": job, "picture": 0, "nonce": NONCE, **changes}
    return desk.sign(Audit(desk.head(world.desk.did), **values))


async def answered(world: World, request: Envelope) -> tuple[Signed[AuditAnswer], dict[int, bytes]]:
    states: dict[int, bytes] = {}
    answer = None
    async for part in world.office.audit(request):
        if isinstance(part, StatePiece):
            assert part.offset == len(states.setdefault(part.step, b""))
            states[part.step] += part.data
        else:
            answer = read(part, AuditAnswer)
    assert answer is not None
    return answer, states


async def refused(world: World, request: Envelope, fault: Fault, word: str) -> None:
    with pytest.raises(PeerError, match=word) as caught:
        await answered(world, request)
    assert caught.value.fault is fault


def test_a_paid_picture_is_proved(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, job = await bought(world)
        request = asked(world, lease.id, job)
        answer, states = await answered(world, request.envelope)
        root = trace.root(LEAVES)
        assert answer.doc.step == auditing.drawn(root, NONCE, STEPS)
        assert answer.doc.head.parent == request.id
        assert [one.step for one in answer.doc.openings] == list(auditing.to_open(answer.doc.step, STEPS))
        for opening in answer.doc.openings:
            assert trace.verify(root, STEPS + 1, opening.step, opening.leaf, opening.path)
            assert auditing.is_behind(opening, State(opening.step, states[opening.step]))
        assert answer.doc.profile.digest == PROFILE.digest()
        again, _ = await answered(world, request.envelope)
        assert again.bytes == answer.bytes, "the same request has the same answer"
        anew, _ = await answered(world, asked(world, lease.id, job).envelope)
        assert (anew.doc.step, anew.doc.openings) == (answer.doc.step, answer.doc.openings)

    play(story())


def test_what_is_not_paid_is_not_proved(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, job = await bought(world, pay=False)
        await refused(world, asked(world, lease.id, job).envelope, Fault.NOT_ALLOWED, "key is not out")

    play(story())


def test_who_asks_for_something_else_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, job = await bought(world)
        stranger = Desk(signer("stranger"), world, world)
        for changes, fault, word in (
            ({"nonce": b"m" * 32}, Fault.NOT_ALLOWED, "nonce"),
            ({"picture": 1}, Fault.UNKNOWN, "not delivered"),
            ({"job": b"x" * 16}, Fault.UNKNOWN, "no job"),
            ({"lease": b"x" * 32}, Fault.UNKNOWN, "no lease"),
            ({"by": stranger}, Fault.NOT_ALLOWED, "client"),
        ):
            await refused(world, asked(world, **{"lease": lease.id, "job": job, **changes}).envelope, fault, word)

    play(story())


def test_a_trace_that_went_and_a_picture_that_is_old_are_named(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, job = await bought(world)
        world.office._traces.drop((lease.id, job, 0))
        await refused(world, asked(world, lease.id, job).envelope, Fault.UNKNOWN, "not kept any more")
        keep(world, lease.id, job)
        world.now += limits.AUDIT_WINDOW_MS + 1
        await refused(world, asked(world, lease.id, job).envelope, Fault.EXPIRED, "24 hours")

    play(story())


def test_one_lease_can_only_read_so_much(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, job = await bought(world)
        monkeypatch.setattr(limits, "FETCH_BYTES_MAX", 4 * LARGE)
        await answered(world, asked(world, lease.id, job).envelope)
        await answered(world, asked(world, lease.id, job).envelope)
        await refused(world, asked(world, lease.id, job).envelope, Fault.LIMIT, "within a minute")
        world.now += limits.MINUTE
        await answered(world, asked(world, lease.id, job).envelope)

    play(story())
