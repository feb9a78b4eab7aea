"""A buyer of a simulated market: it looks for offers, chooses, bids, and goes elsewhere when it must.

Rule: which offers count, which is chosen, what is said and signed the real client decides; here is only the shell.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from buyer import ClientActor
from dealing import GOOD, Dealing, Errand
from network import Call
from scenario import IMAGE

from gpufair.client.failures import NoOfferError
from gpufair.client.market.choosing import Choice, choose
from gpufair.client.market.leases import Terms
from gpufair.client.market.market import sift
from gpufair.client.market.sources import Answer
from gpufair.client.market.wish import Wish
from gpufair.client.wallet import bans
from gpufair.client.wallet.batches import BatchRow, ItemRow, TryRow
from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.errors import PeerError
from gpufair.protocol.lifecycle import JobState

BATCH = b"b" * 16
"""All that a buyer wants is one batch."""
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
    """How long it waits for a lease to bring something before it goes elsewhere."""


@dataclass
class Purchase(Errand):
    """What is wanted under one lease: these places of the batch."""

    places: tuple[int, ...] = ()


class BuyingActor(ClientActor):
    """A buyer with a list. A crash of its process leaves the list, which is in somebody's head, and the wallet."""

    def __init__(self, sim: Any, world: Any, name: str, skew_ms: int, shopping: Shopping) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.shopping = shopping
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
            choices = choose(market, self.shopping.wish, bans=bans.banned(self.store))
        except NoOfferError as error:
            self.sim.note("{} finds nothing: {}", self.name, error)
            self.later(10_000, self.look_around)
            return
        for choice in choices.good:
            ledgers = {ref.did for ref in choice.offer.doc.ledgers}
            if choice.offer.issuer not in self.avoided and self.shopping.ledger in ledgers:
                self.bid(choice, places)
                return
        self.avoided.clear()
        self.later(20_000, self.look_around)

    def bid(self, choice: Choice, places: tuple[int, ...]) -> None:
        """Ask for a lease that pays for these places."""
        self.tries += 1
        quote, spec = choice.candidate.quote, replace(choice.spec, count=1)
        cap = quote.total * len(places) + quote.upfront * 2
        terms = Terms(cap, max(quote.increment, quote.upfront), self.shopping.ledger, 10 * limits.MINUTE, limits.MINUTE)
        bid = self.leases.propose(choice.offer, choice.record, spec.model, IMAGE, terms)
        self.errands[bid.id] = Purchase((spec,) * len(places), finishes=True, places=places)
        self.deal(bid.id)

    # --- what comes of it ----------------------------------------------------------------------------------------

    def over(self, dealing: Dealing) -> None:
        """Nothing more comes of a lease."""
        dealing.given_up = True
        if set(dealing.errand.places) & set(self.missing()):
            self.avoided.add(dealing.row().provider)
        self.later(self.sim.rng.randrange(100, 3_000), self.look_around)

    def fence(self, lease: bytes) -> None:
        """Sign nothing more for what was ordered under a lease: it is bought elsewhere."""
        with self.store.begin() as rows:
            for one in rows.all(TryRow, lease=lease):
                rows.save(replace(one, off=True))


class Buying(Dealing):
    """A lease for some places of the batch."""

    given_up = False

    def expect(self) -> None:
        """Go elsewhere if nothing has come of it after a while."""
        self.client.later(self.client.shopping.patience_ms, self.look)

    def look(self) -> None:
        """Whether all has come. For a key that is paid it waits as long as it takes: the ledger may show it."""
        if self.given_up or all(state == JobState.PAID for state in self.states()):
            return
        query = "SELECT 1 FROM deliveries WHERE lease=? AND locked AND NOT length(key)"
        if self.client.db.rows(query, self.lease):
            self.expect()
            return
        self.sim.note("{} gives up on {}", self.name, self.shop.name)
        self.client.fence(self.lease)
        self.client.over(self)

    def states(self) -> list[str | None]:
        """How it stands with each place's newest job under this lease."""
        query = "SELECT place, state FROM batch_tries t JOIN jobs j ON (t.lease, t.job) = (j.lease, j.id)"
        found = dict(self.client.db.rows(f"{query} WHERE t.lease=? ORDER BY j.rowid", self.lease))
        return [found.get(place) for place in self.errand.places]

    def wanted(self) -> int | None:
        if self.given_up or len(self.jobs()) >= len(self.errand.plan) + 4:
            return None
        return next((number for number, state in enumerate(self.states()) if state not in GOOD), None)

    def job_id(self, number: int) -> bytes:
        """A job's id is beside its place in the batch before it is ordered."""
        job = self.client.bytes(16)
        with self.client.store.begin() as rows:
            rows.insert(TryRow(self.lease, job, BATCH, self.errand.places[number], off=False, doubtful=False))
        return job
