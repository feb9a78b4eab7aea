"""Streams of one lease: what opens them, what they take, and that a refused word changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, Line, World, signer

from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import AttemptState, LeaseState
from gpufair.protocol.messages import (
    Answer,
    Body,
    Cancel,
    Challenge,
    Closing,
    Delivery,
    Envelope,
    Fetch,
    Finish,
    KeyReveal,
    Lock,
    Opened,
    Order,
    Outcome,
    Voucher,
)
from gpufair.provider.jobs.store import AttemptRow, DeliveryRow, LeaseRow, OutboxRow, RequestRow

KINDS = (LeaseRow, AttemptRow, DeliveryRow, RequestRow, OutboxRow)


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def everything(world: World) -> list[Any]:
    """All that is on disk, but for the moment when the client was last heard, and the ids of its streams."""
    with world.store.read() as rows:
        found = [rows.all(kind) for kind in KINDS]
    found[3] = [request for request in found[3] if request.answer]
    found[0] = [replace(lease, active_ms=0, state=LeaseState.OPEN) for lease in found[0]]
    return found


async def opened(world: World, message: Any) -> Line:
    """A stream whose first word is this."""
    line = Line()
    line.task = asyncio.create_task(world.office.execute(line.up(), line.take))
    challenge = await line.heard(Challenge)
    line.say(message(challenge) if callable(message) else message)
    return line


# --- opening ------------------------------------------------------------------------------------------------------


def test_a_stream_begins_with_proof(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, other = world.lease(), world.lease()
        job = world.job(lease)
        stranger = Desk(signer("stranger"), world, world)
        before = everything(world)
        stale: list[Challenge] = []
        async with world.stream(lease) as line:
            stale.append(await line.heard(Challenge))
            await line.heard(Opened)

        hostile: dict[str, tuple[Any, Fault]] = {
            "a body first": (job[2], Fault.WRONG_TYPE),
            "an order first": (job[1], Fault.WRONG_TYPE),
            "another stream's answer": (lambda _: world.opening(lease, stale[0]), Fault.BAD_SIGNATURE),
            "another certificate": (
                lambda c: world.opening(lease, c, certificate_sha256=bytes(32)), Fault.BAD_SIGNATURE,
            ),
            "a stranger's": (lambda c: world.opening(lease, c, desk=stranger), Fault.NOT_ALLOWED),
            "no lease of ours": (lambda c: world.opening(lease, c, lease=bytes(32)), Fault.UNKNOWN),
            "for another node": (
                lambda c: world.opening(lease, c, head=world.client.head(stranger.did)), Fault.WRONG_AUDIENCE,
            ),
        }  # fmt: skip
        for name, (message, fault) in hostile.items():
            line = await opened(world, message)
            error = await line.refusal()
            assert error.fault is fault, name
            assert [type(m) for m in line.got] == [Challenge], "nothing is said to a stranger"
        assert everything(world) == before
        async with world.stream(other) as line:
            await line.heard(Opened)

    play(story())


def test_the_newest_stream_wins(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        async with world.stream(lease) as first:
            await first.heard(Opened)
            async with world.stream(lease) as second:
                await second.heard(Opened)
                await asyncio.wait((first.task,), timeout=5)
                assert first.task.done()
                assert first.task.exception() is None, "it is ended, not blamed"
                _, order, _ = world.job(lease)
                second.say(order)
                await second.heard(Answer)
                assert not any(isinstance(m, Answer) for m in first.got)

    play(story())


# --- hostile words -------------------------------------------------------------------------------------------------


def hostile_words(world: World, lease: Any, other: Any) -> dict[str, tuple[Any, Fault]]:
    client, provider = world.client, world.desk.did
    job, order, _ = world.job(lease)
    stranger = Desk(signer("stranger"), world, world)

    def voucher(desk: Any, **changes: Any) -> Order:
        until = lease.doc.lease_expires_at_ms + lease.doc.margin_ms
        head = desk.head(lease.doc.ledger, provider, parent=lease.id, expires_at_ms=until)
        return Order(desk.sign(replace(Voucher(head, lease.id, 50, ()), **changes)).envelope)

    def of(kind: Any, *fields: Any, desk: Any = client, to: str = provider) -> Order:
        return Order(desk.sign(kind(desk.head(to, parent=lease.id), *fields)).envelope)

    flipped = replace(order.envelope, payload=order.envelope.payload[:-2] + b"\x00\x01")
    return {
        "a second proof": (world.opening(lease, Challenge(bytes(32))), Fault.CONFLICT),
        "a job for another lease": (world.job(other)[1], Fault.NOT_ALLOWED),
        "a cancel for another lease": (of(Cancel, other.id, job), Fault.NOT_ALLOWED),
        "a finish for another lease": (of(Finish, other.id), Fault.NOT_ALLOWED),
        "a voucher for another lease": (voucher(client, lease=other.id), Fault.NOT_ALLOWED),
        "a hold": (Order(world_hold(world, lease)), Fault.WRONG_TYPE),
        "of no known type": (Order(replace(order.envelope, payload_type="x/y")), Fault.WRONG_TYPE),
        "a flipped job": (Order(flipped), None),
        "a stranger's finish": (of(Finish, lease.id, desk=stranger), Fault.NOT_ALLOWED),
        "a stranger's cancel": (of(Cancel, lease.id, job, desk=stranger), Fault.NOT_ALLOWED),
        "a stranger's voucher": (voucher(stranger), Fault.BAD_SIGNATURE),
        "a finish for another node": (of(Finish, lease.id, to=stranger.did), Fault.WRONG_AUDIENCE),
        "a finish for everyone": (of(Finish, lease.id, to="*"), Fault.WRONG_AUDIENCE),
        "a voucher for the ledger alone": (
            voucher(client, head=client.head(lease.doc.ledger, expires_at_ms=world.now + 10**8)), Fault.WRONG_AUDIENCE,
        ),
        "a voucher that dies early": (
            voucher(client, head=client.head(lease.doc.ledger, provider)), Fault.EXPIRED,
        ),
        "a body of no job": (Body(bytes(16), b"x"), Fault.UNKNOWN),
    }  # fmt: skip


def world_hold(world: World, lease: Any) -> Envelope:
    with world.store.read() as rows:
        from gpufair.protocol.envelope import from_bytes
        from gpufair.protocol.messages import Hold

        return from_bytes(rows.get(LeaseRow, id=lease.id).hold_envelope, Hold).envelope


def test_a_refused_word_ends_the_stream_and_changes_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease, other = world.lease(), world.lease()
        before = everything(world)
        for name, (message, fault) in hostile_words(world, lease, other).items():
            async with world.stream(lease) as line:
                await line.heard(Opened)
                line.say(message)
                error = await line.refusal()
                assert fault is None or error.fault is fault, (name, error)
                assert everything(world) == before, name
        # And after all that, an honest word is heard.
        async with world.stream(lease) as line:
            head = world.client.head(world.desk.did)
            line.say(Order(world.client.sign(Cancel(head, lease.id, bytes(16))).envelope))  # crossed its decline
            line.say(world.job(lease)[1])
            await line.heard(Answer)

    play(story())


# --- the good way --------------------------------------------------------------------------------------------------


def test_a_whole_purchase_on_one_stream(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.gate.set()
        lease = world.lease()
        async with world.stream(lease) as line:
            job, order, body = world.job(lease)
            line.say(order)
            await line.heard(Answer)
            line.say(body)
            await line.heard(Delivery)
            with world.store.read() as rows:
                (delivery,) = rows.all(DeliveryRow)
            assert not any(isinstance(m, KeyReveal) for m in line.got), "no key before it is paid"
            world.pay(lease, 0, Lock(PICTURE - 1, delivery.hashlock))
            await asyncio.sleep(0.02)
            assert not any(isinstance(m, KeyReveal) for m in line.got), "nor for less than its price"
            world.pay(lease, 0, Lock(PICTURE, delivery.hashlock))
            assert (await line.heard(KeyReveal)).key == delivery.key
            line.say(Order(world.client.sign(Finish(world.client.head(world.desk.did), lease.id)).envelope))
            await line.heard(Closing)
            with world.store.read() as rows:
                assert rows.get(LeaseRow, id=lease.id).state == LeaseState.CLOSING
                assert rows.get(AttemptRow, job=job).state == AttemptState.PAID
                (order_row,) = rows.all(OutboxRow)
            assert order_row.final

    play(story())


def test_a_client_that_comes_back_gets_what_it_missed(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.gate.set()
        lease = world.lease()
        _, order, body = world.job(lease)
        async with world.stream(lease) as line:
            line.say(order)
            line.say(body)
            first = await line.heard(Delivery)
        async with world.stream(lease) as again:
            again.say(order)
            assert await again.heard(Delivery) == first, "the same receipt, byte for byte"
        with world.store.read() as rows:
            assert len(rows.all(AttemptRow)) == len(rows.all(DeliveryRow)) == 1, "and no second work"

    play(story())


def test_fetch_is_for_the_leases_client(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.gate.set()
        lease = world.lease()
        attempt = world.begin(lease)
        await world.until(lambda: world.state(attempt) == AttemptState.DELIVERED)
        with world.store.read() as rows:
            job = rows.get(AttemptRow, id=attempt).job

        async def fetch(desk: Desk, picture: int = 0) -> list[Any]:
            asked = desk.sign(Fetch(desk.head(world.desk.did), lease.id, job, picture))
            return [part async for part in world.office.fetch(asked.envelope)]

        parts = await fetch(world.client)
        assert not any(isinstance(part, KeyReveal) for part in parts), "unpaid, it stays locked"
        with pytest.raises(PeerError, match="only the lease's client"):
            await fetch(Desk(signer("stranger"), world, world))
        with pytest.raises(PeerError, match="no such delivery"):
            await fetch(world.client, 5)
        with world.store.read() as rows:
            (delivery,) = rows.all(DeliveryRow)
        world.pay(lease, 0, Lock(PICTURE, delivery.hashlock))
        assert (await fetch(world.client))[-1].key == delivery.key

    play(story())


def test_expired_answers_are_forgotten(tmp_path: Path) -> None:
    world = World(tmp_path / "jobs.db")
    with world.store.begin() as rows:
        for number, ahead in enumerate((-1, 0, 1)):
            rows.insert(RequestRow(world.client.did, bytes([number] * 16), bytes(32), b"", world.now + ahead))
    world.office.forget()
    with world.store.read() as rows:
        assert [row.forget_ms - world.now for row in rows.all(RequestRow, order="forget_ms")] == [0, 1]


def test_stopping_hands_back_and_settles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpufair.provider.jobs.clearing.PAID_S", 0.05)
    monkeypatch.setattr("gpufair.provider.jobs.office.GOODBYE_S", 0.05)

    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        await world.office.start()
        lease = world.lease()
        async with world.stream(lease) as line:
            _, order, body = world.job(lease)
            line.say(order)
            line.say(body)
            await world.until(lambda: world.office.runner.running == 1)
            await world.office.stop(settle=True)
            await line.heard(Closing)
        with world.store.read() as rows:
            assert [a.state for a in rows.all(AttemptRow)] == [AttemptState.DRAINED]
            assert [row.state for row in rows.all(LeaseRow)] == [LeaseState.CLOSING]
            assert [row.final for row in rows.all(OutboxRow)] == [True], (
                "the ledger was down: it is told after the start"
            )

    play(story())


def test_the_stream_of_a_lease_that_is_over_ends_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leases that come to nothing cost their clients nothing: their streams must not fill the server."""
    monkeypatch.setattr("gpufair.provider.jobs.office.GOODBYE_S", 0.05)

    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        lease = world.lease()
        async with world.stream(lease) as line:
            await line.heard(Opened)
            world.office.perform(world.office.leases.close(lease.id, "done", Outcome.CANCELLED))
            await asyncio.wait_for(asyncio.shield(line.task), 5)
        async with world.stream(lease) as line:
            await line.heard(Closing)
            await asyncio.wait_for(asyncio.shield(line.task), 5)

    play(story())
