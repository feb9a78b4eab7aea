"""A buyer with an open lease. ONE RULE: it is the client's own code that buys; here it is only told when to, and
timed.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks import nodes
from benchmarks.nodes import Node, gpufaird
from gpufair.client.buyer import Buyer
from gpufair.client.config import Home
from gpufair.client.market.leases import Leases, Terms
from gpufair.client.market.plan import Plan
from gpufair.client.market.wish import Wish
from gpufair.client.opening import open_buyer
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.client.wallet import purchases
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import limits, wire
from gpufair.protocol.edge import calls, keys
from gpufair.protocol.edge.streams import ExecuteStream
from gpufair.protocol.edge.tls import certificate_sha256
from gpufair.protocol.messages import Challenge, Envelope, Open

CAP = 20_000_000
DEADLINE_MS = 10 * limits.MINUTE


@dataclass
class Picture:
    """When what happened, in seconds of `time.perf_counter`, and what crossed the stream until the first frame."""

    placed: float = 0.0
    sent: float = 0.0
    accepted: float = 0.0
    first: float = 0.0
    last: float = 0.0
    locked: float = 0.0
    opened: float = 0.0
    png: bytes = b""
    bytes_up: int = 0
    bytes_down: int = 0
    trouble: list[str] = field(default_factory=list)


class OpenLease:
    """A funded lease with an open stream, under which pictures are bought one after another."""

    def __init__(self, buyer: Buyer, session: Session, stream: ExecuteStream, plan: Plan) -> None:
        self._buyer, self._session, self._stream, self._plan = buyer, session, stream, plan

    async def buy(self, *, seed: int, steps: int | None = None) -> Picture:
        """Place a job and wait until its picture is open and everything about it has been said."""
        spec = replace(self._plan.spec, steps=steps or self._plan.spec.steps)
        body = replace(self._plan.body, seed=seed)
        picture = Picture(placed=time.perf_counter())
        turn = self._session.place(spec, body, deadline_ms=DEADLINE_MS)
        job = next(event.job for event in turn.events if isinstance(event, ev.JobPlaced))
        picture.sent = time.perf_counter()
        await self._say(turn, picture)
        while True:
            message = await self._stream.receive()
            if message is None:
                raise RuntimeError("the provider ended the stream")
            now = time.perf_counter()
            if not picture.first:
                picture.bytes_down += len(calls.encode_down(message))
            turn = self._session.on(message)
            await self._say(turn, picture)
            self._note(turn, picture, now)
            # The client's own loop looks into the wallet after everything but a step: so do we, to pay the same.
            if any(not isinstance(event, ev.StepDone) for event in turn.events) and self._over(job):
                return picture

    def _over(self, job: bytes) -> bool:
        return purchases.by_id(self._buyer.store, self._session.lease, job).is_over

    async def _say(self, turn: Turn, picture: Picture) -> None:
        for up in turn.ups:
            if not picture.first:
                picture.bytes_up += len(calls.encode_up(up))
            await self._stream.send(up)

    def _note(self, turn: Turn, picture: Picture, now: float) -> None:
        for event in turn.events:
            match event:
                case ev.JobAccepted():
                    picture.accepted = now
                case ev.StepDone():
                    picture.first = picture.first or now
                    picture.last = now
                case ev.PictureLocked():
                    picture.locked = time.perf_counter()
                case ev.PictureOpened():
                    picture.opened, picture.png = time.perf_counter(), event.png
                case ev.JobDeclined() | ev.JobOver() | ev.Cheated() | ev.LeaseClosing():
                    raise RuntimeError(f"the job ended otherwise: {event}")


@asynccontextmanager
async def open_lease(folder: Path, ledger: Node, provider: Node) -> AsyncIterator[OpenLease]:
    """Make a buyer, give it credits, have it lease the provider, and open the stream."""
    home = Home(folder / "buyer")
    made = keys.create(home.keys)
    gpufaird("ledger", "issue", made.did, "100", "--reference", "for a benchmark", "--home", str(ledger.home))
    async with open_buyer(home) as buyer:
        nodes.know(buyer.store, provider)
        plan = await buyer.plan(Wish(prompt="red apple"))
        lease = await _lease(buyer, plan)
        peer = await buyer.peers.at(plan.choice.record)
        async with peer.market.execute() as stream:
            session = Session(buyer.desk, buyer.store, lease)
            challenge = await stream.receive()
            assert isinstance(challenge, Challenge)
            await stream.send(Open(session.answer_challenge(challenge, certificate_sha256(peer.certificate)).envelope))
            for up in session.resume().ups:
                await stream.send(up)
            yield OpenLease(buyer, session, stream, plan)


async def _lease(buyer: Buyer, plan: Plan) -> bytes:
    leases, offer = Leases(buyer.desk, buyer.store), plan.choice.offer
    terms = Terms(cap=CAP, window=offer.doc.window_max, ledger=plan.ledger.did)
    peer = await buyer.peers.at(plan.choice.record)
    image = offer.doc.worker_images[0].digest
    bid = leases.propose(offer, plan.choice.record, plan.spec.model, image, terms)
    _no_reasons(leases.answered(bid.id, await peer.market.place(bid.envelope)))
    ledger = await buyer.ledgers.meet(plan.ledger)
    _no_reasons(leases.held(bid.id, await ledger.ledger.place_hold(leases.order_hold(bid.id).envelope)))
    with buyer.store.read() as rows:
        row = rows.get(LeaseRow, id=bid.id)
    assert row is not None
    await peer.market.fund(wire.decode(Envelope, row.hold))
    return bid.id


def _no_reasons(reasons: tuple[object, ...]) -> None:
    if reasons:
        raise RuntimeError("; ".join(map(str, reasons)))
