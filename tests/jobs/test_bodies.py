"""Bodies in pieces: in order, each once, no more than was announced, not too much at once, the one that was named."""

from __future__ import annotations

import asyncio
import struct
import sys
import zlib
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import World

from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes, read
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Answer,
    Body,
    Decline,
    Input,
    InputKind,
    JobEnded,
    Outcome,
    Reason,
    ReasonCode,
    Task,
)
from gpufair.provider.jobs.bodies import Pieces, Room
from gpufair.provider.jobs.store import BodyRow


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def picture(size: int = 500_000, *, side: int = 8, colours: int = 2) -> Input:
    """Something of this many bytes that begins as a PNG does."""
    head = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, colours, 0, 0, 0)
    png = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))
    return Input(InputKind.IMAGE if colours else InputKind.MASK, png + bytes(size))


LARGE: dict[str, Any] = {"task": Task.IMAGE_TO_IMAGE, "inputs": (picture(),)}


def pieces_of(body: Body) -> list[Body]:
    """As a client sends it."""
    starts = range(0, len(body.sealed), limits.CHUNK)
    return [Body(body.job, body.sealed[at : at + limits.CHUNK], at) for at in starts]


def taken(world: World, lease: Any, **terms: Any) -> tuple[bytes, list[Body]]:
    """A job whose header was taken, and its body's pieces."""
    job, order, body = world.job(lease, **{**LARGE, **terms})
    world.office.perform(world.office.order(lease.id, order.envelope))
    return job, pieces_of(body)


def send(world: World, lease: Any, pieces: list[Body], room: Room | None = None) -> None:
    """Pieces on one stream."""
    stream = Pieces(room or Room())
    for piece in pieces:
        world.office.perform(world.office.attempts.body(lease.id, piece, stream))


def why(world: World, job: bytes) -> tuple[Outcome, Reason]:
    ended = from_bytes(world.attempt(job).ended, JobEnded).doc
    assert ended.upfront_credit == world.attempt(job).upfront
    return ended.outcome, ended.reasons[0]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "jobs.db")


def test_a_body_in_pieces_is_made_into_a_picture_and_then_forgotten(world: World) -> None:
    async def story() -> None:
        lease = world.lease()
        job, pieces = taken(world, lease)
        assert len(pieces) == 4
        async with world.stream(lease) as line:
            for piece in pieces[:-1]:
                line.say(piece)
            await world.until(lambda: world.office._room.used == 3 * limits.CHUNK)
            assert not world.attempt(job).bodied
            line.say(pieces[-1])
            await world.until(lambda: world.attempt(job).state == AttemptState.RUNNING)
            assert world.office._room.used == 0
            world.workers.gate.set()
            await world.until(lambda: world.attempt(job).state == AttemptState.DELIVERED)
        with world.store.read() as rows:
            assert rows.all(BodyRow) == []

    play(story())


def test_a_stream_that_breaks_takes_its_pieces_along_and_the_next_one_brings_all(world: World) -> None:
    async def story() -> None:
        lease = world.lease()
        job, pieces = taken(world, lease)
        async with world.stream(lease) as line:
            line.say(pieces[0])
            line.say(pieces[1])
            await world.until(lambda: world.office._room.used > limits.CHUNK)
        await world.until(lambda: world.office._room.used == 0)
        async with world.stream(lease) as line:
            for piece in [*pieces, *pieces]:  # again and again: what is there already changes nothing
                line.say(piece)
            await world.until(lambda: world.attempt(job).state == AttemptState.RUNNING)
            world.workers.gate.set()
            await world.until(lambda: world.attempt(job).state == AttemptState.DELIVERED)

    play(story())


@pytest.mark.parametrize(
    ("bent", "wanted", "limit"),
    [
        (lambda p: [p[0], p[2]], 2 * limits.CHUNK, limits.CHUNK),  # a gap
        (lambda p: [p[0], p[0]], 0, limits.CHUNK),  # an overlap
        (lambda p: [p[1]], limits.CHUNK, 0),  # not from its beginning
        (lambda p: [Body(p[0].job, p[0].sealed[:-5])], limits.CHUNK - 5, limits.CHUNK),  # crumbs
        (lambda p: [*p[:3], Body(p[0].job, p[3].sealed + b"more", p[3].offset)], None, None),  # too much
    ],
)
def test_pieces_out_of_order_and_too_much_are_refused_with_numbers(
    world: World, bent: Any, wanted: int | None, limit: int | None
) -> None:
    lease = world.lease()
    job, pieces = taken(world, lease)
    room = Room()
    send(world, lease, bent(pieces), room)
    outcome, reason = why(world, job)
    assert (outcome, reason.code, reason.unit) == (Outcome.REJECTED, ReasonCode.BODY_WRONG, "bytes")
    if wanted is not None:
        assert (reason.wanted, reason.limit) == (wanted, limit)
    else:
        assert reason.wanted == reason.limit + 4
    assert room.used == 0


def test_other_bytes_than_the_header_names(world: World) -> None:
    lease = world.lease()
    job, pieces = taken(world, lease)
    last = pieces[-1]
    send(world, lease, [*pieces[:-1], Body(job, bytes(len(last.sealed)), last.offset)])
    outcome, reason = why(world, job)
    assert (outcome, reason.code) == (Outcome.REJECTED, ReasonCode.BODY_WRONG)


def test_all_the_bodies_on_their_way_have_a_bound_together(world: World) -> None:
    lease = world.lease()
    (first, some), (second, others) = taken(world, lease), taken(world, lease)
    room = Room(most=5 * limits.CHUNK)
    send(world, lease, some[:3], room)
    send(world, lease, others[:3], room)
    outcome, reason = why(world, second)
    assert (outcome, reason.code) == (Outcome.REJECTED, ReasonCode.LIMIT)
    assert (reason.wanted, reason.limit, reason.unit) == (6 * limits.CHUNK, 5 * limits.CHUNK, "bytes")
    assert world.attempt(first).state == AttemptState.ACCEPTED, "the others' are none the worse"


def test_a_body_too_large_for_its_task_is_declined_before_it_is_sent(world: World) -> None:
    lease = world.lease()
    _, order, _ = world.job(lease, body_length=limits.BODY_MAX + limits.KIB + 1)
    [said] = world.office.order(lease.id, order.envelope)
    assert isinstance(said.message, Answer)  # type: ignore[union-attr]
    [reason] = read(said.message.envelope, Decline).doc.reasons  # type: ignore[union-attr]
    assert (reason.code, reason.wanted - reason.limit) == (ReasonCode.LIMIT, 1)


@pytest.mark.parametrize(
    ("terms", "code", "words"),
    [
        ({"plain_sha256": bytes(32)}, ReasonCode.BODY_WRONG, "not what the header names"),
        ({"inputs": ()}, ReasonCode.INPUT_WRONG, "begins from an image"),
        ({"inputs": (picture(side=16),)}, ReasonCode.INPUT_WRONG, "how wide the image is"),
        ({"inputs": (picture(colours=0),)}, ReasonCode.INPUT_WRONG, "begins from an image"),
        ({"task": Task.INPAINT}, ReasonCode.INPUT_WRONG, "and a mask"),
        ({"task": Task.TEXT_TO_IMAGE, "inputs": (picture(10),)}, ReasonCode.INPUT_WRONG, "nothing but words"),
    ],
)
def test_what_opens_to_something_else_is_credited_and_no_worker_hears_of_it(
    world: World, terms: dict[str, Any], code: ReasonCode, words: str
) -> None:
    async def story() -> None:
        lease = world.lease()
        job, pieces = taken(world, lease, **terms)
        send(world, lease, pieces)
        await world.until(lambda: world.attempt(job).state == AttemptState.FAILED)
        outcome, reason = why(world, job)
        assert (outcome, reason.code) == (Outcome.FAILED, code)
        assert words in reason.detail
        assert world.workers.runs == []

    play(story())
