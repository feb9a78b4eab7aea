"""Frozen dataclasses in tables of the same shape. Rule: a row's fields are columns of its table, by the same names.

Both sides keep their leases this way: the provider's job store and the client's wallet. Transactions are `BEGIN
IMMEDIATE` (see `sqlite`); nothing is sent before the transaction that says so has been committed. A second dataclass
with fewer fields may read the same table: it leaves the large columns on disk.

Statements are built and compiled once a shape and then run as text by the driver, inside SQLAlchemy's transaction:
building them, and SQLAlchemy's result objects, cost several times what SQLite does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any, ParamSpec, TypeVar, cast

from sqlalchemy import Column, Dialect, Table, bindparam, delete, func, insert, select, text, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gpufair.protocol.edge.sqlite import Database

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

Fault = Callable[[str], None]
"""Called at each persistence point with its name; a simulator raises from it to crash there."""

_Shape = tuple[tuple[str, int], ...]
"""Columns that are compared, each with the number of values it may have (-1: exactly one value, by `=`)."""


def no_fault(_point: str) -> None:
    """The fault of real life: none that we plan."""


@dataclass(frozen=True, slots=True)
class Summary:
    """What a column of whole numbers adds up to: how many rows, their sum, the largest (0 where there is none)."""

    count: int
    total: int
    highest: int


class Rows:
    """Typed reads and writes inside one transaction."""

    def __init__(self, driver: Any, dialect: Dialect, tables: Mapping[type[Any], Table]) -> None:
        self._driver = driver
        self._dialect = dialect
        self._tables = tables

    def get(self, kind: type[R], /, **where: object) -> R | None:
        """The one row that fits, or None."""
        found = self._select(kind, where, None)
        return found[0] if found else None

    def all(self, kind: type[R], /, *, order: str | None = None, **where: object) -> list[R]:
        """Every row that fits; a tuple or set as a value means any of its members."""
        return self._select(kind, where, order)

    def summary(self, kind: type[Any], column: str, /, **where: object) -> Summary:
        """A column of the rows that fit, added up by the database: for rows too many to look at each."""
        shape, parameters = _shaped(where)
        statement = _summary(self._dialect, self._tables[kind], column, shape)
        return Summary(*self._run(statement, parameters).fetchone())

    def insert(self, row: object) -> None:
        """Add a row. A row with the same key is a bug, and the database says so."""
        self._write(_insert(self._dialect, self._tables[type(row)], type(row)), row)

    def save(self, row: object) -> None:
        """Add a row or replace the one with the same key."""
        self._write(_save(self._dialect, self._tables[type(row)], type(row)), row)

    def change(self, kind: type[Any], where: Mapping[str, object], /, **values: object) -> int:
        """Set some columns of the rows that fit; how many there were."""
        shape, parameters = _shaped(where)
        statement = _update(self._dialect, self._tables[kind], tuple(values), shape)
        return int(self._run(statement, (*values.values(), *parameters)).rowcount)

    def delete(self, kind: type[Any], /, **where: object) -> int:
        """Remove the rows that fit; how many there were."""
        shape, parameters = _shaped(where)
        return int(self._run(_delete(self._dialect, self._tables[kind], shape), parameters).rowcount)

    def delete_below(self, kind: type[Any], column: str, value: int, /, **where: object) -> int:
        """Remove the rows that fit and whose `column` is less than `value`; how many there were."""
        shape, parameters = _shaped(where)
        statement = _delete_below(self._dialect, self._tables[kind], column, shape)
        return int(self._run(statement, (value, *parameters)).rowcount)

    def _select(self, kind: type[R], where: Mapping[str, object], order: str | None) -> list[R]:
        shape, parameters = _shaped(where)
        cursor = self._run(_query(self._dialect, self._tables[kind], kind, shape, order), parameters)
        return [_made(kind, found) for found in cursor.fetchall()]

    def _write(self, statement: str, row: object) -> None:
        self._run(statement, tuple(getattr(row, name) for name in _names(type(row))))

    def _run(self, statement: str, parameters: tuple[Any, ...]) -> Any:
        return self._driver.cursor().execute(statement, parameters)


class RowStore:
    """A database of such rows. One writer: callers run on one thread."""

    def __init__(self, database: Database, tables: Mapping[type[Any], Table], fault: Fault = no_fault) -> None:
        self._database = database
        self._tables = tables
        self._fault = fault

    @contextmanager
    def begin(self) -> Iterator[Rows]:
        """One transaction that may write: its changes are on disk when the block ends well, undone when it raises."""
        with self._database.driver("BEGIN IMMEDIATE") as driver:
            yield self._rows(driver)
            self._fault("before commit")
        self._fault("after commit")

    @contextmanager
    def note(self) -> Iterator[Rows]:
        """A transaction that a power cut may undo, up to the next `begin`: for what nobody was told on its strength."""
        with self._database.driver("BEGIN IMMEDIATE", lasting=False) as driver:
            yield self._rows(driver)
            self._fault("before commit")
        self._fault("after commit")

    @contextmanager
    def read(self) -> Iterator[Rows]:
        """One transaction that only reads."""
        with self._database.driver("BEGIN") as driver:
            yield self._rows(driver)

    def close(self) -> None:
        """Let go of the database file."""
        self._database.close()

    def _rows(self, driver: Any) -> Rows:
        return Rows(driver, self._database.dialect, self._tables)


def _remembered(function: Callable[P, T]) -> Callable[P, T]:
    """The shapes of statements are few: each is worked out once."""
    return cast("Callable[P, T]", lru_cache(maxsize=1024)(function))


# --- values ----------------------------------------------------------------------------------------------------------


@_remembered
def _names(kind: type[Any]) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind))


@_remembered
def _truths(kind: type[Any]) -> tuple[int, ...]:
    """The places of truth values, which SQLite has as 0 and 1."""
    return tuple(place for place, field in enumerate(fields(kind)) if field.type in ("bool", bool))


def _made(kind: type[R], found: Any) -> R:
    truths = _truths(kind)
    if not truths:
        return kind(*found)
    values = list(found)
    for place in truths:
        values[place] = bool(values[place])
    return kind(*values)


def _shaped(where: Mapping[str, object]) -> tuple[_Shape, tuple[Any, ...]]:
    shape: list[tuple[str, int]] = []
    parameters: list[Any] = []
    for name, value in where.items():
        if isinstance(value, (tuple, set, frozenset)):
            shape.append((name, len(value)))
            parameters += value
        else:
            shape.append((name, -1))
            parameters.append(value)
    return tuple(shape), tuple(parameters)


# --- statements ------------------------------------------------------------------------------------------------------


def _conditions(table: Table, shape: _Shape) -> list[Any]:
    return [_condition(table.c[name], count) for name, count in shape]


def _condition(column: Column[Any], count: int) -> Any:
    if count == 0:
        return text("0 = 1")  # `false()` would swallow the other conditions, and their values would be left over
    if count < 0:
        return column == bindparam(f"is_{column.name}")
    return column.in_([bindparam(f"in_{column.name}_{place}") for place in range(count)])


@_remembered
def _query(dialect: Dialect, table: Table, kind: type[Any], shape: _Shape, order: str | None) -> str:
    query = select(*(table.c[name] for name in _names(kind))).where(*_conditions(table, shape))
    return _text(query if order is None else query.order_by(table.c[order]), dialect)


@_remembered
def _summary(dialect: Dialect, table: Table, column: str, shape: _Shape) -> str:
    values = table.c[column]
    found = (func.count(values), func.coalesce(func.sum(values), text("0")), func.coalesce(func.max(values), text("0")))
    return _text(select(*found).where(*_conditions(table, shape)), dialect)


@_remembered
def _update(dialect: Dialect, table: Table, names: tuple[str, ...], shape: _Shape) -> str:
    # The values come in this order, so the columns must: SQLAlchemy's own is that of the table.
    changed: list[tuple[Any, Any]] = [(table.c[name], bindparam(f"to_{name}")) for name in names]
    return _text(update(table).where(*_conditions(table, shape)).ordered_values(*changed), dialect)


@_remembered
def _delete_below(dialect: Dialect, table: Table, column: str, shape: _Shape) -> str:
    return _text(delete(table).where(table.c[column] < bindparam("value"), *_conditions(table, shape)), dialect)


@_remembered
def _delete(dialect: Dialect, table: Table, shape: _Shape) -> str:
    return _text(delete(table).where(*_conditions(table, shape)), dialect)


@_remembered
def _insert(dialect: Dialect, table: Table, kind: type[Any]) -> str:
    return _text(insert(table).values({name: bindparam(name) for name in _whole(table, kind)}), dialect)


@_remembered
def _save(dialect: Dialect, table: Table, kind: type[Any]) -> str:
    statement = upsert(table).values({name: bindparam(name) for name in _whole(table, kind)})
    changed = {c.name: statement.excluded[c.name] for c in table.columns if not c.primary_key}
    keys = cast("list[Column[Any]]", list(table.primary_key.columns))
    return _text(statement.on_conflict_do_update(index_elements=keys, set_=changed), dialect)


def _whole(table: Table, kind: type[Any]) -> tuple[str, ...]:
    """The columns of a row that is written: all of them, in the table's order, which is that of the row's values."""
    names = _names(kind)
    if names != tuple(column.name for column in table.columns):
        raise TypeError(f"{kind.__name__} is not the whole of a row of {table.name}")
    return names


def _text(statement: Any, dialect: Dialect) -> str:
    return str(statement.compile(dialect=dialect))
