"""One transaction of the book. Rule: what an order changes is seen by the next one, and all of it is committed or none.

Rows are read when they are first needed (or ahead of time, for all the orders of a batch at once), changed in memory,
and written in a handful of statements at the end: that is what makes one commit of many orders cheap.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.sqlite import insert

from gpufair.protocol import book, journal, wire
from gpufair.protocol.book import Funds, HoldRow
from gpufair.protocol.messages import Event, EventKind
from gpufair.provider.ledger import tables as t

_UPSERT_ACCOUNT = insert(t.accounts)
_UPSERT_ACCOUNT = _UPSERT_ACCOUNT.on_conflict_do_update(
    index_elements=["did"], set_={n: _UPSERT_ACCOUNT.excluded[n] for n in ("issued", "available", "held")}
)
_UPSERT_HOLD = insert(t.holds)
_UPSERT_HOLD = _UPSERT_HOLD.on_conflict_do_update(
    index_elements=["lease"], set_={n: _UPSERT_HOLD.excluded[n] for n in ("captured", "released", "closed")}
)


@dataclass(frozen=True, slots=True)
class Recorded:
    """What was answered to a request: `answer` is the envelope, verbatim."""

    document_id: bytes
    answer: bytes


@dataclass(frozen=True, slots=True)
class Newest:
    """The end of the chain."""

    sequence: int
    hash: bytes
    at_ms: int


class Batch:
    """The book inside a transaction that has been begun; it is what `book.decide` looks at."""

    def __init__(self, connection: sa.Connection) -> None:
        self._connection = connection
        self._funds: dict[str, Funds] = {}
        self._holds: dict[bytes, HoldRow | None] = {}
        self._outside: set[tuple[EventKind, str]] = set()
        self._recorded: dict[tuple[str, bytes], Recorded] = {}
        self._touched: tuple[set[str], set[bytes]] = (set(), set())
        self._rows: dict[str, list[dict[str, Any]]] = {name: [] for name in t.APPENDED}
        self.newest = newest(connection)

    # --- reading ----------------------------------------------------------------------------------------------------
    def prefetch(self, requests: Collection[bytes], leases: Collection[bytes], dids: Collection[str]) -> None:
        """Read what a batch of orders is going to need, in three statements instead of three for each."""
        for row in self._connection.execute(sa.select(t.requests).where(t.requests.c.id.in_(requests))):
            self._recorded[row.signer, row.id] = Recorded(row.document_id, row.answer)
        self._holds.update(dict.fromkeys(leases))
        for row in self._connection.execute(sa.select(t.holds).where(t.holds.c.lease.in_(leases))):
            self._holds[row.lease] = HoldRow(*row)
        parties = {did for hold in self._holds.values() if hold is not None for did in (hold.payer, hold.payee)}
        wanted = (parties | set(dids)) - self._funds.keys()
        self._funds.update(dict.fromkeys(wanted, Funds()))
        for row in self._connection.execute(sa.select(t.accounts).where(t.accounts.c.did.in_(wanted))):
            self._funds[row.did] = Funds(row.issued, row.available, row.held)

    def recorded(self, signer: str, request: bytes) -> Recorded | None:
        """The answer that a prefetched request got, now or long ago."""
        return self._recorded.get((signer, request))

    def funds(self, did: str) -> Funds:
        """An account as it is at this point of the batch."""
        if did not in self._funds:
            self._funds[did] = funds_of(self._connection, did)
        return self._funds[did]

    def hold(self, lease: bytes) -> HoldRow | None:
        """A hold as it is at this point of the batch."""
        if lease not in self._holds:
            self._holds[lease] = hold_of(self._connection, lease)
        return self._holds[lease]

    def reference_used(self, kind: EventKind, reference: str) -> bool:
        """Whether a payment outside has been booked already."""
        if (kind, reference) in self._outside:
            return True
        query = sa.select(t.outside.c.sequence).where(t.outside.c.kind == int(kind), t.outside.c.reference == reference)
        return self._connection.execute(query).first() is not None

    def due(self, at_ms: int, limit: int = 1024) -> list[HoldRow]:
        """Open holds whose time is over, the longest over first."""
        query = sa.select(t.holds).where(t.holds.c.closed.is_(False), t.holds.c.expires_at_ms <= at_ms)
        rows = self._connection.execute(query.order_by(t.holds.c.expires_at_ms).limit(limit)).all()
        found = (self.hold(row.lease) for row in rows)
        return [hold for hold in found if hold is not None]

    def changed_holds(self) -> list[HoldRow]:
        """The holds that this batch opened, captured or closed, as they are now."""
        return [hold for lease in self._touched[1] if (hold := self._holds[lease]) is not None]

    # --- writing ----------------------------------------------------------------------------------------------------
    def post(self, posting: book.Posting, instruction: bytes, at_ms: int) -> int:
        """Add an event and all that follows from it; its sequence."""
        sequence = self.newest.sequence + 1
        event = Event(sequence, self.newest.hash, posting.kind, at_ms, posting.lease, instruction, posting.legs)
        document = wire.encode(event)
        self.newest = Newest(sequence, journal.link(self.newest.hash, journal.digest(document)), at_ms)
        changed = book.after(self, posting.legs)
        self._funds.update(changed)
        self._touched[0].update(changed)
        if posting.hold is not None:
            self._holds[posting.lease] = posting.hold
            self._touched[1].add(posting.lease)
        self._add("events", sequence=sequence, at_ms=at_ms, kind=int(posting.kind), lease=posting.lease or None,
                  hash=self.newest.hash, document=document)  # fmt: skip
        for leg in posting.legs:
            self._add("postings", account=leg.account, sequence=sequence, bucket=int(leg.bucket), amount=leg.amount)
        for key in posting.keys:
            self._add("keys", lease=posting.lease, key=key, sequence=sequence)
        if posting.reference:
            self._outside.add((posting.kind, posting.reference))
            self._add("outside", kind=int(posting.kind), reference=posting.reference, sequence=sequence)
        return sequence

    def record(self, signer: str, request: bytes, recorded: Recorded, sequence: int | None, forget_at_ms: int) -> None:
        """Keep an answer: for ever where there is an event, else until `forget_at_ms`."""
        self._recorded[signer, request] = recorded
        self._add("requests", id=request, signer=signer, document_id=recorded.document_id, answer=recorded.answer,
                  sequence=sequence, forget_at_ms=forget_at_ms)  # fmt: skip

    def forget(self, before_ms: int) -> None:
        """Drop the answers to requests that moved nothing and are dead by now."""
        old = sa.delete(t.requests).where(t.requests.c.sequence.is_(None), t.requests.c.forget_at_ms < before_ms)
        self._connection.execute(old)

    def flush(self) -> None:
        """Write everything; the order is that of the foreign keys."""
        rows = [{"did": did, **_columns(self._funds[did])} for did in self._touched[0]]
        self._execute(_UPSERT_ACCOUNT, rows)
        self._execute(_UPSERT_HOLD, [_columns(hold) for hold in self.changed_holds()])
        for name, rows in self._rows.items():
            table = t.metadata.tables[name]
            # A key that an earlier capture showed is known already; for every other table a second row is a bug.
            self._execute(insert(table).on_conflict_do_nothing() if table is t.keys else insert(table), rows)

    def _execute(self, statement: Any, rows: list[dict[str, Any]]) -> None:
        if rows:
            self._connection.execute(statement, rows)

    def _add(self, table: str, **values: object) -> None:
        self._rows[table].append(values)


def newest(connection: sa.Connection) -> Newest:
    """The last event, or the start of the chain."""
    query = sa.select(t.events.c.sequence, t.events.c.hash, t.events.c.at_ms).order_by(t.events.c.sequence.desc())
    row = connection.execute(query.limit(1)).first()
    return Newest(0, journal.START, 0) if row is None else Newest(*row)


def funds_of(connection: sa.Connection, did: str) -> Funds:
    """An account as committed; all zero for one never seen."""
    row = connection.execute(sa.select(t.accounts).where(t.accounts.c.did == did)).first()
    return Funds() if row is None else Funds(row.issued, row.available, row.held)


def hold_of(connection: sa.Connection, lease: bytes) -> HoldRow | None:
    """A hold as committed."""
    row = connection.execute(sa.select(t.holds).where(t.holds.c.lease == lease)).first()
    return None if row is None else HoldRow(*row)


def _columns(row: Funds | HoldRow) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__slots__}
