"""Killed at any moment, by SIGKILL: nothing is lost, nothing is invented, nothing keeps running.

Each round buys pictures and kills one of the three processes at a random moment of it (the seed is the test's own
name). What was killed comes up again, and then client, provider and ledger must agree to the micro-credit.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Customer, wait_for_picture

from gpufair.client.failures import PurchaseError
from gpufair.client.sdk import Client
from gpufair.client.session.events import StepDone
from gpufair.client.wallet.purchase import Purchase
from gpufair.client.wishing import wish
from gpufair.protocol.lifecycle import ATTEMPT, AttemptState
from gpufair.provider.cli.operator import operator

JOB: dict[str, Any] = {"size": (64, 64), "steps": 20, "count": 4}
SPAN_S = 0.3
"""Somewhat more than such a job takes, from the bid to the end."""
SETTLED_S = 40


@dataclass
class Market:
    """One of each."""

    ledger: Any
    provider: Any
    buyer: Any


@pytest.fixture(scope="module")
def market(nodes_of_module: Any) -> Market:
    made = nodes_of_module
    ledger = made.ledger().up()
    provider = made.provider(ledger).up().warm()
    buyer = made.buyer(ledger, provider)
    asyncio.run(buyer.fund())
    return Market(ledger, provider, buyer)


@pytest.mark.parametrize("seed", range(10))
def test_the_provider_is_killed(market: Market, seed: int) -> None:
    asyncio.run(one_round(market, market.provider, seed))


@pytest.mark.parametrize("seed", range(2))
def test_the_ledger_is_killed(market: Market, seed: int) -> None:
    asyncio.run(one_round(market, market.ledger, seed))


@pytest.mark.parametrize("seed", range(2))
def test_the_client_is_killed(market: Market, seed: int) -> None:
    asyncio.run(client_round(market, seed))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_kills_of_anybody(market: Market) -> None:
    for seed in range(1000, 1120):
        print(f"seed {seed}")
        dice = random.Random(seed)
        if dice.random() < 0.2:
            asyncio.run(client_round(market, seed))
        else:
            asyncio.run(one_round(market, market.ledger if dice.random() < 0.2 else market.provider, seed))


async def one_round(market: Market, victim: Any, seed: int) -> None:
    """Buy, kill a node meanwhile, start it again, and see everything settled."""
    moment = random.Random(seed).uniform(0, SPAN_S)
    async with market.buyer.open() as client:
        plan = await client.buyer.plan(wish(f"canary {seed}", **JOB))
        buying = asyncio.create_task(client.buyer.buy(plan))
        await asyncio.sleep(moment)
        victim.kill()
        await asyncio.to_thread(victim.up)
        try:
            await buying
        except PurchaseError as error:
            print(f"killed after {moment:.3f} s: {type(error).__name__}: {error}")
        await settle(client)
    await agree(market)


async def client_round(market: Market, seed: int) -> None:
    """The same with the client, which lives in a process of its own for that."""
    moment = random.Random(seed).uniform(0, SPAN_S)
    async with market.buyer.open():
        pass  # the wallet knows its peers now
    process = subprocess.Popen(
        [sys.executable, "-c", BUY, str(market.buyer.home.folder), str(seed)], stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        await asyncio.sleep(moment)
    finally:
        process.send_signal(signal.SIGKILL)
        process.communicate()
    async with market.buyer.open() as client:
        await settle(client)
    await agree(market)


BUY = f"""
import asyncio, sys
from gpufair.client.sdk import Client
from gpufair.client.session.events import StepDone
from gpufair.client.wishing import wish
async def main():
    async with Client.open(sys.argv[1]) as client:
        plan = await client.buyer.plan(wish("canary " + sys.argv[2], **{JOB!r}))
        print("begin", flush=True)
        await client.buyer.buy(plan)
asyncio.run(main())
"""


async def settle(client: Client) -> None:
    """Take up everything that was broken off, as `gpufair fetch` does, until no money is held."""
    deadline = time.monotonic() + SETTLED_S
    while open_ := [one for one in client.history(1000) if not one.is_settled and one.lease.hold]:
        assert time.monotonic() < deadline, [told(one) for one in open_]
        for one in open_:
            with contextlib.suppress(PurchaseError):
                await client.buyer.fetch(one, patience_s=5)
        await asyncio.sleep(0.05)
    while await client.buyer.settle_open(young_ms=0):
        assert time.monotonic() < deadline, "a lease without a job holds money"
        await asyncio.sleep(0.5)


def told(purchase: Purchase) -> str:
    lease, job = purchase.lease, purchase.job
    return f"lease {lease.id.hex()[:12]} {lease.state}, job {job.state} {job.note}, {len(purchase.opened)} open"


async def agree(market: Market) -> None:
    """Client, provider and ledger tell the same story, and the story is sound."""
    home, book = market.provider.home, rows(
        market.ledger.home.ledger, "SELECT lease, amount, captured, released, closed FROM holds"
    )  # fmt: skip
    wallet = market.buyer.home.wallet
    assert all(closed and captured + released == amount for _, amount, captured, released, closed in book), book
    paid = {lease: captured for lease, _, captured, _, _ in book}
    mine = {
        row[0]: row[1:] for row in rows(wallet, "SELECT id, captured, released, state FROM leases WHERE hold != x''")
    }
    assert {lease: row[0] for lease, row in mine.items()} == {lease: paid[lease] for lease in mine}
    await _settled(home.jobs)
    for lease, captured, state in rows(home.jobs, "SELECT id, captured, state FROM leases"):
        # A lease that nobody pays for is given up after half a minute; nothing is at stake till then.
        assert state in ("settled", "abandoned") or (state == "agreed" and lease not in paid), (lease.hex(), state)
        assert captured == paid.get(lease, 0), lease.hex()
    _work(home.jobs, wallet, paid)
    total = sum(paid.values())
    async with operator(market.ledger.home.root) as desk:
        here, there = await desk.balance(market.buyer.did), await desk.balance(market.provider.did)
        assert (here.available, here.held) == (1_000_000 - total, 0)
        assert (there.available, there.earning) == (total, 0)
    verdict = await asyncio.to_thread(market.ledger.ask, "audit")
    assert verdict["ok"], verdict
    async with market.buyer.open() as client:
        peer = await client.buyer.peers.meet(market.ledger.address)
        report, auditor = await client.buyer.ledgers.audit(peer)
        assert report.ok, report.findings
        assert auditor.funds(market.buyer.did).available == here.available
    _nobody_is_left(market)


async def _settled(jobs: Path) -> None:
    """The provider hears of its last capture a moment after the ledger has made it."""
    for _ in range(100):
        if not rows(jobs, "SELECT 1 FROM leases WHERE state NOT IN ('settled', 'abandoned', 'agreed')"):
            break
        await asyncio.sleep(0.1)


def _work(jobs: Path, wallet: Path, paid: dict[bytes, int]) -> None:
    """Attempts have ended; what was revealed was paid; what was paid is open; no picture was sold twice."""
    for state, lease in rows(jobs, "SELECT state, lease FROM attempts"):
        assert ATTEMPT.is_terminal(AttemptState(state)), (state, lease.hex())
    assert not rows(jobs, "SELECT 1 FROM outbox WHERE answer = x''")
    revealed = dict(rows(jobs, "SELECT lease, sum(amount) FROM deliveries WHERE revealed GROUP BY lease"))
    opened = dict(rows(wallet, "SELECT lease, sum(amount) FROM deliveries WHERE length(plain) GROUP BY lease"))
    upfront = dict(rows(jobs, "SELECT lease, sum(upfront) FROM attempts GROUP BY lease"))
    for lease, captured in paid.items():
        assert captured >= revealed.get(lease, 0), "a key went out unpaid"
        assert opened.get(lease, 0) <= captured, "a picture was not paid"
        assert captured <= opened.get(lease, 0) + 10 + upfront.get(lease, 0), "money for nothing"


def _nobody_is_left(market: Market) -> None:
    """The one worker that runs is the running daemon's own."""
    workers = market.provider.workers()
    assert len(workers) <= 1, workers
    for pid in workers:
        assert f"PPid:\t{market.provider.pid}" in Path(f"/proc/{pid}/status").read_text()
    scratch = list(market.provider.home.workers.rglob("*.scratch"))
    assert len(scratch) <= 1, scratch


def rows(path: Path, sql: str) -> list[Any]:
    """What a database says, read from outside."""
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(sql).fetchall()


@pytest.mark.long
def test_a_picture_goes_on_after_the_last_step_that_its_killed_provider_had_told(nodes: Any, ledger: Any) -> None:
    """With a model that takes its time: null workers are done before anybody can be killed."""
    provider = nodes.provider(ledger, null=False).up().warm()
    buyer = nodes.buyer(ledger, provider)

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            plan = await client.buyer.plan(wish("a fox", size=(128, 128), steps=60))
            steps, half = list[int](), asyncio.Event()

            def hear(event: Any) -> None:
                if isinstance(event, StepDone):
                    steps.append(event.step)
                    if event.step == 10:
                        half.set()

            job = asyncio.create_task(client.buyer.buy(plan, hear))
            await asyncio.wait_for(half.wait(), 60)
            provider.kill()
            told = max(steps)
            await asyncio.to_thread(provider.up)
            bought = await job
            assert bought.is_whole
            assert bought.lease.captured == bought.opened[0].amount, "once"
            after = [
                int(line.rpartition(" ")[2]) for line in provider.log.splitlines() if "goes on with picture" in line
            ]
            assert len(after) == 1
            assert told <= after[0] < 60

    asyncio.run(story())


# --- the command line, broken off in the middle -----------------------------------------------------------------------


def test_a_killed_buyer_goes_on_where_it_was(market: Market, tmp_path: Path) -> None:
    buyer = Customer.of(market.ledger, market.provider, folder=tmp_path)
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes")
    job = wait_for_picture(buyer)
    process.kill()
    process.communicate()
    assert not list(buyer.folder.glob("*.png")), "it was killed in the middle"
    done = buyer("fetch", job, "-o", "many.png", "--json")
    shown = buyer.ok("show", job)
    opened = sum(picture["opened"] for picture in shown["pictures"])
    assert done.code in (0, 8), done.err
    assert shown["spent"] == sum(p["paid"] for p in shown["pictures"] if p["opened"]), "no key, no payment"
    assert len(list(buyer.folder.glob("many-*.png"))) == opened
    assert buyer.ok("ledger", "audit")["ok"] is True
    funds = buyer.ok("balance")["ledgers"][0]
    assert funds["available"] + funds["held"] + shown["captured"] == 5_000_000


def test_an_interrupted_buyer_is_told_how_to_go_on(market: Market, tmp_path: Path) -> None:
    buyer = Customer.of(market.ledger, market.provider, folder=tmp_path)
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes", "--json")
    job = wait_for_picture(buyer)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=30)
    assert process.returncode == 130
    assert out == b""
    error = json.loads(err)["error"]
    assert error["job"] == job
    assert f"gpufair fetch {job[:12]}" in error["hint"]
    assert buyer("cancel", job[:12], "--json").code in (0, 1)
    assert buyer.ok("ledger", "audit")["ok"] is True


def test_a_provider_killed_in_the_middle_costs_only_what_was_delivered(market: Market, tmp_path: Path) -> None:
    buyer = Customer.of(market.ledger, market.provider, folder=tmp_path)
    process = buyer.start("run", "many", "-n", "16", "--steps", "100", "--yes", "--json")
    wait_for_picture(buyer)
    market.provider.kill()
    market.provider.up()
    out, err = process.communicate(timeout=60)
    job = buyer.ok("history")["jobs"][0]
    assert process.returncode in (0, 8), err + out
    if process.returncode == 8:
        assert "restarted" in json.loads(err)["error"]["what"]
    opened = sum(picture["opened"] for picture in job["pictures"])
    assert job["spent"] == opened * job["pictures"][0]["paid"] if opened else job["spent"] == 0
    assert job["settled"] is True
    assert buyer.ok("ledger", "audit")["ok"] is True
    assert buyer.ok("balance")["ledgers"][0]["available"] == 5_000_000 - job["spent"]
    assert buyer.ok("run", "afterwards", "--yes")["state"] == "paid"
