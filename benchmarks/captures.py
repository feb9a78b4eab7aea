"""How many captures a ledger makes durable in a second. ONE RULE: every capture is another lease's, with a voucher
of its own.

Ours: signed captures given to the ledger's writer at once, from the first one in line to the last answer: two
signatures to check, one to make, the book to keep, all of it on disk. One peer: plain sqlite3 on the same disk, with
one commit for each capture and the same rows written, no signatures. The other: how often one core checks Ed25519
signatures, divided by two.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import machine
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say
from gpufair.protocol import identity
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Capture, Captured, Envelope, HoldOrder, Issue, Lock, Voucher
from gpufair.protocol.payment import hashlock
from gpufair.provider.ledger import Ledger, Writer, open_store

SIGNATURES = 2
TIMES_SQLITE, SHARE_OF_VERIFY = 4.0, 0.6
TABLES = ("events", "postings", "keys", "holds", "accounts", "requests")


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    rounds, captures = options.rounds(5, 2), options.rounds(1000, 200)
    world = World(options.folder / "ledger.db")
    ours: dict[int, list[float]] = {0: [], 1: []}
    plain: list[float] = []
    verify: list[float] = []
    with machine.watched() as state:
        floor = machine.sync_ms(options.folder)
        for number in range(rounds):
            for helpers, found in ours.items():
                found.append(world.captures_a_second(captures, helpers=helpers))
            plain.append(plain_a_second(options.folder / f"plain-{number}.db", world.rows_of_a_capture, captures))
            verify.append(verify_a_second())
            say(f"ledger: round {number + 1} of {rounds}")
    world.close()
    yield from _rows(ours, plain, verify, {"captures": captures, "disk_sync_ms": floor.summary(), "machine": state})


class World:
    """A ledger on disk, a payer with money, and a payee with vouchers."""

    def __init__(self, path: Path) -> None:
        clock, self._random = SystemClock(), SystemRandom()
        self._bank, self._payer, self._payee = (
            Desk(KeySigner.from_seed(name.encode().ljust(32)), clock, self._random)
            for name in ("bank", "payer", "payee")
        )
        self._store = open_store(path, self._bank.did)
        self._ledger = Ledger(self._bank, self._store)
        issue = Issue(self._bank.head(self._bank.did), self._payer.did, 10**12, "for a benchmark")
        self._ledger.submit(self._bank.sign(issue).envelope)
        self.rows_of_a_capture = self._count_rows()

    def captures_a_second(self, count: int, *, helpers: int) -> float:
        """Captures that are durable and answered in a second, when `count` of them come at once."""
        orders = self._orders(count)
        return asyncio.run(self._measure(orders, helpers))

    def close(self) -> None:
        """Give the file back."""
        self._store.close()

    async def _measure(self, orders: list[Envelope], helpers: int) -> float:
        writer = Writer(self._ledger, helpers=helpers)
        while len(writer.helpers) < helpers:  # they start with the first crowd
            await asyncio.gather(*(writer.submit(order) for order in self._orders(64)))
        start = time.perf_counter()
        answers = await asyncio.gather(*(writer.submit(order) for order in orders))
        took = time.perf_counter() - start
        await asyncio.to_thread(writer.close)
        assert all(answer.payload_type == Captured.TYPE for answer in answers)
        return len(orders) / took

    def _orders(self, count: int) -> list[Envelope]:
        """Captures of a lock with its key, each under a lease of its own whose hold is in the book."""
        holds, captures = [], []
        for _ in range(count):
            lease, key = self._random.bytes(32), self._random.bytes(32)
            until = self._payer.now_ms() + 3_600_000
            order = HoldOrder(self._payer.head(self._bank.did), lease, self._payee.did, 1000, until)
            holds.append(self._payer.sign(order).envelope)
            head = self._payer.head(self._bank.did, self._payee.did, parent=lease, expires_at_ms=until)
            voucher = self._payer.sign(Voucher(head, lease, 100, (Lock(50, hashlock(key)),)))
            capture = Capture(self._payee.head(self._bank.did), lease, voucher.bytes, (key,), False)
            captures.append(self._payee.sign(capture).envelope)
        self._ledger.submit_many(holds)
        return captures

    def _count_rows(self) -> int:
        """Rows that one capture writes, by counting what changes."""
        [order] = self._orders(1)
        with self._store.database.driver("BEGIN") as raw:  # the connection that the book is written over
            before = raw.total_changes
        self._ledger.submit(order)
        rows = int(raw.total_changes - before)
        assert rows >= len(TABLES)
        return rows


def plain_a_second(path: Path, rows: int, count: int) -> float:
    """Transactions of that many rows a second, each committed alone, with the ledger's own durability."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("CREATE TABLE plain (id BLOB PRIMARY KEY, payload BLOB NOT NULL) STRICT")
    payload, number = b"x" * 500, 0
    start = time.perf_counter()
    for _ in range(count):
        connection.execute("BEGIN IMMEDIATE")
        for _ in range(rows):
            number += 1
            connection.execute("INSERT INTO plain VALUES (?, ?)", (number.to_bytes(16, "big"), payload))
        connection.execute("COMMIT")
    took = time.perf_counter() - start
    connection.close()
    return count / took


def verify_a_second(count: int = 2000) -> float:
    """Ed25519 signatures that this core checks in a second, over as many bytes as a capture has."""
    signer, data = KeySigner.from_seed(b"verify".ljust(32)), b"x" * 700
    signature = signer.sign(data)
    start = time.perf_counter()
    for _ in range(count):
        identity.verify(signer.did, data, signature)
    return count / (time.perf_counter() - start)


def _rows(
    ours: dict[int, list[float]], plain: list[float], verify: list[float], extra: dict[str, Any]
) -> Iterator[Row]:
    peer, limit = Samples(plain), Samples([rate / SIGNATURES for rate in verify])
    for helpers, found in ours.items():
        rate, name = Samples(found), "ledger" if not helpers else "ledger.helper"
        detail = {"ours": rate.summary(), "peer": peer.summary(), "limit": limit.summary(), "helpers": helpers, **extra}
        ratio = rate.median / peer.median
        yield Row(
            name,
            rate.median,
            peer.median,
            "captures/s",
            f"≥ {TIMES_SQLITE:g}x plain sqlite3",
            ratio >= TIMES_SQLITE,
            detail,
        )
        share = rate.median / limit.median
        goal = f"≥ {SHARE_OF_VERIFY:.0%} of the signatures' limit"
        yield Row(f"{name}.signatures", rate.median, limit.median, "captures/s", goal, share >= SHARE_OF_VERIFY)
