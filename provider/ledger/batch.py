"""One transaction of the book. Rule: what an order changes is seen by the next one, and all of it is committed or none.

Rows are read when they are first needed (or ahead of time, for all the orders of a batch at once), changed in memory,
and written in a handful of statements at the end: that is what makes one commit of many orders cheap.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any

from gpufair.protocol import book, journal, wire
from gpufair.protocol.book import Funds, HoldRow
from gpufair.protocol.messages import Event, EventKind
from gpufair.provider.ledger import statements as s


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

    def __init__(self, driver: Any) -> None:
        self._driver = driver
        self._funds: dict[str, Funds] = {}
        self._holds: dict[bytes, HoldRow | None] = {}
        self._outside: set[tuple[EventKind, str]] = set()
        self._recorded: dict[tuple[str, bytes], Recorded] = {}
        self._touched: tuple[set[str], set[bytes]] = (set(), set())
        self._rows: dict[str, list[tuple[Any, ...]]] = {name: [] for name in s.ADD}
        self.newest = newest(driver.execute)

    # --- reading ----------------------------------------------------------------------------------------------------
    def prefetch(self, requests: Collection[bytes], leases: Collection[bytes], dids: Collection[str]) -> None:
        """Read what a batch of orders is going to need, in three statements instead of three for each."""
        for request, signer, document_id, answer, *_ in s.these(self._driver, s.THESE_REQUESTS, requests):
            self._recorded[signer, request] = Recorded(document_id, answer)
        self._holds.update(dict.fromkeys(leases))
        for row in s.these(self._driver, s.THESE_HOLDS, leases):
            self._holds[row[0]] = _hold(row)
        parties = {did for hold in self._holds.values() if hold is not None for did in (hold.payer, hold.payee)}
        wanted = (parties | set(dids)) - self._funds.keys()
        self._funds.update(dict.fromkeys(wanted, Funds()))
        for did, *funds in s.these(self._driver, s.THESE_ACCOUNTS, wanted):
            self._funds[did] = Funds(*funds)

    def recorded(self, signer: str, request: bytes) -> Recorded | None:
        """The answer that a prefetched request got, now or long ago."""
        return self._recorded.get((signer, request))

    def funds(self, did: str) -> Funds:
        """An account as it is at this point of the batch."""
        if did not in self._funds:
            self._funds[did] = funds_of(self._driver.execute, did)
        return self._funds[did]

    def hold(self, lease: bytes) -> HoldRow | None:
        """A hold as it is at this point of the batch."""
        if lease not in self._holds:
            self._holds[lease] = hold_of(self._driver.execute, lease)
        return self._holds[lease]

    def reference_used(self, kind: EventKind, reference: str) -> bool:
        """Whether a payment outside has been booked already."""
        if (kind, reference) in self._outside:
            return True
        return self._driver.execute(s.REFERENCE, (int(kind), reference)).fetchone() is not None

    def due(self, at_ms: int, limit: int = 1024) -> list[HoldRow]:
        """Open holds whose time is over, the longest over first."""
        found = [self.hold(lease) for (lease,) in self._driver.execute(s.DUE, (at_ms, limit)).fetchall()]
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
        rows = self._rows
        rows["events"].append((sequence, at_ms, int(posting.kind), posting.lease or None, self.newest.hash, document))
        rows["postings"] += [(leg.account, sequence, int(leg.bucket), leg.amount) for leg in posting.legs]
        rows["keys"] += [(None, posting.lease, key, sequence) for key in posting.keys]
        if posting.reference:
            self._outside.add((posting.kind, posting.reference))
            rows["outside"].append((int(posting.kind), posting.reference, sequence))
        return sequence

    def record(self, signer: str, request: bytes, recorded: Recorded, sequence: int | None, forget_at_ms: int) -> None:
        """Keep an answer: for ever where there is an event, else until `forget_at_ms`."""
        self._recorded[signer, request] = recorded
        row = (request, signer, recorded.document_id, recorded.answer, sequence, forget_at_ms)
        self._rows["requests"].append(row)

    def forget(self, before_ms: int) -> None:
        """Drop the answers to requests that moved nothing and are dead by now."""
        self._driver.execute(s.FORGET, (before_ms,))

    def flush(self) -> None:
        """Write everything; the order is that of the foreign keys."""
        touched = [(did, self._funds[did]) for did in self._touched[0]]
        accounts = [(did, funds.issued, funds.available, funds.held) for did, funds in touched]
        self._driver.executemany(s.SAVE_ACCOUNT, accounts)
        self._driver.executemany(s.SAVE_HOLD, map(_HOLD_VALUES, self.changed_holds()))
        for name, rows in self._rows.items():
            self._driver.executemany(s.ADD[name], rows)


def newest(run: s.Run) -> Newest:
    """The last event, or the start of the chain."""
    row = run(s.NEWEST).fetchone()
    return Newest(0, journal.START, 0) if row is None else Newest(*row)


def funds_of(run: s.Run, did: str) -> Funds:
    """An account as committed; all zero for one never seen."""
    row = run(s.ACCOUNT, (did,)).fetchone()
    return Funds() if row is None else Funds(*row[1:])


def hold_of(run: s.Run, lease: bytes) -> HoldRow | None:
    """A hold as committed."""
    row = run(s.HOLD, (lease,)).fetchone()
    return None if row is None else _hold(row)


_HOLD_VALUES = attrgetter(*(field.name for field in fields(HoldRow)))


def _hold(row: Any) -> HoldRow:
    lease, payer, payee, amount, expires_at_ms, captured, released, closed = row
    return HoldRow(lease, payer, payee, amount, expires_at_ms, captured, released, bool(closed))
