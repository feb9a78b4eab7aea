"""The node record and the offer. Rule: sequences only grow, across restarts too; only the newest offer is for sale."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    BidClass,
    LedgerRef,
    ModelOffer,
    NodeRecord,
    Offer,
    PriceSheet,
    Role,
    WorkerImage,
)
from gpufair.provider.jobs.store import CounterRow
from gpufair.provider.sales.ask import AskPolicy
from gpufair.provider.sales.stock import Catalogue, Model, Stock
from gpufair.provider.sales.waits import ShownWait

RENEW_AFTER_MS = limits.BROADCAST_TTL_MS // 3
SHOWN = 8
"""Broadcasts of one kind that are remembered after newer ones, and more if they were superseded just now."""


class Broadcasts:
    """The node's record: made anew when it is a third through its life, and when the sealing key has changed.

    `endpoints` is asked each time: the port may have been chosen by the system after this was made.
    """

    def __init__(
        self,
        desk: Desk,
        store: RowStore,
        *,
        roles: tuple[Role, ...],
        endpoints: Callable[[], tuple[str, ...]],
        certificate: bytes,
        sealing: SealingKeys,
        software: str,
    ) -> None:
        self._desk, self._store = desk, store
        self._roles, self._endpoints, self._certificate = roles, endpoints, certificate
        self._sealing, self._software = sealing, software
        self._record: Signed[NodeRecord] | None = None
        self._shown: OrderedDict[bytes, bytes] = OrderedDict()  # record id: the sealing key that it shows

    def sequence(self, name: str) -> int:
        """The next sequence of a kind of broadcast: max(last + 1, unix ms), on disk before it is used."""
        with self._store.begin() as rows:
            last = rows.get(CounterRow, name=name)
            value = max(self._desk.now_ms(), last.value + 1 if last else 1)
            rows.save(CounterRow(name, value))
        return value

    def record(self) -> Signed[NodeRecord]:
        """The node record to show now."""
        record, key = self._record, self._sealing.public
        if record is None or record.doc.sealing_key != key or _is_old(record, self._desk.now_ms()):
            record = self._record = self._desk.sign(
                NodeRecord(
                    head=self._desk.broadcast_head(), sequence=self.sequence("record"), roles=self._roles,
                    endpoints=self._endpoints(), tls_certificate=self._certificate, sealing_key=key,
                    software=self._software,
                )
            )  # fmt: skip
            self._shown[record.id] = key
            if len(self._shown) > SHOWN:
                self._shown.popitem(last=False)
        return record

    def sealing_key(self, record: bytes) -> bytes | None:
        """The sealing key in a record of ours, unless that is long past or the key was erased."""
        key = self._shown.get(record, b"")
        return key if self._sealing.find(key) is not None else None


class Offers:
    """The provider's offer: made anew when the stock has changed or a third of its life is over."""

    def __init__(self, desk: Desk, broadcasts: Broadcasts, stock: Stock, ask: AskPolicy) -> None:
        self._desk, self._broadcasts, self._stock, self._ask = desk, broadcasts, stock, ask
        self._offers: list[Signed[Offer]] = []
        self._content: _Content | None = None
        self._wait = ShownWait()

    def current(self) -> Signed[Offer]:
        """The newest offer, renewed first if need be."""
        record, content = self._broadcasts.record(), self._now()
        newest = self._offers[-1] if self._offers else None
        if newest is None or content != self._content or newest.doc.record != record.id or _is_old(
            newest, self._desk.now_ms()
        ):  # fmt: skip
            self._content = content
            newest = self._desk.sign(self._make(record.id, content))
            self._offers = [*self._within_grace(), newest]
        return newest

    def _within_grace(self) -> list[Signed[Offer]]:
        """Those that were superseded less than a minute ago, and at least some: nobody who knows them is a stranger."""
        oldest = self._desk.now_ms() - limits.SUPERSEDED_GRACE_MS
        issued = [offer.doc.head.issued_at_ms for offer in self._offers[1:]]
        late = sum(superseded < oldest for superseded in issued)
        return self._offers[min(late, max(0, len(self._offers) + 1 - SHOWN)) :]

    def biddable(self, offer: bytes) -> Signed[Offer] | None:
        """The offer with this id, if it is the newest, or was superseded less than a minute ago (rule 20)."""
        newest = self.current()
        now = self._desk.now_ms()
        for index, known in enumerate(self._offers):
            if known.id == offer:
                superseded = known is not newest and self._offers[index + 1].doc.head.issued_at_ms
                in_grace = not superseded or now <= superseded + limits.SUPERSEDED_GRACE_MS
                return known if in_grace else None
        return None

    def sealing_key(self, offer: Signed[Offer]) -> bytes | None:
        """The key to which bodies are sealed under an offer; None if it was erased meanwhile."""
        return self._broadcasts.sealing_key(offer.doc.record)

    def was_ours(self, offer: bytes) -> bool:
        """Whether we made this offer not long ago."""
        return any(known.id == offer for known in self._offers)

    def _now(self) -> _Content:
        stock = self._stock
        catalogue = stock.catalogue()
        return _Content(
            catalogue,
            tuple(self._ask.sheet(model.digest) for model in catalogue.models),
            stock.queue_free > 0,
            self._wait.look(stock.wait_ms(BidClass.ON_DEMAND), self._desk.now_ms()),
            bool(stock.gate.reasons()),
            stock.shelf.profiles,
        )

    def _make(self, record: bytes, content: _Content) -> Offer:
        stock, config, catalogue = self._stock, self._stock.config, content.catalogue
        ledgers = [PeerAddress.parse(text) for text in config.ledger.accepted]
        models = () if content.closed else tuple(map(_model, catalogue.models, content.sheets))
        return Offer(
            head=self._desk.broadcast_head(),
            sequence=self._broadcasts.sequence("offer"),
            record=record,
            gpus=stock.gpus,
            cpu_cores=stock.cpu_cores,
            memory_bytes=stock.memory_bytes,
            tasks=catalogue.tasks,
            schedulers=catalogue.schedulers,
            precisions=catalogue.precisions,
            classes=stock.classes,
            models=models,
            worker_images=(WorkerImage(stock.worker_image, stock.worker_name),),
            ledgers=tuple(LedgerRef(ledger.did, str(ledger.endpoint)) for ledger in ledgers),
            isolation=stock.isolation,
            profiles=tuple(sorted(stock.shelf.profiles))[: limits.OFFER_PROFILES_MAX],
            limits=catalogue.limits,
            window_max=config.limits.window,
            queue_free=stock.queue_free,
            region=config.node.region,
            adapters=() if content.closed else catalogue.adapters,
            floor_milli=config.price.floor_milli,
            notice_max_ms=stock.notice_max_ms,
            notice_discount_milli=config.price.notice_discount_milli,
            queue_ms=content.wait_ms,
            traces_bytes=stock.traces_bytes,
        )


@dataclass(frozen=True)
class _Content:
    """What a change of makes a new offer. The queue counts only as full or not: it changes all the time."""

    catalogue: Catalogue
    sheets: tuple[PriceSheet, ...]
    queue_free: bool
    wait_ms: int
    closed: bool
    profiles: frozenset[bytes]


def _model(model: Model, sheet: PriceSheet) -> ModelOffer:
    return ModelOffer(
        model.digest, model.name, model.family, model.licence, model.state, sheet, model.tasks, model.schedulers,
        model.speed,
    )  # fmt: skip


def _is_old(document: Signed[NodeRecord] | Signed[Offer], now_ms: int) -> bool:
    return now_ms >= document.doc.head.issued_at_ms + RENEW_AFTER_MS
