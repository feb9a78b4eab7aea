"""What waits for the disk and what need not: transactions that are only noted, and the log at its full length."""

import subprocess
import sys

import pytest

from gpufair.protocol.edge.sqlite import open_database

MIGRATIONS = "gpufair.provider.jobs:migrations"


def synchronous(connection):
    return connection.execute("PRAGMA synchronous").fetchone()[0]


def counters(database):
    with database.read() as connection:
        return connection.exec_driver_sql("SELECT name, value FROM counters ORDER BY name").all()


@pytest.fixture
def database(tmp_path):
    opened = open_database(tmp_path / "store.db", MIGRATIONS, stays_open=True)
    yield opened
    opened.close()


def test_a_noted_transaction_does_not_wait_for_the_disk_and_the_next_one_does(database):
    with database.driver("BEGIN IMMEDIATE", lasting=False) as connection:
        assert synchronous(connection) == 1
        connection.execute("INSERT INTO counters VALUES ('noted', 1)")
    with database.driver("BEGIN IMMEDIATE") as connection:
        assert synchronous(connection) == 2
    assert counters(database) == [("noted", 1)]


def test_a_noted_transaction_that_fails_is_undone_and_waiting_is_back(database):
    def fail():
        with database.driver("BEGIN IMMEDIATE", lasting=False) as connection:
            connection.execute("INSERT INTO counters VALUES ('noted', 1)")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    with database.driver("BEGIN IMMEDIATE") as connection:
        assert synchronous(connection) == 2
    assert counters(database) == []


def test_what_was_noted_outlives_the_end_of_the_process(tmp_path):
    script = f"""
import os
from pathlib import Path
from gpufair.protocol.edge.sqlite import open_database
database = open_database(Path({str(tmp_path / "store.db")!r}), {MIGRATIONS!r})
with database.driver("BEGIN IMMEDIATE", lasting=False) as connection:
    connection.execute("INSERT INTO counters VALUES ('noted', 1)")
os.kill(os.getpid(), 9)
"""
    subprocess.run([sys.executable, "-c", script], check=False, timeout=60)
    again = open_database(tmp_path / "store.db", MIGRATIONS)
    assert counters(again) == [("noted", 1)]
    again.close()


def test_the_log_of_a_database_that_stays_open_has_its_length_at_once(database, tmp_path):
    log = tmp_path / "store.db-wal"
    before = log.stat().st_size
    assert before > 4_000_000
    for number in range(2000):
        with database.driver("BEGIN IMMEDIATE", lasting=False) as connection:
            connection.execute("INSERT INTO counters VALUES (?, 1)", (f"counter {number}",))
    assert log.stat().st_size <= before * 1.05
    database.check()
    assert len(counters(database)) == 2000


def test_lengthening_the_log_again_keeps_what_is_in_it(tmp_path):
    first = open_database(tmp_path / "store.db", MIGRATIONS, stays_open=True)
    with first.write() as connection:
        connection.exec_driver_sql("INSERT INTO counters VALUES ('kept', 1)")
    second = open_database(tmp_path / "store.db", MIGRATIONS, stays_open=True)
    assert counters(second) == [("kept", 1)]
    second.check()
    second.close()
    first.close()
