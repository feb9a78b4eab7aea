"""The operator's audit: what somebody changed in the tables behind the ledger's back is found, row by row."""

import dataclasses
import sqlite3

import pytest

from gpufair.protocol import wire
from gpufair.protocol.errors import LocalError
from gpufair.protocol.journal import Auditor
from gpufair.protocol.messages import Event
from gpufair.provider.ledger import audit


@pytest.fixture
def book(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    world.capture("bob", "L", 100, [("a", 50)], ["a"])
    world.hold("alice", "bob", "M", 50)
    world.pay("alice", "carol", 5)
    world.clock.ms += 3_600_000
    world.ledger.expire()
    return world


def tampered(world, *statements):
    """Change the file as an intruder would: every trigger and check out of the way."""
    world.store.close()
    with sqlite3.connect(world.path) as connection:
        connection.execute("PRAGMA ignore_check_constraints=ON")
        triggers = [row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type='trigger'")]
        for trigger in triggers:
            connection.execute(f"DROP TRIGGER {trigger}")
        for statement in statements:
            assert connection.execute(statement).rowcount, "the tampering itself must hit something"
    connection.close()
    world.start()
    return audit(world.ledger, world.store)


def test_an_honest_book_passes(book):
    report = audit(book.ledger, book.store)
    assert report.findings == ()
    assert (report.sequence, report.ok) == (7, True)


def test_an_empty_book_passes(make_world):
    world = make_world()
    assert audit(world.ledger, world.store).ok


@pytest.mark.parametrize(("statement", "finding"), [
    ("UPDATE accounts SET available = available + 1 WHERE available = 150", "the balance of"),
    ("DELETE FROM requests WHERE sequence = 5", "no recorded answer"),
    ("UPDATE holds SET released = 0, closed = 0 WHERE amount = 50", "the hold of lease"),
    ("UPDATE holds SET captured = 151, released = 149 WHERE amount = 300", "the hold of lease"),
    ("UPDATE postings SET amount = amount + 1 WHERE amount = 5", "the postings of"),
    ("UPDATE events SET document = substr(document, 1, 400) WHERE sequence = 3", "not an event"),
    ("UPDATE events SET hash = randomblob(32) WHERE sequence = 7", "another hash"),
])  # fmt: skip
def test_a_changed_row_is_found(book, statement, finding):
    report = tampered(book, statement)
    assert any(finding in found.what for found in report.findings), report.findings


def test_an_event_that_is_gone_is_found(book):
    report = tampered(book, "DELETE FROM postings WHERE sequence = 7", "DELETE FROM events WHERE sequence = 7")
    assert not report.ok


def test_a_rewritten_event_breaks_the_chain_for_everyone_who_saw_it(book):
    page = book.page("alice")
    event = wire.decode(Event, page.events[4])
    forged = dataclasses.replace(event, at_ms=event.at_ms + 1)
    items = [*page.events[:4], wire.encode(forged), *page.events[5:]]
    auditor = Auditor(book.bank.did, book.alice.did)
    auditor.feed(items, page.head)
    assert not auditor.report().ok


@pytest.mark.parametrize("table", ["events", "postings", "accounts", "holds", "requests"])
def test_a_missing_table_is_an_error_that_says_so(book, table):
    with pytest.raises(LocalError, match=r"book\.db"):
        tampered(book, f"ALTER TABLE {table} RENAME TO was_{table}")
