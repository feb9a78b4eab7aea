"""Buyer's core, provider's core and ledger side by side, no network. Rule: a test moves each message itself.

`Deal` goes as far as a funded, open lease; `order`, `work` and `pump` do the rest, a step at a time.
"""

from __future__ import annotations

from dataclasses import replace
from random import Random
from typing import Any

from actor import database, signer
from actors import CERTIFICATE
from drawing import PROFILE, SEALING, SEALING_PUBLIC
from network import NOW
from scenario import IMAGE, MODEL, START_FUNDS, advert, spec

from gpufair.client.market.leases import Leases as Buying
from gpufair.client.market.leases import Terms
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.client.wallet.store import TABLES as WALLET
from gpufair.protocol import envelope, trace, wire
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    Body,
    Cancel,
    Challenge,
    Envelope,
    Finish,
    HoldState,
    Issue,
    JobBody,
    JobHeader,
    Order,
    PriceSheet,
    Progress,
    Query,
    QueryKind,
    Spec,
    Voucher,
)
from gpufair.provider.jobs import bodies
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.bodies import Pieces, Room
from gpufair.provider.jobs.deliveries import Made
from gpufair.provider.jobs.effects import Effect, Enqueue, Send, Stop
from gpufair.provider.jobs.leases import Leases, Policy
from gpufair.provider.jobs.store import TABLES
from gpufair.provider.ledger import Ledger, Store


class Turned:
    """A clock that tests turn, and dice that are the same each time."""

    def __init__(self, seed: int) -> None:
        self.ms, self.dice = NOW, Random(seed)

    def now_ms(self) -> int:
        return self.ms

    def bytes(self, count: int) -> bytes:
        return self.dice.randbytes(count)


class Deal:
    """One lease between two honest cores. `downs` and `ups` are what waits to be delivered."""

    def __init__(
        self, *, cold_load: int = 0, minimum: int = 0, window: int = 200, cap: int = 5000, capture_at: int = 10**9
    ) -> None:
        self.clock = Turned(1)
        self.desks = {name: Desk(signer(name), self.clock, self.clock) for name in ("ledger", "provider", "client")}
        for role in self.desks:
            database(role).reset(lambda _point: None)
        self.bank_db, self.shop_db, self.wallet_db = (database(role) for role in self.desks)
        self.bank_db.raw.execute("INSERT INTO book (one, operator) VALUES (1, ?)", (self.desks["ledger"].did,))
        self.ledger = Ledger(self.desks["ledger"], Store(self.bank_db, self.desks["ledger"].did), grace_ms=0)
        bank, buyer = self.desks["ledger"], self.desks["client"]
        self.ledger.submit(bank.sign(Issue(bank.head(bank.did), buyer.did, START_FUNDS, "cash")).envelope)
        self.sheet = PriceSheet(MODEL, 1_000_000, 0, cold_load, 0, minimum)
        self.record, self.offer = advert(self.sheet, window)
        self.terms = Terms(cap, window, bank.did, idle_ms=60_000)
        self.shop = RowStore(self.shop_db, TABLES)
        self.leases = Leases(self.desks["provider"], self.shop, Policy(capture_at))
        self.attempts = Attempts(self.desks["provider"], self.shop, lambda _header, _waiting: ())
        self.wallet = RowStore(self.wallet_db, WALLET)
        self.buying = Buying(buyer, self.wallet)
        self.pieces = Pieces(Room())
        self.queue: list[bytes] = []
        self.downs: list[Any] = []
        self.ups: list[Any] = []
        self.events: list[Any] = []

    def agree(self) -> Deal:
        """Bid and lease."""
        bid = self.buying.propose(self.offer, self.record, MODEL, IMAGE, self.terms)
        self.lease = bid.id
        signed = envelope.countersign(bid, self.desks["provider"].signer)
        with self.shop.begin() as rows:
            self.leases.agree(rows, signed, SEALING_PUBLIC)
        assert self.buying.answered(self.lease, signed.envelope) == ()
        return self

    def fund(self) -> Deal:
        """Hold order, hold, and the hold shown to the provider."""
        self.hold = self.ledger.submit(self.buying.order_hold(self.lease).envelope)
        assert self.buying.held(self.lease, self.hold) == ()
        self.leases.fund(self.hold)
        return self

    def open(self) -> Deal:
        """The stream is there."""
        self.session = Session(self.desks["client"], self.wallet, self.lease)
        self.session.answer_challenge(Challenge(bytes(32)), CERTIFICATE)
        self.perform(self.leases.open(self.lease))
        self.say(self.session.resume())
        return self

    # --- moving messages -----------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Effects of the provider's core."""
        self.downs += [effect.message for effect in effects if isinstance(effect, Send)]
        self.queue += [effect.attempt for effect in effects if isinstance(effect, Enqueue)]
        for effect in effects:
            if isinstance(effect, Stop):  # nobody is at work between two messages
                self.perform(self.attempts.stopped(effect))

    def say(self, turn: Turn) -> None:
        """What the buyer's core wants."""
        self.ups += turn.ups
        self.events += turn.events

    def up(self, message: Any) -> None:
        """One message to the provider."""
        if isinstance(message, Body):
            self.perform(self.attempts.body(self.lease, message, self.pieces))
            return
        assert isinstance(message, Order)
        handlers: dict[str, Any] = {
            JobHeader.TYPE: lambda d: self.attempts.take(envelope.read(d, JobHeader)),
            Voucher.TYPE: lambda d: self.leases.voucher(envelope.read(d, Voucher)),
            Cancel.TYPE: lambda d: self.attempts.cancel(self.lease, d),
            Finish.TYPE: lambda d: self.leases.finish(self.lease, d),
        }
        self.perform(handlers[message.envelope.payload_type](message.envelope))

    def pump(self) -> Deal:
        """Let both talk until they have nothing more to say."""
        while self.ups or self.downs:
            while self.ups:
                self.up(self.ups.pop(0))
            while self.downs:
                self.say(self.session.on(self.downs.pop(0)))
        return self

    # --- orders and work -----------------------------------------------------------------------------------------

    def order(self, steps: int = 2, count: int = 1, **changes: Any) -> bytes:
        """Order a job; its id."""
        wanted: Spec = replace(spec(steps, count), **changes)
        turn = self.session.place(wanted, JobBody(bytes(16), "a cat", "", 7, 1000), deadline_ms=60_000)
        self.say(turn)
        job: bytes = turn.events[0].job  # type: ignore[union-attr]
        return job

    def work(self, attempt: bytes, picture: int = 0, *, begin: bool = True) -> None:
        """Make one picture of a queued attempt."""
        row = self.attempts.start(attempt) if begin else next(iter(self.attempts.in_state("running")))  # type: ignore[arg-type]
        assert row is not None
        bodies.opened(self.attempts.sealed(row), SEALING, envelope.from_bytes(row.header, JobHeader).doc)
        assert self.attempts.has_room(row)
        steps = envelope.from_bytes(row.header, JobHeader).doc.spec.steps
        leaves = tuple(trace.leaf(n, row.job[:4]) for n in range(steps + 1))
        self.downs += [Progress(row.job, picture, n, steps, leaf) for n, leaf in enumerate(leaves)]
        made = Made(b"\x89PNG" + row.job + bytes([picture]), leaves, PROFILE)
        self.perform(self.attempts.delivered(attempt, picture, made))

    def buy(self, **changes: Any) -> bytes:
        """A whole job of one picture, paid and opened."""
        job = self.order(**changes)
        self.pump()
        self.work(self.queue.pop(0))
        self.pump()
        return job

    def collect(self) -> list[Any]:
        """Bring the outbox to the ledger; its answers."""
        answers = []
        for order in self.leases.captures.outbox():
            answers.append(self.ledger.submit(wire.decode(Envelope, order.envelope)))
            self.leases.captures.captured(order, answers[-1])
        return answers

    def hold_state(self, **lies: Any) -> envelope.Signed[HoldState]:
        """The ledger's word on the hold, or a lie of it."""
        buyer, bank = self.desks["client"], self.desks["ledger"]
        query = Query(buyer.head(bank.did), QueryKind.HOLD, buyer.did, self.lease, 0)
        answer = buyer.receive(self.ledger.ask(buyer.sign(query).envelope), HoldState)
        return bank.sign(replace(answer.doc, **lies)) if lies else answer

    def told(self, kind: type) -> list[Any]:
        """Events of a kind that the buyer's core has told."""
        return [event for event in self.events if isinstance(event, kind)]
