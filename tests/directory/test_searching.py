"""A directory answers searches: with what lives in it, signed by its sellers, and counts whatever comes out."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach
from gpufair.protocol.envelope import read
from gpufair.protocol.errors import PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    Offer,
    Precision,
    PriceSheet,
    Scheduler,
    SearchRequest,
    Task,
)
from gpufair.protocol.search.asking import meant, request
from gpufair.protocol.search.filters import Search
from gpufair.protocol.search.strategies import BALANCED, CHEAPEST
from gpufair.provider.directory import searching
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import Origin
from gpufair.provider.directory.searching import Searching
from gpufair.provider.directory.store import DirectoryStore

MODEL = bytes([7]) * 32
LEDGER = KeySigner.from_seed(b"L" * 32).did
ALL = request(Search(), CHEAPEST)


@dataclass
class House:
    """A directory with its search, its clock, and sellers by number."""

    path: Path
    now: int = 1_800_000_000_000

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        self.directory = Directory(DirectoryStore(self.path), self)
        self.searching = Searching(self.directory)

    def restart(self) -> None:
        self.directory.close()
        self.start()

    def now_ms(self) -> int:
        return self.now

    def bytes(self, count: int) -> bytes:
        return count.to_bytes(count, "big")

    def did(self, number: int) -> str:
        return KeySigner.from_seed(number.to_bytes(32, "big")).did

    def publish(self, number: int, rate: int = 60, **fields: Any) -> None:
        desk = Desk(KeySigner.from_seed(number.to_bytes(32, "big")), self, self)
        model = ModelOffer(MODEL, "Demo", "family", "mit", ModelState.WARM, PriceSheet(MODEL, rate, 0, 0, 0, 0))
        doc = Offer(
            head=desk.broadcast_head(), sequence=self.now + rate, record=bytes(32), gpus=(), cpu_cores=2,
            memory_bytes=2**30, tasks=(Task.TEXT_TO_IMAGE,), schedulers=(Scheduler.DDIM,),
            precisions=(Precision.EXACT,), classes=(BidClass.ON_DEMAND,), models=(model,), worker_images=(),
            ledgers=(LedgerRef(LEDGER, "127.0.0.1:50552"),), isolation=Isolation.NONE, profiles=(),
            limits=JobLimits(2**20, 100, 16, 2**30), window_max=100_000, queue_free=4, region="eu-north",
        )  # fmt: skip
        self.directory.publish(desk.sign(replace(doc, **fields)).envelope, Origin(f"from {number % 3}", Reach.LOOPBACK))

    def found(self, asked: SearchRequest = ALL) -> list[str]:
        """Who is found, in order; the counts fit."""
        answer = self.searching.search(asked)
        assert answer.matches == answer.counts[-1].left
        return [read(offer, Offer).issuer for offer in answer.offers]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path / "directory.db")
    yield made
    made.directory.close()


def test_the_best_come_first_with_counts(house: House) -> None:
    for number, rate in enumerate((90, 30, 60), 1):
        house.publish(number, rate, region="us" if number == 2 else "eu-north")
    assert house.found() == [house.did(2), house.did(3), house.did(1)]
    answer = house.searching.search(request(Search(model=MODEL, region="eu"), CHEAPEST, limit=1))
    assert [read(offer, Offer).issuer for offer in answer.offers] == [house.did(3)]
    assert (answer.known, answer.matches) == (3, 2)
    assert [(one.filter, one.alone, one.left) for one in answer.counts] == [("model", 3, 3), ("region", 2, 2)]
    assert house.found(request(Search(name="demo"), CHEAPEST)) == house.found()
    assert house.found(request(Search(model=bytes(32)), CHEAPEST)) == []


def test_offers_come_change_and_end(house: House) -> None:
    house.publish(1, 60)
    assert house.found() == [house.did(1)]
    house.publish(2, 50)
    house.publish(1, 40, sequence=house.now + 1_000)
    assert house.found() == [house.did(1), house.did(2)]
    house.now += limits.BROADCAST_TTL_MS // 2
    house.publish(2, 70)
    house.now += limits.BROADCAST_TTL_MS // 2 + 1
    assert house.found() == [house.did(2)]
    house.now += limits.BROADCAST_TTL_MS
    assert house.found() == []


def test_an_offer_that_says_the_same_again_is_shown_as_it_was_signed_last(house: House) -> None:
    house.publish(1, 60)
    assert house.found() == [house.did(1)]
    house.now += limits.BROADCAST_TTL_MS // 2
    house.publish(1, 60)
    house.now += limits.BROADCAST_TTL_MS // 2 + 1  # the first has ended
    (offer,) = house.searching.search(ALL).offers
    assert read(offer, Offer).doc.sequence == house.now - limits.BROADCAST_TTL_MS // 2 - 1 + 60


def test_whoever_is_pushed_out_is_found_no_more(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "DIRECTORY_RECORDS_MAX", 6)
    house.restart()
    assert house.found() == []
    for number in range(3, 21, 3):  # all from one source
        house.publish(number, number)
    house.publish(1, 5)
    house.publish(2, 6)
    held = {one.did for one in house.directory.live()}
    assert set(house.found()) == held
    assert {house.did(1), house.did(2)} <= held
    assert len(held) == 6


def test_a_restarted_directory_reads_what_it_holds_a_part_at_a_time(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(searching, "_READ_AT_ONCE", 2)
    for number in range(1, 6):
        house.publish(number, number * 10)
    house.restart()
    house.publish(6, 5)
    assert [house.searching.search(ALL).known for _ in range(4)] == [2, 4, 6, 6]
    house.publish(1, 1_000, sequence=house.now + 10_000)
    assert house.found()[0] == house.did(6)
    assert house.found()[-1] == house.did(1)


def test_what_was_not_taken_is_not_found(house: House) -> None:
    house.publish(1)
    assert house.found() == [house.did(1)]
    house.directory._load()  # as after a write that failed
    house.publish(2)
    assert sorted(house.found()) == sorted([house.did(1), house.did(2)])


def test_a_question_means_what_it_says(house: House) -> None:
    wanted = Search(
        MODEL, "demo", Task.INPAINT, BidClass.INTERRUPTIBLE, "rtx 4090", 2**34, Isolation.GVISOR, bytes([1]) * 32,
        "eu", (LEDGER,), 900,
    )  # fmt: skip
    assert meant(request(wanted, BALANCED)) == (wanted, BALANCED)
    assert meant(ALL) == (Search(), CHEAPEST)
    with pytest.raises(PeerError, match="neither price nor speed"):
        house.searching.search(replace(ALL, price_weight=0))
