"""From who could do it to what will be bought. Rule: nobody is bid to whom we couldn't pay, or may not.

Checked in this order, cheapest first: the highest price, the daily cap, then, in `funding`, who runs the ledger and
what we have there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from gpufair.client.config import Config
from gpufair.client.failures import Dropped, FundsError
from gpufair.client.market.choosing import Choice, Choices
from gpufair.client.market.wish import Wish
from gpufair.protocol import limits
from gpufair.protocol.matching import Candidate
from gpufair.protocol.messages import JobBody, LedgerRef, PriceSheet, Spec
from gpufair.protocol.pricing import quote
from gpufair.protocol.timing import estimate_us
from gpufair.protocol.units import show


@dataclass(frozen=True, slots=True)
class Plan:
    """What will be bought, from whom, for how much, under which ledger, and what the ledger says that we have."""

    wish: Wish
    choice: Choice
    body: JobBody
    ledger: LedgerRef
    available: int
    budget: int = 0
    """What is reserved for many jobs under one lease; 0: the price of this one."""
    dearest: int = 0
    """The most that one picture under such a lease may cost; 0: no more than this one."""
    dropped: tuple[Dropped, ...] = ()
    """Offers that came before it and could not be paid, each with its reasons."""

    @property
    def checkpoint_every(self) -> int:
        """Steps after which a picture's state is bought: as was wished, else about every half minute; 0: not before it
        must be.
        """
        if self.wish.checkpoint_every is not None:
            return self.wish.checkpoint_every
        picture_ms = estimate_us(self.spec, self.candidate.model) // (1_000 * self.spec.count)
        steps = self.spec.steps - self.spec.done
        return 0 if picture_ms <= 2 * limits.CHECKPOINT_MS else max(1, steps * limits.CHECKPOINT_MS // picture_ms)

    @property
    def cap(self) -> int:
        """What the lease reserves."""
        return self.budget or self.candidate.quote.total

    @property
    def spec(self) -> Spec:
        """The job."""
        return self.choice.spec

    @property
    def candidate(self) -> Candidate:
        """The offer with its quote."""
        return self.choice.candidate

    @property
    def window(self) -> int:
        """The credit window: one picture, or the up-front lines if those are more; at most what strangers get.

        A picture that is dearer is bought in pieces (docs/payment.md, rule 4).
        """
        wanted = max(self.candidate.quote.increment, self.candidate.quote.upfront, self.dearest)
        return min(wanted, self.choice.offer.doc.window_max)

    def at(self, sheet: PriceSheet) -> Plan:
        """The same with what was agreed on in the end."""
        candidate = replace(self.candidate, sheet=sheet, quote=quote(self.spec, sheet, first=True))
        return replace(self, choice=replace(self.choice, candidate=candidate))


def check_price(choices: Choices, wish: Wish, config: Config, *, budget: int = 0) -> tuple[Choice, ...]:
    """The choices within the highest price, and the budget if there is one. Raises FundsError if there is none."""
    highest = config.max_price if wish.max_price is None else wish.max_price
    bounds = [bound for bound in (highest, budget or None) if bound is not None]
    if not bounds:
        return choices.good
    limit = min(bounds)
    good = tuple(choice for choice in choices.good if choice.candidate.quote.total <= limit)
    if not good:
        cheapest = choices.cheapest
        what = (
            f"the cheapest offer asks {show(cheapest)}, {'the highest price' if limit == highest else 'the budget'} is"
        )
        hint = "raise --max-price, or ask for fewer steps or pixels" if limit == highest else "raise the budget"
        raise FundsError(f"{what} {show(limit)}", wanted=cheapest, limit=limit, hint=hint)
    return good
