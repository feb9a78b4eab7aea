"""A batch taken up again. Rule: what was bought is not bought again, and what was signed for is looked for first.

Leases that are still open go on, with the pictures that were under way; the others are fenced and let go of.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from gpufair.client.batch import records
from gpufair.client.batch.atwork import AtWork, now, reopened
from gpufair.client.batch.driver import Driver
from gpufair.client.batch.stalls import seller_under
from gpufair.client.buyer import Buyer
from gpufair.client.market.wish import Wish
from gpufair.client.wallet import budget, purchases
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.batches import TryRow
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import FairError
from gpufair.protocol.lifecycle import LIVE
from gpufair.protocol.messages import Bid, Offer

KEY_S = 5.0
"""How long to ask for a key that was paid for before the batch goes on without that picture."""


async def take_up(driver: Driver, buyer: Buyer, wishes: Sequence[Wish]) -> None:
    """Bring a driver's board to where the wallet says that the batch is. Raises LocalError for a damaged wallet."""
    store, batch = buyer.store, driver.batch.id
    tries = records.tries(store, batch)
    leases = [(taken.over, lease) for taken, lease in records.leases(store, batch)]
    going = {lease.id for over, lease in leases if not over and _is_usable(buyer, lease)}
    for one in tries:
        if one.lease not in going and records.is_signed(store, one) and not one.doubtful:
            await _look_for_key(buyer, one)
    for place in records.here(store, batch):
        driver.board.was_done(place)
    for _, lease in leases:
        seller = seller_under(
            from_bytes(lease.offer, Offer).doc, lease.provider, from_bytes(lease.envelope, Bid).doc.sheet, wishes
        )
        if lease.id in going:
            mine = [one for one in tries if one.lease == lease.id and _is_under_way(buyer, one)]
            spent = _committed(buyer, lease) - sum(seller.price(one.place) or 0 for one in mine)
            places = [one.place for one in mine]
            lane = driver.board.taken_up(seller, lease.cap, now(), places=places, spent=max(0, spent))
            at_work = AtWork(lane, reopened(buyer, lease, wishes[0]))
            driver.adopt(lane, at_work)
            for one in mine:
                driver.follow(lane, one.place, one.job)
            at_work.opened.open()
        else:
            driver.board.was_over(seller, records.over(store, lease.id))
            driver.let_go(lease)


def _is_usable(buyer: Buyer, lease: LeaseRow) -> bool:
    return lease.state in LIVE and bool(lease.hold) and not lease.distrust and buyer.desk.now_ms() < lease.expires_ms


def _is_under_way(buyer: Buyer, one: TryRow) -> bool:
    """Whether a try was ordered, and is not over."""
    if one.off or not records.is_ordered(buyer.store, one) or records.is_open(buyer.store, one):
        return False
    return records.is_signed(buyer.store, one) or not purchases.by_id(buyer.store, one.lease, one.job).is_over


def _committed(buyer: Buyer, lease: LeaseRow) -> int:
    with buyer.store.read() as rows:
        return Account.load(rows, lease).committed


async def _look_for_key(buyer: Buyer, one: TryRow) -> None:
    """Ask provider and ledger for a key; a picture whose key does not come may be bought elsewhere."""
    if records.is_open(buyer.store, one):
        return
    with suppress(FairError):
        await buyer.fetch(purchases.by_id(buyer.store, one.lease, one.job), patience_s=KEY_S)
    lease = purchases.lease(buyer.store, one.lease)
    if not records.is_open(buyer.store, one) and not budget.is_closed(lease):
        records.doubt(buyer.store, one.lease, one.job)
