"""Opening SQLite. Rule: what was committed is on disk, and a damaged file is a named error, never a wrong answer.

Write-ahead log, `synchronous=FULL`, foreign keys on, explicit `BEGIN IMMEDIATE` (the driver's own implicit BEGIN is
deferred and comes too late). The schema is an Alembic folder inside a package, so that it travels in the wheel.
"""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.pool import QueuePool, StaticPool

from gpufair.protocol.errors import Fault, LocalError

BUSY_MS = 5_000
"""How long a statement waits for another process (a backup tool, a curious owner) that holds the file."""

LOG_BYTES = 4_300_000
"""The write-ahead log between two checkpoints: SQLite begins one after 1000 pages."""

_READ = "gpufair_read"


class Database:
    """One SQLite file (or one in memory, for simulators), ready for use; thread-safe.

    `write` and `read` give a connection inside one transaction. Any failure of the file itself comes out as LocalError.
    """

    def __init__(self, engine: sa.Engine, path: Path | None, synchronous: str = "FULL") -> None:
        self._engine = engine
        self._synchronous = synchronous
        self._shared = threading.RLock() if path is None else None
        self._spare: list[sa.PoolProxiedConnection] = []
        self.dialect = engine.dialect
        self.path = path

    @property
    def name(self) -> str:
        """The file, for messages."""
        return str(self.path) if self.path is not None else "the database in memory"

    @contextlib.contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A connection inside BEGIN IMMEDIATE: committed, and on disk, when the block ends without an exception."""
        with self._guard(), self._engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A connection that sees one consistent state and never waits for a writer."""
        with self._guard(), self._engine.connect() as connection:
            reader = connection.execution_options(**{_READ: True})
            with reader.begin():
                yield reader

    @contextlib.contextmanager
    def driver(self, begin: str, *, lasting: bool = True) -> Iterator[Any]:
        """The driver's own connection in a transaction, at a tenth of the price: for statements that are text already.

        Not `lasting`: committed, but on disk only with the next transaction that is. The end of this process changes
        nothing about it; a power cut undoes it, with all that came after it.
        """
        waits = lasting or self.path is None
        with self._guard():
            held = self._spare.pop() if self._spare else self._engine.raw_connection()
            raw: Any = held.dbapi_connection
            try:
                if not waits:
                    raw.execute("PRAGMA synchronous=NORMAL")
                raw.execute(begin)
                yield raw
                raw.execute("COMMIT")
            finally:
                if raw.in_transaction:
                    raw.execute("ROLLBACK")
                if not waits:
                    raw.execute(f"PRAGMA synchronous={self._synchronous}")
                self._spare.append(held)

    def check(self) -> None:
        """SQLite's own integrity check and the foreign keys. Raises LocalError for a damaged file."""
        with self.read() as connection:
            result = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check(5)")]
            orphans = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if result != ["ok"] or orphans is not None:
            raise damaged(self.name, "; ".join(result) if result != ["ok"] else "a row points to one that is missing")

    def backup(self, target: Path) -> None:
        """Copy the database as it is now to `target`, while it is in use. Raises LocalError; leaves no half file."""
        part = target.with_name(target.name + ".part")
        target.parent.mkdir(parents=True, exist_ok=True)
        with self._guard(), self._engine.connect() as connection:
            source: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
            _copy(source, part)
        part.replace(target)

    def close(self) -> None:
        """Give the file back; the log is folded into it."""
        while self._spare:
            self._spare.pop().close()
        self._engine.dispose()

    @contextlib.contextmanager
    def _guard(self) -> Iterator[None]:
        with self._shared or contextlib.nullcontext(), translated(self.name):
            yield


def open_database(
    path: Path | None, migrations: str, *, synchronous: str = "FULL", stays_open: bool = False
) -> Database:
    """Open `path` (None: in memory), bring its schema up to date, and check it.

    `migrations` names an Alembic folder in a package: `gpufair.provider.ledger:migrations`. Before an existing file is
    migrated it is backed up beside itself. For one that stays open the write-ahead log gets its full length now: a
    commit that need not make the file longer waits for the disk half as long. Raises LocalError for a damaged, newer
    or unreachable file.
    """
    if path is None:
        return Database(_memory_engine(migrations), None)
    path.parent.mkdir(parents=True, exist_ok=True)
    is_new = not path.exists() or path.stat().st_size == 0
    database = Database(_file_engine(path, synchronous), path, synchronous)
    try:
        if not is_new:
            database.check()
        _upgrade(database, migrations, is_new=is_new)
        if stays_open:
            _lengthen_log(database)
    except BaseException:
        database.close()
        raise
    return database


def restore(backup: Path, target: Path) -> None:
    """Put a backup in the place of `target`, whose node must be stopped; the old files are kept as `*.replaced`.

    Raises LocalError if the backup itself is damaged: then nothing is touched.
    """
    if not backup.is_file():
        raise LocalError(Fault.UNKNOWN, f"there is no backup {backup}")
    part = target.with_name(target.name + ".part")
    with translated(str(backup)), contextlib.closing(sqlite3.connect(backup)) as source:
        if source.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            raise damaged(str(backup), "its integrity check fails")
        _copy(source, part)
    for suffix in ("", "-wal", "-shm"):
        old = target.with_name(target.name + suffix)
        if old.exists():
            old.replace(target.with_name(f"{target.name}{suffix}.replaced"))
    part.replace(target)


def damaged(name: str, why: str) -> LocalError:
    """The error for a database that can't be believed."""
    hint = "stop the node, keep the file, and restore the newest backup"
    return LocalError(Fault.INTERNAL, f"{name} is damaged ({why})", hint=hint)


@contextlib.contextmanager
def translated(name: str) -> Iterator[None]:
    """Turn the driver's errors into LocalErrors that name the file and say what to do."""
    try:
        yield
    except (sa.exc.DBAPIError, sqlite3.Error) as error:
        cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
        text = str(cause)
        if isinstance(cause, sqlite3.IntegrityError):
            raise LocalError(Fault.INTERNAL, f"{name} refuses a row that breaks its rules ({text})") from error
        if "malformed" in text or "not a database" in text or "corrupt" in text:
            raise damaged(name, text) from error
        hint = "check the disk's free space and rights, and that no other process holds the file"
        raise LocalError(Fault.UNAVAILABLE, f"{name} can't be used ({text})", hint=hint) from error


def _file_engine(path: Path, synchronous: str) -> sa.Engine:
    url = sa.URL.create("sqlite", database=str(path))
    engine = sa.create_engine(url, poolclass=QueuePool, pool_size=8, connect_args={"check_same_thread": False})

    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        pragmas = ("journal_mode=WAL", f"synchronous={synchronous}", "foreign_keys=ON", f"busy_timeout={BUSY_MS}")
        for pragma in pragmas:
            connection.execute(f"PRAGMA {pragma}")

    return _with_events(engine, prepare)


def _memory_engine(migrations: str) -> sa.Engine:
    image = _empty_image(migrations)

    def connect() -> sqlite3.Connection:
        connection = sqlite3.connect(":memory:", check_same_thread=False)
        connection.deserialize(image)
        return connection

    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None
        connection.execute("PRAGMA foreign_keys=ON")

    engine = sa.create_engine("sqlite://", creator=connect, poolclass=StaticPool)
    return _with_events(engine, prepare)


def _with_events(engine: sa.Engine, prepare: Any) -> sa.Engine:
    def begin(connection: sa.Connection) -> None:
        reading = connection.get_execution_options().get(_READ, False)
        connection.exec_driver_sql("BEGIN" if reading else "BEGIN IMMEDIATE")

    sa.event.listen(engine, "connect", prepare)
    sa.event.listen(engine, "begin", begin)
    return engine


def _lengthen_log(database: Database) -> None:
    """Make the log's file as long as it gets between two checkpoints, by a large transaction that is undone.

    With a small cache SQLite writes the pages of an unfinished transaction to the log. Nothing of them counts.
    """
    with database.read() as connection:
        raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        connection.commit()
        pages = raw.execute("PRAGMA cache_size").fetchone()[0]
        try:
            raw.execute("PRAGMA cache_size=8")
            raw.execute("BEGIN IMMEDIATE")
            raw.execute("CREATE TABLE log_filler (filler BLOB)")
            raw.execute("INSERT INTO log_filler VALUES (zeroblob(?))", (LOG_BYTES,))
        finally:
            if raw.in_transaction:
                raw.execute("ROLLBACK")
            raw.execute(f"PRAGMA cache_size={pages}")


def _upgrade(database: Database, migrations: str, *, is_new: bool) -> None:
    """Bring the schema up to date. Alembic is loaded only where there is something to do: that takes a while."""
    head = newest(migrations)
    with database.read() as connection:
        if sa.inspect(connection).has_table("alembic_version"):
            current = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
            if current == head:
                return
    if not is_new and database.path is not None:
        database.backup(database.path.with_name(f"{database.path.name}.before-{head}"))
    from gpufair.protocol.edge import migrate

    with database.write() as connection:
        migrate.upgrade(connection, migrations, database.name)


@cache
def newest(migrations: str) -> str:
    """The newest revision in a migrations folder: files there are named after their revisions, which sort in order."""
    package, _, folder = migrations.partition(":")
    names = [entry.name for entry in (files(package) / folder / "versions").iterdir() if entry.name.endswith(".py")]
    return max(names).partition("_")[0]


@cache
def _empty_image(migrations: str) -> bytes:
    """The bytes of a freshly migrated database: made once, so that a simulator opens hundreds in no time."""
    engine = sa.create_engine("sqlite://", poolclass=StaticPool, connect_args={"check_same_thread": False})

    def prepare(connection: sqlite3.Connection, _record: Any) -> None:
        connection.isolation_level = None

    database = Database(_with_events(engine, prepare), None)
    _upgrade(database, migrations, is_new=True)
    with database.read() as connection:
        raw: sqlite3.Connection = connection.connection.dbapi_connection  # type: ignore[assignment]
        connection.commit()
        image = raw.serialize()
    database.close()
    return image


def _copy(source: sqlite3.Connection, part: Path) -> None:
    part.unlink(missing_ok=True)
    try:
        with contextlib.closing(sqlite3.connect(part)) as copy:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode=DELETE")
    except BaseException:
        part.unlink(missing_ok=True)
        raise
