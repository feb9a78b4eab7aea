"""Where a directory's documents lie. Rule: one row for each identity and kind, and its sequence never falls.

Nothing here is precious: what is lost is published again within minutes. So commits are not waited for (`NORMAL`).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from sqlalchemy import BigInteger, Column, LargeBinary, MetaData, String, Table, delete, func, select, update
from sqlalchemy.dialects.sqlite import insert

from gpufair.protocol.edge.sqlite import open_database

_TABLE = Table(
    "documents",
    MetaData(),
    Column("kind", BigInteger, primary_key=True),
    Column("did", String, primary_key=True),
    Column("sequence", BigInteger),
    Column("id", LargeBinary),
    Column("expires_at_ms", BigInteger),
    Column("envelope", LargeBinary),
)
_C = _TABLE.c
_SIZE = func.coalesce(func.sum(func.length(_C.envelope)), 0)


class Kind(IntEnum):
    """What sort of document."""

    RECORD = 1
    OFFER = 2


@dataclass(frozen=True, slots=True)
class Entry:
    """A document as it is kept; `envelope` holds the wire bytes, None once it has expired."""

    kind: Kind
    did: str
    sequence: int
    id: bytes
    expires_at_ms: int
    envelope: bytes | None


class DirectoryStore:
    """The documents of one directory, in a file or (None) in memory."""

    def __init__(self, path: Path | None) -> None:
        self._database = open_database(path, "gpufair.provider.directory:migrations", synchronous="NORMAL")
        with self._database.read() as connection:
            self._count, self._bytes = connection.execute(select(func.count(), _SIZE).select_from(_TABLE)).one()

    @property
    def count(self) -> int:
        """Rows, those of expired documents included."""
        return int(self._count)

    @property
    def bytes(self) -> int:
        """Bytes of the envelopes that are kept."""
        return int(self._bytes)

    def get(self, kind: Kind, did: str) -> Entry | None:
        """What is held, or was held last, for an identity."""
        with self._database.read() as connection:
            row = connection.execute(select(_TABLE).where(_C.kind == kind, _C.did == did)).one_or_none()
        return None if row is None else Entry(Kind(row.kind), *row[1:])

    def put(self, entry: Entry) -> None:
        """Keep a document in the place of the one that its identity had. A sequence that falls is a bug and raises."""
        had = self.get(entry.kind, entry.did)
        values = {column.name: getattr(entry, column.name) for column in _TABLE.columns}
        statement = insert(_TABLE).values(values)
        changed = {name: statement.excluded[name] for name in ("sequence", "id", "expires_at_ms", "envelope")}
        with self._database.write() as connection:
            connection.execute(statement.on_conflict_do_update(index_elements=[_C.kind, _C.did], set_=changed))
        self._count += had is None
        self._bytes += len(entry.envelope or b"") - len((had and had.envelope) or b"")

    def page(
        self, kind: Kind, *, dids: tuple[str, ...], after: str, now_ms: int, count_max: int, bytes_max: int
    ) -> tuple[list[Entry], bool]:
        """Live documents after a did, in the order of dids, within both bounds; and whether there are more."""
        query = select(_TABLE).where(
            _C.kind == kind, _C.did > after, _C.envelope.is_not(None), _C.expires_at_ms > now_ms
        )
        if dids:
            query = query.where(_C.did.in_(dids))
        found: list[Entry] = []
        size = 0
        with self._database.read() as connection, connection.execute(query.order_by(_C.did)) as rows:
            for row in rows:
                size += len(row.envelope)
                if len(found) == count_max or (found and size > bytes_max):
                    return found, True
                found.append(Entry(Kind(row.kind), *row[1:]))
        return found, False

    def bury(self, before_ms: int) -> int:
        """Drop the envelopes that expired before a time, and keep their sequences. How many there were."""
        dead = (_C.expires_at_ms < before_ms, _C.envelope.is_not(None))
        with self._database.write() as connection:
            freed = connection.execute(select(_SIZE).where(*dead)).scalar_one()
            buried = connection.execute(update(_TABLE).where(*dead).values(envelope=None)).rowcount
        self._bytes -= freed
        return buried

    def forget(self, before_ms: int, count: int) -> int:
        """Forget up to `count` rows whose documents expired before a time, oldest first. How many there were."""
        oldest = (
            select(_C.kind, _C.did)
            .where(_C.expires_at_ms < before_ms, _C.envelope.is_(None))
            .order_by(_C.expires_at_ms)
            .limit(count)
        )
        with self._database.write() as connection:
            keys = connection.execute(oldest).all()
            for kind, did in keys:
                connection.execute(delete(_TABLE).where(_C.kind == kind, _C.did == did))
        self._count -= len(keys)
        return len(keys)

    def close(self) -> None:
        """Let go of the file."""
        self._database.close()
