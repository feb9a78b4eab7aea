"""A search among 100,000 offers, and how fast signed offers come in. ONE RULE: every side answers the same question.

Ours: the index of `protocol/search`, which counts every filter as well. Beside it a query of SQLite in memory, with the
indexes that suit it and without counts, and a plain scan in Python. What is measured has five filters, and is ranked by
price, by time and by both in turns. Ingest: renewed offers of sellers that are known, signed, into a directory on disk,
in batches as gossip brings them; against how often one core checks the Ed25519 signatures of those very offers.
"""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say
from gpufair.protocol import envelope, gossip_limits, identity
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    BidClass,
    Envelope,
    Gpu,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    Offer,
    Precision,
    PriceSheet,
    Scheduler,
    Speed,
    Task,
    WorkerImage,
)
from gpufair.protocol.search.asking import request
from gpufair.protocol.search.facts import Facts, Good, beginnings
from gpufair.protocol.search.filters import Search
from gpufair.protocol.search.index import Index
from gpufair.protocol.search.strategies import BALANCED, CHEAPEST, FASTEST, Strategy
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import OWN
from gpufair.provider.directory.searching import Searching
from gpufair.provider.directory.store import DirectoryStore

GOAL_MS, SHARE_OF_VERIFY = 5.0, 0.5
LIMIT = 20
GIB = 2**30
MODELS = [bytes([number]) * 32 for number in range(1, 201)]
GPUS = ("nvidia geforce rtx 3060", "nvidia geforce rtx 4090", "nvidia a100", "nvidia h100 80gb hbm3", "nvidia l4")
REGIONS = ("eu-north-1", "eu-west-2", "us-east-1", "us-west-2", "asia-east-1", "")
LEDGERS = [f"ledger {number}" for number in range(20)]
TIERS = (Isolation.NONE, Isolation.CONTAINER, Isolation.GVISOR)
ORDERS = {CHEAPEST: "price, time_us", FASTEST: "time_us, price", BALANCED: "price * time_us, price, time_us"}


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    dice = random.Random(1)
    offers = [an_offer(dice, number) for number in range(options.rounds(100_000, 10_000))]
    questions = [a_question(dice, number) for number in range(options.rounds(3_000, 300))]
    with machine.watched() as state:
        index, adding_us = indexed(offers)
        say(f"search: {len(offers):,} offers are indexed")
        table = Table(offers)
        ours, ours_cpu = timed(questions, lambda wanted, how: [hit.did for hit in index.find(wanted, how).hits])
        theirs, theirs_cpu = timed(questions, table.find)
        scanned, _ = timed(questions[: options.rounds(60, 10)], lambda wanted, how: scan(offers, wanted, how))
        same(questions[:60], index, table, offers)
        say("search: now offers that come in")
        plain, searched, checked, cpu_us = ingest(options.folder, options.rounds(7, 2), options.rounds(1_000, 200))
    detail = {
        "offers": len(offers), "index_us_an_offer": round(adding_us, 1), "ours": ours.summary(),
        "ours_cpu": ours_cpu.summary(), "sqlite": theirs.summary(), "sqlite_cpu": theirs_cpu.summary(),
        "scan": scanned.summary(), "machine": state,
    }  # fmt: skip
    p99 = ours.percentile(0.99)
    yield Row("search", p99, theirs.percentile(0.99), "ms, p99", f"≤ {GOAL_MS:g} ms", p99 <= GOAL_MS, detail)
    yield Row("search.median", ours.median, theirs.median, "ms", detail={"see": "search"})
    yield Row("search.scan", ours.median, scanned.median, "ms", detail={"see": "search"})
    for name, intake in (("search.ingest", plain), ("search.ingest.indexed", searched)):
        taken = Samples(intake.renewed)
        goal, met = f"≥ {SHARE_OF_VERIFY:.0%} of the checks", taken.median >= SHARE_OF_VERIFY * checked.median
        more = {"taken": taken.summary(), "new_sellers_a_second": round(intake.new[0]), "checked": checked.summary()}
        more |= {"cpu_us_an_offer": Samples(intake.cpu_us).summary(), "cpu_us_a_check": cpu_us.summary()}
        yield Row(name, taken.median, checked.median, "offers/s", goal, met, more)


# --- who offers what, and what is wanted -----------------------------------------------------------------------------


def an_offer(dice: random.Random, number: int) -> Facts:
    """One of a market in which few models are wanted by many."""
    models = {min(199, int(dice.expovariate(0.05))) for _ in range(3)}
    goods = tuple(
        Good(MODELS[model], (Task.TEXT_TO_IMAGE,), int(dice.lognormvariate(6, 1)) + 1, int(dice.lognormvariate(15, 1)))
        for model in sorted(models)
    )
    return Facts(
        did=f"did:key:z6Mk{number:044d}", goods=goods, names=tuple(f"model {model}" for model in sorted(models)),
        gpus=(dice.choice(GPUS),), memory_bytes=dice.choice((8, 12, 16, 24, 48, 80)) * GIB,
        isolation=dice.choice(TIERS), classes=(BidClass.ON_DEMAND,), profiles=(),
        regions=beginnings(dice.choice(REGIONS)), ledgers=tuple(dice.sample(LEDGERS, 2)),
    )  # fmt: skip


def a_question(dice: random.Random, number: int) -> tuple[Search, Strategy]:
    """Five filters, and what the best is."""
    wanted = Search(
        model=MODELS[min(199, int(dice.expovariate(0.05)))], memory_bytes=dice.choice((12, 16, 24)) * GIB,
        isolation=dice.choice(TIERS[1:]), region=dice.choice(("eu", "us", "us-west")), ledgers=(dice.choice(LEDGERS),),
    )  # fmt: skip
    return wanted, tuple(ORDERS)[number % len(ORDERS)]


# --- the three ways --------------------------------------------------------------------------------------------------


def indexed(offers: list[Facts]) -> tuple[Index, float]:
    """The index, and how many microseconds it took for each."""
    index, start = Index(), time.perf_counter()
    for offer in offers:
        index.add(offer)
    return index, (time.perf_counter() - start) * 1e6 / len(offers)


class Table:
    """The same in SQLite: a row for each model of each offer, one for each ledger."""

    def __init__(self, offers: list[Facts]) -> None:
        self._database = sqlite3.connect(":memory:")
        self._database.executescript(
            "CREATE TABLE goods (did, model, price, time_us, memory, isolation, region);"
            "CREATE TABLE ledgers (did, ledger, PRIMARY KEY (ledger, did)) WITHOUT ROWID;"
        )
        self._database.executemany(
            "INSERT INTO goods VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                (one.did, good.model, good.price, good.time_us, one.memory_bytes, one.isolation, (*one.regions, "")[-2]
                 if one.regions else "")
                for one in offers for good in one.goods
            ),
        )  # fmt: skip
        pairs = ((one.did, ledger) for one in offers for ledger in one.ledgers)
        self._database.executemany("INSERT INTO ledgers VALUES (?, ?)", pairs)
        self._database.execute("CREATE INDEX by_price ON goods (model, price, time_us)")
        self._database.execute("CREATE INDEX by_time ON goods (model, time_us, price)")
        self._database.execute("ANALYZE")

    def find(self, wanted: Search, how: Strategy) -> list[str]:
        """The dids of the best."""
        query = (
            "SELECT did FROM goods WHERE model = ? AND memory >= ? AND isolation >= ?"
            " AND (region = ? OR region LIKE ?) AND EXISTS"
            " (SELECT 1 FROM ledgers WHERE ledgers.ledger = ? AND ledgers.did = goods.did)"
            f" ORDER BY {ORDERS[how]}, did LIMIT {LIMIT}"
        )
        values = (
            wanted.model, wanted.memory_bytes, wanted.isolation, wanted.region, f"{wanted.region}-%", wanted.ledgers[0],
        )  # fmt: skip
        return [did for (did,) in self._database.execute(query, values)]


def scan(offers: list[Facts], wanted: Search, how: Strategy) -> list[str]:
    """The same by looking at each."""
    found = []
    for one in offers:
        if one.memory_bytes < wanted.memory_bytes or one.isolation < (wanted.isolation or 0):
            continue
        if wanted.region not in one.regions or wanted.ledgers[0] not in one.ledgers:
            continue
        found += [how.key(good.price, good.time_us, one.did) for good in one.goods if good.model == wanted.model]
    return [key[3] for key in sorted(found)[:LIMIT]]


def timed(
    questions: list[tuple[Search, Strategy]], find: Callable[[Search, Strategy], list[str]]
) -> tuple[Samples, Samples]:
    """Milliseconds for each question: by the clock, and of the processor."""
    wall, processor = [], []
    for wanted, how in questions:
        start, began = time.perf_counter(), time.thread_time()
        find(wanted, how)
        wall.append((time.perf_counter() - start) * 1000)
        processor.append((time.thread_time() - began) * 1000)
    return Samples(wall), Samples(processor)


def same(questions: list[tuple[Search, Strategy]], index: Index, table: Table, offers: list[Facts]) -> None:
    """All three must find the same."""
    for wanted, how in questions:
        ours = [hit.did for hit in index.find(wanted, how, limit=LIMIT).hits]
        if not ours == table.find(wanted, how) == scan(offers, wanted, how):
            raise AssertionError(f"they don't agree on {wanted} by {how}")


# --- ingest ----------------------------------------------------------------------------------------------------------


@dataclass
class Intake:
    """A directory on disk, and the rates at which it took offers: of sellers that are new to it, and renewed ones."""

    directory: Directory
    new: list[float] = field(default_factory=list)
    renewed: list[float] = field(default_factory=list)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time of each renewed offer."""

    def take(self, documents: list[Envelope], rates: list[float]) -> None:
        """Take offers as gossip brings them."""
        start, began = time.perf_counter(), time.thread_time()
        for begin in range(0, len(documents), gossip_limits.PULL_PLACES):
            outcomes = self.directory.take(documents[begin : begin + gossip_limits.PULL_PLACES], OWN)
            if any(isinstance(one, Exception) for one in outcomes):
                raise AssertionError("an honest offer was refused")
        rates.append(len(documents) / (time.perf_counter() - start))
        if rates is self.renewed:
            self.cpu_us.append((time.thread_time() - began) * 1e6 / len(documents))


def ingest(folder: Path, rounds: int, sellers: int) -> tuple[Intake, Intake, Samples, Samples]:
    """Offers taken a second by a directory that nobody searches and by one that is searched; signatures checked."""
    plain, searched = (Intake(Directory(DirectoryStore(folder / f"{name}.db"), SystemClock())) for name in "ab")
    searching = Searching(searched.directory)
    searching.search(request(Search(), CHEAPEST))  # from now on it has an index
    checked, cpu_us = [], []
    try:
        for sequence in range(1, rounds + 2):
            documents = [signed_offer(number, sequence) for number in range(sellers)]
            for intake in (plain, searched):
                identity.public_key.cache_clear()
                if sequence > 1:
                    rate, processor_us = checks_a_second(documents)  # and so the keys are known to both
                    checked.append(rate)
                    cpu_us.append(processor_us)
                intake.take(documents, intake.renewed if sequence > 1 else intake.new)
        if searching.search(request(Search(), CHEAPEST)).known != sellers:
            raise AssertionError("not all that was taken is found")
    finally:
        plain.directory.close()
        searched.directory.close()
    return plain, searched, Samples(checked), Samples(cpu_us)


def signed_offer(number: int, sequence: int) -> Envelope:
    """A provider's usual offer: two models, a GPU, a ledger."""
    desk = Desk(KeySigner.from_seed(number.to_bytes(32, "big")), SystemClock(), SystemRandom())
    sheet = PriceSheet(MODELS[number % 100], 60 + number % 50, 60, 200, 0, 20)
    model = ModelOffer(
        sheet.model, "stable-diffusion-v1-5", "StableDiffusionPipeline", "openrail", ModelState.WARM, sheet,
        (Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT), (Scheduler.DDIM, Scheduler.EULER),
        Speed(9_000 + number, 20_000, 4_000_000),
    )  # fmt: skip
    other = replace(
        model, digest=MODELS[100 + number % 100], name="sdxl", sheet=replace(sheet, model=MODELS[100 + number % 100])
    )
    return desk.sign(
        Offer(
            head=desk.broadcast_head(), sequence=sequence, record=bytes(32),
            gpus=(Gpu("NVIDIA GeForce RTX 4090", 24 * GIB, 1),), cpu_cores=16, memory_bytes=64 * GIB,
            tasks=(Task.TEXT_TO_IMAGE, Task.IMAGE_TO_IMAGE, Task.INPAINT), schedulers=(Scheduler.DDIM, Scheduler.EULER),
            precisions=(Precision.EXACT, Precision.SINGLE), classes=(BidClass.ON_DEMAND, BidClass.INTERRUPTIBLE),
            models=(model, other), worker_images=(WorkerImage(bytes(32), "worker"),),
            ledgers=(LedgerRef(desk.did, "ledger.example:7700"),), isolation=Isolation.CONTAINER,
            profiles=(bytes([number % 5 + 1]) * 32,), limits=JobLimits(2**20, 100, 16, 4 * GIB), window_max=100_000,
            queue_free=8, region=REGIONS[number % 5], floor_milli=500, notice_max_ms=10_000, notice_discount_milli=100,
        )
    ).envelope  # fmt: skip


def checks_a_second(documents: list[Envelope]) -> tuple[float, float]:
    """How often one core checks the signatures of these offers, and the processor time of one in microseconds."""
    signed = []
    for one in documents:
        identity.public_key(one.signatures[0].keyid)
        message = envelope.pre_authentication_encoding(one.payload_type, one.payload)
        signed.append((one.signatures[0].keyid, message, one.signatures[0].sig))
    start, began = time.perf_counter(), time.thread_time()
    for did, message, signature in signed:
        identity.verify(did, message, signature)
    return len(signed) / (time.perf_counter() - start), (time.thread_time() - began) * 1e6 / len(signed)
