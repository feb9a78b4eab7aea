"""A provider's sales room with a clock that the test turns. ONE RULE: every part but the clock and the dice is real."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random as Dice
from typing import Any

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.edge.sqlite import open_database
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.memory import Footprint
from gpufair.protocol.messages import (
    AdapterOffer,
    Bid,
    BidClass,
    Decline,
    Envelope,
    Hold,
    Isolation,
    Offer,
    Reason,
    ReasonCode,
    Role,
    Speed,
    Terms,
)
from gpufair.protocol.pricing import frozen_sheet
from gpufair.provider.config import Config, LedgerConfig, LimitsConfig, ModelsConfig, PriceConfig
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.store import TABLES
from gpufair.provider.sales.admission import Admission
from gpufair.provider.sales.ask import FixedAsk
from gpufair.provider.sales.offers import Broadcasts, Offers
from gpufair.provider.sales.stock import Gate, Model, Stock

NOW = 1_800_000_000_000
IMAGE = hashlib.sha256(b"image").digest()
PRICE = PriceConfig(per_step_megapixel=60, per_decoded_megapixel=40, per_cold_load=30, per_adapter=20, minimum=10)
FAMILIES = {"fox": "StableDiffusionPipeline", "owl": "NobodysPipeline"}
MODELS = [Model(hashlib.sha256(name.encode()).digest(), name, family, "cc0") for name, family in FAMILIES.items()]
LORA = AdapterOffer(hashlib.sha256(b"lora").digest(), "lora", "cc0", (MODELS[0].digest,))


@dataclass
class World:
    """A seller, its clients, and the time."""

    path: Path
    config: Config = field(
        default_factory=lambda: Config(price=PRICE, ledger=LedgerConfig((f"{signer('ledger').did}@127.0.0.1:1",)))
    )
    now: int = NOW
    waiting: int = 0
    wait_ms: int = 0
    models: list[Model] = field(default_factory=lambda: list(MODELS))
    adapters: list[AdapterOffer] = field(default_factory=lambda: [LORA])
    warm_models: frozenset[bytes] = frozenset()
    footprints: dict[bytes, Footprint] = field(default_factory=dict)
    speeds: dict[bytes, Speed] = field(default_factory=dict)
    profiles: frozenset[bytes] = frozenset()
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.dice = Dice(1)
        self.start()

    def start(self) -> None:
        """As the daemon does, on the same database."""
        self.store = RowStore(open_database(self.path, "gpufair.provider.jobs:migrations"), TABLES)
        self.desk = self.desk_of("provider")
        if not keys.exists(self.path.parent / "keys"):
            keys.create(self.path.parent / "keys")
        self.sealing = SealingKeys(self.path.parent / "keys")
        self.stock = Stock(
            self.config, lambda: self.models, self, self.gate, gpus=(), cpu_cores=2, isolation=Isolation.NONE,
            worker_image=IMAGE, worker_name="w", waiting=lambda: self.waiting, wait_ms=lambda _class: self.wait_ms,
            adapters=lambda: self.adapters, footprint=lambda digest: self.footprints.get(digest),
            speed=lambda digest: self.speeds.get(digest),
        )  # fmt: skip
        self.leases = Leases(self.desk, self.store, Policy(10**9, self.config.limits.unsecured, self.stock.capacity))
        self.broadcasts = Broadcasts(
            self.desk, self.store, roles=(Role.PROVIDER,), endpoints=lambda: ("127.0.0.1:1",), certificate=b"c",
            sealing=self.sealing, software="test",
        )  # fmt: skip
        self.offers = Offers(self.desk, self.broadcasts, self.stock, FixedAsk(self.config.price))
        self.admission = Admission(self.desk, self.store, self.leases, self.offers, self.stock)

    def restart(self, **changes: Any) -> None:
        """Start anew, with another configuration perhaps."""
        self.store.close()
        self.config = replace(self.config, **changes)
        self.start()

    def now_ms(self) -> int:
        """The clock."""
        return self.now

    def bytes(self, count: int) -> bytes:
        """The dice."""
        return self.dice.randbytes(count)

    def desk_of(self, name: str) -> Desk:
        """Somebody's desk, on the same clock."""
        return Desk(signer(name), self, self)

    def bid(self, offer: Signed[Offer] | None = None, *, client: str = "client", **changes: Any) -> Signed[Bid]:
        """A bid that is right in every way but the changes."""
        terms, desk = offer or self.offers.current(), self.desk_of(client)
        sheet = frozen_sheet(terms.doc.models[0]) if terms.doc.models else self.offers_sheet()
        plain = Bid(
            head=desk.head(self.desk.did, parent=terms.id), sheet=sheet, bid_class=BidClass.ON_DEMAND, cap=1000,
            window=100, notice_ms=0, idle_limit_ms=60_000, ledger=signer("ledger").did, accept_by_ms=self.now + 30_000,
            lease_expires_at_ms=self.now + limits.HOUR, margin_ms=limits.MARGIN_MIN_MS, worker_image=IMAGE,
            record=terms.doc.record,
        )  # fmt: skip
        return desk.sign(replace(plain, **changes))

    def offers_sheet(self) -> Any:
        """The sheet of the first model, when no offer shows it."""
        return FixedAsk(self.config.price).sheet(self.models[0].digest)

    def place(self, bid: Signed[Bid], source: str = "") -> Signed[Decline] | bytes:
        """The answer to a bid from an address: a decline, or the id of the lease."""
        answer = self.admission.place(bid.envelope, source)
        if answer.payload_type == Decline.TYPE:
            decline = envelope.authenticate(envelope.read(answer, Decline))
            assert decline.issuer == self.desk.did
            assert decline.doc.head.parent == bid.id
            assert decline.doc.head.audience == (bid.issuer,)
            return decline
        lease = envelope.authenticate(envelope.read(answer, Bid), also=[self.desk.did])
        assert lease.id == bid.id, "bid id = lease id"
        assert answer.payload == bid.envelope.payload, "the same bytes, signed by both"
        return lease.id

    def following(self, counter: Terms, *, client: str = "client", **changes: Any) -> Signed[Bid]:
        """A bid with a counter-offer's terms, all of them to the full."""
        desk = self.desk_of(client)
        plain = Bid(
            head=desk.head(self.desk.did, parent=counter.offer), sheet=counter.sheet, bid_class=counter.bid_class,
            cap=counter.cap_max, window=counter.window_max, notice_ms=counter.notice_ms, idle_limit_ms=60_000,
            ledger=signer("ledger").did, accept_by_ms=self.now, lease_expires_at_ms=self.now + counter.lease_max_ms,
            margin_ms=limits.MARGIN_MIN_MS, worker_image=IMAGE, record=counter.record,
        )  # fmt: skip
        return desk.sign(replace(plain, **changes))

    def reasons(self, bid: Signed[Bid]) -> dict[ReasonCode, Reason]:
        """Why a bid is declined."""
        answer = self.place(bid)
        assert isinstance(answer, Signed), "it was accepted"
        return {reason.code: reason for reason in answer.doc.reasons}

    def hold(self, bid: Signed[Bid], *, by: str = "ledger", **changes: Any) -> Envelope:
        """The ledger's hold for a lease."""
        desk = self.desk_of(by)
        until = bid.doc.lease_expires_at_ms + bid.doc.margin_ms
        plain = Hold(
            head=desk.head(bid.issuer, self.desk.did, expires_at_ms=limits.TIME_MAX_MS), lease=bid.id,
            payer=bid.issuer, payee=self.desk.did, amount=bid.doc.cap, hold_expires_at_ms=until, event=1,
        )  # fmt: skip
        return desk.sign(replace(plain, **changes)).envelope

    def fund(self, bid: Signed[Bid]) -> None:
        """Have a lease funded."""
        self.leases.fund(self.hold(bid))


def signer(name: str) -> KeySigner:
    """The same identities in every run."""
    return KeySigner.from_seed(hashlib.sha256(name.encode()).digest())


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """A seller that sells two models."""
    made = World(tmp_path / "jobs.db")
    yield made
    made.store.close()


@pytest.fixture
def limited() -> Callable[..., dict[str, Any]]:
    """Changes of a configuration: `limited(queue=1)`."""

    def changes(**values: Any) -> dict[str, Any]:
        return {"limits": LimitsConfig(**values)}

    return changes


@pytest.fixture
def lists() -> type[ModelsConfig]:
    """The owner's lists of models."""
    return ModelsConfig
