"""From who could do it to what will be bought. Rule: nobody is bid to whom we couldn't pay, or may not.

Checked in this order, cheapest first: the highest price, the daily cap, who runs the ledger, the balance there.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from gpufair.client.config import Config
from gpufair.client.failures import FundsError, NoOfferError, PurchaseError, UnreachableError
from gpufair.client.ledgers import Ledgers, seller_runs_it
from gpufair.client.market.choosing import Choice, Choices, seller
from gpufair.client.market.wish import Wish
from gpufair.protocol import identity
from gpufair.protocol.edge.channels import Peer
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import FairError
from gpufair.protocol.matching import Candidate
from gpufair.protocol.messages import JobBody, LedgerRef, NodeRecord, Spec
from gpufair.protocol.units import show

_LEDGERS_ASKED_MAX = 8


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
        """The credit window that the job needs: one picture, or the up-front lines if those are more."""
        return max(self.candidate.quote.increment, self.candidate.quote.upfront, self.dearest)


def check_price(choices: Choices, wish: Wish, config: Config, *, budget: int = 0) -> tuple[Choice, ...]:
    """The choices within the highest price, and the budget if there is one. Raises FundsError if there is none."""
    highest = config.max_price if wish.max_price is None else wish.max_price
    bounds = [bound for bound in (highest, budget or None) if bound is not None]
    if not bounds:
        return choices.good
    limit = min(bounds)
    good = tuple(choice for choice in choices.good if choice.candidate.quote.total <= limit)
    if not good:
        cheapest = choices.good[0].candidate.quote.total
        what = (
            f"the cheapest offer asks {show(cheapest)}, {'the highest price' if limit == highest else 'the budget'} is"
        )
        hint = "raise --max-price, or ask for fewer steps or pixels" if limit == highest else "raise the budget"
        raise FundsError(f"{what} {show(limit)}", wanted=cheapest, limit=limit, hint=hint)
    return good


class Funding:
    """Finds the first choice that can be paid; each ledger is asked once."""

    def __init__(
        self, ledgers: Ledgers, records: Iterable[Signed[NodeRecord]], *, trust_own: bool, budget: int = 0
    ) -> None:
        self._ledgers = ledgers
        self._records = tuple(records)
        self._trust_own = trust_own
        self._budget = budget
        self._told: dict[str, tuple[Peer, int] | None] = {}
        self._short: list[tuple[int, int, str]] = []
        self._own: list[str] = []
        self._silent: list[str] = []

    async def first_payable(self, choices: Iterable[Choice], did: str) -> tuple[Choice, LedgerRef, int]:
        """The first choice that we can pay, where, and what we have there. Raises FundsError, NoOfferError."""
        for choice in choices:
            price = self._budget or choice.candidate.quote.total
            for ref in choice.offer.doc.ledgers:
                available = await self._available(choice, ref)
                if available is not None and available >= price:
                    return choice, ref, available
                if available is not None:
                    self._short.append((price, available, ref.did))
        raise self._failure(did)

    async def _available(self, choice: Choice, ref: LedgerRef) -> int | None:
        """Our funds at a ledger; None if it may not be used or doesn't answer."""
        if ref.did == choice.offer.issuer and not self._trust_own:
            self._own.append(seller(choice))
            return None
        if ref.did not in self._told:
            if len(self._told) >= _LEDGERS_ASKED_MAX:
                return None
            self._told[ref.did] = await self._ask(ref)
        told = self._told[ref.did]
        if told is None:
            return None
        if not self._trust_own and seller_runs_it(ref, told[0].record, choice.record):
            self._own.append(seller(choice))
            return None
        return told[1]

    async def _ask(self, ref: LedgerRef) -> tuple[Peer, int] | None:
        try:
            peer = await self._ledgers.meet(ref, self._records)
            return peer, (await self._ledgers.balance(peer)).doc.available
        except FairError as error:
            self._silent.append(f"{identity.short(ref.did)}: {error.what}")
            return None

    def _failure(self, did: str) -> PurchaseError:
        if self._short:
            price, available, ledger = min(self._short)
            whole = "the lease's budget is" if self._budget else "the job costs"
            what = f"{whole} {show(price)}, you have {show(available)} at the ledger {identity.short(ledger)}"
            hint = f"ask that ledger's operator to issue credits to {did}"
            return FundsError(what, wanted=price, limit=available, hint=hint)
        if self._silent:
            return UnreachableError("no ledger answers", hint="; ".join(self._silent)[:400])
        what = f"every offer wants to be paid at the seller's own ledger ({', '.join(sorted(set(self._own)))[:200]})"
        hint = "it could take a payment and keep the picture; if you trust the seller: --trust-provider-ledger"
        return NoOfferError(what, hint=hint)
