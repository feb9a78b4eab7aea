"""A batch on disk. Rule: a lease is the batch's from the transaction that writes its bid, and a try's before its order.

What tells whether a picture is here are its deliveries: an item that names its job only saves looking for it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpufair.client.failures import FundsError
from gpufair.client.wallet import budget, works
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.batches import BatchKey, BatchLeaseRow, BatchRow, ItemRow, TryRow
from gpufair.client.wallet.deliveries import DeliveryKey, PictureRow
from gpufair.client.wallet.store import JobRow, LeaseRow
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.units import show

Options = Mapping[str, Any]
_PREFIX_MIN = 4


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch as it was ordered; `items` in order, `options` those that all pictures share."""

    row: BatchRow
    options: Options
    items: tuple[ItemRow, ...]

    @property
    def id(self) -> bytes:
        """Its id."""
        return self.row.id


@dataclass(frozen=True, slots=True)
class Bought:
    """A picture that is here: the job that brought it."""

    lease: bytes
    job: bytes


def create(store: RowStore, row: BatchRow, items: Iterable[tuple[str, Options]]) -> Batch:
    """Write a batch down: each picture's file name, and the options that are its own."""
    made = tuple(
        ItemRow(row.id, place, name, json.dumps(dict(own)), b"", b"", "[]") for place, (name, own) in enumerate(items)
    )
    with store.begin() as rows:
        rows.insert(row)
        for item in made:
            rows.insert(item)
    return Batch(row, json.loads(row.options), made)


def load(store: RowStore, batch: bytes) -> Batch:
    """A batch as it was written down. Raises LocalError if the wallet has none."""
    with store.read() as rows:
        row = rows.get(BatchRow, id=batch)
        if row is None:
            raise LocalError(Fault.UNKNOWN, "the wallet has no such batch", hint="see: gpufair batches")
        return Batch(row, json.loads(row.options), tuple(rows.all(ItemRow, order="place", batch=batch)))


def spent(store: RowStore, batch: bytes) -> int:
    """What a batch has cost, or what its vouchers promise where that is not settled."""
    return sum(paid_to(store, batch).values())


def paid_to(store: RowStore, batch: bytes) -> dict[str, int]:
    """The same by provider."""
    found: dict[str, int] = {}
    with store.read() as rows:
        for taken in rows.all(BatchLeaseRow, batch=batch):
            lease = rows.get(LeaseRow, id=taken.lease)
            if lease is not None:
                found[lease.provider] = found.get(lease.provider, 0) + cost(rows, lease)
    return {did: amount for did, amount in found.items() if amount}


def set_budget(store: RowStore, batch: bytes, micro: int) -> None:
    """From now on a batch may cost so much in all. Raises LocalError if that is less than it can cost already."""
    with store.begin() as rows:
        if micro < (taken := stake(rows, batch)):
            what = f"{show(taken)} is promised or spent already, which is more than {show(micro)}"
            raise LocalError(Fault.CONFLICT, what, hint="a budget is for all of the batch, what is spent included")
        rows.change(BatchRow, {"id": batch}, budget=micro)


def listed(store: RowStore) -> list[BatchKey]:
    """Every batch, oldest first."""
    with store.read() as rows:
        return rows.all(BatchKey, order="created_ms")


def find(store: RowStore, text: str) -> bytes:
    """The batch whose id begins with `text`; without one the newest. Raises LocalError if none fits, or several do."""
    wanted, hint = text.strip().lower(), "`gpufair batches` lists them"
    keys = listed(store)
    if not wanted and keys:
        return keys[-1].id
    fits = [key.id for key in keys if len(wanted) >= _PREFIX_MIN and key.id.hex().startswith(wanted)]
    if len(fits) != 1:
        what = f"{len(fits)} batches begin with {text!r}" if wanted else "the wallet has no batch yet"
        raise LocalError(Fault.UNKNOWN, what, hint=hint)
    return fits[0]


# --- money ---------------------------------------------------------------------------------------------------------


def stake(rows: Rows, batch: bytes) -> int:
    """What all leases of a batch can cost, or have cost, in micro-credits."""
    total = 0
    for taken in rows.all(BatchLeaseRow, batch=batch):
        lease = rows.get(LeaseRow, id=taken.lease)
        if lease is not None:
            total += cost(rows, lease) if taken.over or budget.is_closed(lease) else lease.cap
    return total


def stake_of(store: RowStore, batch: bytes) -> int:
    """The same, read alone."""
    with store.read() as rows:
        return stake(rows, batch)


def cost(rows: Rows, lease: LeaseRow) -> int:
    """What a lease has cost by the ledger's word; before that what its vouchers promise."""
    return lease.captured if budget.is_closed(lease) else Account.load(rows, lease).spent


def take(rows: Rows, lease: LeaseRow, batch: BatchRow) -> None:
    """A lease is the batch's. Raises FundsError where that could cost more than the budget, which undoes it."""
    taken = stake(rows, batch.id)
    if taken + lease.cap > batch.budget:
        what = f"{show(lease.cap)} more would be promised; {show(taken)} of the budget of {show(batch.budget)} is"
        raise FundsError(what, wanted=taken + lease.cap, limit=batch.budget, hint="raise the batch's --budget")
    rows.insert(BatchLeaseRow(lease.id, batch.id, over=False))


def over(store: RowStore, lease: bytes) -> int:
    """Sign nothing more under a lease; what it has promised."""
    with store.begin() as rows:
        rows.change(BatchLeaseRow, {"lease": lease}, over=True)
        row = rows.get(LeaseRow, id=lease)
        return cost(rows, row) if row is not None else 0


def leases(store: RowStore, batch: bytes) -> list[tuple[BatchLeaseRow, LeaseRow]]:
    """The leases of a batch, oldest first."""
    with store.read() as rows:
        found = [(taken, rows.get(LeaseRow, id=taken.lease)) for taken in rows.all(BatchLeaseRow, batch=batch)]
        known = [(taken, lease) for taken, lease in found if lease is not None]
        return sorted(known, key=lambda one: one[1].created_ms)


# --- tries ---------------------------------------------------------------------------------------------------------


def begin(store: RowStore, batch: bytes, place: int, lease: bytes, job: bytes) -> None:
    """A job is about to be ordered for a picture."""
    with store.begin() as rows:
        rows.insert(TryRow(lease, job, batch, place, off=False, doubtful=False))


def off(store: RowStore, lease: bytes, job: bytes) -> None:
    """Sign nothing more for a try."""
    with store.begin() as rows:
        rows.change(TryRow, {"lease": lease, "job": job}, off=True)


def doubt(store: RowStore, lease: bytes, job: bytes) -> None:
    """A try was signed for, and its key has not come: its picture may be bought elsewhere."""
    with store.begin() as rows:
        rows.change(TryRow, {"lease": lease, "job": job}, off=True, doubtful=True)


def tries(store: RowStore, batch: bytes, place: int | None = None) -> list[TryRow]:
    """Every try of a batch, or of one of its pictures."""
    with store.read() as rows:
        return rows.all(TryRow, batch=batch) if place is None else rows.all(TryRow, batch=batch, place=place)


def is_signed(store: RowStore, one: TryRow) -> bool:
    """Whether the picture of a try was signed for."""
    with store.read() as rows:
        return works.is_bought(rows, one)


def is_open(store: RowStore, one: TryRow) -> bool:
    """Whether the picture of a try is here."""
    with store.read() as rows:
        return _is_open(rows, one)


def is_ordered(store: RowStore, one: TryRow) -> bool:
    """Whether the job of a try was written down, and may so have gone out."""
    with store.read() as rows:
        return rows.get(JobRow, lease=one.lease, id=one.job) is not None


def paid(store: RowStore, lease: bytes, job: bytes) -> int:
    """What a job has cost, or still can by what was signed: its up-front lines, and the deliveries that were locked."""
    with store.read() as rows:
        row = rows.get(JobRow, lease=lease, id=job)
        locked = rows.all(DeliveryKey, lease=lease, job=job, locked=True)
        return (row.upfront if row is not None and row.prepaid else 0) + sum(one.amount for one in locked)


def spent_on(store: RowStore, batch: bytes, place: int) -> int:
    """What a picture has cost in all its tries."""
    return sum(paid(store, one.lease, one.job) for one in tries(store, batch, place))


# --- pictures ------------------------------------------------------------------------------------------------------


def bought(store: RowStore, batch: bytes, place: int, lease: bytes, job: bytes) -> None:
    """A picture is here."""
    with store.begin() as rows:
        rows.change(ItemRow, {"batch": batch, "place": place}, lease=lease, job=job)


def note(store: RowStore, batch: bytes, place: int, why: str) -> None:
    """A try came to nothing, and why."""
    with store.begin() as rows:
        item = rows.get(ItemRow, batch=batch, place=place)
        if item is not None:
            rows.save(replace(item, notes=json.dumps([*json.loads(item.notes), why])))


def here(store: RowStore, batch: bytes) -> dict[int, Bought]:
    """The pictures that are here, by place, those included whose item did not get to say so."""
    with store.begin() as rows:
        items = rows.all(ItemRow, order="place", batch=batch)
        found = {item.place: Bought(item.lease, item.job) for item in items if item.job}
        for one in rows.all(TryRow, batch=batch):
            if one.place not in found and _is_open(rows, one):
                found[one.place] = Bought(one.lease, one.job)
                rows.change(ItemRow, {"batch": batch, "place": one.place}, lease=one.lease, job=one.job)
    return found


def _is_open(rows: Rows, one: TryRow) -> bool:
    picture = rows.get(PictureRow, lease=one.lease, job=one.job, picture=0)
    return picture is not None and picture.size > 0
