"""Opening SQLite: transactions are whole, readers don't wait, memory is shared between threads, copies are complete."""

import sqlite3
import threading

import pytest
from alembic.config import Config
from alembic.script import ScriptDirectory

from gpufair.protocol.edge.sqlite import newest, open_database, restore
from gpufair.protocol.errors import Fault, LocalError

MIGRATIONS = "gpufair.provider.ledger:migrations"
ADD = "INSERT INTO accounts VALUES (?, 0, ?, 0)"


@pytest.fixture(params=["file", "memory"])
def database(request, tmp_path):
    opened = open_database(tmp_path / "deep" / "x.db" if request.param == "file" else None, MIGRATIONS)
    yield opened
    opened.close()


def count(database):
    with database.read() as connection:
        return connection.exec_driver_sql("SELECT count(*) FROM accounts").scalar()


def add(database, name, amount=1):
    with database.write() as connection:
        connection.exec_driver_sql(ADD, (name, amount))


def test_a_block_that_raises_leaves_nothing(database):
    def half():
        with database.write() as connection:
            connection.exec_driver_sql(ADD, ("a", 1))
            raise KeyError

    with pytest.raises(KeyError):
        half()
    assert count(database) == 0
    add(database, "a")
    assert count(database) == 1


def test_threads_share_it(database):
    threads = [threading.Thread(target=add, args=(database, f"did {n}")) for n in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert count(database) == 20


def test_a_broken_rule_is_a_local_error_that_names_the_database(database):
    with pytest.raises(LocalError, match="refuses a row") as caught:
        add(database, "a", -1)
    assert database.name in str(caught.value)
    assert caught.value.fault is Fault.INTERNAL


def test_each_database_in_memory_is_its_own():
    first, second = open_database(None, MIGRATIONS), open_database(None, MIGRATIONS)
    add(first, "a")
    assert (count(first), count(second)) == (1, 0)


def test_a_backup_is_complete_and_needs_no_log(database, tmp_path):
    add(database, "a")
    database.backup(tmp_path / "copy.db")
    assert sorted(path.name for path in tmp_path.iterdir() if path.is_file()) == ["copy.db"]
    with sqlite3.connect(tmp_path / "copy.db") as copy:
        assert copy.execute("SELECT did FROM accounts").fetchall() == [("a",)]


def test_a_backup_that_can_not_be_written_says_so(database, tmp_path):
    (tmp_path / "copy.db").mkdir()
    with pytest.raises((LocalError, OSError)):
        database.backup(tmp_path / "copy.db")


def test_a_reader_sees_one_state_while_a_writer_works(tmp_path):
    database = open_database(tmp_path / "x.db", MIGRATIONS)
    add(database, "a")
    with database.read() as reading:
        assert reading.exec_driver_sql("SELECT count(*) FROM accounts").scalar() == 1
        add(database, "b")
        assert reading.exec_driver_sql("SELECT count(*) FROM accounts").scalar() == 1
    assert count(database) == 2
    database.close()


def test_two_writers_take_turns_instead_of_failing(tmp_path):
    """BEGIN IMMEDIATE: with the driver's deferred BEGIN the second to write would fail at once, having read first."""
    database = open_database(tmp_path / "x.db", MIGRATIONS)
    add(database, "a", 0)

    def increment():
        for _ in range(20):
            with database.write() as connection:
                before = connection.exec_driver_sql("SELECT available FROM accounts").scalar()
                connection.exec_driver_sql("UPDATE accounts SET available = ?", (before + 1,))

    threads = [threading.Thread(target=increment) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT available FROM accounts").scalar() == 80
    database.close()


def test_restoring_over_nothing_makes_the_file(tmp_path):
    memory = open_database(None, MIGRATIONS)
    add(memory, "a")
    memory.backup(tmp_path / "copy.db")
    restore(tmp_path / "copy.db", tmp_path / "new.db")
    assert count(open_database(tmp_path / "new.db", MIGRATIONS)) == 1


def test_a_folder_in_the_place_of_the_file_is_an_error_that_names_it(tmp_path):
    (tmp_path / "x.db").mkdir()
    with pytest.raises(LocalError, match=r"x\.db"):
        open_database(tmp_path / "x.db", MIGRATIONS)


@pytest.mark.parametrize("room", ["provider.ledger", "provider.jobs", "provider.directory", "client.wallet"])
def test_the_newest_revision_is_the_one_that_alembic_would_go_to(room: str) -> None:
    migrations = f"gpufair.{room}:migrations"
    config = Config()
    config.set_main_option("script_location", migrations)
    assert newest(migrations) == ScriptDirectory.from_config(config).get_current_head()
