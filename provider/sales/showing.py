"""What is asked now, for its owner to look at. Rule: read from the offer that buyers see, by the function they use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from gpufair.protocol.messages import BidClass, ModelOffer, Offer
from gpufair.protocol.pricing import LINES, asked, quote
from gpufair.protocol.search.facts import REFERENCE


def prices(offer: Offer, why: Callable[[bytes], str]) -> list[dict[str, Any]]:
    """Each model on sale: why its price is what it is, and the least that each kind of bid pays, in micro-credits."""
    return [
        {
            "digest": model.digest.hex(),
            "name": model.name,
            "state": model.state.name.lower(),
            "why": why(model.digest),
            "asks": [
                _ask(offer, model, bid_class, notice_ms)
                for bid_class in offer.classes
                for notice_ms in dict.fromkeys((offer.notice_max_ms, 0))
            ],
        }
        for model in offer.models
    ]


def _ask(offer: Offer, model: ModelOffer, bid_class: BidClass, notice_ms: int) -> dict[str, Any]:
    """The sheet of a bid of this class with this notice, and what the reference picture costs under it."""
    sheet = asked(offer, model, bid_class, notice_ms)
    price = quote(replace(REFERENCE, model=model.digest), sheet, first=True)
    return {
        "class": bid_class.name.lower(),
        "notice_ms": notice_ms,
        "sheet": {line: getattr(sheet, line) for line in LINES},
        "picture": price.total,
        "lines": [str(line) for line in price.lines],
    }
