"""Where an offer can be paid: ledgers that don't answer, and such that say we are rich, decide nothing for others."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from sellers import model

from gpufair.client.failures import FundsError, NoOfferError, UnreachableError
from gpufair.client.ledgers import Ledgers
from gpufair.client.market import funding
from gpufair.client.market.choosing import Choice, choose
from gpufair.client.market.funding import Funded, Funding
from gpufair.client.market.market import Market
from gpufair.client.market.wish import Wish
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.envelope import read
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import Balance, Envelope, LedgerRef, NodeRecord, Query, ReasonCode, Role
from gpufair.provider.rpc.server import serve

CLOCK = SystemClock()
WISH = Wish("a fox", width=64, height=64, steps=20, guidance_milli=2_500)
BUYER = Desk(KeySigner.from_seed(b"B" * 32), CLOCK, SystemRandom())


@dataclass
class Bank:
    """A node that answers questions about balances, truly or not; it counts them."""

    seed: int
    says: int
    identity: tls.TlsIdentity = field(default_factory=tls.create)
    asked: int = 0
    port: int = 0

    @property
    def desk(self) -> Desk:
        return Desk(KeySigner.from_seed(b"K" * 31 + bytes([self.seed])), CLOCK, SystemRandom())

    @property
    def ref(self) -> LedgerRef:
        return LedgerRef(self.desk.did, f"127.0.0.1:{self.port}")

    async def record(self) -> Envelope:
        head = self.desk.broadcast_head()
        doc = NodeRecord(head, 1, (Role.LEDGER,), (), self.identity.certificate, bytes(32), "test")
        return self.desk.sign(doc).envelope

    async def ask(self, document: Envelope) -> Envelope:
        self.asked += 1
        query = read(document, Query)
        head = self.desk.head(query.issuer, parent=query.id)
        return self.desk.sign(Balance(head, query.issuer, self.says, 0, 0, 0)).envelope


@asynccontextmanager
async def serving(*banks: Bank) -> AsyncIterator[None]:
    async with AsyncExitStack() as stack:
        for bank in banks:
            server = serve(listen="127.0.0.1:0", tls_identity=bank.identity, directory=bank, ledger=bank)  # type: ignore[arg-type]
            await server.start()
            stack.push_async_callback(server.stop, 0)
            bank.port = server.port
        yield


@pytest.fixture
def choices(a_seller: Any) -> Any:
    """Offers, each cheaper than the next, that name these ledgers."""

    def made(*ledgers: tuple[LedgerRef, ...]) -> tuple[Choice, ...]:
        market = Market()
        for number, refs in enumerate(ledgers, 1):
            seller = a_seller(number)
            record = seller.record()
            market.offers.append(seller.offer(record, model(rate=60 * number), ledgers=refs))
            market.records[record.issuer] = record
        return choose(market, WISH).good

    return made


async def paid(choices: tuple[Choice, ...], **options: Any) -> Funded:
    async with Peers(CLOCK) as peers:
        funds = Funding(Ledgers(BUYER, peers), (), **({"trust_own": False} | options))
        return await funds.first_payable(choices, BUYER.did)


def test_a_banned_ledger_is_neither_asked_nor_paid_at(choices: Any) -> None:
    async def story() -> None:
        shut, good = Bank(1, says=10**6), Bank(2, says=10**6)
        async with serving(shut, good):
            banned = {shut.desk.did: "it signed two journals"}
            known = (shut.desk.did, good.desk.did)
            found = await paid(choices((shut.ref,), (shut.ref, good.ref)), known=known, bans=banned)
            assert found.ledger == good.ref
            [(_, [why])] = found.dropped
            assert why.code is ReasonCode.BANNED
            assert "two journals" in why.detail
            with pytest.raises(NoOfferError, match="a ledger that is banned"):
                await paid(choices((shut.ref,)), known=known, bans=banned)
            assert (shut.asked, good.asked) == (0, 1)

    asyncio.run(story())


def nobody(number: int) -> LedgerRef:
    return LedgerRef(KeySigner.from_seed(bytes([200]) * 30 + number.to_bytes(2, "big")).did, f"127.0.0.1:{number}")


@asynccontextmanager
async def mute(count: int) -> AsyncIterator[tuple[LedgerRef, ...]]:
    """Ledgers that take a connection and say nothing."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        yield tuple(
            LedgerRef(nobody(at + 1).did, f"127.0.0.1:{one.getsockname()[1]}") for at, one in enumerate(sockets)
        )
    finally:
        for one in sockets:
            one.close()


def test_one_offer_with_dead_ledgers_does_not_stop_all_buying(choices: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen that say nothing used up all the questions, and their time, one after the other."""
    monkeypatch.setattr(funding, "ASK_S", 1.5)

    async def story() -> None:
        honest = Bank(1, says=10**6)
        async with serving(honest), mute(16) as dead:
            good = choices(dead, (honest.ref,))
            began = time.monotonic()
            found = await paid(good)
            assert time.monotonic() - began < 8
            assert (found.choice, found.ledger, found.available) == (good[1], honest.ref, 10**6)
            ((seller, why),) = found.dropped
            assert seller == good[0].offer.issuer
            assert len(why) == 16
            said = [reason.detail for reason in why]
            assert sum("no answer" in one for one in said) == 2, "so many strangers of one offer are asked"
            assert sum("not asked" in one for one in said) == 14

    asyncio.run(story())


def test_a_flood_of_offers_with_dead_ledgers_leaves_room_for_an_honest_one(choices: Any) -> None:
    async def story() -> None:
        honest = Bank(1, says=10**6)
        async with serving(honest):
            flood = [(nobody(2 * n + 1), nobody(2 * n + 2)) for n in range(20)]
            found = await paid(choices(*flood, (honest.ref,)))
            assert found.ledger == honest.ref
            assert len(found.dropped) == 20

    asyncio.run(story())


def test_a_ledger_that_the_wallet_knows_is_asked_before_strangers(choices: Any) -> None:
    """Else an invented one that says we are rich wins each time."""

    async def story() -> None:
        known, invented = Bank(1, says=10**6), Bank(2, says=10**12)
        async with serving(known, invented):
            good = choices((invented.ref,), (invented.ref, known.ref))
            found = await paid(good, known={known.desk.did})
            assert (found.choice, found.ledger, invented.asked) == (good[1], known.ref, 0)
            assert "not asked" in found.dropped[0][1][0].detail
            assert (await paid(good)).ledger == invented.ref, "who knows no ledger must ask strangers"

    asyncio.run(story())


def test_strangers_are_asked_where_the_known_have_too_little(choices: Any) -> None:
    async def story() -> None:
        known, other = Bank(1, says=3), Bank(2, says=10**6)
        async with serving(known, other):
            good = choices((known.ref,), (known.ref, other.ref))
            found = await paid(good, known={known.desk.did})
            assert (found.choice, found.ledger) == (good[1], other.ref)
            assert (known.asked, other.asked) == (1, 1)
            ((_, (why,)),) = found.dropped
            assert (why.code, why.wanted, why.limit) == (ReasonCode.FUNDS_SHORT, 11, 3)

    asyncio.run(story())


def test_a_known_ledger_at_a_false_address_is_still_found_where_others_say(choices: Any) -> None:
    """An offer that gives another address for it can't take it away from everybody else."""

    async def story() -> None:
        known = Bank(1, says=10**6)
        async with serving(known):
            good = choices((LedgerRef(known.desk.did, "127.0.0.1:1"),), (known.ref,))
            found = await paid(good, known={known.desk.did})
            assert (found.choice, found.ledger) == (good[1], known.ref)

    asyncio.run(story())


def test_each_way_of_not_being_payable_has_its_name_and_every_offers_reasons(choices: Any, a_seller: Any) -> None:
    async def story() -> None:
        poor = Bank(3, says=3)
        own = LedgerRef(a_seller(1).desk.did, "127.0.0.1:1")
        async with serving(poor):
            with pytest.raises(FundsError) as short:
                await paid(choices((nobody(1),), (poor.ref,)))
            with pytest.raises(UnreachableError) as silent:
                await paid(choices((nobody(1),), (nobody(2),)))
            with pytest.raises(NoOfferError, match="own ledger") as selfish:
                await paid(choices((own,)))
        assert (short.value.wanted, short.value.limit) == (21, 3)
        assert [[why.code for why in reasons] for _, reasons in short.value.dropped] == [
            [ReasonCode.LEDGER_NOT_ACCEPTED], [ReasonCode.FUNDS_SHORT],
        ]  # fmt: skip
        assert len(silent.value.dropped) == 2
        assert "seller's own" in selfish.value.dropped[0][1][0].detail

    asyncio.run(story())


def test_a_budget_is_what_must_be_there(choices: Any) -> None:
    async def story() -> None:
        bank = Bank(1, says=500)
        async with serving(bank):
            assert (await paid(choices((bank.ref,)), budget=500)).available == 500
            with pytest.raises(FundsError, match="budget"):
                await paid(choices((bank.ref,)), budget=501)

    asyncio.run(story())
