"""Frozen dataclasses in tables of the same shape. Rule: a row's fields are its table's columns.

Both sides keep their leases this way: the provider's job store and the client's wallet. Transactions are `BEGIN
IMMEDIATE` (see `sqlite`); nothing is sent before the transaction that says so has been committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from typing import Any, TypeVar, cast

from sqlalchemy import Column, Connection, Select, Table, insert, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gpufair.protocol.edge.sqlite import Database

R = TypeVar("R")

Fault = Callable[[str], None]
"""Called at each persistence point with its name; a simulator raises from it to crash there."""


def no_fault(_point: str) -> None:
    """The fault of real life: none that we plan."""


class Rows:
    """Typed reads and writes inside one transaction."""

    def __init__(self, connection: Connection, tables: Mapping[type[Any], Table]) -> None:
        self._connection = connection
        self._tables = tables

    def get(self, kind: type[R], /, **where: object) -> R | None:
        """The one row that fits, or None."""
        found = self._connection.execute(self._query(kind, where)).mappings().first()
        return None if found is None else kind(**found)

    def all(self, kind: type[R], /, *, order: str | None = None, **where: object) -> list[R]:
        """Every row that fits; a tuple or set as a value means any of its members."""
        query = self._query(kind, where)
        if order is not None:
            query = query.order_by(self._tables[kind].c[order])
        return [kind(**found) for found in self._connection.execute(query).mappings()]

    def insert(self, row: object) -> None:
        """Add a row. A row with the same key is a bug, and the database says so."""
        self._connection.execute(insert(self._tables[type(row)]), _values(row))

    def save(self, row: object) -> None:
        """Add a row or replace the one with the same key."""
        table = self._tables[type(row)]
        statement = upsert(table)
        changed = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
        keys = cast("list[Column[Any]]", list(table.primary_key.columns))
        self._connection.execute(statement.on_conflict_do_update(index_elements=keys, set_=changed), _values(row))

    def change(self, kind: type[Any], where: Mapping[str, object], **values: object) -> int:
        """Set some columns of the rows that fit; how many there were."""
        table = self._tables[kind]
        statement = update(table).where(*_conditions(table, where)).values(**values)
        return self._connection.execute(statement).rowcount

    def _query(self, kind: type[Any], where: Mapping[str, object]) -> Select[Any]:
        table = self._tables[kind]
        columns = [table.c[field.name] for field in fields(kind)]
        return select(*columns).where(*_conditions(table, where))


def _conditions(table: Table, where: Mapping[str, object]) -> list[Any]:
    return [
        table.c[name].in_(list(value)) if isinstance(value, (tuple, set, frozenset)) else table.c[name] == value
        for name, value in where.items()
    ]


def _values(row: object) -> dict[str, Any]:
    return asdict(row)  # type: ignore[call-overload,no-any-return]  # rows are dataclasses; `object` keeps callers free


class RowStore:
    """A database of such rows. One writer: callers run on one thread."""

    def __init__(self, database: Database, tables: Mapping[type[Any], Table], fault: Fault = no_fault) -> None:
        self._database = database
        self._tables = tables
        self._fault = fault

    @contextmanager
    def begin(self) -> Iterator[Rows]:
        """One transaction that may write: on disk when the block ends well, undone when it raises."""
        with self._database.write() as connection:
            yield Rows(connection, self._tables)
            self._fault("before commit")
        self._fault("after commit")

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """One transaction that only reads."""
        with self._database.read() as connection:
            yield Rows(connection, self._tables)

    def close(self) -> None:
        """Let go of the database file."""
        self._database.close()
