"""Money that counts as spent, and the daily cap on it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpufair.client.failures import FundsError
from gpufair.client.market.leases import Leases
from gpufair.client.wallet import budget
from gpufair.client.wallet.store import LeaseRow, open_wallet
from gpufair.protocol import envelope, limits

HOUR = 3_600_000


def lease(number: int, state: str, *, captured: int = 0, released: int = 0, made: int = 0, order: bytes = b"o") -> Any:
    return LeaseRow(
        id=bytes([number]) * 32, provider="p", ledger="l", state=state, envelope=b"e", offer=b"", record=b"",
        order=order, hold=b"", voucher=b"", cap=100, window=10, expires_ms=HOUR, hold_expires_ms=2 * HOUR,
        created_ms=made, captured=captured, released=released, distrust="",
    )  # fmt: skip


def test_what_may_still_be_taken_counts_as_spent() -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        for row, cost in (
            (lease(2, "declined"), 0),
            (lease(3, "abandoned"), 0),
            (lease(5, "agreed"), 100),
            (lease(6, "open", captured=30), 100),
            (lease(7, "closing", captured=30, released=70), 30),
            (lease(8, "settled", captured=20, released=80), 20),
        ):
            rows.insert(row)
            assert budget.at_stake(rows, row, now_ms=1) == cost, row.state
        assert budget.spent_since(rows, 0, 1) == 250
        assert budget.spent_since(rows, 1, 1) == 0
        budget.check_cap(rows, 260, 10, 1)
        with pytest.raises(FundsError) as caught:
            budget.check_cap(rows, 260, 11, 1)
        assert (caught.value.wanted, caught.value.limit) == (261, 260)
        budget.check_cap(rows, 260, 100, 1, besides=bytes([5]) * 32)
        budget.check_cap(rows, None, 10**15, 1)


def test_a_bid_that_waits_for_its_answer_counts_until_it_can_no_longer_be_funded() -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        for row in (lease(1, "proposed", order=b""), lease(2, "agreed", order=b"")):
            rows.insert(row)
            assert budget.at_stake(rows, row, now_ms=limits.FUNDING_TIMEOUT_MS - 1) == 100
            assert budget.at_stake(rows, row, now_ms=limits.FUNDING_TIMEOUT_MS) == 0


def test_an_order_that_comes_late_is_checked_again(deal: Any) -> None:
    d = deal()
    buying = Leases(d.desks["client"], d.wallet, daily_cap=2 * d.terms.cap - 1)
    d.clock.ms += budget.DAY_MS + 1  # the deal's own lease is of yesterday
    image = d.offer.doc.worker_images[0].digest
    signer = d.desks["provider"].signer
    slow = buying.propose(d.offer, d.record, d.sheet.model, image, d.terms)
    buying.answered(slow.id, envelope.countersign(slow, signer).envelope)
    with pytest.raises(FundsError):
        buying.propose(d.offer, d.record, d.sheet.model, image, d.terms)
    d.clock.ms += limits.FUNDING_TIMEOUT_MS
    fast = buying.propose(d.offer, d.record, d.sheet.model, image, d.terms)
    buying.answered(fast.id, envelope.countersign(fast, signer).envelope)
    order = buying.order_hold(fast.id)
    with pytest.raises(FundsError):
        buying.order_hold(slow.id)
    assert buying.order_hold(fast.id) == order


BUYER = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from sellers import LEDGER, MODEL, Seller
from gpufair.client.failures import FundsError
from gpufair.client.market.leases import Leases, Terms
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol import envelope
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner

desk = Desk(KeySigner.from_seed(b"B" * 32), SystemClock(), SystemRandom())
leases = Leases(desk, open_wallet(Path(sys.argv[2])), daily_cap=200)
seller = Seller(1, SystemClock())
record = seller.record()
offer = seller.offer(record)
print("ready", flush=True)
sys.stdin.readline()
reserved = 0
for _ in range(40):
    try:
        bid = leases.propose(offer, record, MODEL, bytes(32), Terms(cap=10, window=10, ledger=LEDGER))
        leases.answered(bid.id, envelope.countersign(bid, seller.desk.signer).envelope)
        leases.order_hold(bid.id)
        reserved += 1
    except FundsError:
        pass
print(reserved)
"""


def test_two_processes_at_one_wallet_never_pass_the_cap_between_them(tmp_path: Path) -> None:
    wallet = tmp_path / "wallet.db"
    open_wallet(wallet).close()
    command = [sys.executable, "-c", BUYER, str(Path(__file__).parents[1]), str(wallet)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as two:  # type: ignore[call-overload]
        for buyer in (one, two):
            assert buyer.stdout.readline() == "ready\n"
        for buyer in (one, two):
            buyer.stdin.write("go\n")
            buyer.stdin.flush()
        reserved = [int(buyer.stdout.read()) for buyer in (one, two)]
    assert sum(reserved) == 20
    store = open_wallet(wallet)
    with store.read() as rows:
        assert sum(row.cap for row in rows.all(LeaseRow) if row.order) == 200
    store.close()
