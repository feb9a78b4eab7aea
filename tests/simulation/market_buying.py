"""A buyer of a simulated market: it looks for offers, chooses, bids, and goes elsewhere when it must.

Rule: which offers count, which is chosen, what is said and signed the real client decides; here is only the shell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from buyer import ClientActor
from dealing import Dealing
from market_lease import BATCH, Buying, Purchase
from network import Call
from scenario import IMAGE

from gpufair.client.failures import NoOfferError
from gpufair.client.market.choosing import Choice, choose
from gpufair.client.market.leases import Terms
from gpufair.client.market.market import sift
from gpufair.client.market.sources import Answer
from gpufair.client.market.stake import USUAL
from gpufair.client.market.wish import Wish
from gpufair.client.wallet import bans
from gpufair.client.wallet.batches import BatchRow, ItemRow
from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.errors import PeerError
from gpufair.protocol.pricing import smallest_window

TRIES_MAX = 12
"""Leases that one buyer asks for."""


@dataclass(frozen=True)
class Shopping:
    """What a buyer wants: so many pictures of this kind, some of them under one lease."""

    wish: Wish
    pictures: int
    at_a_time: int
    ledger: str
    knows: tuple[str, ...]
    """The directories of its configuration, by did."""
    begins_ms: int
    patience_ms: int
    """How long it waits for a lease to begin before it goes elsewhere."""
    checkpoint_every: int = 0
    share: int = 1_000
    """How much of a picture it pays for at a time, in thousandths."""


class BuyingActor(ClientActor):
    """A buyer with a list. A crash of its process leaves the list, which is in somebody's head, and the wallet."""

    def __init__(self, sim: Any, world: Any, name: str, skew_ms: int, shopping: Shopping) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.shopping, self.wish = shopping, shopping.wish
        self.errands: dict[bytes, Purchase] = {}
        self.avoided: set[str] = set()
        self.tries = 0

    def begin(self) -> None:
        """What to do is decided by `look_around`."""

    def boot(self) -> None:
        self.looking = False
        super().boot()
        self.write_down()
        self.later(self.shopping.begins_ms if self.sim.now < self.world.opens + self.shopping.begins_ms else 0,
                   self.look_around)  # fmt: skip

    def write_down(self) -> None:
        """The batch is in the wallet before anything is ordered for it."""
        with self.store.begin() as rows:
            if rows.get(BatchRow, id=BATCH) is None:
                rows.insert(BatchRow(BATCH, "pictures", limits.AMOUNT_MAX, "{}", b"", b"", "", self.now_ms()))
                for place in range(self.shopping.pictures):
                    rows.insert(ItemRow(BATCH, place, str(place), "{}", b"", b"", "[]"))

    def deal(self, lease: bytes) -> None:
        dealing = self.dealings[lease] = Buying(self, lease, self.errands.get(lease, Purchase(())))
        dealing.go()
        dealing.expect()

    def missing(self) -> list[int]:
        """The pictures that are neither here nor on their way."""
        here = "SELECT t.place FROM batch_tries t JOIN deliveries d USING (lease, job) WHERE length(d.plain)"
        have = {place for (place,) in self.db.rows(here)}
        going = {place for one in self.dealings.values() if not one.given_up for place in one.errand.places}
        return [place for place in range(self.shopping.pictures) if place not in have | going]

    # --- looking for offers --------------------------------------------------------------------------------------

    def look_around(self) -> None:
        """Ask the directories that we know, if anything is missing."""
        if self.looking or self.world.quiet or self.tries >= TRIES_MAX or not self.missing():
            return
        self.looking = True
        self.answers: list[Answer] = []
        for did in self.shopping.knows:
            node = self.world.directories[did]
            Call(self.sim, self, node.shown, lambda found, d=did: self.heard(d, found), "offers",
                 until=self.sim.now + limits.CALL_DEADLINE_MS, to=node.name)  # fmt: skip
        self.later(2 * limits.CALL_DEADLINE_MS if self.sim.weather.lose and not self.sim.calm else 2_000, self.decide)

    def heard(self, did: str, found: Any) -> None:
        """A directory has answered."""
        if not isinstance(found, PeerError):
            self.answers.append(Answer(did, did, reached=True, heard=Reach.PRIVATE, offers=found[0], records=found[1]))

    def decide(self) -> None:
        """Bid for the best offer that we have not been disappointed by; if there is none, look again later."""
        self.looking = False
        places = tuple(self.missing()[: self.shopping.at_a_time])
        if not places or self.world.quiet:
            return
        market = sift(self.answers, self, self.store)
        self.world.gathered(self, market)
        try:
            choices = choose(market, self.wish, bans=bans.banned(self.store))
        except NoOfferError as error:
            self.sim.note("{} finds nothing: {}", self.name, error)
            self.wish = replace(self.wish, stake=USUAL)  # nobody sells of that class
            self.later(10_000, self.look_around)
            return
        for choice in choices.good:
            ledgers = {ref.did for ref in choice.offer.doc.ledgers}
            if choice.offer.issuer not in self.avoided and self.shopping.ledger in ledgers:
                self.bid(choice, places)
                return
        self.avoided.clear()
        self.wish = replace(self.wish, stake=USUAL)
        self.later(20_000, self.look_around)

    def bid(self, choice: Choice, places: tuple[int, ...]) -> None:
        """Ask for a lease that pays for these places."""
        self.tries += 1
        quote, spec, stake = choice.candidate.quote, replace(choice.spec, count=1), self.wish.stake
        sheet = stake.sheet(choice.offer.doc, choice.candidate.model)
        cap = quote.total * len(places) + quote.upfront * 2
        window = max(self.shopping.share * quote.increment // 1_000, quote.upfront, smallest_window(spec, sheet))
        lasts_ms, idle_ms = 10 * limits.MINUTE, limits.MINUTE
        terms = Terms(cap, window, self.shopping.ledger, lasts_ms, idle_ms, bid_class=stake.bid_class)
        bid = self.leases.propose(choice.offer, choice.record, spec.model, IMAGE, terms)
        every = self.shopping.checkpoint_every
        self.errands[bid.id] = Purchase((spec,) * len(places), places=places, checkpoint_every=every)
        self.deal(bid.id)

    # --- what comes of it ----------------------------------------------------------------------------------------

    def over(self, dealing: Dealing) -> None:
        """Nothing more comes of a lease."""
        dealing.given_up = True
        if set(dealing.errand.places) & set(self.missing()):
            self.avoided.add(dealing.row().provider)
        self.later(self.sim.rng.randrange(100, 3_000), self.look_around)
