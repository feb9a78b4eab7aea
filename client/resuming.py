"""Taking up again what our own end has broken off. Rule: what is ordered is brought in before anything is ordered.

A job whose provider no longer has it goes on elsewhere, as it would have if its buyer had stayed: for no more than was
allowed, and from nobody who isolates it less than its first provider did.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gpufair.client.carrying import Carrying
from gpufair.client.config import Config
from gpufair.client.failures import PurchaseError
from gpufair.client.fetching import Fetching
from gpufair.client.going_on import LOST_S, GoingOn, Market
from gpufair.client.market.wish import Wish
from gpufair.client.session.talk import Listen
from gpufair.client.wallet.purchase import Purchase
from gpufair.protocol import limits
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Bid
from gpufair.protocol.pricing import quote
from gpufair.protocol.search.filters import Search

_AT_ONCE = 4


def most_price(first: int, wish: Wish, config: Config) -> int:
    """What a job may cost in all, with what was lost on its way. `first` is the price that it was begun for."""
    highest = config.max_price if wish.max_price is None else wish.max_price
    return first * limits.GO_ON_MILLI // 1_000 if highest is None else highest


class Resuming:
    """Takes up the jobs of one wallet."""

    def __init__(self, market: Market, carrying: Carrying, fetching: Fetching, config: Config) -> None:
        self._market = market
        self._carrying = carrying
        self._fetching = fetching
        self._config = config

    async def all(
        self, works: Sequence[Purchase], listen: Listen, stop: asyncio.Event
    ) -> list[Purchase | PurchaseError]:
        """Take these up, a few at a time; what each has come to, in their order."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(work: Purchase) -> Purchase | PurchaseError:
            async with room:
                try:
                    return await self.one(work, listen, stop)
                except PurchaseError as error:
                    return error

        return list(await asyncio.gather(*map(one, works)))

    async def one(self, work: Purchase, listen: Listen, stop: asyncio.Event) -> Purchase:
        """Take up one job. Raises a PurchaseError if it doesn't get whole."""
        until_ms = self._market.desk.now_ms() + self._config.deadline_ms
        try:
            return await self._fetching.fetch(work, listen, patience_s=self._config.deadline, give_up_s=LOST_S)
        except PurchaseError as error:
            why = error
        wish, first = as_it_was(work), quote(work.spec, _bid(work).sheet, first=True).total
        most = most_price(first, wish, self._config)
        going = GoingOn(self._market, self._carrying, wish, most_price=most, until_ms=until_ms, stop=stop)
        return await going.on(work.lease.id, work.job.id, why, listen)


def as_it_was(work: Purchase) -> Wish:
    """What its buyer wanted, as far as the wallet knows it: no weaker isolation than that of the first provider."""
    return Wish(
        work.body.prompt,
        trust_provider_ledger=work.lease.ledger == work.lease.provider,
        where=Search(isolation=work.offer.isolation),
    )


def _bid(work: Purchase) -> Bid:
    return from_bytes(work.lease.envelope, Bid).doc
