"""Buying from Python. Rule: everything the command line can do is one awaited call, and every failure is typed.

    from gpufair.client import Client

    async with Client.open() as client:
        picture = await client.run("a fox on a green background")
        picture.save("fox.png")

Many pictures want one lease: `async with client.lease(budget=5_000) as lease`, and then `lease.run(prompt)` for each.
`gpufair.client.sync` has the same without `await`. Prices are whole micro-credits (a credit has 1,000,000).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gpufair.client.audit.auditor import Audited, Auditor
from gpufair.client.batch import orders, records, results, running
from gpufair.client.batch.events import BatchEvent
from gpufair.client.batch.stream import Stream
from gpufair.client.bought import Picture, pictures_of
from gpufair.client.buyer import Buyer
from gpufair.client.carrying import ignore
from gpufair.client.config import Home, default_home
from gpufair.client.failures import DeclinedError
from gpufair.client.leasing import OpenLease
from gpufair.client.market.choosing import Choices
from gpufair.client.market.plan import Plan
from gpufair.client.opening import open_buyer
from gpufair.client.session.talk import GIVE_UP_S, Listen
from gpufair.client.wallet import purchases
from gpufair.client.wallet.bill import Bill, bill
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wishing import check_whole, wish
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.tolerances import load as load_tolerances
from gpufair.protocol.errors import Fault, LocalError

_OF_THE_LEASE = ("model", "trust_provider_ledger")
"""Options that a lease settles for all its jobs."""


class Client:
    """A buyer: `async with Client.open() as client`."""

    def __init__(self, buyer: Buyer) -> None:
        self.buyer = buyer

    @classmethod
    @asynccontextmanager
    async def open(cls, home: str | Path | None = None, *, passphrase: str | None = None) -> AsyncIterator[Client]:
        """Open the buyer in `home` (default: the user's own). Raises LocalError where `gpufair init` comes first."""
        async with open_buyer(Home(Path(home) if home is not None else default_home()), passphrase) as buyer:
            yield cls(buyer)

    @property
    def did(self) -> str:
        """Who we are: what a ledger's operator issues credits to."""
        return self.buyer.desk.did

    async def run(self, prompt: str, **options: Any) -> Picture:
        """Buy one picture. Options: see `pictures`. Raises LocalError for an option that can't be meant, and a
        `PurchaseError` for every other ending.
        """
        _check_one(options)
        return (await self.pictures(prompt, **options))[0]

    async def pictures(
        self,
        prompt: str,
        *,
        approve: Callable[[Plan], bool] | None = None,
        listen: Listen = ignore,
        **options: Any,
    ) -> tuple[Picture, ...]:
        """Buy `count` pictures in one job. Raises as `run` does.

        Options are those of `wish`. `approve` sees the plan, with its price, before anything is signed; if it
        says no, DeclinedError is raised. `listen` gets every event (`gpufair.client.session.events`).
        """
        plan = await self.buyer.plan(wish(prompt, **options))
        if approve is not None and not approve(plan):
            raise DeclinedError("the plan was not approved", hint="nothing was spent")
        return pictures_of(self.buyer.store, await self.buyer.buy(plan, listen))

    async def batch(
        self,
        prompt: str | Sequence[str],
        *,
        budget: int,
        count: int = 1,
        sweep: Mapping[str, Sequence[Any]] | None = None,
        folder: str | Path | None = None,
        hedge: bool = True,
        listen: Callable[[BatchEvent], None] = ignore,
        **options: Any,
    ) -> AsyncGenerator[Picture, None]:
        """Draw many pictures over as many providers as help: `async for picture in client.batch(…)`, in order.

        All together never cost more than `budget`. Each of the prompts, combined with each of the `sweep`'s values
        (`{"steps": [10, 20], "seed": range(5)}`), is drawn `count` times, with one seed after the other. Options are
        those of `wish`. `folder` gets files, index and contact sheet, as from the command line. `listen` gets every
        event (`gpufair.client.batch.events`). Raises FundsError for a budget that can't be enough, JobFailedError at
        the end if pictures are missing (`resume` goes on), and otherwise what `run` does. Who leaves the loop stops it.
        """
        check_whole(budget=budget, count=count)
        prompts = [prompt] if isinstance(prompt, str) else list(prompt)
        axes = {**(sweep or {}), "prompt": prompts}
        if "seed" in options:
            axes.setdefault("seed", [options.pop("seed")])
        items = orders.times(orders.sweep(axes), count)
        prepared = await running.prepare(self.buyer, options, items)
        place, stream = Path(folder) if folder is not None else None, Stream(listen)
        if place is not None:
            results.prepare(place)
        driver = running.begin(
            self.buyer, prepared, budget=budget, title=prompts[0], folder=place, hedge=hedge, listen=stream
        )
        async with aclosing(stream.bought(self.buyer, driver)) as coming:
            async for purchase in coming:
                yield pictures_of(self.buyer.store, purchase)[0]

    async def resume(
        self, batch: str = "", *, budget: int = 0, listen: Callable[[BatchEvent], None] = ignore
    ) -> AsyncGenerator[Picture, None]:
        """Go on with a batch (its id, or the beginning of it; none: the newest): all its pictures, in order.

        What is here is not bought again; `budget`, if it is not 0, replaces the batch's own. Raises as `batch` does.
        """
        check_whole(budget=budget)
        stream = Stream(listen)
        found = records.find(self.buyer.store, batch)
        driver = await running.resume(self.buyer, found, budget=budget, listen=stream)
        stream.here |= records.here(self.buyer.store, found)
        async with aclosing(stream.bought(self.buyer, driver)) as coming:
            async for purchase in coming:
                yield pictures_of(self.buyer.store, purchase)[0]

    @asynccontextmanager
    async def lease(
        self,
        *,
        budget: int,
        minutes: int = 60,
        dearest: int = 0,
        approve: Callable[[Plan], bool] | None = None,
        listen: Listen = ignore,
        **options: Any,
    ) -> AsyncIterator[Lease]:
        """One lease for many jobs: `budget` is reserved now, and what was not spent comes back at the end of the block.

        Options are those of `wish`; they hold for every job that doesn't say otherwise, and choose provider and model.
        `dearest` is the most that one picture may cost, if some will cost more than these options say: it is also what
        can be lost to a provider that cheats. `minutes` is how long the lease lasts.
        """
        check_whole(budget=budget, minutes=minutes, dearest=dearest)
        if not 0 < budget <= limits.AMOUNT_MAX or not 0 <= dearest <= budget:
            raise LocalError(
                Fault.MALFORMED, f"budget is {budget}, dearest {dearest}: micro-credits, within each other"
            )
        if not 0 < minutes * limits.MINUTE <= limits.LEASE_MAX_MS:
            most = limits.LEASE_MAX_MS // limits.MINUTE
            raise LocalError(Fault.MALFORMED, f"minutes is {minutes}: it must be 1 to {most}")
        plan = await self.buyer.plan(wish("anything", **options), budget=budget, dearest=dearest)
        if approve is not None and not approve(plan):
            raise DeclinedError("the plan was not approved", hint="nothing was spent")
        lasts_ms = minutes * limits.MINUTE
        idle_ms = min(lasts_ms, limits.IDLE_LIMIT_MAX_MS)
        lease, plan = await self.buyer.lease(plan, lasts_ms=lasts_ms, idle_ms=idle_ms, listen=listen)
        opened = OpenLease(self.buyer, lease, plan, give_up_s=GIVE_UP_S)
        opened.open()
        try:
            yield Lease(opened, options, self.buyer.store)
        finally:
            await opened.close()

    async def quote(self, prompt: str = "anything", **options: Any) -> Choices:
        """Who could do it, cheapest first, each with its quote line by line. Nothing is signed."""
        wanted = wish(prompt, **options)  # first: nobody is asked about what can't be meant
        return self.buyer.choose(await self.buyer.market(wanted), wanted)

    async def fetch(self, job: str, listen: Listen = ignore) -> tuple[Picture, ...]:
        """What a job has brought, taking up a job that was broken off; `job` is its id or the beginning of it."""
        return pictures_of(self.buyer.store, await self.buyer.fetch(purchases.find(self.buyer.store, job), listen))

    async def go_on(self, job: str, listen: Listen = ignore) -> tuple[Picture, ...]:
        """As `fetch`; what its provider has no more, or leaves undone, is then bought from others, within `max_price`
        of the config, or twice its first price.
        """
        return pictures_of(self.buyer.store, await self.buyer.resume(purchases.find(self.buyer.store, job), listen))

    async def cancel(self, job: str) -> Purchase:
        """Stop a job; pictures already delivered stay payable."""
        return await self.buyer.cancel(purchases.find(self.buyer.store, job))

    async def audit(
        self, job: str, picture: int = 0, *, models: str | Path | None = None, tolerances: str | Path | None = None
    ) -> Audited:
        """Have one step of a paid picture proved, and do it again here.

        `verdict` says what it came to, `file` is the proof for anybody. `models` is a folder that has the job's model,
        `tolerances` a file with rows of one's own. Who failed is banned. Raises LocalError where it can't be audited.
        """
        table = load_tolerances(Path(tolerances) if tolerances is not None else None)
        auditor = Auditor(self.buyer.desk, self.buyer.store, self.buyer.peers, table)
        folder = Path(models) if models is not None else None
        return await auditor.audit(purchases.find(self.buyer.store, job), picture, folder=folder)

    def bill(self, job: str) -> Bill:
        """What a job costs line by line, by our own count and by the provider's signed word, out of the wallet."""
        return bill(purchases.find(self.buyer.store, job))

    def history(self, limit: int = 20) -> list[Purchase]:
        """The newest jobs, newest first, out of the wallet."""
        return purchases.history(self.buyer.store, limit)


class Lease:
    """An open lease, `async with client.lease(budget=…) as lease`: picture after picture, from one provider."""

    def __init__(self, opened: OpenLease, options: dict[str, Any], store: RowStore) -> None:
        self._opened = opened
        self._store = store
        self._options = options
        self.id = opened.id.hex()
        self.provider = opened.plan.choice.offer.issuer

    @property
    def left(self) -> int:
        """Micro-credits of the budget that no job has been promised yet."""
        return self._opened.left

    async def run(self, prompt: str, **options: Any) -> Picture:
        """Buy one picture; see `pictures`."""
        _check_one({**self._options, **options})
        return (await self.pictures(prompt, **options))[0]

    async def pictures(self, prompt: str, *, listen: Listen = ignore, **options: Any) -> tuple[Picture, ...]:
        """Buy `count` pictures in one job, with the lease's options but for those given here.

        Any number of tasks may call it at the same time. Raises LeaseOverError once the lease takes no more jobs,
        FundsError if the budget is used up, and otherwise what `Client.pictures` does. To cancel the task cancels the
        job.
        """
        for name in _OF_THE_LEASE:
            if name in options:
                raise LocalError(Fault.MALFORMED, f"{name} is settled by the lease", hint="take a lease for it")
        return pictures_of(self._store, await self._opened.buy(wish(prompt, **{**self._options, **options}), listen))

    async def reserve(self, seconds: int) -> datetime:
        """Have a warm worker held for this lease for so long, paid at once; until when it is held.

        The lease must be of the class reserved (`bid_class="reserved"`), its window (`dearest`) as large as what the
        seconds cost. Again goes on from there. Raises LocalError where that can't be, DeclinedError with reasons.
        """
        check_whole(seconds=seconds)
        least, most = limits.RESERVE_MIN_MS // limits.SECOND, limits.RESERVE_MAX_MS // limits.SECOND
        if not least <= seconds <= most:
            raise LocalError(Fault.MALFORMED, f"seconds is {seconds}: it must be {least} to {most}")
        held = await self._opened.reserve(seconds)
        return datetime.fromtimestamp(held.until_ms / limits.SECOND, tz=UTC)


def _check_one(options: dict[str, Any]) -> None:
    """`run` hands out one picture: it must not pay for several."""
    count = options.get("count", 1)
    if count != 1:
        hint = f"pictures(prompt, count={count!r}) buys several in one job"
        raise LocalError(Fault.MALFORMED, f"run buys one picture, and count is {count!r}", hint=hint)
