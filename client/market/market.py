"""Who sells what. Rule: an offer counts only when its signature, time and sequence hold, whoever passed it on.

Directories are believed in nothing: they may hide, never invent. The highest sequence of each seller is remembered in
the wallet, so that nobody can show us yesterday's price (docs/payment.md, rule 20).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from gpufair.client.market.convicting import Doubt, convict, open_questions, read_evidence
from gpufair.client.market.sources import Answer, Silence, Source, Trouble, judged, silence_of
from gpufair.client.wallet import pairs
from gpufair.client.wallet.store import SequenceRow
from gpufair.protocol import envelope as dsse
from gpufair.protocol import evidence, limits
from gpufair.protocol.addresses import PeerAddress, check_endpoints
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.edge.reaching import reach_of
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import FairError, Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Envelope, NodeRecord, Offer, SearchAnswer, SearchRequest
from gpufair.protocol.ports import Clock

Broadcast = NodeRecord | Offer
B = TypeVar("B", NodeRecord, Offer)

_ASK_MS = 2 * limits.CALL_DEADLINE_MS
_OFFERS_MAX = 5_000
"""Offers that are read from one directory; a flood beyond that is not worth the time."""


@dataclass
class Market:
    """What was found: verified offers, the newest of each seller, and the node records they name."""

    offers: list[Signed[Offer]] = field(default_factory=list)
    records: dict[str, Signed[NodeRecord]] = field(default_factory=dict)
    troubles: list[Trouble] = field(default_factory=list)
    asked: int = 0
    """Nodes that answered."""
    sources: list[Source] = field(default_factory=list)
    """Every node that was asked, in the order of the addresses."""
    searches: dict[str, SearchAnswer] = field(default_factory=dict)
    """Of the nodes that know more than they were asked to show: how many offers, and how many pass each filter."""
    doubts: list[Doubt] = field(default_factory=list)
    """What is reported of sellers and only a replay can judge."""

    def record(self, offer: Signed[Offer]) -> Signed[NodeRecord] | None:
        """The node record that an offer names, if it is the newest that we know of its provider."""
        found = self.records.get(offer.issuer)
        return found if found is not None and found.id == offer.doc.record else None


async def gather(
    peers: Peers,
    addresses: Sequence[PeerAddress],
    clock: Clock,
    store: RowStore,
    wanted: SearchRequest | None = None,
) -> Market:
    """Ask the nodes at `addresses`, all at once, and keep what proves itself. An unreachable node is a trouble.

    Those that know more offers than one page are asked for what is `wanted`, and for all if they find none.
    """
    return sift(await asyncio.gather(*(_ask(peers, address, store, wanted) for address in addresses)), clock, store)


def sift(answers: Sequence[Answer], clock: Clock, store: RowStore) -> Market:
    """What proves itself of what nodes have answered; all else is a trouble."""
    market = Market(asked=sum(answer.reached for answer in answers))
    market.troubles = [trouble for answer in answers for trouble in answer.troubles]
    records = [(a, one) for a in answers for one in a.records]
    offers = [(a, one) for a in answers for one in a.offers]
    with store.begin() as rows:
        for record in _newest(rows, records, NodeRecord, clock.now_ms(), market):
            market.records[record.issuer] = record
        market.offers = _newest(rows, offers, Offer, clock.now_ms(), market)
        told, market.doubts = convict(rows, answers, clock.now_ms())
    market.troubles += told
    market.searches = {answer.source: answer.search for answer in answers if answer.search is not None}
    good = {offer.envelope for offer in market.offers}
    market.sources = [judged(answer, good, market.troubles) for answer in answers]
    return market


async def _ask(peers: Peers, address: PeerAddress, store: RowStore, wanted: SearchRequest | None) -> Answer:
    answer = Answer(str(address.endpoint), address.did)
    try:
        async with asyncio.timeout(_ASK_MS / 1000):
            await _read(await peers.meet(address), answer, store, wanted)
    except TimeoutError:
        answer.silence = Silence.UNREACHABLE
        answer.troubles.append(Trouble(answer.source, f"did not answer within {_ASK_MS // 1000} s"))
    except FairError as error:
        answer.silence = silence_of(error)
        answer.troubles.append(Trouble(answer.source, error.what))
    return answer


async def _read(peer: Peer, answer: Answer, store: RowStore, wanted: SearchRequest | None) -> None:
    """Offers first, then the records of those who made them: that order leaves no offer without its record."""
    answer.reached, answer.did, answer.roles = True, peer.did, peer.record.doc.roles
    answer.heard = await reach_of(peer.endpoint)
    answer.records.append(peer.record.envelope)
    sellers, ledgers = list[str](), Counter[str]()
    async for offer in _shown(peer, answer, wanted):
        answer.offers.append(offer)
        with contextlib.suppress(PeerError):  # what is wrong with it is told when it is checked
            read = dsse.read(offer, Offer)
            sellers.append(read.issuer)
            ledgers.update({ref.did for ref in read.doc.ledgers})
        if len(answer.offers) >= _OFFERS_MAX:
            answer.silence = Silence.FLOODED
            answer.troubles.append(Trouble(answer.source, f"shows more than {_OFFERS_MAX} offers; the rest is left"))
            break
    for start in range(0, len(sellers), limits.FIND_MAX):
        async for record in peer.directory.all_records(sellers[start : start + limits.FIND_MAX]):
            answer.records.append(record)
    # Offers name as many ledgers as they like: about those that most want to be paid at it is asked.
    usual = [did for did, _ in ledgers.most_common(limits.FIND_MAX)]
    await read_evidence(peer.directory, open_questions(store, [*sellers, *usual]), answer)


async def _shown(peer: Peer, answer: Answer, wanted: SearchRequest | None) -> AsyncIterator[Envelope]:
    """All offers of a directory, or the best that it finds if there are more than a page of them."""
    page, following = await peer.directory.find_offers()
    for offer in page:
        yield offer
    if following and wanted is not None:
        with contextlib.suppress(RemoteRefusal):  # an older node, or a question that it can't make sense of
            answer.search = await peer.directory.search(wanted)
    if answer.search is not None and answer.search.offers:
        for offer in answer.search.offers:
            yield offer
    elif following:
        async for offer in peer.directory.all_offers(after=following):
            yield offer


def _newest(
    rows: Rows, found: Iterable[tuple[Answer, Envelope]], kind: type[B], now_ms: int, market: Market
) -> list[Signed[B]]:
    """The newest document of each issuer, checked; every other one that is not just an older copy is a trouble."""
    newest: dict[str, Signed[B]] = {}
    first: dict[tuple[str, int], Signed[B]] = {}
    seen: set[Envelope] = set()  # whole ones: an id says nothing of signatures, and a forged copy must hide no good one
    for answer, document in found:
        if document in seen:
            continue
        seen.add(document)
        try:
            signed = dsse.receive(document, kind, me=BROADCAST, now_ms=now_ms, lifetime_max_ms=limits.BROADCAST_TTL_MS)
            one = first.setdefault((signed.issuer, signed.doc.sequence), signed)
            if one.id != signed.id and (what := _convict(rows, one, signed, now_ms)):
                market.troubles.append(Trouble(answer.source, what, Fault.CONFLICT))
            check_endpoints(_endpoints(signed.doc), answer.heard)
            _take(rows, signed)
        except PeerError as error:
            if error.fault is not Fault.STALE:
                market.troubles.append(Trouble(answer.source, f"{_word(kind)}: {error.what}", error.fault))
            continue
        newest[signed.issuer] = signed
    return list(newest.values())


def _convict(rows: Rows, one: Signed[B], other: Signed[B], now_ms: int) -> str:
    """Ban whoever signed two different broadcasts of one sequence. What is told of it; empty if it was done before."""
    # The head is of no account here: the piece is judged, and made anew when it is brought to others.
    why = pairs.keep(rows, evidence.two_broadcasts(one.doc.head, one.envelope, other.envelope), now_ms)
    return f"{one.issuer} is banned from now on: {why}" if why else ""


def _take(rows: Rows, signed: Signed[B]) -> None:
    """Remember a document's sequence. Raises PeerError: STALE for an older one, CONFLICT for a second of the same."""
    head = signed.doc.head
    if head.audience != (BROADCAST,) or head.parent:
        raise PeerError(Fault.WRONG_AUDIENCE, "it is not addressed to everyone")
    kind, sequence = _word(type(signed.doc)), signed.doc.sequence
    known = rows.get(SequenceRow, did=signed.issuer, kind=kind)
    if known is not None and known.sequence > sequence:
        raise PeerError(Fault.STALE, "a newer one has been seen")
    if known is not None and known.sequence == sequence:
        if known.document != signed.id:
            raise PeerError(Fault.CONFLICT, "its issuer has signed two different ones with one sequence")
        return
    rows.save(SequenceRow(signed.issuer, kind, sequence, signed.id))


def _endpoints(doc: Broadcast) -> tuple[str, ...]:
    """Where it would have us call."""
    return doc.endpoints if isinstance(doc, NodeRecord) else tuple(ledger.endpoint for ledger in doc.ledgers)


def _word(kind: type[Broadcast]) -> str:
    return "node record" if kind is NodeRecord else "offer"
