"""What a job costs, line by line. Rule: computed here from what was signed, and held against the provider's own sum.

The price sheet is in the lease, which both have signed; the sum is in the acceptance, which the provider has. An
acceptance of another sum is refused when it comes, so in a wallet the two agree, or nothing was accepted.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.client.wallet.purchase import Purchase
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Bid, JobAcceptance
from gpufair.protocol.pricing import Quote, quote


@dataclass(frozen=True, slots=True)
class Bill:
    """Our quote, and the total that the provider has signed (micro-credits); None: it has not accepted the job."""

    quote: Quote
    accepted: int | None

    @property
    def agrees(self) -> bool:
        """Whether both sides have computed the same number."""
        return self.accepted == self.quote.total


def bill(purchase: Purchase) -> Bill:
    """The bill of a job as it was ordered first; each of its `parts`, that went on elsewhere, has its own."""
    sheet = from_bytes(purchase.lease.envelope, Bid).doc.sheet
    first, later = (quote(purchase.spec, sheet, first=is_first) for is_first in (True, False))
    if not purchase.job.acceptance:
        return Bill(first, None)
    signed = from_bytes(purchase.job.acceptance, JobAcceptance).doc
    ours = later if (later.upfront, later.total) == (signed.upfront, signed.total) else first
    return Bill(ours, signed.total)
