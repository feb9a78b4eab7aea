"""From a market and a wish to the offers that can fulfil it. Rule: whoever is left out is left out with a reason.

Pure but for what it is given. Money is looked at later: what can be afforded depends on the ledger's answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpufair.client.failures import Dropped, NoOfferError
from gpufair.client.market.adapters import pick_adapters
from gpufair.client.market.market import Market
from gpufair.client.market.wish import Wish
from gpufair.protocol import identity, matching, sealing
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import PeerError
from gpufair.protocol.matching import Candidate
from gpufair.protocol.messages import ModelOffer, ModelState, NodeRecord, Offer, Reason, ReasonCode, Spec


@dataclass(frozen=True, slots=True)
class Choice:
    """An offer that can do the job, what the job is there, and what it costs."""

    candidate: Candidate
    record: Signed[NodeRecord]
    spec: Spec

    @property
    def offer(self) -> Signed[Offer]:
        """The offer."""
        return self.candidate.offer


@dataclass(frozen=True, slots=True)
class Choices:
    """All that can do the job, cheapest first, and all others with reasons."""

    model: ModelOffer
    good: tuple[Choice, ...]
    dropped: tuple[Dropped, ...]


def models_on_sale(offers: Iterable[Signed[Offer]]) -> dict[bytes, ModelOffer]:
    """Every model that somebody has, by digest; of several sellers the first one's words."""
    found: dict[bytes, ModelOffer] = {}
    for offer in offers:
        for model in offer.doc.models:
            if model.state is not ModelState.ABSENT:
                found.setdefault(model.digest, model)
    return found


def pick_model(models: Mapping[bytes, ModelOffer], wanted: str) -> ModelOffer:
    """The model of a name or digest prefix; without either the only one on sale. Raises NoOfferError otherwise."""
    if not models:
        hint = "`gpufair offers` shows who was asked; `gpufair peers add HOST:PORT` asks more"
        raise NoOfferError("nobody that answers has a model on sale", hint=hint)
    on_sale = ", ".join(sorted(f"{m.name} ({m.digest.hex()[:12]})" for m in models.values())[:12])
    low = wanted.lower()
    if not wanted:
        fits = list(models.values())
    else:
        fits = [m for m in models.values() if m.name.lower() == low]
        fits = fits or [m for m in models.values() if len(low) >= 4 and m.digest.hex().startswith(low)]
    if not fits:
        raise NoOfferError(f"nobody sells the model {wanted!r}", hint=f"on sale: {on_sale}")
    if len(fits) > 1:
        names = ", ".join(sorted(f"{m.name} ({m.digest.hex()[:12]})" for m in fits)[:12])
        what = f"{len(fits)} models fit {wanted!r}" if wanted else f"{len(fits)} models are on sale"
        raise NoOfferError(what, hint=f"choose one with --model: {names}")
    return fits[0]


def choose(
    market: Market, wish: Wish, *, default_model: str = "", bans: Mapping[str, str] = MappingProxyType({})
) -> Choices:
    """Who can fulfil a wish, cheapest first. Raises NoOfferError where nobody can, with every reason.

    `bans` are the providers that the wallet doesn't buy from, and why.
    """
    wish.check()
    model = pick_model(models_on_sale(market.offers), wish.model or default_model)
    adapters = pick_adapters((one for offer in market.offers for one in offer.doc.adapters), wish.loras, model.digest)
    good: dict[bytes, Choice] = {}
    bad: dict[bytes, Dropped] = {}
    for spec in wish.specs(model, adapters):
        fit, unfit = matching.candidates(market.offers, spec)
        for candidate in fit:
            record, reason = _usable(market, candidate, bans)
            if record is not None and candidate.offer.id not in good:
                good[candidate.offer.id] = Choice(candidate, record, spec)
            elif reason is not None:
                bad[candidate.offer.id] = (candidate.offer.issuer, (reason,))
        for offer, reasons in unfit:
            bad.setdefault(offer.id, (offer.issuer, reasons))
    ranked = sorted(good.values(), key=_rank)
    dropped = tuple(entry for key, entry in bad.items() if key not in good)
    if not ranked:
        what = f"no offer matches: {len(dropped)} looked at, {summary(dropped)}"
        raise NoOfferError(what, hint="change what is asked for, or ask more nodes: gpufair peers add", dropped=dropped)
    wish.inputs(ranked[0].spec)  # made now: what can't be is said before anybody is bid to
    return Choices(model, tuple(ranked), dropped)


def summary(dropped: Iterable[Dropped]) -> str:
    """How many offers fell to which reason: `2 size too large, 1 model not offered`."""
    counts = Counter(code for _, reasons in dropped for code in {reason.code for reason in reasons})
    words = [f"{count} {code.name.lower().replace('_', ' ')}" for code, count in counts.most_common()]
    return ", ".join(words) or "none of them with a reason"


def _usable(
    market: Market, candidate: Candidate, bans: Mapping[str, str]
) -> tuple[Signed[NodeRecord] | None, Reason | None]:
    """The node record that a candidate's offer names, or why it can't be bought from."""
    if (why := bans.get(candidate.offer.issuer)) is not None:
        return None, Reason(ReasonCode.AUDIT_FAILED, detail=why)
    record = market.record(candidate.offer)
    if record is None:
        return None, Reason(ReasonCode.OFFER_UNKNOWN, detail="the node record that it names is not to be had")
    try:
        sealing.check_recipient(record.doc.sealing_key)
    except PeerError as error:
        return None, Reason(ReasonCode.OFFER_UNKNOWN, detail=error.what)
    if not candidate.offer.doc.worker_images:
        return None, Reason(ReasonCode.IMAGE_NOT_OFFERED, detail="the offer names no worker image")
    return record, None


def _rank(choice: Choice) -> tuple[int, int, bytes]:
    head = choice.offer.doc.head
    return choice.candidate.quote.total, head.issued_at_ms, choice.offer.id


def seller(choice: Choice) -> str:
    """A seller in a few letters, for people."""
    return identity.short(choice.offer.issuer)
