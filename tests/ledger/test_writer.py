"""The writer: many at once share a commit, nobody hears of what isn't on disk, and a bad order sinks only itself."""

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from multiprocessing import get_context

import pytest

from gpufair.protocol import limits, wire
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.messages import Captured, Decline, Envelope, Hold, Issue, Pay, Posted, QueryKind
from gpufair.provider.ledger import Writer, audit


@contextlib.contextmanager
def writing(world, **options) -> Iterator[Writer]:
    writer = Writer(world.ledger, **options)
    try:
        yield writer
    finally:
        writer.close()


def test_concurrent_orders_share_commits_and_all_get_their_own_answer(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 10_000)
    orders = [world.sign("alice", Pay, world.bob.did, 1 + n, "") for n in range(100)]
    batches, post = [], world.ledger.post
    world.ledger.post = lambda prepared: (batches.append(len(prepared)), post(prepared))[1]

    async def everyone():
        with writing(world) as writer:
            return await asyncio.gather(*(writer.submit(order.envelope) for order in orders))

    answers = asyncio.run(everyone())
    for order, answer in zip(orders, answers, strict=True):
        assert world.alice.receive(answer, Posted, lifetime_max_ms=limits.TIME_MAX_MS).doc.head.parent == order.id
    assert sum(batches) == 100
    assert len(batches) < 100, "they shared"
    assert world.balance("bob")[0] == sum(range(1, 101))


def test_bad_orders_fail_alone(funded):
    good = [funded.sign("alice", Pay, funded.bob.did, 1, "").envelope for _ in range(5)]
    poor = funded.sign("carol", Pay, funded.bob.did, 1, "").envelope
    foreign = funded.sign("alice", Pay, funded.bob.did, 1, "", audience=(funded.bob.did,)).envelope
    unsigned = Envelope(good[0].payload[:-1] + b"\x07", good[0].payload_type, good[0].signatures)

    async def everyone():
        with writing(funded) as writer:
            every = [*good, poor, foreign, unsigned]
            return await asyncio.gather(*map(writer.submit, every), return_exceptions=True)

    *done, declined, first, second = asyncio.run(everyone())
    assert {answer.payload_type for answer in done} == {Posted.TYPE}
    assert declined.payload_type == Decline.TYPE
    assert isinstance(first, PeerError)
    assert isinstance(second, PeerError)
    assert funded.balance("bob")[0] == 5


def test_an_order_that_trips_a_bug_sinks_only_itself(funded, monkeypatch):
    """The bug: whatever pays 13 raises, in the middle of everybody's transaction."""
    real = funded.ledger._one
    monkeypatch.setattr(funded.ledger, "_one", lambda batch, one: 1 // (one.order.doc.amount - 13) and real(batch, one)
                        if one.order.doc.amount == 13 else real(batch, one))  # fmt: skip
    orders = [funded.sign("alice", Pay, funded.bob.did, amount, "").envelope for amount in (11, 12, 13, 14)]

    async def everyone():
        with writing(funded) as writer:
            return await asyncio.gather(*map(writer.submit, orders), return_exceptions=True)

    *_, unlucky, last = asyncio.run(everyone())
    assert isinstance(unlucky, ZeroDivisionError)
    assert last.payload_type == Posted.TYPE
    assert funded.balance("bob")[0] == 11 + 12 + 14
    assert audit(funded.ledger, funded.store).ok


def test_an_idle_writer_expires_holds_by_itself(funded):
    with writing(funded, tick_ms=5):
        funded.clock.ms += 3_600_000
        deadline = time.monotonic() + 10
        while funded.ledger.status().holds_open and time.monotonic() < deadline:
            time.sleep(0.005)
    assert funded.balance("alice") == (1000, 0, 0)


def test_questions_are_answered_beside_the_orders(funded):
    async def both():
        with writing(funded) as writer:
            page = await writer.journal(funded.query("alice", QueryKind.JOURNAL, since=1))
            return page, await writer.ask(funded.query("alice", QueryKind.BALANCE))

    page, balance = asyncio.run(both())
    assert len(page.events) == 2
    assert balance.payload_type.startswith("application/vnd.gpufair.balance")


def test_a_full_line_is_said_at_once(funded, monkeypatch):
    monkeypatch.setattr(limits, "LEDGER_QUEUE", 3)
    orders = [funded.sign("alice", Pay, funded.bob.did, 1, "").envelope for _ in range(300)]

    async def flood():
        with funded.ledger._posting:  # nothing can be posted meanwhile
            asked = [asyncio.ensure_future(writer.submit(order)) for order in orders]
            await asyncio.sleep(0.01)
        return await asyncio.gather(*asked, return_exceptions=True)

    with writing(funded) as writer:
        answers = asyncio.run(flood())
    refused = [answer for answer in answers if isinstance(answer, LocalError)]
    assert refused
    assert all("too many orders" in str(error) for error in refused)
    assert funded.balance("bob")[0] == 300 - len(refused) >= 3, "those in line were served"


def test_closing_finishes_what_is_in_line_and_takes_no_more(funded):
    orders = [funded.sign("alice", Pay, funded.bob.did, 1, "").envelope for _ in range(31)]
    writer = Writer(funded.ledger)

    async def close_early():
        asked = [asyncio.ensure_future(writer.submit(order)) for order in orders[:30]]
        await asyncio.sleep(0)
        await asyncio.to_thread(writer.close)
        with pytest.raises(LocalError, match="stopping"):
            await writer.submit(orders[30])
        return await asyncio.gather(*asked)

    assert {answer.payload_type for answer in asyncio.run(close_early())} == {Posted.TYPE}


def test_who_stops_waiting_does_not_stop_the_order(funded):
    order = funded.sign("alice", Pay, funded.bob.did, 1, "").envelope

    async def impatient():
        asked = asyncio.ensure_future(writer.submit(order))
        await asyncio.sleep(0)
        asked.cancel()
        await asyncio.sleep(0.01)
        return await writer.submit(order)

    with writing(funded) as writer:
        assert asyncio.run(impatient()).payload_type == Posted.TYPE
    assert funded.balance("bob")[0] == 1


# --- killed ---------------------------------------------------------------------------------------------------------
def trade(make_world, path, seed, acknowledged):
    """What the victim does until it dies: orders of every kind, many at once; each answer is told to the parent."""
    world = make_world(path, random_seed=seed)
    writer = Writer(world.ledger)

    async def buyer(n):
        for turn in range(10_000):
            name = f"{seed.hex()} {n} {turn}"
            orders = [
                world.sign("bank", Issue, world.alice.did, 50, f"cash {name}"),
                world.hold_order("alice", "bob", name, 40),
                world.capture_order("bob", name, 10, [("a", 5)], ["a"]),
                world.capture_order("bob", name, 20, final=True),
            ]
            for order in orders:
                answer = await writer.submit(order.envelope)
                acknowledged.send_bytes(wire.encode(order.envelope))
                acknowledged.send_bytes(wire.encode(answer))

    async def everyone():
        await asyncio.gather(*(buyer(n) for n in range(8)))

    asyncio.run(everyone())


def kill_while_trading(make_world, path, round_, delay_s):
    """One life and death of a ledger; what it acknowledged before it died."""
    fork = get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)
    victim = fork.Process(target=trade, args=(make_world, path, b"%d" % round_, theirs), daemon=True)
    victim.start()
    theirs.close()
    heard = []
    with contextlib.suppress(EOFError):
        heard.append(mine.recv_bytes())  # it lives
        end = time.monotonic() + delay_s
        while time.monotonic() < end:
            heard.append(mine.recv_bytes())
        os.kill(victim.pid, signal.SIGKILL)
        while True:
            heard.append(mine.recv_bytes())
    victim.join()
    assert victim.exitcode == -signal.SIGKILL
    return list(zip(heard[::2], heard[1::2], strict=False))


def survive(make_world, path, rounds, delays):
    kept = []
    for round_, delay in zip(range(rounds), delays, strict=False):
        kept += kill_while_trading(make_world, path, round_, delay)
        world = make_world(path, random_seed=b"after %d" % round_)
        report = audit(world.ledger, world.store)
        assert report.findings == (), "the book is whole"
        status = world.ledger.status()
        alice, bob = world.balance("alice"), world.balance("bob")
        assert status.outstanding == sum(alice[:2]) + sum(bob[:2]), "no money appeared or disappeared"
        state = world.state()
        for order, answer in kept[-40:]:
            assert wire.encode(world.ledger.submit(wire.decode(Envelope, order))) == answer, "what was said stays said"
        assert world.state() == state
        world.store.close()
    kinds = {wire.decode(Envelope, answer).payload_type for _, answer in kept}
    assert kinds == {Posted.TYPE, Hold.TYPE, Captured.TYPE}


def test_killed_at_random_moments_it_loses_and_invents_nothing(make_world, tmp_path):
    delays = [0.013 * (n * 7 % 10) for n in range(10)]
    survive(make_world, tmp_path / "book.db", 10, delays)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_killed_a_hundred_times(make_world, tmp_path):
    delays = [0.0031 * (n * 37 % 101) for n in range(100)]
    survive(make_world, tmp_path / "book.db", 100, delays)
