"""The book's statements as text. Rule: what runs for every order is written once, and the driver alone runs it.

Building a statement with SQLAlchemy, and its rows, cost several times what SQLite needs for the work itself. Values go
in, and rows come out, in the order of the table's columns.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Protocol

import sqlalchemy as sa

from gpufair.protocol import limits
from gpufair.provider.ledger import tables as t

WIDTH = limits.LEDGER_BATCH
"""Values that one statement looks for. Places left over hold NULL, which equals nothing."""


class Cursor(Protocol):
    """What came of a statement."""

    def fetchone(self) -> Any:
        """The next row, or None."""
        ...


class Run(Protocol):
    """Runs a statement: the driver's `execute`, or SQLAlchemy's `exec_driver_sql`."""

    def __call__(self, statement: str, values: tuple[Any, ...] = (), /) -> Cursor:
        """What came of `statement` with these values."""
        ...


def _columns(table: sa.Table) -> str:
    return ", ".join(f'"{column.name}"' for column in table.columns)


def _these(table: sa.Table, column: str) -> str:
    return f'{_all(table)} WHERE "{column}" IN ({", ".join("?" * WIDTH)})'


def _all(table: sa.Table) -> str:
    return f"SELECT {_columns(table)} FROM {table.name}"  # noqa: S608 -- names of our own tables


def _add(table: sa.Table, otherwise: str = "") -> str:
    places = ", ".join("?" * len(table.columns))
    return f"INSERT INTO {table.name} ({_columns(table)}) VALUES ({places}){otherwise}"  # noqa: S608 -- as above


def _save(table: sa.Table, *changed: str) -> str:
    key = ", ".join(column.name for column in table.primary_key.columns)
    values = ", ".join(f"{name} = excluded.{name}" for name in changed)
    return _add(table, f" ON CONFLICT ({key}) DO UPDATE SET {values}")


NEWEST = "SELECT sequence, hash, at_ms FROM events ORDER BY sequence DESC LIMIT 1"
ACCOUNT = f"{_all(t.accounts)} WHERE did = ?"
HOLD = f"{_all(t.holds)} WHERE lease = ?"
REFERENCE = "SELECT sequence FROM outside WHERE kind = ? AND reference = ?"
REQUEST = "SELECT sequence FROM requests WHERE id = ? AND signer = ?"
DUE = "SELECT lease FROM holds WHERE closed = 0 AND expires_at_ms <= ? ORDER BY expires_at_ms LIMIT ?"
FORGET = "DELETE FROM requests WHERE sequence IS NULL AND forget_at_ms < ?"

THESE_REQUESTS = _these(t.requests, "id")
THESE_HOLDS = _these(t.holds, "lease")
THESE_ACCOUNTS = _these(t.accounts, "did")

SAVE_ACCOUNT = _save(t.accounts, "issued", "available", "held")
SAVE_HOLD = _save(t.holds, "captured", "released", "closed")
ADD = {table.name: _add(table) for table in (t.events, t.postings, t.keys, t.outside, t.requests)}
"""One row more of each table that only grows (but for requests that moved nothing), parents before children."""
# A key that an earlier capture showed is known already; for every other table a second row is a bug.
ADD["keys"] += " ON CONFLICT DO NOTHING"


def these(driver: Any, statement: str, values: Iterable[Any]) -> Iterator[tuple[Any, ...]]:
    """The rows of a `THESE_…` statement, for any number of values."""
    wanted = tuple(values)
    for at in range(0, len(wanted), WIDTH):
        part = wanted[at : at + WIDTH]
        yield from driver.execute(statement, part + (None,) * (WIDTH - len(part)))
