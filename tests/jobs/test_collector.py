"""Captures on their way to a ledger: again and again until they are answered, and never after that."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Coroutine
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import World, signer

from gpufair.protocol import limits
from gpufair.protocol.envelope import read
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import Capture, Captured, Envelope, Finish
from gpufair.provider.jobs import collector
from gpufair.provider.jobs.store import LeaseRow, OutboxRow


class Book:
    """A ledger that fails as often as it is told to."""

    def __init__(self, failures: list[Exception] | None = None, by: str = "ledger") -> None:
        self.failures, self.by, self.seen = failures or [], by, []  # type: ignore[var-annotated]
        self.world: World

    async def capture(self, ledger: str, order: Envelope) -> Envelope:
        assert ledger == signer("ledger").did
        self.seen.append(order)
        if self.failures:
            raise self.failures.pop(0)
        asked = read(order, Capture)
        desk = Desk(signer(self.by), self.world, self.world)
        head = desk.head(
            self.world.client.did, self.world.desk.did, parent=asked.id, expires_at_ms=limits.TIME_MAX_MS
        )  # fmt: skip
        return desk.sign(
            Captured(head, asked.doc.lease, paid=0, captured=0, released=0, closed=True, event=1)
        ).envelope  # fmt: skip


def play(story: Coroutine[Any, Any, None]) -> None:
    asyncio.run(asyncio.wait_for(story, 20))


def closing(tmp_path: Path, book: Book) -> tuple[World, bytes]:
    """A lease whose final capture is in the outbox."""
    book.world = world = World(tmp_path / "jobs.db", ledgers=book)
    lease = world.lease()
    finish = world.client.sign(Finish(world.client.head(world.desk.did), lease.id))
    world.office.perform(world.office.order(lease.id, finish.envelope))
    return world, lease.id


def state(world: World, lease: bytes) -> tuple[str, list[bytes]]:
    with world.store.read() as rows:
        return rows.get(LeaseRow, id=lease).state, [order.answer for order in rows.all(OutboxRow)]


def test_it_is_sent_until_it_is_answered_with_the_same_bytes(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(collector, "RETRY_FIRST_S", 0.01)

    async def story() -> None:
        book = Book([LocalError(Fault.UNAVAILABLE, "down"), PeerError(Fault.INTERNAL, "odd"), OSError("a bug of ours")])
        world, lease = closing(tmp_path, book)
        work = asyncio.create_task(world.office.collector.run())
        await world.until(lambda: state(world, lease)[0] == LeaseState.SETTLED)
        assert len(book.seen) == 4
        assert len(set(book.seen)) == 1
        assert world.office.collector.last_error
        await asyncio.sleep(0.05)
        assert len(book.seen) == 4, "never again"
        work.cancel()

    play(story())


def test_anothers_answer_settles_nothing(tmp_path: Path) -> None:
    async def story() -> None:
        world, lease = closing(tmp_path, Book(by="stranger"))
        await world.office.collector.round()
        assert state(world, lease) == (LeaseState.CLOSING, [b""])

    play(story())


def test_an_order_that_is_too_old_for_any_ledger_is_given_up(tmp_path: Path) -> None:
    async def story() -> None:
        world, lease = closing(tmp_path, Book([LocalError(Fault.UNAVAILABLE, "gone for good")] * 3))
        await world.office.collector.round()
        assert state(world, lease) == (LeaseState.CLOSING, [b""])
        world.now += limits.HOLD_MAX_MS + 2 * limits.SKEW_MS
        world.office.collector._not_before.clear()
        await world.office.collector.round()
        assert state(world, lease) == (LeaseState.SETTLED, [b"-"])
        assert world.office.collector._waits == {}, "and it is not waited for any more"

    play(story())


@pytest.mark.parametrize("trouble", ["hangs", "breaks"])
def test_one_ledger_in_trouble_keeps_no_other_waiting(tmp_path: Path, trouble: str) -> None:
    """A hold's margin is ten minutes: nobody's captures may stand in a line behind a dead ledger's."""

    class Two(Book):
        async def capture(self, ledger: str, order: Envelope) -> Envelope:
            if ledger == signer("ledger").did:
                return await super().capture(ledger, order)
            if trouble == "hangs":
                await asyncio.Event().wait()
            raise OSError("a bug of ours")

    async def story() -> None:
        book = Two()
        world, lease = closing(tmp_path, book)
        with world.store.begin() as rows:
            [order] = rows.all(OutboxRow)
            first = replace(order, id=bytes(32), ledger=signer("other").did, created_ms=0, final=False)
            rows.insert(first)
        work = asyncio.create_task(world.office.collector.round())
        await world.until(lambda: state(world, lease)[0] == LeaseState.SETTLED)
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)

    play(story())
