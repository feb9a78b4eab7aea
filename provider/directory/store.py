"""Where a directory's documents lie. Rule: one row for each place, and its sequence never falls.

Nothing here is precious: what is lost is published again within minutes. So commits are not waited for (`NORMAL`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, bindparam, func, select, update
from sqlalchemy.dialects.sqlite import dialect, insert

from gpufair.protocol.addresses import Reach
from gpufair.protocol.edge.sqlite import open_database
from gpufair.provider.directory.documents import Held, Kind

_TABLE = Table(
    "documents",
    MetaData(),
    Column("place", LargeBinary, primary_key=True),
    Column("kind", BigInteger),
    Column("did", String),
    Column("sequence", BigInteger),
    Column("id", LargeBinary),
    Column("expires_at_ms", BigInteger),
    Column("source", String),
    Column("heard", BigInteger),
    Column("since_ms", BigInteger),
    Column("envelope", LargeBinary),
)
_C = _TABLE.c
_NAMES = [column.name for column in _TABLE.columns]
_SETTLED = ("place", "kind", "did")
"""What one place always has: written once, the index of what is shown need not be told of it again."""


def _put() -> str:
    """Write a row over what is at its place, as text: SQLAlchemy would take longer over each of a thousand rows."""
    statement = insert(_TABLE).values({name: bindparam(name) for name in _NAMES})
    changed = {name: statement.excluded[name] for name in _NAMES if name not in _SETTLED}
    return str(statement.on_conflict_do_update(index_elements=[_C.place], set_=changed).compile(dialect=dialect()))


def _row(held: Held, data: bytes) -> tuple[bytes | int | str, ...]:
    """A document in the order of the columns. Plain integers: the driver takes long to see what an enum's member is."""
    return (
        held.place, int(held.kind), held.did, held.sequence, held.id, held.expires_at_ms, held.source, int(held.heard),
        held.since_ms, data,
    )  # fmt: skip


_PUT = _put()
_GONE = "DELETE FROM documents WHERE place = ?"
_AT_A_TIME = 500
"""Places named in one statement."""


class Documents(Protocol):
    """What a directory needs of its store."""

    def all(self) -> Iterable[Held]:
        """Every row."""
        ...

    def write(self, puts: Sequence[tuple[Held, bytes]], gone: Sequence[bytes]) -> None:
        """Keep documents and forget places, together or not at all. A sequence that falls is a bug and raises."""
        ...

    def bury(self, places: Sequence[bytes]) -> None:
        """Drop the envelopes at these places, and keep their sequences."""
        ...

    def envelopes(self, places: Sequence[bytes]) -> dict[bytes, bytes]:
        """The envelopes that are kept at these places."""
        ...

    def page(
        self, kind: Kind, *, dids: tuple[str, ...], after: str, now_ms: int, count_max: int, bytes_max: int
    ) -> tuple[list[tuple[str, bytes]], bool]:
        """Live documents after a key, in the order of keys, within both bounds; and whether there are more.

        A document's key is its did, that of evidence its place in hexadecimal digits: one did may have several.
        """
        ...

    def close(self) -> None:
        """Let go of the file."""
        ...


class DirectoryStore:
    """The documents of one directory, in a file or (None) in memory."""

    def __init__(self, path: Path | None) -> None:
        self._database = open_database(path, "gpufair.provider.directory:migrations", synchronous="NORMAL")

    def all(self) -> Iterator[Held]:
        """See `Documents`."""
        columns = [column for column in _TABLE.columns if column.name != "envelope"]
        size = func.coalesce(func.length(_C.envelope), 0).label("size")
        with self._database.read() as connection, connection.execute(select(*columns, size)) as rows:
            for row in rows:
                values = dict(row._mapping)  # noqa: SLF001 - SQLAlchemy's public name for it
                yield Held(**values | {"kind": Kind(row.kind), "heard": Reach(row.heard)})

    def write(self, puts: Sequence[tuple[Held, bytes]], gone: Sequence[bytes]) -> None:
        """See `Documents`."""
        values = [_row(held, data) for held, data in puts]
        with self._database.driver("BEGIN IMMEDIATE") as driver:
            driver.executemany(_GONE, [(place,) for place in gone])
            driver.executemany(_PUT, values)

    def bury(self, places: Sequence[bytes]) -> None:
        """See `Documents`."""
        with self._database.write() as connection:
            for start in range(0, len(places), _AT_A_TIME):
                some = places[start : start + _AT_A_TIME]
                connection.execute(update(_TABLE).where(_C.place.in_(some)).values(envelope=None))

    def envelopes(self, places: Sequence[bytes]) -> dict[bytes, bytes]:
        """See `Documents`."""
        query = select(_C.place, _C.envelope).where(_C.place.in_(places), _C.envelope.is_not(None))
        with self._database.read() as connection:
            return {row.place: row.envelope for row in connection.execute(query)}

    def page(
        self, kind: Kind, *, dids: tuple[str, ...], after: str, now_ms: int, count_max: int, bytes_max: int
    ) -> tuple[list[tuple[str, bytes]], bool]:
        """See `Documents`."""
        key = func.lower(func.hex(_C.place)) if kind is Kind.EVIDENCE else _C.did
        query = select(key.label("key"), _C.envelope).where(
            _C.kind == kind, key > after, _C.envelope.is_not(None), _C.expires_at_ms > now_ms
        )
        if dids:
            query = query.where(_C.did.in_(dids))
        found: list[tuple[str, bytes]] = []
        size = 0
        with self._database.read() as connection, connection.execute(query.order_by(key)) as rows:
            for row in rows:
                size += len(row.envelope)
                if len(found) == count_max or (found and size > bytes_max):
                    return found, True
                found.append((row.key, row.envelope))
        return found, False

    def close(self) -> None:
        """See `Documents`."""
        self._database.close()
