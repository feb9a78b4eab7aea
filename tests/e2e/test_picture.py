"""The first paid picture: a real one, through processes and through hardened containers, paid and checked."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from command_line import Customer

from gpufair.client.bought import Picture
from gpufair.client.failures import VerificationError
from gpufair.client.pictures.verify import verify
from gpufair.client.sdk import Client
from gpufair.client.session.events import PictureOpened
from gpufair.client.wishing import wish
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.pricing import quote
from gpufair.provider.cli.operator import operator
from gpufair.provider.workers.docker import DockerRuntime

FOX: dict[str, Any] = {"seed": 7, "size": (64, 64), "steps": 8}
PROMPT = "a fox on a green background"


@dataclass
class Bought:
    """A picture, and what the parties had before and after."""

    picture: Picture
    spent: int
    earned: int
    quoted: int


@pytest.fixture(scope="module")
def artist(nodes_of_module: Any, ledger: Any) -> Iterator[Any]:
    """A provider whose worker, a process, really draws."""
    provider = nodes_of_module.provider(ledger, null=False).up().warm()
    yield provider
    assert provider.stop() == 0
    assert provider.workers() == []


@pytest.fixture(scope="module")
def by_process(nodes_of_module: Any, ledger: Any, artist: Any) -> Bought:
    buyer = nodes_of_module.buyer(ledger, artist)
    return asyncio.run(buy(buyer, ledger, artist))


@pytest.fixture(scope="module")
def by_docker(nodes_of_module: Any, ledger: Any, docker_choices: dict[str, str]) -> Iterator[Bought]:
    provider = nodes_of_module.docker_provider(ledger, docker_choices).up().warm()
    buyer = nodes_of_module.buyer(ledger, provider, name="other")
    yield asyncio.run(buy(buyer, ledger, provider))
    assert provider.stop() == 0
    assert asyncio.run(containers(provider, docker_choices)) == 0


async def buy(buyer: Any, ledger: Any, provider: Any) -> Bought:
    """One picture, with the money counted at the ledger before and after."""
    await buyer.fund()

    async def funds() -> tuple[int, int]:
        async with operator(ledger.home.root) as book:
            return (await book.balance(buyer.did)).available, (await book.balance(provider.did)).available

    async with buyer.open() as client:
        choices = await client.quote(PROMPT, **FOX)
        before = await funds()
        picture = await client.run(PROMPT, **FOX)
        after = await funds()
        (purchase,) = client.history()
        assert purchase.lease.state == LeaseState.SETTLED
        quoted = choices.good[0].candidate.quote.total
        assert quote(purchase.spec, purchase.offer.models[0].sheet, first=True).total == quoted
        return Bought(picture, before[0] - after[0], after[1] - before[1], quoted)


async def containers(provider: Any, docker: dict[str, str]) -> int:
    """How many containers carry this provider's label."""
    runtime = await DockerRuntime.connect(node=provider.did, image=docker["image"], host=docker["host"])
    try:
        return len(await runtime.leftovers())
    finally:
        await runtime.close()


def is_right(bought: Bought) -> None:
    """The money is the quote, the receipt is in the picture, the picture is what the receipt says."""
    assert bought.spent == bought.earned == bought.quoted > 0
    picture = bought.picture
    verified = verify(picture.png, provider=picture.provider)
    claim = verified.receipt.doc
    assert claim.plain_sha256 == hashlib.sha256(verified.plain).digest()
    assert claim.leaf_count == FOX["steps"] + 1
    assert claim.total_due == bought.quoted, "the up-front lines and the one picture"
    assert verified.plain.startswith(b"\x89PNG")
    for at in (len(picture.png) // 3, len(picture.png) // 2, len(picture.png) - 30):
        with pytest.raises(VerificationError):
            verify(picture.png[:at] + bytes([picture.png[at] ^ 1]) + picture.png[at + 1 :])


def test_a_picture_by_processes(by_process: Bought) -> None:
    is_right(by_process)


def test_a_picture_by_the_command_line(artist: Any, ledger: Any, tmp_path: Path) -> None:
    customer = Customer.of(ledger, artist, folder=tmp_path)
    bought = customer.ok("run", "a fox on a green background", "--yes", "-o", "fox.png", "--seed", "3")
    assert bought["provider"] == artist.did
    assert customer.ok("verify", "fox.png")["bytes"] > 2_000


def test_a_picture_by_hardened_containers(by_docker: Bought) -> None:
    is_right(by_docker)


def test_the_same_profile_makes_the_same_picture(by_process: Bought, by_docker: Bought) -> None:
    one, other = by_process.picture.receipt, by_docker.picture.receipt
    if one.profile == other.profile:
        assert one.plain_sha256 == other.plain_sha256
        assert one.trace_root == other.trace_root
    else:
        # Another torch or another Python: nobody promises the same bits then. Both are real pictures all the same.
        for name, claim in (("process", one), ("docker", other)):
            print(f"{name}: profile {claim.profile.hex()[:12]}, picture {claim.plain_sha256.hex()[:12]}")
        assert one.plain_length > 1000 < other.plain_length


def test_a_killed_daemon_leaves_no_container(nodes_of_module: Any, ledger: Any, docker_choices: dict[str, str]) -> None:
    """Null workers in containers: killed in the midst of a job, the next start finds them by label and ends them."""
    provider = nodes_of_module.docker_provider(ledger, docker_choices, "killed", null=True).up().warm()
    buyer = nodes_of_module.buyer(ledger, provider, name="third")

    async def story() -> None:
        await buyer.fund()
        async with buyer.open() as client:
            begun = asyncio.Event()
            plan = await client.buyer.plan(wish("x", size=(64, 64), steps=100, count=16))
            job = asyncio.create_task(
                client.buyer.buy(plan, lambda event: begun.set() if isinstance(event, PictureOpened) else None)
            )
            await asyncio.wait_for(begun.wait(), 30)
            provider.kill()
            assert await containers(provider, docker_choices) == 1, "nobody ended it yet"
            await asyncio.to_thread(provider.up)
            assert len((await job).opened) == 16, "the node that is up again goes on with it"
            assert "1 workers of an earlier run were ended" in provider.log
            await asyncio.to_thread(provider.warm)
            assert await containers(provider, docker_choices) == 1, "its own new one"
            await settled(client)

    asyncio.run(story())
    assert provider.stop() == 0
    assert asyncio.run(containers(provider, docker_choices)) == 0


async def settled(client: Client) -> None:
    (purchase,) = client.history()
    assert purchase.is_settled
    assert purchase.lease.captured == sum(picture.amount for picture in purchase.opened)
