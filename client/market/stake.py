"""How one wants to be served, and what one pays for that. Rule: a bid is never below what its class is asked.

What is paid beyond that buys a better place in the queue, and for interruptible work fewer interruptions.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.messages import BidClass, ModelOffer, Offer, PriceSheet
from gpufair.protocol.pricing import LINES, MILLI, asked, scaled
from gpufair.protocol.units import MILLION

SHARE_MAX_MILLI = 10 * MILLI


@dataclass(frozen=True, slots=True)
class Stake:
    """A class, the notice before the GPU is taken back, and what is bid: no more than is asked, unless it says.

    `share_milli` is in thousandths of the ask on demand; `rate` in micro-credits for a step-megapixel.
    """

    bid_class: BidClass = BidClass.ON_DEMAND
    notice_ms: int = 0
    share_milli: int = 0
    rate: int = 0

    def sheet(self, offer: Offer, model: ModelOffer) -> PriceSheet:
        """What is bid for a model under an offer, line by line."""
        least = asked(offer, model, self.bid_class, self.notice_ms)
        whole = asked(offer, model, BidClass.ON_DEMAND, self.notice_ms)
        share = self.share_milli * MILLI or -(-self.rate * MILLION // whole.per_step_megapixel)
        bid = scaled(whole, min(share, SHARE_MAX_MILLI * MILLI))
        lines = (max(getattr(least, line), min(getattr(bid, line), limits.RATE_MAX)) for line in LINES)
        return PriceSheet(model.digest, *lines) if share else least

    def words(self) -> str:
        """For people: `interruptible, 80 % of the ask, 5 s notice`; empty for what is usual."""
        found = [] if self.bid_class is BidClass.ON_DEMAND else [self.bid_class.name.lower()]
        found += [f"{self.share_milli / 10:g} % of the ask"] if self.share_milli else []
        found += [f"{self.rate} micro-credits a step-megapixel"] if self.rate else []
        found += [f"{self.notice_ms / 1000:g} s notice"] if self.notice_ms else []
        return ", ".join(found)


USUAL = Stake()
"""On demand, without notice, for what is asked."""
