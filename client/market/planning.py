"""From a wish to a plan, asking around. Rule: it is planned with what was checked here, and with what we have.

The order is: who sells it, who is within the highest price and the daily cap, and whom of these we can pay.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType

from gpufair.client.config import Config
from gpufair.client.failures import UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market.accusing import accuse
from gpufair.client.market.asking import question
from gpufair.client.market.bargain import Bounds
from gpufair.client.market.choosing import Choice, Choices, choose
from gpufair.client.market.continued import Continued, preferred
from gpufair.client.market.funding import Funded, Funding
from gpufair.client.market.market import Market, gather
from gpufair.client.market.plan import Plan, check_price
from gpufair.client.market.wish import Wish
from gpufair.client.wallet import purchases
from gpufair.client.wallet.bans import banned
from gpufair.client.wallet.budget import check_cap, room_today
from gpufair.client.wallet.store import PeerRow
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Reason, SearchRequest

NOBODY: Mapping[str, Reason] = MappingProxyType({})


class Planner:
    """Plans with one wallet. `peers` and `store` are closed by whoever opened them."""

    def __init__(self, desk: Desk, store: RowStore, peers: Peers, config: Config, ledgers: Ledgers) -> None:
        self._desk, self._store, self._peers = desk, store, peers
        self._config, self._ledgers = config, ledgers

    def addresses(self) -> tuple[PeerAddress, ...]:
        """Where to look: the nodes that were added, with the did that they had then, and those of the config."""
        with self._store.read() as rows:
            added = [PeerAddress(Endpoint.parse(row.address), row.did) for row in rows.all(PeerRow, order="added_ms")]
        known = {address.endpoint for address in added}
        return (*added, *(one for one in self._config.peers if one.endpoint not in known))

    async def market(self, wish: Wish | None = None, *, wanted: SearchRequest | None = None) -> Market:
        """Ask every known node what is on sale. Raises LocalError if none is known, UnreachableError.

        One that knows more offers than one likes to read is asked for those that suit the `wish`, or are `wanted`.
        What the wallet can prove against sellers is told on the way.
        """
        addresses = self.addresses()
        if not addresses:
            hint = "add one with: gpufair peers add HOST:PORT"
            raise LocalError(Fault.UNKNOWN, "no node is known to start looking from", hint=hint)
        if wish is not None:
            strategy = wish.strategy or self._config.strategy
            wanted = question(wish, wish.model or self._config.model, strategy)
        found = await gather(self._peers, addresses, self._desk.clock, self._store, wanted)
        if not found.asked:
            raise UnreachableError("no known node answers", hint="; ".join(t.what for t in found.troubles)[:400])
        await accuse(self._desk, self._store, self._peers, addresses)
        return found

    def choose(self, market: Market, wish: Wish, passed: Mapping[str, Reason] = NOBODY) -> Choices:
        """Who can fulfil a wish, the best first. Raises NoOfferError. `passed` have declined."""
        lost = wish.lost if isinstance(wish, Continued) else {}
        found = choose(
            market, wish, default_model=self._config.model, strategy=wish.strategy or self._config.strategy,
            bans=banned(self._store), lost=lost, passed=passed,
        )  # fmt: skip
        return preferred(found, wish)

    async def plan(
        self,
        wish: Wish,
        *,
        budget: int = 0,
        dearest: int = 0,
        only: str = "",
        passed: Mapping[str, Reason] = NOBODY,
    ) -> Plan:
        """What would be bought, affordable and allowed. Raises NoOfferError, FundsError, UnreachableError.

        `budget` is for a lease that carries many jobs like this one, pictures of up to `dearest` each. With `only`, no
        other provider is looked at; `passed` are those that declined.
        """
        wish.check()
        market = await self.market(wish)
        if only:
            market.offers = [offer for offer in market.offers if offer.issuer == only]
        choices = self.choose(market, wish, passed)
        good = check_price(choices, wish, self._config, budget=budget)
        paid = await self.payable(market, good, wish, budget=budget)
        body = wish.body(choices.model, paid.choice.spec, self._desk.random)
        return Plan(wish, paid.choice, body, paid.ledger, paid.available, budget, dearest, paid.dropped)

    async def payable(self, market: Market, choices: Sequence[Choice], wish: Wish, *, budget: int = 0) -> Funded:
        """The first of these choices that we can and may pay, and at which ledger. Raises as `plan` does."""
        with self._store.read() as rows:
            now, totals = self._desk.now_ms(), [budget or choice.candidate.quote.total for choice in choices]
            check_cap(rows, self._config.daily_cap, min(totals), now)
            room = room_today(rows, self._config.daily_cap, now)
            known = purchases.ledgers_used(rows) | {peer.did for peer in self._config.peers}
        trust = wish.trust_provider_ledger or self._config.trust_provider_ledger
        funding = Funding(
            self._ledgers, market.records.values(), trust_own=trust, known=known, budget=budget,
            only=wish.where.ledgers, bans=banned(self._store),
        )  # fmt: skip
        affordable = [choice for choice, total in zip(choices, totals, strict=True) if room is None or total <= room]
        return await funding.first_payable(affordable, self._desk.did)

    def bounds(self, plan: Plan, *, lasts_min_ms: int) -> Bounds:
        """How far we go to get what a plan says: to the highest price that was named for it, else to what it says."""
        most = plan.candidate.quote.total if plan.wish.max_price is None else plan.wish.max_price
        manner = plan.wish.manner or self._config.bargain
        return Bounds(min(most, plan.budget or most), self._config.deadline_ms, lasts_min_ms, manner)
