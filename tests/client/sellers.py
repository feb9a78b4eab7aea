"""Sellers who sign for real, and a clock that stands where it is put."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.client.market.market import Market
from gpufair.protocol.edge import tls
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    NodeRecord,
    Offer,
    Precision,
    PriceSheet,
    Role,
    Scheduler,
    Task,
    WorkerImage,
)

CERTIFICATE = tls.create().certificate
SEALING = X25519PrivateKey.from_private_bytes(b"S" * 32).public_key().public_bytes_raw()
LEDGER = KeySigner.from_seed(b"L" * 32).did
MODEL = bytes([7]) * 32


@dataclass
class Clock:
    now: int = 1_800_000_000_000

    def now_ms(self) -> int:
        return self.now


@dataclass
class Dice:
    drawn: int = 0

    def bytes(self, count: int) -> bytes:
        self.drawn += 1
        return self.drawn.to_bytes(count, "big")


def model(digest: bytes = MODEL, name: str = "demo", rate: int = 60, **fields: Any) -> ModelOffer:
    sheet = PriceSheet(digest, rate, 60, 0, 0, 10)
    return replace(ModelOffer(digest, name, "StableDiffusionPipeline", "mit", ModelState.WARM, sheet), **fields)


@dataclass
class Seller:
    """One provider: `offer` and `record` sign what they are told to; keyword arguments replace fields."""

    seed: int
    clock: Clock = field(default_factory=Clock)
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(KeySigner.from_seed(self.seed.to_bytes(32, "big")), self.clock, Dice())

    def record(self, sequence: int = 1, **fields: Any) -> Signed[NodeRecord]:
        head = self.desk.broadcast_head()
        doc = NodeRecord(head, sequence, (Role.PROVIDER,), ("127.0.0.1:50551",), CERTIFICATE, SEALING, "test 1")
        return self.desk.sign(replace(doc, **fields))

    def offer(self, record: Signed[NodeRecord], *models: ModelOffer, sequence: int = 1, **fields: Any) -> Signed[Offer]:
        doc = Offer(
            head=self.desk.broadcast_head(), sequence=sequence, record=record.id, gpus=(), cpu_cores=2,
            memory_bytes=2**30, tasks=(Task.TEXT_TO_IMAGE,), schedulers=(Scheduler.DDIM,),
            precisions=(Precision.EXACT,), classes=(BidClass.ON_DEMAND,), models=models or (model(),),
            worker_images=(WorkerImage(bytes([9]) * 32, "worker"),), ledgers=(LedgerRef(LEDGER, "127.0.0.1:50552"),),
            isolation=Isolation.NONE, profiles=(), limits=JobLimits(2**20, 100, 16, 2**30), window_max=100_000,
            queue_free=4, region="",
        )  # fmt: skip
        return self.desk.sign(replace(doc, **fields))


def market_of(*offers: tuple[Signed[NodeRecord], Signed[Offer]]) -> Market:
    return Market([offer for _, offer in offers], {record.issuer: record for record, _ in offers}, [], 1)
