"""A directory that knows more offers than one reads is asked to search; what it finds is checked and judged here."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from gpufair.client.market.asking import question, search_question
from gpufair.client.market.choosing import choose
from gpufair.client.market.market import Market, gather
from gpufair.client.market.wish import Wish
from gpufair.client.wallet.store import open_wallet
from gpufair.protocol import limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Envelope, SearchAnswer, SearchRequest, Task
from gpufair.protocol.search.filters import EVERY, Search
from gpufair.protocol.search.strategies import CHEAPEST, FASTEST
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.documents import OWN
from gpufair.provider.directory.memory import MemoryDocuments
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.rpc.server import serve

CLOCK = SystemClock()
WISH = Wish("a fox", model="demo", width=64, height=64, steps=20, where=Search(region="eu"))
SELLERS = limits.FIND_MAX + 10


@dataclass
class Node:
    """A real directory with more offers than a page: every second one from the EU, each dearer than the last."""

    sellers: Any
    models: Any
    identity: tls.TlsIdentity = field(default_factory=tls.create)
    asked: list[SearchRequest] = field(default_factory=list)
    answer: SearchAnswer | PeerError | None = None

    def __post_init__(self) -> None:
        directory = Directory(MemoryDocuments(), CLOCK)
        for number in range(1, SELLERS + 1):
            seller = self.sellers(number, CLOCK)
            record = seller.record()
            region = "eu-north" if number % 2 else "us"
            offer = seller.offer(record, self.models(rate=1_000 * number), region=region)
            directory.take([record.envelope, offer.envelope], OWN)
        self.desk = Desk(directory, self)

    def record(self) -> Envelope:
        seller = self.sellers(999, CLOCK)
        return seller.record(CLOCK.now_ms(), tls_certificate=self.identity.certificate).envelope


class Desk(DirectoryDesk):
    """Notes what it is asked, and may be told what to say."""

    def __init__(self, directory: Directory, node: Node) -> None:
        super().__init__(directory, node.record)
        self._node = node

    async def search(self, asked: SearchRequest) -> SearchAnswer:
        self._node.asked.append(asked)
        if isinstance(self._node.answer, PeerError):
            raise self._node.answer
        return self._node.answer or await super().search(asked)


@pytest.fixture(scope="module")
def crowd() -> dict[str, Any]:
    return {}


@pytest.fixture
def node(crowd: dict[str, Any], a_seller: Any, a_model: Any) -> Node:
    if "node" not in crowd:  # two hundred signatures are made once
        crowd["node"] = Node(a_seller, a_model)
    made = crowd["node"]
    made.asked, made.answer = [], None
    return made


def look(node: Node, wanted: SearchRequest | None) -> Market:
    async def body() -> Market:
        server = serve(listen="127.0.0.1:0", tls_identity=node.identity, directory=node.desk)
        await server.start()
        store = open_wallet(None)
        try:
            async with Peers(CLOCK) as peers:
                return await gather(peers, [PeerAddress(Endpoint("127.0.0.1", server.port))], CLOCK, store, wanted)
        finally:
            await server.stop(0)
            store.close()

    return asyncio.run(body())


def test_a_large_directory_is_asked_for_what_is_wished(node: Node) -> None:
    market = look(node, question(WISH, WISH.model, CHEAPEST))
    assert [(one.name, one.region, one.tasks) for one in node.asked] == [("demo", "eu", (Task.TEXT_TO_IMAGE,))]
    [answer] = market.searches.values()
    assert (answer.known, answer.matches) == (SELLERS, SELLERS // 2)
    choices = choose(market, WISH)
    assert choices.good[0].offer.doc.models[0].sheet.per_step_megapixel == 1_000
    assert {choice.offer.doc.region for choice in choices.good} == {"eu-north"}


def test_without_a_question_or_an_answer_all_is_read(node: Node) -> None:
    assert len(look(node, None).offers) == SELLERS
    assert node.asked == []
    nothing = question(replace(WISH, where=Search(region="mars")), "demo", CHEAPEST)
    assert len(look(node, nothing).offers) == SELLERS, "so that each has its reason"
    node.answer = PeerError(Fault.UNKNOWN, "what is that?")
    assert len(look(node, question(WISH, "demo", CHEAPEST)).offers) == SELLERS


def test_what_a_directory_finds_is_not_believed(node: Node) -> None:
    honest = look(node, None).offers[0].envelope
    forged = replace(honest, payload=honest.payload + b"\x00")
    node.answer = SearchAnswer(10**6, 10**6, (), (forged, honest))
    market = look(node, question(WISH, "demo", CHEAPEST))
    assert honest in {offer.envelope for offer in market.offers}
    assert forged not in {offer.envelope for offer in market.offers}
    assert market.troubles


def test_a_model_is_asked_for_by_name_or_whole_digest() -> None:
    digest = "ab" * 32
    found = [search_question(EVERY, text, FASTEST) for text in ("SD15", digest, "abab", "", "cafe5")]
    assert [one and (one.name, one.model.hex()) for one in found] == [
        ("SD15", ""), ("", digest), None, ("", ""), None,
    ]  # fmt: skip
    assert found[0] is not None
    assert (found[0].price_weight, found[0].speed_weight) == (0, 1)
