"""From what somebody wants to a batch at work. Rule: it is on disk, budget, seeds and all, before its first bid.

driver = await begin(buyer, order)        # or: await resume(buyer, batch)
await driver.run()
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpufair.client.batch import orders, records, restoring, results, stalls
from gpufair.client.batch.driver import Driver, ignore
from gpufair.client.batch.orders import Own
from gpufair.client.batch.records import Batch
from gpufair.client.batch.stalls import Stalls
from gpufair.client.batch.tries import Listen
from gpufair.client.buyer import Buyer
from gpufair.client.failures import FundsError, JobFailedError
from gpufair.client.market.wish import Wish
from gpufair.client.wallet.batches import BatchRow
from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.units import show

_FILES = ("image", "mask")


@dataclass(frozen=True)
class Prepared:
    """A batch before it is ordered: its pictures, and who sells them for how much."""

    options: Mapping[str, Any]
    items: Sequence[Own]
    wishes: list[Wish]
    stalls: Stalls

    @property
    def least(self) -> int:
        """What it costs at least, in micro-credits, loading of models aside."""
        return self.stalls.cheapest()

    @property
    def usual_budget(self) -> int:
        """The budget unless somebody says otherwise: half as much again, so that a dearer one may help."""
        return self.least + -(-self.least // 2)


async def prepare(buyer: Buyer, options: Mapping[str, Any], items: Sequence[Own]) -> Prepared:
    """Look up what a batch would cost. Raises LocalError for what can't be meant, NoOfferError, UnreachableError.

    `options` are those of `wish` that all pictures share, `items` what is each one's own. Seeds that were left open are
    drawn here, so that a picture stays the same wherever it is drawn.
    """
    orders.check_count(len(items))
    if options.get("seed") is None and any("seed" not in one for one in items):
        first = int.from_bytes(buyer.desk.random.bytes(4), "big")
        items = [{"seed": first + place, **one} for place, one in enumerate(items)]
    wishes = orders.wishes(options, items)
    return Prepared(options, items, wishes, await stalls.find(buyer, wishes))


def begin(
    buyer: Buyer,
    prepared: Prepared,
    *,
    budget: int,
    title: str,
    folder: Path | None = None,
    hedge: bool = True,
    listen: Listen = ignore,
) -> Driver:
    """Write a batch down, ready to `run`. Raises FundsError for a budget that can't be enough, LocalError."""
    if not 0 < budget <= limits.AMOUNT_MAX:
        raise LocalError(Fault.MALFORMED, f"the budget is {budget}: it must be 1 to {limits.AMOUNT_MAX} micro-credits")
    if budget < prepared.least:
        what = f"{len(prepared.items)} pictures cost {show(prepared.least)} at least, the budget is {show(budget)}"
        raise FundsError(what, wanted=prepared.least, limit=budget, hint="raise --budget, or ask for less")
    plain = {name: value for name, value in prepared.options.items() if name not in _FILES and value is not None}
    row = BatchRow(
        id=buyer.desk.random.bytes(16), title=title[: limits.TEXT_MAX], budget=budget,
        options=json.dumps({**plain, "hedge": hedge}), image=_bytes_of(prepared.options.get("image")),
        mask=_bytes_of(prepared.options.get("mask")), folder=str(folder.resolve()) if folder is not None else "",
        created_ms=buyer.desk.now_ms(),
    )  # fmt: skip
    batch = records.create(buyer.store, row, zip(orders.names(prepared.items), prepared.items, strict=True))
    return Driver(buyer, batch, prepared.wishes, prepared.stalls, hedge=hedge, listen=listen)


async def resume(buyer: Buyer, batch: bytes, *, budget: int = 0, listen: Listen = ignore) -> Driver:
    """Take a batch up again where the wallet says that it is; `budget` replaces its own, unless that is 0.

    Raises LocalError if there is none, NoOfferError if nobody sells what is left, UnreachableError.
    """
    if budget:
        records.set_budget(buyer.store, batch, budget)
    found = records.load(buyer.store, batch)
    wishes = wishes_of(found)
    driver = Driver(
        buyer, found, wishes, await stalls.find(buyer, wishes), hedge=bool(found.options.get("hedge", True)),
        listen=listen,
    )  # fmt: skip
    await restoring.take_up(driver, buyer, wishes)
    return driver


def wishes_of(batch: Batch) -> list[Wish]:
    """The wish of each picture of a batch."""
    options = {name: value for name, value in batch.options.items() if name != "hedge"}
    files = {"image": batch.row.image or None, "mask": batch.row.mask or None}
    for name in ("size", "outpaint"):
        if options.get(name) is not None:
            options[name] = tuple(options[name])
    if "loras" in options:
        options["loras"] = [tuple(one) if isinstance(one, list) else one for one in options["loras"]]
    return orders.wishes({**options, **files}, [json.loads(item.options) for item in batch.items])


def folder_of(batch: Batch) -> Path | None:
    """Where a batch's files go; None if nobody said."""
    return Path(batch.row.folder) if batch.row.folder else None


def unfinished(driver: Driver) -> JobFailedError | None:
    """Why not every picture of a batch is here; None if every one is."""
    board, count = driver.board, len(driver.batch.items)
    if len(board.done) == count:
        return None
    what = f"{len(board.done)} of {count} pictures are here"
    command = f"gpufair resume {driver.batch.id.hex()[:12]}"
    if board.given_up:
        what += f"; {len(board.given_up)} came to nothing wherever they were tried"
    elif board.is_stuck:
        what += "; nobody is left who sells the others within what is left of the budget"
        command += f" goes on, with --budget to pay more than {show(driver.batch.row.budget)} in all"
    return JobFailedError(what, hint=f"what is here is paid and safe: {command}")


@contextmanager
def held(folder: Path | None) -> Iterator[None]:
    """Keep any other process from driving the batch of a folder. Raises LocalError if one does."""
    if folder is None:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        what = f"another process is at work on the batch in {folder}"
        raise LocalError(Fault.CONFLICT, what, hint="wait for it, or stop it with Ctrl-C") from error
    try:
        yield
    finally:
        os.close(lock)


def save(buyer: Buyer, driver: Driver, folder: Path) -> list[Path]:
    """Write every picture that is here, the index and the contact sheet; where the pictures are. Raises LocalError."""
    batch, here = driver.batch, records.here(buyer.store, driver.batch.id)
    pngs = [results.png_of(buyer.store, here[place]) if place in here else None for place in range(len(batch.items))]
    paths = [
        results.write(folder, item.name, png) for item, png in zip(batch.items, pngs, strict=True) if png is not None
    ]
    results.write_index(buyer.store, folder, records.load(buyer.store, batch.id), here)
    results.write_sheet(folder, pngs)
    return paths


def _bytes_of(file: object) -> bytes:
    match file:
        case bytes():
            return file
        case str() | Path():
            return Path(file).read_bytes()
    return b""
