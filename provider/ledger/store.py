"""The book's file. Rule: one database belongs to one operator, and is read only in whole, consistent states."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from gpufair.protocol import journal, limits
from gpufair.protocol.book import Funds, HoldRow
from gpufair.protocol.edge.sqlite import Database, open_database
from gpufair.protocol.errors import Fault, LocalError
from gpufair.provider.ledger import batch
from gpufair.provider.ledger import statements as s
from gpufair.provider.ledger import tables as t
from gpufair.provider.ledger.batch import Batch, Newest

MIGRATIONS = "gpufair.provider.ledger:migrations"


@dataclass(frozen=True, slots=True)
class Account:
    """An account and the moment it was read: `earning` is what others hold for it, `event` the newest event then."""

    did: str
    funds: Funds
    earning: int
    event: int


@dataclass(frozen=True, slots=True)
class LedgerStatus:
    """A ledger at a glance, for `status` and `doctor`; amounts in micro-credits."""

    accounts: int
    holds_open: int
    held: int
    events: int
    outstanding: int
    newest_at_ms: int


def open_store(path: Path | None, operator: str) -> Store:
    """Open the book at `path` (None: in memory) of `operator`, a did. Raises LocalError if it is somebody else's."""
    database = open_database(path, MIGRATIONS, stays_open=True)
    with database.write() as connection:
        owner = connection.execute(sa.select(t.book.c.operator)).scalar()
        if owner is None:
            connection.execute(sa.insert(t.book), {"one": 1, "operator": operator})
    if owner not in (None, operator):
        database.close()
        hint = "restore the key file that belongs to this book, or start a new book elsewhere"
        raise LocalError(Fault.NOT_ALLOWED, f"{database.name} is the book of {owner}", hint=hint)
    return Store(database, operator)


class Store:
    """The book as committed. Thread-safe."""

    def __init__(self, database: Database, operator: str) -> None:
        self.database = database
        self.operator = operator

    @contextlib.contextmanager
    def batch(self) -> Iterator[Batch]:
        """A transaction: durable when the block has ended, or nothing of it happened."""
        with self.database.driver("BEGIN IMMEDIATE") as driver:
            work = Batch(driver)
            yield work
            work.flush()

    def newest(self) -> Newest:
        """The end of the chain."""
        with self.database.driver("BEGIN") as driver:
            return batch.newest(driver.execute)

    def hold(self, lease: bytes) -> HoldRow | None:
        """The hold of a lease."""
        with self.database.driver("BEGIN") as driver:
            return batch.hold_of(driver.execute, lease)

    def open_leases(self) -> set[bytes]:
        """The leases whose hold is open."""
        with self.database.read() as connection:
            return set(connection.execute(sa.select(t.holds.c.lease).where(t.holds.c.closed.is_(False))).scalars())

    def knows_request(self, signer: str, request: bytes) -> bool:
        """Whether this request has a recorded answer."""
        with self.database.driver("BEGIN") as driver:
            return driver.execute(s.REQUEST, (request, signer)).fetchone() is not None

    def account(self, did: str) -> Account:
        """An account with what others hold for it."""
        earning = sa.select(sa.func.coalesce(sa.func.sum(t.holds.c.amount - t.holds.c.captured), 0))
        with self.database.read() as connection:
            coming = connection.execute(earning.where(t.holds.c.payee == did, t.holds.c.closed.is_(False))).scalar_one()
            event = batch.newest(connection.exec_driver_sql).sequence
            return Account(did, batch.funds_of(connection.exec_driver_sql, did), coming, event)

    def keys(self, lease: bytes, since: int) -> tuple[bytes, ...]:
        """The keys that captures of this lease have shown, in the order they were learnt, after the first `since`."""
        query = sa.select(t.keys.c.key).where(t.keys.c.lease == lease).order_by(t.keys.c.position)
        with self.database.read() as connection:
            return tuple(connection.execute(query.offset(since).limit(limits.KEYS_PAGE)).scalars())

    def is_party(self, did: str) -> bool:
        """Whether the book has ever heard of this did: as an account, or as the payee of a hold."""
        account = sa.select(t.accounts.c.did).where(t.accounts.c.did == did)
        payee = sa.select(t.holds.c.payee).where(t.holds.c.payee == did)
        with self.database.read() as connection:
            return connection.execute(sa.union(account, payee).limit(1)).first() is not None

    def page(self, since: int, reader: str | None) -> tuple[tuple[bytes, ...], Newest]:
        """The journal from event `since` on: all in full for a None reader, else digests of what isn't theirs."""
        with self.database.read() as connection:
            query = sa.select(t.events.c.sequence, t.events.c.document).where(t.events.c.sequence >= since)
            rows = connection.execute(query.order_by(t.events.c.sequence).limit(limits.JOURNAL_PAGE)).all()
            own: set[int] | None = None
            if reader is not None and rows:
                span = t.events.c.sequence.between(rows[0].sequence, rows[-1].sequence)
                own = set(connection.execute(_own(reader).where(span)).scalars())
            items = [_shown(row.sequence, row.document, own) for row in rows]
            return _fitting(items), batch.newest(connection.exec_driver_sql)

    def statement(self, since: int, account: str) -> tuple[tuple[bytes, ...], Newest]:
        """An account's own events from event `since` on, and nothing between them."""
        query = sa.select(t.events.c.document).where(t.events.c.sequence.in_(_own(account)))
        query = query.where(t.events.c.sequence >= since).order_by(t.events.c.sequence).limit(limits.STATEMENT_PAGE)
        with self.database.read() as connection:
            items = list(connection.execute(query).scalars())
            return _fitting(items), batch.newest(connection.exec_driver_sql)

    def status(self) -> LedgerStatus:
        """Counts and totals."""
        with self.database.read() as connection:
            accounts, issued, held = connection.execute(
                sa.select(sa.func.count(), sa.func.sum(t.accounts.c.issued), sa.func.sum(t.accounts.c.held))
            ).one()
            count = sa.select(sa.func.count()).select_from(t.holds).where(t.holds.c.closed.is_(False))
            end = batch.newest(connection.exec_driver_sql)
            holds = connection.execute(count).scalar_one()
        return LedgerStatus(accounts, holds, held or 0, end.sequence, -(issued or 0), end.at_ms)

    def close(self) -> None:
        """Give the file back."""
        self.database.close()


def _own(did: str) -> sa.Select[int]:
    """The events that a did is entitled to: it is an account of a leg, or a party of the lease."""
    legs = sa.select(t.postings.c.sequence).where(t.postings.c.account == did)
    leases = sa.select(t.holds.c.lease).where(sa.or_(t.holds.c.payer == did, t.holds.c.payee == did))
    return sa.select(t.events.c.sequence).where(sa.or_(t.events.c.sequence.in_(legs), t.events.c.lease.in_(leases)))


def _shown(sequence: int, document: bytes, own: set[int] | None) -> bytes:
    return document if own is None or sequence in own else journal.digest(document)


def _fitting(items: list[bytes]) -> tuple[bytes, ...]:
    """As many items as go into one message; never none, if there is one."""
    size, count = 0, 0
    for item in items:
        size += len(item) + 8
        if count and size > limits.JOURNAL_PAGE_BYTES:
            break
        count += 1
    return tuple(items[:count])
