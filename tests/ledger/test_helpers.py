"""Helper processes: they come to the same verdicts, and whatever befalls them costs time and nobody an answer."""

import asyncio
import contextlib
import dataclasses
import os
import signal
import time
from multiprocessing import get_context
from pathlib import Path

import pytest

from gpufair.protocol import book, envelope, identity
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Captured, Decline, Pay, Posted
from gpufair.provider.ledger import Writer, audit, verifiers
from gpufair.provider.ledger.verifiers import Found

WAIT_S = 30


@contextlib.contextmanager
def helped(world, helpers=1):
    """A writer whose helpers are at work."""
    writer = Writer(world.ledger, helpers=helpers)
    try:
        crowd_until(world, writer, lambda: len(writer.helpers) == helpers)
        yield writer
    finally:
        writer.close()


def crowd_until(world, writer, happened):
    """Helpers start with crowds, beside the work: go on until it has happened."""
    end = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < end
        answers = give(writer, [world.sign("alice", Pay, world.bob.did, 1, "").envelope for _ in range(16)])
        assert {answer.payload_type for answer in answers} <= {Posted.TYPE, Decline.TYPE}


def give(writer, orders):
    async def everyone():
        return await asyncio.gather(*map(writer.submit, orders), return_exceptions=True)

    return asyncio.run(everyone())


def is_gone(pid):
    """Ended; an orphan that nobody has waited for yet has."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def wait_until(happened):
    end = time.monotonic() + WAIT_S
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def mixed(world, count):
    """Good orders of every kind, and among them one of each bad sort."""
    orders = [world.sign("alice", Pay, world.bob.did, 1, "").envelope for _ in range(count)]
    orders += [world.capture_order("bob", "L", n, [(f"k{n}", 1)], [f"k{n}"]).envelope for n in range(1, count)]
    orders.append(world.capture_order("bob", "L", 90, payer="bob").envelope)  # a voucher of the payee's own
    capture = world.capture_order("bob", "L", 91).doc
    for voucher in (capture.voucher[:-1] + bytes([capture.voucher[-1] ^ 1]), b"no voucher"):
        orders.append(world.bob.sign(dataclasses.replace(capture, voucher=voucher)).envelope)
        capture = world.capture_order("bob", "L", 91).doc
    orders.append(dataclasses.replace(orders[0], signatures=orders[1].signatures))
    twice = (*orders[0].signatures, *orders[0].signatures)
    orders.append(dataclasses.replace(orders[1], signatures=twice))
    return orders


def kind_of(answer):
    return answer.fault if isinstance(answer, PeerError) else answer.payload_type


@pytest.fixture
def rich(make_world, tmp_path):
    """Worlds on disk in which alice can pay all day, and 300 of hers are held for bob."""

    def make(name="book", seed=b""):
        world = make_world(tmp_path / f"{name}.db", random_seed=seed)
        world.issue("alice", 10**9)
        world.hold("alice", "bob", "L", 300)
        return world

    return make


@pytest.mark.parametrize("helpers", [1, 2])
def test_helpers_come_to_the_same_verdicts(rich, helpers):
    alone, busy = rich("alone"), rich("helped")
    plain = Writer(alone.ledger)
    expected = [kind_of(answer) for answer in give(plain, mixed(alone, 20))]
    plain.close()
    with helped(busy, helpers) as writer:
        found = [kind_of(answer) for answer in give(writer, mixed(busy, 20))]
        assert not writer.last_error
    assert found == expected
    assert {Fault.BAD_SIGNATURE, Posted.TYPE, Captured.TYPE, Decline.TYPE} == set(found)
    assert alone.hold_state("alice", "L").captured == busy.hold_state("alice", "L").captured > 0
    assert audit(busy.ledger, busy.store).ok


def test_what_a_helper_found_good_is_not_checked_again(rich, monkeypatch):
    world = rich()
    with helped(world) as writer:
        here = []
        check = identity.verify
        monkeypatch.setattr(identity, "verify", lambda *claim: (here.append(claim), check(*claim)))
        give(writer, [world.capture_order("bob", "L", n, [("k", 1)], ["k"]).envelope for n in range(1, 65)])
    # Those that came first may have been too few to be worth sending.
    assert len(here) < 2 * 64


def test_only_the_very_claim_is_believed(world):
    order = world.sign("alice", Pay, world.bob.did, 1, "")
    other = world.sign("alice", Pay, world.bob.did, 2, "")
    [(did, data, signature)] = book.claims(order)
    found = Found(frozenset([(did, data, signature)]))
    assert envelope.authenticate(order, verify=found.verify) is order
    assert envelope.authenticate(other, verify=found.verify) is other, "unknown, so checked here"
    borrowed = dataclasses.replace(other.envelope, signatures=order.envelope.signatures)
    forged = dataclasses.replace(other, envelope=borrowed)
    with pytest.raises(PeerError) as caught:
        envelope.authenticate(forged, verify=found.verify)
    assert caught.value.fault is Fault.BAD_SIGNATURE


def test_a_quiet_ledger_has_no_helpers(rich):
    world = rich()
    writer = Writer(world.ledger, helpers=1)
    for _ in range(20):
        give(writer, [world.sign("alice", Pay, world.bob.did, 1, "").envelope])
    assert writer._verifiers._helpers == [None]
    writer.close()


def test_a_killed_helper_costs_nobody_an_answer_and_is_replaced(rich, monkeypatch):
    monkeypatch.setattr(verifiers, "RESTART_S", 0.0)
    world = rich()
    with helped(world) as writer:
        [first] = writer.helpers
        orders = [world.sign("alice", Pay, world.bob.did, 1, "").envelope for _ in range(1500)]

        async def killed_meanwhile():
            asked = [asyncio.ensure_future(writer.submit(order)) for order in orders]
            await asked[200]
            os.kill(first, signal.SIGKILL)
            return await asyncio.gather(*asked)

        assert {answer.payload_type for answer in asyncio.run(killed_meanwhile())} == {Posted.TYPE}
        assert "helper" in writer.last_error
        assert is_gone(first)
        crowd_until(world, writer, lambda: writer.helpers not in ([], [first]))
    assert audit(world.ledger, world.store).ok


def test_a_helper_that_says_nothing_is_given_up(rich, monkeypatch):
    monkeypatch.setattr(verifiers, "SILENCE_S", 0.3)
    world = rich()
    with helped(world) as writer:
        [stuck] = writer.helpers
        os.kill(stuck, signal.SIGSTOP)
        answers = give(writer, mixed(world, 20))
        assert kind_of(answers[0]) == Posted.TYPE
        assert "helper" in writer.last_error
        assert is_gone(stuck)


def test_a_helper_that_cannot_start_is_no_reason_to_refuse(rich, monkeypatch):
    monkeypatch.setattr(verifiers, "RESTART_S", 0.0)
    monkeypatch.setattr(verifiers.sys, "executable", "/bin/false")
    world = rich()
    writer = Writer(world.ledger, helpers=1)
    crowd_until(world, writer, lambda: "helper" in writer.last_error)
    assert writer.helpers == []
    writer.close()


@pytest.mark.parametrize("told", [signal.SIGTERM, signal.SIGINT])
def test_a_helper_outlives_what_stops_the_node_and_ends_when_the_writer_does(rich, told):
    """A service manager tells every process of the node at once; what is in line still gets its answers."""
    world = rich()
    with helped(world) as writer:
        [pid] = writer.helpers
        os.kill(pid, told)
        assert kind_of(give(writer, mixed(world, 20))[0]) == Posted.TYPE
        assert writer.helpers == [pid]
        assert not writer.last_error
    assert is_gone(pid)


def keep_a_helper(make, told):
    world = make("victim")
    with helped(world) as writer:
        told.send(writer.helpers)
        signal.pause()


def test_a_helper_ends_with_a_node_that_is_killed(rich):
    fork = get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)
    node = fork.Process(target=keep_a_helper, args=(rich, theirs), daemon=True)
    node.start()
    assert mine.poll(WAIT_S)
    [pid] = mine.recv()
    assert not is_gone(pid)
    node.kill()
    node.join()
    wait_until(lambda: is_gone(pid))
