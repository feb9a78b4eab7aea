"""Workers held for our leases, on disk. Rule: an order is here before it goes out, and paid for in the same breath as
its answer is believed.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import MetaData, Table

from gpufair.protocol.edge.columns import blob, number, truth, words

METADATA = MetaData()


@dataclass(frozen=True, slots=True)
class ReservationRow:
    """One order for a held worker; answers name it by `request`, the id in its head, and `document`, its own."""

    lease: bytes
    request: bytes
    document: bytes
    order: bytes
    lasts_ms: int
    amount: int
    """What it costs, less what came back; nothing if it came to nothing."""
    paid: bool
    over: bool
    """It was declined, or the provider has ended it; one whose time is up is simply that."""
    from_ms: int
    until_ms: int
    """Both are 0 until it is answered."""
    created_ms: int
    note: str


@dataclass(frozen=True, slots=True)
class ReservationDue:
    """Its money, without the order."""

    amount: int
    paid: bool
    over: bool
    from_ms: int
    until_ms: int


TABLES: dict[type, Table] = {
    ReservationRow: Table(
        "reservations", METADATA,
        blob("lease", key=True), blob("request", key=True), blob("document"), blob("order"), number("lasts_ms"),
        number("amount"), truth("paid"), truth("over"), number("from_ms"), number("until_ms"), number("created_ms"),
        words("note"),
    ),
}  # fmt: skip
TABLES[ReservationDue] = TABLES[ReservationRow]
