"""Where an offer can be paid. Rule: what one offer names never decides whether another one can be paid.

Anybody can name ledgers that don't answer, or that say we are rich. So the ledgers that the wallet knows come first; of
others an offer gets two asked, many at a time and not for long; and each is judged where its offer says that it is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from gpufair.client.failures import Dropped, FundsError, NoOfferError, PurchaseError, UnreachableError
from gpufair.client.ledgers import Ledgers, seller_runs_it
from gpufair.client.market.choosing import Choice, seller
from gpufair.protocol import identity
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import FairError
from gpufair.protocol.messages import LedgerRef, NodeRecord, Reason, ReasonCode
from gpufair.protocol.units import show

_STRANGERS_MAX = 2
"""Ledgers of one offer that we never dealt with and ask all the same."""
_NOBODY: Mapping[str, str] = MappingProxyType({})
_AT_ONCE = 32
_ROUNDS_MAX = 4
ASK_S = 8.0
"""How long one ledger may take, its connection included."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a ledger said: its own card and our funds there, or why it said nothing."""

    record: Signed[NodeRecord] | None = None
    available: int = 0
    error: str = ""


@dataclass(frozen=True, slots=True)
class Funded:
    """A choice that we can pay, at which ledger, what we have there, and those before it that we can't pay."""

    choice: Choice
    ledger: LedgerRef
    available: int
    dropped: tuple[Dropped, ...]


class Funding:
    """Finds the first choice that can be paid; each ledger is asked once. `known`: the dids that the wallet knows.

    With `only`, no other ledgers than these are used; `bans` are those that the wallet keeps away from, and why.
    """

    def __init__(
        self,
        ledgers: Ledgers,
        records: Iterable[Signed[NodeRecord]],
        *,
        trust_own: bool,
        known: Collection[str] = (),
        budget: int = 0,
        only: Collection[str] = (),
        bans: Mapping[str, str] = _NOBODY,
    ) -> None:
        self._ledgers = ledgers
        self._records = tuple(records)
        self._trust_own = trust_own
        self._known = frozenset(known)
        self._budget = budget
        self._only = frozenset(only)
        self._bans = bans
        self._told: dict[LedgerRef, _Answer] = {}

    async def first_payable(self, choices: Sequence[Choice], did: str) -> Funded:
        """The first choice that we (`did`) can pay: with a ledger that we know, else with any.

        Raises FundsError, NoOfferError, UnreachableError; each has the reasons of every offer.
        """
        for wanted in (self._familiar, self._strange):
            refs = [ref for choice in choices for ref in wanted(choice)]
            for some in self._rounds(refs):
                self._told |= zip(some, await asyncio.gather(*map(self._ask, some)), strict=True)
                found = self._first(choices)
                if found is not None:
                    return found
        raise self._failure(choices, did)

    # --- whom to ask ---------------------------------------------------------------------------------------------

    def _familiar(self, choice: Choice) -> list[LedgerRef]:
        return [ref for ref in self._allowed(choice) if ref.did in self._known]

    def _strange(self, choice: Choice) -> list[LedgerRef]:
        return [ref for ref in self._allowed(choice) if ref.did not in self._known][:_STRANGERS_MAX]

    def _allowed(self, choice: Choice) -> list[LedgerRef]:
        """One address of each ledger that an offer names, but for the seller's own and banned ones."""
        first: dict[str, LedgerRef] = {}
        for ref in choice.offer.doc.ledgers:
            if ref.did in self._bans:
                continue
            if (self._trust_own or ref.did != choice.offer.issuer) and (not self._only or ref.did in self._only):
                first.setdefault(ref.did, ref)
        return list(first.values())

    @staticmethod
    def _rounds(refs: Iterable[LedgerRef]) -> Iterator[list[LedgerRef]]:
        """The best first and many at a time; whoever floods the market with offers makes it no longer than this."""
        new = list(dict.fromkeys(refs))[: _AT_ONCE * _ROUNDS_MAX]
        for start in range(0, len(new), _AT_ONCE):
            yield new[start : start + _AT_ONCE]

    async def _ask(self, ref: LedgerRef) -> _Answer:
        try:
            async with asyncio.timeout(ASK_S):
                peer = await self._ledgers.meet(ref, self._records)
                return _Answer(peer.record, (await self._ledgers.balance(peer)).doc.available)
        except TimeoutError:
            return _Answer(error=f"no answer within {ASK_S:g} s")
        except FairError as error:
            return _Answer(error=error.what)

    # --- what came of it -----------------------------------------------------------------------------------------

    def _price(self, choice: Choice) -> int:
        return self._budget or choice.candidate.quote.total

    def _first(self, choices: Sequence[Choice]) -> Funded | None:
        for place, choice in enumerate(choices):
            for ref in self._allowed(choice):
                if self._objection(choice, ref) is None:
                    return Funded(choice, ref, self._told[ref].available, self._dropped(choices[:place]))
        return None

    def _objection(self, choice: Choice, ref: LedgerRef) -> Reason | None:
        """Why a choice can't be paid at a ledger; None if it can."""
        name, told = identity.short(ref.did), self._told.get(ref)
        if ref.did in self._bans:
            return Reason(ReasonCode.BANNED, detail=f"the ledger {name}: {self._bans[ref.did]}")
        if not self._trust_own and seller_runs_it(ref, told.record if told else None, choice.record):
            return Reason(ReasonCode.LEDGER_NOT_ACCEPTED, detail=f"{name} is the seller's own")
        if told is None:
            return Reason(ReasonCode.LEDGER_NOT_ACCEPTED, detail=f"{name} was not asked: the wallet does not know it")
        if told.error:
            return Reason(ReasonCode.LEDGER_NOT_ACCEPTED, detail=f"{name}: {told.error}")
        if told.available < self._price(choice):
            price = self._price(choice)
            return Reason(ReasonCode.FUNDS_SHORT, price, told.available, "micro-credits", f"at {name}")
        return None

    def _dropped(self, choices: Iterable[Choice]) -> tuple[Dropped, ...]:
        """Every offer with what is wrong with each of its ledgers."""
        found = [(choice, [self._objection(choice, ref) for ref in choice.offer.doc.ledgers]) for choice in choices]
        return tuple((choice.offer.issuer, tuple(filter(None, why))) for choice, why in found)

    def _failure(self, choices: Sequence[Choice], did: str) -> PurchaseError:
        dropped = self._dropped(choices)
        short = [
            (self._price(choice), self._told[ref].available, ref.did)
            for choice in choices
            for ref in choice.offer.doc.ledgers
            if (why := self._objection(choice, ref)) is not None and why.code is ReasonCode.FUNDS_SHORT
        ]
        if short:
            price, available, ledger = min(short)
            whole = "the lease's budget is" if self._budget else "the job costs"
            what = f"{whole} {show(price)}, you have {show(available)} at the ledger {identity.short(ledger)}"
            hint = f"ask that ledger's operator to issue credits to {did}"
            return FundsError(what, wanted=price, limit=available, hint=hint, dropped=dropped)
        silent = [f"{identity.short(ref.did)}: {told.error}" for ref, told in self._told.items() if told.error]
        if silent:
            return UnreachableError("no ledger answers", hint="; ".join(silent)[:400], dropped=dropped)
        shut = sorted({ref.did for choice in choices for ref in choice.offer.doc.ledgers} & self._bans.keys())
        if shut:
            what = f"the offers want to be paid at a ledger that is banned ({identity.short(shut[0])})"
            hint = "gpufair bans list says why; if you trust it all the same: gpufair bans lift"
            return NoOfferError(what, hint=hint, dropped=dropped)
        sellers = ", ".join(sorted({seller(choice) for choice in choices}))
        what = f"every offer wants to be paid at the seller's own ledger ({sellers[:200]})"
        hint = "it could take a payment and keep the picture; if you trust the seller: --trust-provider-ledger"
        return NoOfferError(what, hint=hint, dropped=dropped)
