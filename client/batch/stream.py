"""A batch's pictures as they come. Rule: they are handed on in order, each once all before it are settled."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, field

from gpufair.client.batch import events as ev
from gpufair.client.batch import running
from gpufair.client.batch.driver import Driver
from gpufair.client.batch.records import Bought
from gpufair.client.buyer import Buyer
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase


@dataclass
class Stream:
    """Listens to a batch; `listen` hears everything too."""

    listen: Callable[[ev.BatchEvent], None]
    here: dict[int, Bought] = field(default_factory=dict)
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: ev.BatchEvent) -> None:
        """Take one event."""
        if isinstance(event, ev.PictureHere):
            self.here[event.place] = Bought(event.lease, event.job)
        self._news.set()
        self.listen(event)

    async def bought(self, buyer: Buyer, driver: Driver) -> AsyncGenerator[Purchase, None]:
        """Drive the batch, alone, and write its files; what was bought, in order. Raises as `in_order` does."""
        folder = running.folder_of(driver.batch)
        with running.held(folder):
            try:
                async with aclosing(self.in_order(driver)) as coming:
                    async for one in coming:
                        yield purchases.by_id(buyer.store, one.lease, one.job)
            finally:
                if folder is not None:
                    running.save(buyer, driver, folder)

    async def in_order(self, driver: Driver) -> AsyncGenerator[Bought, None]:
        """Drive the batch; its pictures in order. Raises JobFailedError at the end if some did not come.

        Whoever stops listening stops the batch: what is under way is cancelled, and all is settled.
        """
        stop = asyncio.Event()
        driving = asyncio.ensure_future(driver.run(stop))
        driving.add_done_callback(lambda _task: self._news.set())
        try:
            for place in range(len(driver.batch.items)):
                while not (place in self.here or place in driver.board.given_up or driving.done()):
                    self._news.clear()
                    await self._news.wait()
                if place in self.here:
                    yield self.here[place]
            await driving
        finally:
            stop.set()
            await asyncio.gather(driving, return_exceptions=True)
        if (why := running.unfinished(driver)) is not None:
            raise why
