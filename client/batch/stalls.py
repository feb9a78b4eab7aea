"""Who could draw a batch, and for how much. Rule: a price is computed by the function that its seller uses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gpufair.client.batch.lanes import MEGAPIXEL, Item, Seller
from gpufair.client.buyer import Buyer
from gpufair.client.failures import NoOfferError
from gpufair.client.market.choosing import Choice
from gpufair.client.market.market import Market
from gpufair.client.market.plan import Plan
from gpufair.client.market.wish import Wish
from gpufair.protocol.matching import model_offer
from gpufair.protocol.messages import ModelState, Offer, PriceSheet, Spec
from gpufair.protocol.pricing import quote
from gpufair.protocol.timing import estimate_us
from gpufair.protocol.units import step_pixels

_START_S = 1.0
"""Bid, hold and the first word on the stream."""


@dataclass(frozen=True, slots=True)
class Stall:
    """A seller and the offer that stands behind its prices."""

    seller: Seller
    choice: Choice
    """Its offer for the dearest picture."""
    wish: Wish
    """That picture."""
    window: int
    """The window that all of its pictures fit into."""


@dataclass(frozen=True, slots=True)
class Stalls:
    """The sellers of one moment, by did; `sellers` cheapest first; `items` with the work of each picture."""

    market: Market
    by_did: dict[str, Stall]
    items: tuple[Item, ...]

    @property
    def sellers(self) -> list[Seller]:
        """Cheapest first, by the first picture that each sells."""
        return sorted((stall.seller for stall in self.by_did.values()), key=lambda one: (_first(one), one.did))

    def cheapest(self) -> int:
        """What all pictures cost at least, each at whoever sells it cheapest."""
        return sum(
            min(price for stall in self.by_did.values() if (price := stall.seller.price(item.place)) is not None)
            for item in self.items
        )


@dataclass
class _Stand:
    """A seller while its prices are gathered."""

    choice: Choice
    wish: Wish
    prices: list[int | None]
    dearest: int = 0
    window: int = 0


async def find(buyer: Buyer, wishes: Sequence[Wish]) -> Stalls:
    """Ask the market who sells these pictures. Raises NoOfferError if nobody sells one of them; UnreachableError."""
    market = await buyer.market(wishes[0])
    shapes: dict[object, list[int]] = {}
    for place, one in enumerate(wishes):
        # What else a batch's pictures differ in, prompt and seed, their price does not depend on.
        shapes.setdefault((one.steps, one.guidance_milli, one.strength_milli, one.scheduler), []).append(place)
    stands: dict[str, _Stand] = {}
    items: dict[int, Item] = {}
    for places in shapes.values():
        wish = wishes[places[0]]
        choices = buyer.choose(market, wish)
        highest = buyer.config.max_price if wish.max_price is None else wish.max_price
        for choice in choices.good:
            _add(stands, choice, wish, places, len(wishes), highest)
        items |= {place: Item(place, _work(choices.good[0].spec)) for place in places}
    by_did = {did: _stall(stand) for did, stand in stands.items()}
    for place in range(len(wishes)):
        if all(stall.seller.price(place) is None for stall in by_did.values()):
            what = f"nobody sells picture {place + 1} at the highest price"
            raise NoOfferError(what, hint="raise --max-price, or ask for fewer steps or pixels")
    return Stalls(market, by_did, tuple(items[place] for place in range(len(wishes))))


async def plan(buyer: Buyer, stalls: Stalls, did: str, cap: int) -> Plan:
    """What to bid for at a seller. Raises FundsError, NoOfferError, UnreachableError."""
    stall = stalls.by_did.get(did)
    if stall is None:
        raise NoOfferError("the provider sells this no more", hint="others are asked")
    paid = await buyer.payable(stalls.market, [stall.choice], stall.wish, budget=cap)
    body = stall.wish.body(stall.choice.candidate.model, stall.choice.spec, buyer.desk.random)
    return Plan(stall.wish, paid.choice, body, paid.ledger, paid.available, cap, stall.window, paid.dropped)


def seller_under(offer: Offer, did: str, sheet: PriceSheet, wishes: Sequence[Wish]) -> Seller:
    """A seller as a lease that was taken before has it: at the lease's own prices."""
    model = model_offer(offer, sheet.model)
    if model is None:
        return Seller(did, (None,) * len(wishes))
    prices = tuple(quote(wish.specs(model)[0], sheet, first=False).total for wish in wishes)
    return Seller(did, prices, start=_START_S)


def _first(seller: Seller) -> int:
    return next((price for price in seller.prices if price is not None), 0)


def _work(spec: Spec) -> int:
    return step_pixels(steps=spec.steps, width=spec.width, height=spec.height, count=1, guided=spec.guided)


def _add(
    stands: dict[str, _Stand], choice: Choice, wish: Wish, places: Sequence[int], count: int, highest: int | None
) -> None:
    """Note what a shape's pictures cost at a seller."""
    sheet = choice.candidate.sheet
    price = quote(choice.spec, sheet, first=False)
    if highest is not None and price.total + sheet.per_cold_load > highest:
        return
    stand = stands.setdefault(choice.offer.issuer, _Stand(choice, wish, [None] * count))
    for place in places:
        stand.prices[place] = price.total
    first = quote(choice.spec, sheet, first=True)
    stand.window = max(stand.window, first.upfront, first.increment)
    if price.total > stand.dearest:
        stand.dearest, stand.choice, stand.wish = price.total, choice, wish


def _stall(stand: _Stand) -> Stall:
    offer, model, sheet = stand.choice.offer.doc, stand.choice.candidate.model, stand.choice.candidate.sheet
    cold_us = 0 if model.state is ModelState.WARM or model.speed is None else model.speed.load_us
    spec = stand.choice.spec
    pace = max(0, estimate_us(spec, model) - cold_us) / 1e6 * MEGAPIXEL / _work(spec)
    seller = Seller(
        did=stand.choice.offer.issuer, prices=tuple(stand.prices), entry=sheet.per_cold_load, pace=pace,
        start=_START_S + cold_us / 1e6 + offer.queue_ms / 1e3, lanes=max(1, sum(gpu.count for gpu in offer.gpus)),
    )  # fmt: skip
    return Stall(seller, stand.choice, stand.wish, stand.window)
