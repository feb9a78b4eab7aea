"""The owner's hand on a running node: stop, pause, drain, and what may not be done twice."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import time
from typing import Any

import pytest
from real_nodes import BIN

from gpufair.client.failures import JobFailedError, NoOfferError, PurchaseError
from gpufair.client.session.events import JobAccepted, PictureOpened
from gpufair.client.wishing import wish

BUSY: dict[str, Any] = {"size": (64, 64), "steps": 100, "count": 16}
"""As much as the owner's limits allow: some seconds, so that there is time to interfere."""
CANARY = "a heron reads yesterday's newspaper on a velvet staircase"


def test_sigterm_hands_a_running_job_back(nodes: Any, ledger: Any) -> None:
    provider = nodes.provider(ledger).up().warm()
    buyer = nodes.buyer(ledger, provider)

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            plan = await client.buyer.plan(wish(CANARY, **BUSY))
            begun = asyncio.Event()
            job = asyncio.create_task(
                client.buyer.buy(plan, lambda event: begun.set() if isinstance(event, PictureOpened) else None)
            )
            await asyncio.wait_for(begun.wait(), 30)
            assert await asyncio.to_thread(provider.stop) == 0
            with pytest.raises(JobFailedError) as failure:
                await job
            assert "stopping" in str(failure.value)
            (bought,) = client.history()
            assert 0 < len(bought.opened) < 16
            assert bought.is_settled, bought.lease.state
            # What was delivered was paid and is open, a checkpoint perhaps; the lease's minimum was credited back.
            assert all(one.is_open for one in bought.checkpoints)
            assert bought.lease.captured == sum(one.amount for one in (*bought.opened, *bought.checkpoints))
            assert bought.lease.captured + bought.lease.released == bought.lease.cap

    asyncio.run(story())
    assert provider.workers() == []
    assert not provider.home.socket.exists()
    assert "Traceback" not in provider.log
    secrets_stay_secret(provider)


def secrets_stay_secret(provider: Any) -> None:
    """The prompt is in no log and in no file of the provider's, in none of the ways that text is written."""
    words = [CANARY.encode(), CANARY.encode("utf-16-le"), CANARY[:20].encode(), CANARY.encode().hex().encode()]
    files = [path for path in provider.home.root.rglob("*") if path.is_file() and "models" not in path.parts]
    assert any(path.name == "jobs.db" for path in files)
    for path in [*files, provider.log_file]:
        data = path.read_bytes()
        assert not any(word in data for word in words), f"the prompt is in {path}"


def test_pause_resume_and_drain(nodes: Any, ledger: Any) -> None:
    provider = nodes.provider(ledger).up().warm()
    buyer = nodes.buyer(ledger, provider)

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            assert await asyncio.to_thread(provider.ask, "pause") == {"paused": True}
            with pytest.raises(NoOfferError):
                await client.buyer.plan(wish("x", **BUSY))
            assert provider.provider["paused"]
            assert await asyncio.to_thread(provider.ask, "resume") == {"paused": False}
            begun = asyncio.Event()
            plan = await client.buyer.plan(wish("x", **BUSY))
            job = asyncio.create_task(
                client.buyer.buy(plan, lambda event: begun.set() if isinstance(event, JobAccepted) else None)
            )
            await asyncio.wait_for(begun.wait(), 30)
            assert await asyncio.to_thread(provider.ask, "drain") == {"draining": True}
            assert provider.process.poll() is None
            with pytest.raises(PurchaseError):
                await client.buyer.plan(wish("y", **BUSY))
            # What runs is finished and paid; only then the node stops, by itself.
            done = await job
            assert len(done.opened) == 16
            assert done.is_settled
        assert await asyncio.to_thread(provider.process.wait, 20) == 0

    asyncio.run(story())
    assert provider.workers() == []


def test_an_owner_takes_the_machine_back_and_sells_again(nodes: Any, ledger: Any) -> None:
    provider = nodes.provider(ledger).up().warm()
    buyer = nodes.buyer(ledger, provider)

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            plan = await client.buyer.plan(wish("x", **BUSY))
            begun = asyncio.Event()
            job = asyncio.create_task(
                client.buyer.buy(plan, lambda event: begun.set() if isinstance(event, PictureOpened) else None)
            )
            await asyncio.wait_for(begun.wait(), 30)
            assert (await asyncio.to_thread(provider.ask, "reclaim"))["reclaimed"]
            with pytest.raises(PurchaseError) as failure:
                await job
            assert "reclaimed" in str(failure.value)
            with pytest.raises(NoOfferError):
                await client.buyer.plan(wish("y", **BUSY))
            (bought,) = client.history()
            assert 0 < len(bought.opened) < 16
            await asyncio.to_thread(_until, lambda: not provider.workers())
            assert provider.provider["reclaimed"]
            await asyncio.to_thread(provider.ask, "resume")
            await asyncio.to_thread(provider.warm)
            plan = await client.buyer.plan(wish("z", size=(64, 64), steps=2))
            assert len((await client.buyer.buy(plan)).opened) == 1

    asyncio.run(story())
    assert provider.stop() == 0
    assert provider.workers() == []


def _until(come: Any) -> None:
    """Wait for something that happens by itself."""
    deadline = time.monotonic() + 20
    while not come():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_node_that_is_killed_starts_again_over_its_own_remains(nodes: Any) -> None:
    node = nodes.ledger().up()
    node.kill()
    assert node.home.socket.exists()
    node.up()
    assert node.ask("status")["did"] == node.did
    assert node.stop() == 0


def test_one_home_one_node(shared: Any) -> None:
    node = shared[0]
    second = command(node, "up")
    assert second.returncode == 1
    assert "a node is running in" in second.stderr
    assert node.ask("status")["did"] == node.did, "the first one is unharmed"


def test_a_port_that_is_taken(nodes: Any, ledger: Any) -> None:
    node = nodes.provider(ledger)
    with socket.socket() as taker:
        taker.bind(("127.0.0.1", node.port))
        taker.listen()
        done = command(node, "up")
    assert done.returncode == 1
    assert f"cannot listen on 127.0.0.1:{node.port}" in done.stderr
    assert "Traceback" not in done.stderr
    assert node.workers() == []


def test_sigterm_while_it_starts(nodes: Any, ledger: Any) -> None:
    node = nodes.provider(ledger)
    process = node.start()
    while process.poll() is None and not node.home.jobs.exists():
        time.sleep(0.001)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 0, node.log
    assert node.workers() == []


def test_status_for_programs(shared: Any) -> None:
    ledger, provider = shared
    said = json.loads(command(provider, "status", "--json").stdout)
    assert set(said) == {"did", "port", "endpoints", "roles", "software", "peers", "directory", "provider"}
    sales = said["provider"]
    whole = {
        "workers", "running", "waiting", "earned_today", "earned", "pending", "open_leases", "held", "jobs_paid",
        "jobs_failed", "reserved",
    }  # fmt: skip
    assert all(type(sales[name]) is int and sales[name] >= 0 for name in whole)
    assert {name: type(sales[name]) for name in sales if name not in whole} == {
        "runtime": str, "isolation": str, "worker_image": str, "paused": bool, "reclaimed": bool, "draining": bool,
        "models": list, "adapters": list, "last_error": str, "price_policy": str,
    }  # fmt: skip
    [model] = sales["models"]
    assert set(model) == {"digest", "name", "state", "per_step_megapixel", "why"}
    assert (model["name"], model["state"], sales["price_policy"]) == ("demo", "warm", "fixed")
    assert (sales["runtime"], sales["isolation"], sales["last_error"]) == ("process", "none", "")
    book = json.loads(command(ledger, "status", "--json").stdout)["ledger"]
    assert {"accounts", "events", "holds_open", "held", "outstanding"} <= set(book)
    assert "selling" in command(provider, "status").stdout


@pytest.mark.parametrize(
    "line",
    [
        b"\n", b"status\n", b"{}\n", b'{"command": 1}\n', b'{"command": ["status"]}\n', b'{"command": "format"}\n',
        b"[" * 60_000 + b"\n", b"\xff\xfe\n", b"null\n", b'{"command": "status", "command": "__class__"}\n',
    ],
)  # fmt: skip
def test_garbage_on_the_owners_line(shared: Any, line: bytes) -> None:
    assert "unknown command" in shared[0].say(line)["error"]


def test_the_owners_line_is_the_owners(shared: Any) -> None:
    assert shared[0].home.socket.stat().st_mode & 0o777 == 0o600
    assert shared[0].home.root.stat().st_mode & 0o777 == 0o700
    for name in ("jobs.db", "directory.db", "keys/identity.pem"):
        assert (shared[1].home.root / name).stat().st_mode & 0o077 == 0, name
    assert shared[0].home.ledger.stat().st_mode & 0o077 == 0


def test_more_than_a_line_and_a_hang_up(shared: Any) -> None:
    for sent in (b"x" * 3_000_000, b'{"command"'):
        with socket.socket(socket.AF_UNIX) as line:
            line.connect(str(shared[0].home.socket))
            try:
                line.sendall(sent)
            except OSError:
                continue  # it hung up on us
    assert shared[0].ask("status")["did"] == shared[0].did


def test_commands_of_a_role_that_the_node_lacks(shared: Any) -> None:
    for name in ("pause", "resume", "reclaim", "drain"):
        assert "no provider" in shared[0].ask(name)["error"]
    done = command(shared[1], "ledger", "balance")
    assert done.returncode == 4
    assert "keeps no ledger" in done.stderr


def test_nobody_answers(nodes: Any) -> None:
    done = command(nodes.ledger(), "status", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["hint"] == "start it with `gpufaird up`"


def command(node: Any, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of `gpufaird` as its owner."""
    return subprocess.run(
        [str(BIN / "gpufaird"), *words], env={**os.environ, "GPUFAIRD_HOME": str(node.home.root)},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
