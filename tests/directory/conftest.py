"""Directories with a clock that stands where it is put, and publishers who sign for real."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.edge import tls
from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    JobLimits,
    LedgerRef,
    NodeRecord,
    Offer,
    Precision,
    Role,
    Scheduler,
    Task,
)
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.store import DirectoryStore

sys.path.insert(0, str(Path(__file__).parent))

CERTIFICATE = tls.create().certificate


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


@dataclass
class Publisher:
    """One identity that publishes; keyword arguments replace fields, `head` fields by `head_…`."""

    seed: int
    clock: Clock
    desk: Desk = field(init=False)

    def __post_init__(self) -> None:
        self.desk = Desk(KeySigner.from_seed(self.seed.to_bytes(32, "big")), self.clock, Dice())

    @property
    def did(self) -> str:
        return self.desk.did

    def record(self, sequence: int = 1, **fields: Any) -> Signed[NodeRecord]:
        head = self.desk.broadcast_head()
        doc = NodeRecord(head, sequence, (Role.PROVIDER,), ("127.0.0.1:50551",), CERTIFICATE, bytes(32), "test 1")
        return self._sign(doc, fields)

    def offer(self, sequence: int = 1, **fields: Any) -> Signed[Offer]:
        doc = Offer(
            head=self.desk.broadcast_head(),
            sequence=sequence,
            record=bytes(32),
            gpus=(),
            cpu_cores=2,
            memory_bytes=2**30,
            tasks=(Task.TEXT_TO_IMAGE,),
            schedulers=(Scheduler.DDIM,),
            precisions=(Precision.EXACT,),
            classes=(BidClass.ON_DEMAND,),
            models=(),
            worker_images=(),
            ledgers=(LedgerRef(self.did, "ledger.example:50551"),),
            isolation=Isolation.NONE,
            profiles=(),
            limits=JobLimits(64, 1, 1, 0),
            window_max=0,
            queue_free=1,
            region="",
        )
        return self._sign(doc, fields)

    def _sign(self, doc: Any, fields: dict[str, Any]) -> Signed[Any]:
        head = {name.removeprefix("head_"): value for name, value in fields.items() if name.startswith("head_")}
        rest = {name: value for name, value in fields.items() if not name.startswith("head_")}
        return self.desk.sign(replace(doc, head=replace(doc.head, **head), **rest))


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store():
    opened = DirectoryStore(None)
    yield opened
    opened.close()


@pytest.fixture
def directory(store: DirectoryStore, clock: Clock) -> Directory:
    return Directory(store, clock)


@pytest.fixture
def publisher(clock: Clock):
    return lambda seed=1: Publisher(seed, clock)


@pytest.fixture
def small_house(monkeypatch: pytest.MonkeyPatch):
    """A directory with room for little: the bounds are lowered, the code is the same."""

    def shrink(**bounds: int) -> None:
        for name, value in bounds.items():
            assert isinstance(getattr(limits, name), int)
            monkeypatch.setattr(limits, name, value)

    return shrink
