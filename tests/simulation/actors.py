"""The provider of a simulated market. Rule: its decisions are the real code's; here is only its shell.

What a daemon does with asyncio, gRPC and workers is done here with events of the simulator: carry out effects, resend
what is unanswered, come back after a crash.
"""

from __future__ import annotations

import hashlib
from typing import Any

from drawing import SEALING_PUBLIC, Work, WorkingActor
from network import Call, Sim, Stream

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, matching, wire
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import LIVE, AttemptState
from gpufair.protocol.messages import (
    Beat,
    Bid,
    Body,
    Cancel,
    Challenge,
    Decline,
    Envelope,
    Finish,
    JobHeader,
    Open,
    Order,
    Progress,
    Reason,
    StreamOpen,
    Voucher,
)
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.bodies import Pieces, Room
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.effects import Drop, Effect, Enqueue, Post, Send, Stop, Wake
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.preempting import Displaced
from gpufair.provider.jobs.requests import receive
from gpufair.provider.jobs.restarts import requeue
from gpufair.provider.jobs.store import TABLES, OutboxRow, RequestRow
from gpufair.provider.jobs.turns import Turns

CERTIFICATE = hashlib.sha256(b"certificate").digest()


class ProviderActor(WorkingActor):
    """The provider's cores in a shell of events: admission, streams, the outbox, and the workers of drawing.py."""

    role = "provider"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.capture_at = sim.rng.choice((1, 300, 10**9))
        self.captures: dict[bytes, Call] = {}
        self.workers = getattr(world, "workers", 1)

    def admit(self, _header: JobHeader, _waiting: int) -> tuple[Reason, ...]:
        """What the owner's own limits say of a job: nothing, where there is no sales room."""
        return ()

    def boot(self) -> None:
        self.store = RowStore(self.db, TABLES)
        self.leases = Leases(self.desk, self.store, Policy(self.capture_at))
        self.attempts = Attempts(self.desk, self.store, self.admit)
        self.queue, self.displaced = Turns(), Displaced()
        self.running: dict[bytes, Work] = {}
        self.streams: dict[bytes, Stream] = {}
        self.nonces: dict[int, bytes] = {}
        self.pieces: dict[int, Pieces] = {}
        self.room = Room()
        self.captures = {}
        self.tick_at, self.up_since = 0, self.now_ms()
        self.perform(requeue(self.store, self.attempts))
        for attempt in self.attempts.in_state(AttemptState.QUEUED):
            self.enqueue(attempt.id)
        self.perform([Post()])
        self.tick()

    def perform(self, effects: list[Effect]) -> None:
        """Carry out what follows from a committed change."""
        for effect in effects:
            match effect:
                case Send(lease, message):
                    self.world.sent_down(self, lease, message)
                    stream = self.streams.get(lease)
                    if stream is not None:
                        self.speak(stream, message)
                case Enqueue(attempt):
                    self.enqueue(attempt)
                case Stop():
                    self.halt(effect)
                case Drop(attempt):
                    self.stop(attempt)
                case Wake(lease):
                    self.look_again(lease)
                case Post():
                    self.post()

    def speak(self, stream: Stream, message: Any) -> None:
        """One message goes out; a cheat may change it here."""
        if not isinstance(message, Progress | Beat):
            self.sim.note("  {}: {}", self.name, message)
        stream.send_down(message)

    # --- sales -------------------------------------------------------------------------------------------------

    def place(self, bid: Envelope) -> Envelope | None:
        """A bid comes in."""
        return self.guard(self._place, bid)

    def _place(self, document: Envelope) -> Envelope:
        bid = dsse.read(document, Bid)
        with self.store.begin() as rows:
            known = rows.get(RequestRow, signer=bid.issuer, id=bid.doc.head.id)
            if known is not None:
                if known.document != bid.id:
                    raise PeerError(Fault.REPLAYED_DIFFERENT, "another bid")
                return wire.decode(Envelope, known.answer)
            self.desk.receive(document, Bid)
            reasons = matching.acceptable(self.world.offer, bid.doc, cap_max=limits.AMOUNT_MAX)
            if reasons:
                answer = self.desk.sign(Decline(self.desk.head(bid.issuer, parent=bid.id), reasons)).envelope
            else:
                lease = dsse.countersign(bid, self.desk.signer)
                self.leases.agree(rows, lease, SEALING_PUBLIC)
                answer = lease.envelope
            forget = bid.doc.head.expires_at_ms + limits.SKEW_MS
            rows.insert(RequestRow(bid.issuer, bid.doc.head.id, bid.id, wire.encode(answer), forget))
        self.plan_tick()
        return answer

    def fund(self, hold: Envelope) -> bool | None:
        """A hold comes in."""

        def take() -> bool:
            self.perform(self.leases.fund(hold))
            self.plan_tick()
            return True

        return self.guard(take)

    # --- streams -----------------------------------------------------------------------------------------------

    def connect(self, stream: Stream) -> None:
        """A stream has come."""
        self.guard(self._connect, stream)

    def _connect(self, stream: Stream) -> None:
        nonce = self.bytes(32)
        self.nonces[id(stream)] = nonce
        self.pieces[id(stream)] = Pieces(self.room)
        stream.send_down(Challenge(nonce))

    def on_up(self, stream: Stream, message: Any) -> None:
        """A message from a client."""
        if not self.up:
            stream.cut()
            return
        try:
            self.guard(self._on_up, stream, message)
        except PeerError as error:
            self.sim.note("{} refuses {}: {}", self.name, message, error)
            self.world.refused(self, message, error)
            if not self.sim.weather.wild:
                stream.cut()

    def _on_up(self, stream: Stream, message: Any) -> None:
        lease = next((key for key, value in self.streams.items() if value is stream), None)
        if isinstance(message, Open):
            with self.store.read() as rows:
                signed = receive(rows, self.desk, message.envelope, StreamOpen)
            if (signed.doc.challenge, signed.doc.certificate_sha256) != (self.nonces.get(id(stream)), CERTIFICATE):
                raise PeerError(Fault.BAD_SIGNATURE, "this answers another stream's challenge")
            lease = signed.doc.lease
            before = self.streams.get(lease)
            if before is not None and before is not stream:
                before.cut()
            self.streams[lease] = stream
            self.perform(self.leases.open(lease))
            self.plan_tick()
        elif lease is None:
            raise PeerError(Fault.NOT_ALLOWED, "nothing counts before the challenge is answered")
        elif isinstance(message, Body):
            self.perform(self.attempts.body(lease, message, self.pieces[id(stream)]))
        elif isinstance(message, Order):
            self.perform(self.order(lease, message.envelope))
            if message.envelope.payload_type == JobHeader.TYPE:
                self.plan_tick()

    def order(self, lease: bytes, document: Envelope) -> list[Effect]:
        """A signed order for the lease of a stream."""
        match document.payload_type:
            case JobHeader.TYPE:
                return self.attempts.take(_for(lease, dsse.read(document, JobHeader)))
            case Voucher.TYPE:
                return self.leases.voucher(_for(lease, dsse.read(document, Voucher)))
            case Cancel.TYPE:
                return self.attempts.cancel(lease, document)
            case Finish.TYPE:
                return self.leases.finish(lease, document)
        raise PeerError(Fault.WRONG_TYPE, "no order for a stream")

    def on_cut(self, stream: Stream) -> None:
        """A stream is gone."""
        if (pieces := self.pieces.pop(id(stream), None)) is not None:
            pieces.close()
        for lease in [key for key, value in self.streams.items() if value is stream]:
            del self.streams[lease]

    def crash(self) -> None:
        for stream in list(getattr(self, "streams", {}).values()):
            stream.cut()
        super().crash()

    # --- the outbox, and time --------------------------------------------------------------------------------------

    def post(self) -> None:
        """Send what no ledger has answered."""
        for order in self.leases.captures.outbox():
            if order.id not in self.captures:
                document = wire.decode(Envelope, order.envelope)
                bank = self.world.banks[order.ledger]
                self.captures[order.id] = Call(
                    self.sim, self, lambda b=bank, d=document: b.submit(d),
                    lambda answer, o=order: self.collected(o, answer), "capture", until=self.sim.now + 10**9,
                    to=bank.name,
                )  # fmt: skip

    def collected(self, order: OutboxRow, answer: Any) -> None:
        """A ledger has answered a capture."""
        if isinstance(answer, PeerError):
            self.world.refused(self, order, answer)
            self.later(5_000, lambda: self._give_up(order))
            return
        self.leases.captures.captured(order, answer)

    def _give_up(self, order: OutboxRow) -> None:
        del self.captures[order.id]
        self.leases.captures.give_up(order, self.now_ms() - limits.SKEW_MS)
        self.post()

    def tick(self) -> None:
        """Let time do its work, and come back when it has more."""
        self.perform(self.leases.tick())
        self.perform(self.attempts.tick())
        self.plan_tick()

    def plan_tick(self) -> None:
        """A daemon looks every second; here it looks when there can be something to see."""
        waiting = "SELECT deadline_ms FROM attempts WHERE state IN ('accepted', 'queued')"
        due = [at for (at,) in self.db.rows(waiting)]
        unpaid = self.db.rows("SELECT made_ms FROM deliveries WHERE NOT revealed")
        due += [max(made, self.up_since) + limits.WINDOW_TIMEOUT_MS for (made,) in unpaid]
        going = "SELECT state, agreed_ms, active_ms, expires_ms, envelope FROM leases WHERE state IN ('agreed', ?, ?)"
        for state, agreed, active, expires, bid in self.db.rows(going, *LIVE):
            if state == "agreed":
                due.append(agreed + limits.FUNDING_TIMEOUT_MS)
            else:
                due += [expires, active + from_bytes(bid, Bid).doc.idle_limit_ms]
        at = min((at for at in due if at > self.now_ms()), default=0)
        if at and not self.now_ms() < self.tick_at <= at:
            self.tick_at = at
            self.later(at - self.now_ms(), self.tick)


def _for(lease: bytes, signed: Signed[Any]) -> Signed[Any]:
    if signed.doc.lease != lease:
        raise PeerError(Fault.NOT_ALLOWED, "the order is for another lease than this stream's")
    return signed
