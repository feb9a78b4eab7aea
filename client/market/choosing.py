"""From a market and a wish to the offers that can fulfil it. Rule: whoever is left out is left out with a reason.

Pure but for what it is given. Money is looked at later: what can be afforded depends on the ledger's answer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from gpufair.client.failures import Dropped, NoOfferError
from gpufair.client.market.adapters import pick_adapters
from gpufair.client.market.market import Market
from gpufair.client.market.nearest import Against, nearest
from gpufair.client.market.stake import Stake
from gpufair.client.market.wish import Wish
from gpufair.protocol import identity, limits, matching, sealing
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import PeerError, printable
from gpufair.protocol.matching import Candidate
from gpufair.protocol.messages import BidClass, ModelOffer, ModelState, NodeRecord, Offer, Reason, ReasonCode, Spec
from gpufair.protocol.search.facts import facts
from gpufair.protocol.search.filters import Count, Filter, Miss, misses, tally
from gpufair.protocol.search.strategies import CHEAPEST, Strategy
from gpufair.protocol.timing import expected_us

_OF_THE_JOB = (Filter.MODEL, Filter.TASK)
"""What is judged with the job, in its own words."""

_NOBODY: Mapping[str, str] = MappingProxyType({})


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

    @property
    def expected_us(self) -> int:
        """Microseconds until the job would be done there, as the provider says; UNMEASURED_US where it says nothing."""
        return expected_us(self.spec, self.candidate.model, self.offer.doc.queue_ms)


@dataclass(frozen=True, slots=True)
class Choices:
    """All that can do the job, the best first, and all others with reasons; how many pass each filter."""

    model: ModelOffer
    good: tuple[Choice, ...]
    dropped: tuple[Dropped, ...]
    strategy: Strategy = CHEAPEST
    counts: tuple[Count, ...] = ()

    @property
    def cheapest(self) -> int:
        """The least that the job costs, in micro-credits."""
        return min(choice.candidate.quote.total for choice in self.good)


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
    market: Market,
    wish: Wish,
    *,
    default_model: str = "",
    strategy: Strategy = CHEAPEST,
    bans: Mapping[str, str] = _NOBODY,
    lost: Mapping[str, str] = _NOBODY,
    passed: Mapping[str, Reason] = MappingProxyType({}),
) -> Choices:
    """Who can fulfil a wish, the best by the strategy first. Raises NoOfferError where nobody can, with every reason.

    `bans` are the providers that the wallet doesn't buy from, `lost` those that this work was taken from, and why;
    `passed` have declined.
    """
    wish.check()
    model = pick_model(models_on_sale(market.offers), wish.model or default_model)
    adapters = pick_adapters((one for offer in market.offers for one in offer.doc.adapters), wish.loras, model.digest)
    specs = wish.specs(model, adapters)
    wanted = replace(wish.where, model=model.digest, task=wish.task)
    if wish.stake.bid_class is not BidClass.ON_DEMAND:
        wanted = replace(wanted, bid_class=wish.stake.bid_class)
    missed = [misses(facts(offer.issuer, offer.doc), wanted) for offer in market.offers]
    good, unused = list[Choice](), list[tuple[Signed[Offer], Against]]()
    shut = {did: Reason(ReasonCode.LOST, detail=why) for did, why in lost.items()}
    shut |= passed
    shut |= {did: Reason(ReasonCode.BANNED, detail=why) for did, why in bans.items()}
    for offer, missing in zip(market.offers, missed, strict=True):
        against = [miss for miss in missing if miss.filter not in _OF_THE_JOB] + _too_short(offer.doc, wish.stake)
        found = _judged(market, offer, specs, against, wish.stake, shut)
        if isinstance(found, Choice):
            good.append(found)
        else:
            unused.append((offer, found))
    dropped = tuple((offer.issuer, tuple(map(_reason, against))) for offer, against in unused)
    if not good:
        what = f"no offer matches: {len(dropped)} looked at, {summary(dropped)}"
        changes = nearest(unused, specs[0], wish.stake)
        closest = f"closest: {'; '.join(map(str, changes[:3]))}" if changes else "change what is asked for"
        raise NoOfferError(what, hint=f"{closest}; or ask more nodes: gpufair peers add", dropped=dropped)
    good.sort(key=lambda choice: strategy.key(choice.candidate.quote.total, choice.expected_us, choice.offer.issuer))
    wish.inputs(good[0].spec)  # made now: what can't be is said before anybody is bid to
    return Choices(model, tuple(good), dropped, strategy, tally(missed, wanted))


def _judged(
    market: Market,
    offer: Signed[Offer],
    specs: Sequence[Spec],
    missing: list[Miss | Reason],
    stake: Stake,
    shut: Mapping[str, Reason],
) -> Choice | Against:
    """The first of the specs that an offer can do, or all that speaks against it."""
    fewest: Against | None = None
    for spec in specs:
        fit, unfit = matching.candidates([offer], spec, stake.sheet)
        if not fit:
            against = unfit[0][1]
            fewest = against if fewest is None or len(against) < len(fewest) else fewest
            continue
        if missing:
            return tuple(missing)
        record, reason = _usable(market, fit[0], shut)
        if record is not None:
            return Choice(fit[0], record, spec)
        return (reason,) if reason is not None else ()
    return (*(fewest or ()), *missing)


def _too_short(offer: Offer, stake: Stake) -> list[Miss | Reason]:
    """Why an offer's notice is not long enough, if so."""
    if stake.notice_ms <= offer.notice_max_ms:
        return []
    return [Reason(ReasonCode.NOTICE_NOT_OFFERED, stake.notice_ms, offer.notice_max_ms, "ms")]


def _reason(one: Miss | Reason) -> Reason:
    return one if isinstance(one, Reason) else Reason(ReasonCode.FILTERED, detail=printable(str(one), limits.NAME_MAX))


def summary(dropped: Iterable[Dropped]) -> str:
    """How many offers fell to which reason: `2 size too large, 1 model not offered`."""
    counts = Counter(code for _, reasons in dropped for code in {reason.code for reason in reasons})
    words = [f"{count} {code.name.lower().replace('_', ' ')}" for code, count in counts.most_common()]
    return ", ".join(words) or "none of them with a reason"


def _usable(
    market: Market, candidate: Candidate, shut: Mapping[str, Reason]
) -> tuple[Signed[NodeRecord] | None, Reason | None]:
    """The node record that a candidate's offer names, or why it can't be bought from. `shut`: who is out anyhow."""
    if (why := shut.get(candidate.offer.issuer)) is not None:
        return None, why
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


def seller(choice: Choice) -> str:
    """A seller in a few letters, for people."""
    return identity.short(choice.offer.issuer)
