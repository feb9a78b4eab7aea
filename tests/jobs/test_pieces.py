"""Pictures sold in pieces: cut by the window or as asked, paid one by one, and gone on with from what was delivered."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parent))

from office_world import MODEL, PICTURE, PNG, SHEET, STEPS, Scripted, World, state

from gpufair.protocol import sealing, trace
from gpufair.protocol.envelope import Signed, from_bytes, read
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Bid,
    Decline,
    Delivery,
    Fetch,
    Goods,
    Input,
    InputKind,
    JobAcceptance,
    JobHeader,
    KeyReveal,
    Lock,
    Precision,
    Progress,
    ReasonCode,
    Receipt,
    Scheduler,
    Spec,
    Task,
)
from gpufair.protocol.pricing import picture_due, quote
from gpufair.provider.jobs.pieces import Piece, following, pieces_end, stopped
from gpufair.provider.jobs.store import DeliveryDue, DeliveryRow

STEP = PICTURE // STEPS


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def deliveries(world: World) -> list[DeliveryRow]:
    """In the order in which they were made."""
    with world.store.read() as rows:
        found = rows.all(DeliveryRow)
    return sorted(found, key=lambda d: (d.picture, d.step or 99))


def receipt(delivery: DeliveryRow) -> Receipt:
    return from_bytes(delivery.receipt, Receipt).doc


async def pay_next(world: World, lease: Signed[Bid], number: int) -> DeliveryRow:
    """Wait for delivery `number` of the only job and lock its price beside all that is due before."""
    await world.until(lambda: len(deliveries(world)) == number + 1)
    made = deliveries(world)
    before = sum(one.amount for one in made[:number])
    world.pay(lease, before, Lock(made[number].amount, made[number].hashlock))
    return made[number]


def test_a_picture_dearer_than_the_window_is_sold_step_by_step(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        world.workers.gate.set()
        lease = world.lease(window=STEP)
        attempt = world.begin(lease)
        for number in range(STEPS):
            await world.until(lambda n=number: len(deliveries(world)) == n + 1)  # type: ignore[misc]
            await asyncio.sleep(0.02)
            assert len(world.workers.runs) == number + 1, "nothing is begun before the last piece is paid"
            await pay_next(world, lease, number)
        await world.until(lambda: world.state(attempt) == AttemptState.PAID)
        made = deliveries(world)
        assert [(d.step, d.amount, d.revealed) for d in made] == [(1, STEP, True), (2, STEP, True), (0, STEP, True)]
        told = [receipt(d) for d in made]
        assert [(r.goods, r.first_step, r.last_step, r.leaf_count) for r in told] == [
            (Goods.CHECKPOINT, 0, 1, 2), (Goods.CHECKPOINT, 1, 2, 3), (Goods.PICTURE, 2, 3, 4),
        ]  # fmt: skip
        assert [r.total_due for r in told] == [STEP, 2 * STEP, 3 * STEP]
        plain = [sealing.decrypt_output(d.cipher, d.key) for d in made]
        assert plain == [state(0, 1), state(0, 2), PNG]
        leaves = [trace.leaf(step, state(0, step)) for step in range(STEPS + 1)]
        assert [r.trace_root for r in told] == [trace.root(leaves[: n + 2]) for n in range(STEPS)]
        kept = world.office._traces.open(lease.id, made[0].job, 0)
        assert kept is not None
        assert kept.leaves == tuple(leaves), "the whole picture has one trace"

    play(story())


def test_checkpoints_come_as_often_as_the_client_wants(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        lease = world.lease(window=10 * PICTURE)
        world.begin(lease, count=2, steps=5, checkpoint_every=2)
        for number in range(6):
            await pay_next(world, lease, number)
        made = deliveries(world)
        assert [(d.picture, d.step, d.amount) for d in made] == [
            (0, 2, 128), (0, 4, 128), (0, 0, 64), (1, 2, 128), (1, 4, 128), (1, 0, 64),
        ]  # fmt: skip

    play(story())


def test_on_the_stream_each_delivery_is_named_by_its_step(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        lease = world.lease(window=2 * STEP)
        async with world.stream(lease) as line:
            job, order, body = world.job(lease)
            line.say(order)
            line.say(body)
            await pay_next(world, lease, 0)
            await pay_next(world, lease, 1)
            await world.until(lambda: len([m for m in line.got if isinstance(m, KeyReveal)]) == 2)
        heads = [(m.picture, m.step) for m in line.got if isinstance(m, Delivery)]
        assert heads == [(0, 2), (0, 0)]
        assert [m.step for m in line.got if isinstance(m, KeyReveal)] == [2, 0]
        assert [m.step for m in line.got if isinstance(m, Progress)] == [0, 1, 2, 3], "no step is told twice"
        ask = world.client.sign(Fetch(world.client.head(world.desk.did, parent=lease.id), lease.id, job, 0, 2))
        got = [message async for message in world.office.fetch(ask.envelope)]
        assert isinstance(got[-1], KeyReveal)
        assert got[-1].key == deliveries(world)[0].key

    play(story())


def test_who_attaches_again_gets_the_piece_that_it_has_not_locked(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        lease = world.lease(window=STEP)
        job, order, body = world.job(lease)
        world.office.perform(world.office.order(lease.id, order.envelope))
        world.send(lease, body)
        first = await pay_next(world, lease, 0)
        await world.until(lambda: len(deliveries(world)) == 2)
        said = [effect.message for effect in world.office.order(lease.id, order.envelope)]
        assert isinstance(said[1], KeyReveal)
        assert (said[1].step, said[1].key) == (1, first.key)
        assert [m.step for m in said if isinstance(m, Progress)] == [0, 1, 2]
        assert [m.step for m in said if isinstance(m, Delivery)] == [2]
        assert job == said[1].job

    play(story())


def test_a_job_goes_on_from_a_state_and_its_trace_begins_there(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db", workers=Scripted(held_before=99))
        lease = world.lease()
        attempt = world.begin(lease, done=2, inputs=(Input(InputKind.STATE, state(0, 2)),))
        await world.until(lambda: world.state(attempt) == AttemptState.DELIVERED)
        (delivery,) = deliveries(world)
        assert delivery.amount == STEP, "one step was left to do"
        told = receipt(delivery)
        assert (told.first_step, told.last_step, told.leaf_count) == (2, 3, 2)
        leaves = [trace.leaf(step, state(0, step)) for step in (2, 3)]
        assert told.trace_root == trace.root(leaves)
        kept = world.office._traces.open(lease.id, delivery.job, 0)
        assert kept is not None
        assert (kept.first, [kept.state(place) for place in (0, 1)]) == (2, [state(0, 2), state(0, 3)])

    play(story())


def refused(world: World, lease: Signed[Bid], **terms: Any) -> ReasonCode:
    """The first reason why a job is declined."""
    _, order, _ = world.job(lease, **terms)
    (said,) = world.office.order(lease.id, order.envelope)
    return read(said.message.envelope, Decline).doc.reasons[0].code  # type: ignore[attr-defined]


def test_what_can_not_be_cut_or_gone_on_with_is_declined(tmp_path: Path) -> None:
    async def story() -> None:
        world = World(tmp_path / "jobs.db")
        assert refused(world, world.lease(window=STEP - 1)) is ReasonCode.WINDOW_TOO_SMALL
        assert refused(world, world.lease(), done=1, checkpoint=b"") is ReasonCode.CHECKPOINT_WRONG
        assert refused(world, world.lease(), checkpoint=bytes(32)) is ReasonCode.CHECKPOINT_WRONG
        stranger = World(tmp_path / "other.db", carries=lambda _model: False)
        assert refused(stranger, stranger.lease(), done=1) is ReasonCode.CHECKPOINT_WRONG
        assert refused(stranger, stranger.lease(window=2 * STEP)) is ReasonCode.WINDOW_TOO_SMALL
        _, order, _ = stranger.job(lease := stranger.lease(), checkpoint_every=1)
        (said,) = stranger.office.order(lease.id, order.envelope)
        assert said.message.envelope.payload_type == JobAcceptance.TYPE  # type: ignore[attr-defined]

    play(story())


# --- as pure functions -----------------------------------------------------------------------------------------------

SPECS = st.builds(
    Spec,
    st.sampled_from([Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE]), st.just(MODEL), st.just(Scheduler.DDIM),
    st.just(Precision.EXACT), st.sampled_from([8, 64, 512]), st.sampled_from([8, 64, 512]), st.integers(1, 40),
    st.integers(1, 3), st.booleans(),
)  # fmt: skip


def header(spec: Spec, every: int) -> JobHeader:
    """A header of which only these two matter."""
    plain = JobHeader(None, bytes(32), bytes(16), spec, bytes(32), bytes(32), b"", 1, 0, 0)  # type: ignore[arg-type]
    return replace(plain, checkpoint_every=every)


def delivered(piece: Piece) -> DeliveryDue:
    return DeliveryDue(b"", b"", piece.picture, b"", b"", b"", piece.price, False, 0, piece.step)


@given(
    spec=SPECS,
    rates=st.tuples(*[st.integers(0, 10**6)] * 2),
    share=st.integers(1, 120),
    every=st.integers(0, 10),
    stop=st.tuples(st.integers(0, 30), st.integers(1, 40)),
)
def test_the_pieces_of_a_job_add_up_however_it_is_cut_and_stopped(
    spec: Spec, rates: tuple[int, int], share: int, every: int, stop: tuple[int, int]
) -> None:
    sheet = replace(SHEET, per_step_megapixel=rates[0] + 1, per_decoded_megapixel=rates[1])
    price = quote(spec, sheet, first=False)
    window = max(1, price.increment * share // 100)
    ends = pieces_end(header(spec, every), sheet, window, carries=True)
    made: list[DeliveryDue] = []
    while (piece := following(spec, sheet, ends, made)) is not None:
        assert piece.price <= window
        assert piece.whole or piece.price > 0
        if len(made) == stop[0]:
            part = stopped(spec, sheet, piece, stop[1])
            if part is not None:
                assert (part.first_step, part.last_step, part.whole) == (piece.first_step, stop[1], False)
                assert 0 < part.price <= picture_due(spec, sheet, spec.steps, whole=True)
        made.append(delivered(piece))
    if ends:
        assert sum(one.amount for one in made) == price.increment * spec.count
        assert [one.picture for one in made if not one.step] == list(range(spec.count))
    else:
        assert not made
