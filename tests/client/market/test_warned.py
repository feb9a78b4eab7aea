"""Rule: whom one buyer has caught, another one is warned of: over whole nodes, gossip, and the command line.

The first buyer looks at one directory, the second at another one, and neither at the provider's own node.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from whole_nodes import PRICE, START, Person, World, alone_known_to, another_directory

from gpufair.client.cli.stage import Exit
from gpufair.client.failures import CheatedError
from gpufair.client.wallet import bans
from gpufair.client.wallet.deliveries import DeliveryRow
from gpufair.client.wallet.store import LeaseRow, open_wallet
from gpufair.protocol import envelope, evidence, limits
from gpufair.protocol.edge.refusals import RemoteRefusal
from gpufair.protocol.errors import Fault
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Delivery, Down, Envelope, Receipt
from gpufair.provider.daemon import Node
from gpufair.provider.directory import documents
from gpufair.provider.directory.company import Trouble
from gpufair.provider.directory.documents import Kind
from gpufair.provider.directory.standing import Known


async def until(holds: Callable[[Known], object], node: Node, what: str) -> None:
    """Wait for what gossip brings to a directory."""
    try:
        async with asyncio.timeout(30):
            while not holds(await node.directory.standing()):
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(what) from None


def is_stocked(known: Known) -> bool:
    return known.counts[Kind.OFFER] > 0 and known.counts[Kind.EVIDENCE] > 0


async def said(person: Person, *words: str) -> tuple[int | None, dict[str, Any]]:
    """How a command ended, and its object: the answer, or the error."""
    process = await person.runs(*words, "--json")
    out, err = await process.communicate()
    answer: dict[str, Any] = json.loads(out or err)
    return process.returncode, answer


def cheats(w: World) -> None:
    """Its receipts name another picture than its keys open: what it sells is noise."""

    def noise(message: Down) -> Down:
        if not isinstance(message, Delivery):
            return message
        claim = replace(envelope.read(message.receipt, Receipt).doc, plain_sha256=bytes(32))
        return replace(message, receipt=w.provider.desk.sign(claim).envelope)

    w.on_send(noise)


def banned(person: Person) -> dict[str, str]:
    wallet = open_wallet(person.home.wallet)
    try:
        return bans.banned(wallet)
    finally:
        wallet.close()


def test_a_cheat_that_one_buyer_caught_sells_nothing_to_the_next(world: Any, tmp_path: Path) -> None:
    async def story(w: World) -> None:
        cheat, first = w.provider.keys.did, w.buyer
        async with another_directory(w, tmp_path / "other") as other:
            cheats(w)
            alone_known_to(first.store, w.ledger)
            with pytest.raises(CheatedError):
                await w.buy()
            w.close_leases()
            await first.settle_open()
            with first.store.read() as rows:
                [lease] = rows.all(LeaseRow)
            assert START - await w.balance() == PRICE <= lease.window
            assert list(bans.banned(first.store)) == [cheat]

            await first.market()  # as it looks around, it says so
            assert (await w.ledger.directory.standing()).counts[Kind.EVIDENCE] == 1
            await until(is_stocked, other, "the other hears nothing")

            second = await Person.at(w, tmp_path / "second", knows=other)
            code, answer = await said(second, "offers")
            assert code == Exit.OK
            [why] = [one["what"] for one in answer["left_out"] if cheat in one["what"]]
            assert "the key of a delivery opens something else than its receipt says" in why
            assert list(banned(second)) == [cheat]
            _, again = await said(second, "offers")
            assert (again["offers"], [one["provider"] for one in again["banned"]]) == ([], [cheat])
            assert "opens something else" in again["banned"][0]["why"], "it is told every time"
            code, _ = await said(second, "run", "a fox", "--yes")
            assert code == Exit.NO_OFFER
            assert await w.funds(second.did) == (START, 0), "it never bought, and held nothing"

    world(story)


def test_slander_of_an_honest_provider_bans_nobody(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its true receipt, ciphertext and key, called noise; once to an honest directory, once to one that lies."""

    async def story(w: World) -> None:
        await w.buy()
        slander = slandered(w)
        async with another_directory(w, tmp_path / "liar") as liar:
            honest = await w.buyer.peers.meet(f"127.0.0.1:{w.ledger.port}")
            with pytest.raises(RemoteRefusal) as caught:
                await honest.directory.publish(slander)
            assert caught.value.fault is Fault.MALFORMED

            with monkeypatch.context() as lying:
                anything = evidence.Judgement(evidence.Proof.PROVED, "because")
                lying.setattr(documents.evidence, "judge", lambda _found: anything)
                await liar.directory.publish(slander)
            await until(is_stocked, liar, "there is no slander")

            person = await Person.at(w, tmp_path / "person", knows=liar)
            code, answer = await said(person, "offers")
            assert (code, banned(person)) == (Exit.OK, {})
            assert [one["provider"] for one in answer["offers"]] == [w.provider.keys.did]
            assert any("evidence that proves nothing" in one["what"] for one in answer["left_out"])
            caught_lying = (liar.keys.did, Trouble.DISPROVED)
            await until(
                lambda known: caught_lying in {(one.name, one.trouble) for one in known.sources}, w.ledger,
                "the liar passes for honest",
            )  # fmt: skip
            assert (await w.ledger.directory.standing()).counts[Kind.EVIDENCE] == 0

    world(story)


def slandered(w: World) -> Envelope:
    """What the buyer has of an honest delivery, as if it were noise."""
    desk = w.buyer.desk
    with w.buyer.store.read() as rows:
        [row] = rows.all(DeliveryRow)
    head = desk.head(BROADCAST, expires_at_ms=desk.now_ms() + limits.EVIDENCE_TTL_MS)
    receipt = envelope.from_bytes(row.receipt, Receipt).envelope
    return desk.sign(evidence.noise(head, receipt, row.cipher, row.key)).envelope
