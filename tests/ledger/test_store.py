"""The file: what the database itself refuses, damage, another owner, backups, an installed schema."""

import sqlite3

import pytest
import sqlalchemy as sa

from gpufair.protocol.edge.sqlite import open_database, restore
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import Issue
from gpufair.provider.ledger import audit, open_store, tables
from gpufair.provider.ledger.batch import Recorded
from gpufair.provider.ledger.store import MIGRATIONS


@pytest.fixture
def book(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    world.capture("bob", "L", 100, [("a", 50)], ["a"])
    world.hold("alice", "bob", "M", 50)
    world.capture("bob", "M", 20, final=True)
    return world


FORBIDDEN = [
    "UPDATE accounts SET available = -1 WHERE available > 0",
    "UPDATE accounts SET held = -1",
    "UPDATE accounts SET issued = 1",
    "UPDATE accounts SET available = 'much'",
    "UPDATE accounts SET available = 1.5",
    "DELETE FROM accounts",
    "UPDATE holds SET captured = 301 WHERE amount = 300",
    "UPDATE holds SET captured = 100 WHERE amount = 300",
    "UPDATE holds SET amount = 400 WHERE amount = 300",
    "UPDATE holds SET expires_at_ms = expires_at_ms + 1 WHERE amount = 300",
    "UPDATE holds SET payee = payer WHERE amount = 300",
    "UPDATE holds SET released = 1 WHERE amount = 300",
    "UPDATE holds SET closed = 1 WHERE amount = 300",
    "UPDATE holds SET closed = 0, released = 0 WHERE amount = 50",
    "UPDATE holds SET captured = 21, released = 29 WHERE amount = 50",
    "DELETE FROM holds",
    "INSERT INTO holds SELECT * FROM holds",
    "INSERT INTO holds SELECT randomblob(32), 'did:key:zNobody', payee, 1, 1, 0, 0, 0 FROM holds LIMIT 1",
    "INSERT INTO holds SELECT randomblob(31), payer, payee, 1, 1, 0, 0, 0 FROM holds LIMIT 1",
    "UPDATE events SET document = x'00'",
    "DELETE FROM events",
    "INSERT INTO events SELECT * FROM events",
    "INSERT INTO events SELECT 0, at_ms, kind, lease, hash, document FROM events LIMIT 1",
    "INSERT INTO events SELECT 99, at_ms, 7, lease, hash, document FROM events LIMIT 1",
    "UPDATE postings SET amount = amount + 1",
    "DELETE FROM postings",
    "INSERT INTO postings SELECT account, 99, 2, 1 FROM postings LIMIT 1",
    "INSERT INTO postings SELECT account, sequence, 1, 0 FROM postings LIMIT 1",
    "UPDATE keys SET key = randomblob(32)",
    "DELETE FROM keys",
    "INSERT INTO keys SELECT NULL, lease, randomblob(33), sequence FROM keys",
    "INSERT INTO keys SELECT NULL, lease, key, sequence FROM keys",
    "DELETE FROM outside",
    "INSERT INTO outside SELECT * FROM outside",
    "UPDATE requests SET answer = x'00'",
    "DELETE FROM requests",
    "INSERT INTO requests SELECT * FROM requests",
    "UPDATE book SET operator = 'did:key:zThief'",
    "DELETE FROM book",
    "INSERT INTO book VALUES (2, 'did:key:zThief')",
]


@pytest.mark.parametrize("statement", FORBIDDEN)
def test_the_database_refuses(book, statement):
    before = book.state()
    with pytest.raises(LocalError, match="refuses a row"), book.store.database.write() as connection:
        connection.exec_driver_sql(statement)
    assert book.state() == before


def test_durable_settings_are_in_force(book):
    with book.store.database.read() as connection:
        pragma = {name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
                  for name in ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")}  # fmt: skip
    assert pragma == {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1, "busy_timeout": 5000}


@pytest.mark.parametrize("path", [None, "book.db"])
def test_the_tables_are_those_of_the_migration(tmp_path, path):
    database = open_database(path and tmp_path / path, MIGRATIONS)
    with database.read() as connection:
        found = {name: {column["name"] for column in sa.inspect(connection).get_columns(name)}
                 for name in sa.inspect(connection).get_table_names() if name != "alembic_version"}  # fmt: skip
        strict = connection.exec_driver_sql("SELECT name, strict FROM pragma_table_list WHERE schema='main'").all()
    database.close()
    assert found == {name: {column.name for column in table.columns} for name, table in tables.metadata.tables.items()}
    assert {name for name, is_strict in strict if not is_strict} <= {"alembic_version", "sqlite_schema"}


def test_a_write_that_fails_leaves_nothing(book):
    before = book.state()

    def half():
        with book.store.batch() as batch:
            batch.record("did", b"i" * 16, Recorded(b"d" * 32, b"answer"), None, 0)
            batch.flush()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        half()
    assert book.state() == before
    assert not book.store.knows_request("did", b"i" * 16)


def test_another_operators_book_is_refused(book):
    with pytest.raises(LocalError, match="is the book of"):
        open_store(book.path, book.alice.did)


def test_a_backup_taken_in_use_restores_to_the_same_book(book, tmp_path):
    copy = tmp_path / "kept" / "copy.db"
    book.store.database.backup(copy)
    kept, head = book.state(), book.ledger.head().doc.hash
    book.pay("alice", "carol", 1)
    book.store.close()
    restore(copy, book.path)
    book.start()
    assert book.state() == kept
    assert book.ledger.head().doc.hash == head
    assert audit(book.ledger, book.store).ok
    assert (tmp_path / "book.db.replaced").exists(), "the replaced file is kept"


def test_a_backup_in_memory_becomes_a_file(make_world, tmp_path):
    world = make_world()
    world.issue("alice", 5)
    world.store.database.backup(tmp_path / "copy.db")
    store = open_store(tmp_path / "copy.db", world.bank.did)
    assert store.account(world.alice.did).funds.available == 5
    store.close()


def test_a_bad_backup_is_refused_before_anything_is_touched(book, tmp_path):
    bad = tmp_path / "bad.db"
    bad.write_bytes(b"SQLite format 3\0" + bytes(5000))
    for backup in (bad, tmp_path / "none.db"):
        with pytest.raises(LocalError):
            restore(backup, book.path)
    assert book.balance("bob") == (170, 0, 150)


@pytest.mark.parametrize("damage", [
    lambda data: b"not a database at all, but long enough to be looked at" * 100,
    lambda data: data[: len(data) // 2],
    lambda data: data[:4096] + bytes(4096 * 3) + data[4096 * 4 :],
    lambda data: data[:-4096] + bytes(range(256)) * 16,
])  # fmt: skip
def test_a_damaged_file_is_named_and_never_believed(book, damage):
    book.store.close()
    data = book.path.read_bytes()
    assert len(data) > 4096 * 8
    book.path.write_bytes(damage(data))
    with pytest.raises(LocalError, match=r"book\.db.*restore"):
        book.start()
    book.path.write_bytes(data)
    book.start()


def test_a_newer_schema_is_refused(book):
    book.store.close()
    with sqlite3.connect(book.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(LocalError, match="unknown to this version"):
        book.start()
    with sqlite3.connect(book.path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '0001'")
    connection.close()
    book.start()


def test_a_full_disk_is_said_and_nothing_is_half_done(book):
    before = book.state()
    with book.store.database.driver("BEGIN") as driver:  # the connection that the book is written over
        pages = driver.execute("PRAGMA page_count").fetchone()[0]
        driver.execute(f"PRAGMA max_page_count={pages}")
    orders = [book.sign("bank", Issue, book.alice.did, 1, f"fill {n}").envelope for n in range(100)]
    with pytest.raises(LocalError, match="full"):
        book.ledger.submit_many(orders)
    assert book.state() == before
    with book.store.database.driver("BEGIN") as driver:
        driver.execute("PRAGMA max_page_count=1073741823")
    assert all(answer.payload_type.endswith("posted.v1+protobuf") for answer in book.ledger.submit_many(orders))
