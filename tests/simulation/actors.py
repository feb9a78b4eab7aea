"""Ledger, provider and client of a simulated market. Rule: their decisions are the real code's; here is only its shell.

What a daemon does with asyncio, gRPC and workers is done here with events of the simulator: carry out effects, run a
worker that makes tiny pictures, resend what is unanswered, come back after a crash. The databases outlive a crash,
everything else is made anew.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from network import Call, CrashError, Sim, Stream
from sqlalchemy import Connection

from gpufair.client.wallet.store import MIGRATIONS as WALLET
from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits, matching, payment, sealing, trace, wire
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sqlite import Database, _empty_image, open_database
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Bid,
    Body,
    Cancel,
    Challenge,
    Decline,
    Envelope,
    Finish,
    JobHeader,
    KeyReveal,
    Open,
    Order,
    Outcome,
    Progress,
    Reason,
    ReasonCode,
    StreamOpen,
    Voucher,
)
from gpufair.provider.jobs.attempts import Attempts, Made
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.effects import Effect, Enqueue, Post, Send, Stop, Wake
from gpufair.provider.jobs.leases import LIVE, Leases
from gpufair.provider.jobs.store import TABLES, AttemptRow, OutboxRow, RequestRow
from gpufair.provider.ledger import Ledger, Store

LEDGER = "gpufair.provider.ledger:migrations"
JOBS = "gpufair.provider.jobs:migrations"
FOLDERS = {"ledger": LEDGER, "provider": JOBS, "client": WALLET}
SEALING = X25519PrivateKey.from_private_bytes(bytes(range(32)))
SEALING_PUBLIC = SEALING.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
CERTIFICATE = hashlib.sha256(b"certificate").digest()
PROFILE = hashlib.sha256(b"profile").digest()


class CrashDatabase(Database):
    """A database in memory that is emptied between runs, and that can die at each of its commits."""

    fault: Callable[[str], None]

    def __init__(self, folder: str) -> None:
        super().__init__(open_database(None, folder)._engine, None)
        self._image = _empty_image(folder)
        with self.read() as connection:
            self.raw: Any = connection.connection.dbapi_connection
        self.writes = 0
        self._undone: bytes | None = None
        """The image that a power cut leaves behind, where the newest commits did not wait for the disk."""

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """As the real one, with a fault before and after the commit."""
        with super().write() as connection:
            yield connection
            self.fault("before commit")
        self._committed(lasting=True)

    @contextmanager
    def driver(self, begin: str, *, lasting: bool = True) -> Iterator[Any]:
        """As the real one, with a fault before and after the commit of whatever may write."""
        writes = begin != "BEGIN"
        image = self.raw.serialize() if writes and (self._undone is None) is not lasting else None
        before = image if self._undone is None and not lasting else self._undone
        with super().driver(begin, lasting=lasting) as raw:
            yield raw
            if writes:
                self.fault("before commit")
        if writes:
            self._undone = before
            # SQLite does not wait for the disk when nothing has changed, so what was noted before stays in the air.
            self._committed(lasting=lasting and image != self.raw.serialize())

    def _committed(self, *, lasting: bool) -> None:
        if lasting:
            self._undone = None
        self.writes += 1
        self.fault("after commit")

    def power_cut(self) -> bool:
        """Undo what was committed without waiting for the disk; whether there was any."""
        if self._undone is None:
            return False
        self.raw.deserialize(self._undone)
        self.raw.execute("PRAGMA foreign_keys=ON")
        self._undone = None
        self.writes += 1
        return True

    def reset(self, fault: Callable[[str], None]) -> None:
        """As it was when it was made."""
        self.raw.deserialize(self._image)
        self.raw.execute("PRAGMA foreign_keys=ON")
        self.fault, self.writes, self._undone = fault, 0, None

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Look into it from outside, past all code under test."""
        return self.raw.execute(query, values).fetchall()


@cache
def database(role: str) -> CrashDatabase:
    """One database a role for all runs: making an engine costs more than a run."""
    return CrashDatabase(FOLDERS[role])


@cache
def signer(name: str) -> KeySigner:
    """The same identities in every run."""
    return KeySigner.from_seed(hashlib.sha256(name.encode()).digest())


class Actor:
    """A process: clock and dice of its own, a database that survives it."""

    role = ""

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        self.sim, self.world, self.name, self.skew = sim, world, name, skew_ms
        self.up, self.epoch, self.crashes = True, 0, 0
        self.desk = Desk(signer(name), self, self)
        self.db = database(self.role)
        self.db.reset(self._fault)

    def now_ms(self) -> int:
        """This machine's clock."""
        return self.sim.now + self.skew

    def bytes(self, count: int) -> bytes:
        """This machine's randomness."""
        return self.sim.rng.randbytes(count)

    def _fault(self, point: str) -> None:
        if self.sim.chance(self.sim.weather.crash):
            self.sim.note("{} crashes {}", self.name, point)
            raise CrashError(point)

    def guard(self, act: Callable[..., Any], *args: Any) -> Any:
        """Do something that may end in a crash; None if the process is down, or goes down in it."""
        if not self.up:
            return None
        try:
            return act(*args)
        except CrashError:
            self.crash()
            return None
        finally:
            self.world.check()

    def later(self, ms: int, act: Callable[[], Any]) -> None:
        """Do something later, unless the process has died since."""
        epoch = self.epoch
        self.sim.after(ms, lambda: self.guard(act) if self.epoch == epoch else None)

    def crash(self) -> None:
        """The process dies and comes back after a while."""
        self.up, self.epoch, self.crashes = False, self.epoch + 1, self.crashes + 1
        if self.sim.rng.random() < 0.5 and self.db.power_cut():
            self.sim.note("{} loses what the disk had not seen", self.name)
        self.sim.after(self.sim.rng.randrange(50, 9000), self._restart)

    def _restart(self) -> None:
        self.up = True
        self.sim.note("{} is back", self.name)
        self.guard(self.boot)

    def boot(self) -> None:
        """Come up with what the database holds."""


class LedgerActor(Actor):
    """The real ledger, and what its daemon does around it: hold expiry, by itself."""

    role = "ledger"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.db.raw.execute("INSERT INTO book (one, operator) VALUES (1, ?)", (self.desk.did,))

    def boot(self) -> None:
        self.ledger = Ledger(self.desk, Store(self.db, self.desk.did))
        self.serves_from = self.now_ms() + limits.MARGIN_MIN_MS
        self.planned: set[int] = set()
        self.plan_expiry()

    def plan_expiry(self) -> None:
        """Its writer looks every second; here it looks when a hold's time is over."""
        for (at,) in self.db.rows("SELECT expires_at_ms FROM holds WHERE NOT closed"):
            when = max(at, self.serves_from) + 1
            if when not in self.planned:
                self.planned.add(when)
                self.later(when - self.now_ms(), self.expire)

    def expire(self) -> None:
        """What the ledger's writer does when it is idle."""
        if self.ledger.expire():
            self.sim.note("{} expires a hold", self.name)

    def submit(self, order: Envelope) -> Envelope | None:
        """An order comes in."""
        answer = self.guard(self.ledger.submit, order)
        self.plan_expiry()
        return answer

    def ask(self, query: Envelope) -> Envelope | None:
        """A question comes in."""
        return self.guard(self.ledger.ask, query)


@dataclass
class Work:
    """An attempt with a worker."""

    attempt: AttemptRow
    picture: int = 0
    stopped: bool = False
    waits: bool = False
    """At the window, for money."""
    leaves: list[bytes] = field(default_factory=list)


class ProviderActor(Actor):
    """The provider's cores in a shell of events: admission, streams, one worker, the outbox."""

    role = "provider"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.capture_at = sim.rng.choice((1, 300, 10**9))
        self.captures: dict[bytes, Call] = {}

    def boot(self) -> None:
        self.store = RowStore(self.db, TABLES)
        self.leases = Leases(self.desk, self.store, Policy(self.capture_at))
        self.attempts = Attempts(self.desk, self.store, lambda _header, _waiting: ())
        self.queue: deque[bytes] = deque()
        self.running: dict[bytes, Work] = {}
        self.streams: dict[bytes, Stream] = {}
        self.nonces: dict[int, bytes] = {}
        self.captures = {}
        self.tick_at, self.up_since = 0, self.now_ms()
        for attempt in self.attempts.in_state(AttemptState.RUNNING):
            self.perform(self.attempts.end(attempt.id, Outcome.FAILED, Reason(ReasonCode.RESTARTED)))
        for attempt in self.attempts.in_state(AttemptState.QUEUED):
            self.enqueue(attempt.id)
        self.perform([Post()])
        self.tick()

    def perform(self, effects: list[Effect]) -> None:
        """Carry out what follows from a committed change."""
        for effect in effects:
            match effect:
                case Send(lease, message):
                    self.world.sent_down(lease, message)
                    stream = self.streams.get(lease)
                    if stream is not None:
                        self.speak(stream, message)
                case Enqueue(attempt):
                    self.enqueue(attempt)
                case Stop(attempt):
                    self.stop(attempt)
                case Wake(lease):
                    self.look_again(lease)
                case Post():
                    self.post()

    def speak(self, stream: Stream, message: Any) -> None:
        """One message goes out; a cheat may change it here."""
        if not isinstance(message, Progress):
            self.sim.note("  provider: {}", message)
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
                self.leases.agree(rows, lease)
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
        stream.send_down(Challenge(nonce))

    def on_up(self, stream: Stream, message: Any) -> None:
        """A message from a client."""
        if not self.up:
            stream.cut()
            return
        try:
            self.guard(self._on_up, stream, message)
        except PeerError as error:
            self.sim.note("provider refuses {}: {}", message, error)
            self.world.refused(self, message, error)
            if not self.sim.weather.wild:
                stream.cut()

    def _on_up(self, stream: Stream, message: Any) -> None:
        lease = next((key for key, value in self.streams.items() if value is stream), None)
        if isinstance(message, Open):
            signed = self.desk.receive(message.envelope, StreamOpen)
            if (signed.doc.challenge, signed.doc.certificate_sha256) != (self.nonces.get(id(stream)), CERTIFICATE):
                raise PeerError(Fault.BAD_SIGNATURE, "this answers another stream's challenge")
            row = self.leases.get(signed.doc.lease)
            if signed.issuer != row.client:
                raise PeerError(Fault.NOT_ALLOWED, "only the lease's client may open its stream")
            before = self.streams.get(row.id)
            if before is not None and before is not stream:
                before.cut()
            self.streams[row.id] = stream
            self.perform(self.leases.open(row.id))
            self.plan_tick()
        elif lease is None:
            raise PeerError(Fault.NOT_ALLOWED, "nothing counts before the challenge is answered")
        elif isinstance(message, Body):
            self.perform(self.attempts.body(lease, message.job, message.sealed))
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
                return self.attempts.cancel(_for(lease, self.desk.receive(document, Cancel)))
            case Finish.TYPE:
                return self.leases.finish(_for(lease, self.desk.receive(document, Finish)))
        raise PeerError(Fault.WRONG_TYPE, "no order for a stream")

    def on_cut(self, stream: Stream) -> None:
        """A stream is gone."""
        for lease in [key for key, value in self.streams.items() if value is stream]:
            del self.streams[lease]

    def crash(self) -> None:
        for stream in list(getattr(self, "streams", {}).values()):
            stream.cut()
        super().crash()

    # --- the worker ----------------------------------------------------------------------------------------------

    def enqueue(self, attempt: bytes) -> None:
        """An attempt is ready."""
        if attempt not in self.queue and attempt not in self.running:
            self.queue.append(attempt)
        self.later(1, self.start_more)

    def start_more(self) -> None:
        """Give free workers something to do."""
        for attempt in list(self.queue):
            if len(self.running) >= self.world.workers:
                return
            row = self.attempts.start(attempt)
            if row is None:
                continue
            self.queue.remove(attempt)
            work = self.running[row.id] = Work(row)
            header = from_bytes(row.header, JobHeader).doc
            sealing.open_body(row.sealed, SEALING, lease=row.lease, job=row.job)
            self.later(row.deadline_ms - self.now_ms(), lambda w=work: self.expire(w))
            self.sim.note("  worker begins job {} ({} pictures)", row.job, header.spec.count)
            self.begin_picture(work)

    def begin_picture(self, work: Work) -> None:
        """The next picture, as soon as the window has room for it."""
        if self.over(work):
            return
        work.waits = not self.attempts.has_room(work.attempt)
        if not work.waits:
            work.leaves = []
            self.later(self.sim.rng.randrange(1, 200), lambda: self.step(work))

    def look_again(self, lease: bytes) -> None:
        """Money has come."""
        for work in list(self.running.values()):
            if work.attempt.lease == lease and work.waits:
                self.begin_picture(work)
        self.later(1, self.start_more)

    def expire(self, work: Work) -> None:
        """The job's own deadline."""
        if not self.over(work):
            self.perform(self.attempts.end(work.attempt.id, Outcome.EXPIRED, Reason(ReasonCode.EXPIRED)))

    def step(self, work: Work) -> None:
        """One step, and after the last one the picture."""
        if self.over(work):
            return
        attempt, number = work.attempt, len(work.leaves)
        steps = from_bytes(attempt.header, JobHeader).doc.spec.steps
        work.leaves.append(trace.leaf(number, attempt.job[:4] + bytes([work.picture] * 4)))
        if number == 1 and self.sim.chance(0.02):
            self.perform(self.attempts.end(attempt.id, Outcome.FAILED, Reason(ReasonCode.WORKER_FAILED)))
            return
        self.perform([Send(attempt.lease, Progress(attempt.job, work.picture, number, steps, work.leaves[-1]))])
        if number < steps:
            self.later(self.sim.rng.randrange(1, 200), lambda: self.step(work))
            return
        png = b"\x89PNG" + attempt.job + bytes([work.picture]) * 20
        made = Made(png, tuple(work.leaves), trace.root(work.leaves), PROFILE)
        self.perform(self.attempts.delivered(attempt.id, work.picture, made))
        work.picture += 1
        if work.picture < attempt.count:
            self.begin_picture(work)
        else:
            self.stop(attempt.id)

    def over(self, work: Work) -> bool:
        """Whether this work was stopped."""
        return work.stopped or self.running.get(work.attempt.id) is not work

    def stop(self, attempt: bytes) -> None:
        """Take an attempt from its worker."""
        if attempt in self.queue:
            self.queue.remove(attempt)
        work = self.running.pop(attempt, None)
        if work is not None:
            work.stopped = True
        self.later(1, self.start_more)

    # --- the outbox, and time --------------------------------------------------------------------------------------

    def post(self) -> None:
        """Send what no ledger has answered."""
        for order in self.leases.captures.outbox():
            if order.id not in self.captures:
                document = wire.decode(Envelope, order.envelope)
                self.captures[order.id] = Call(
                    self.sim, self, lambda d=document: self.world.ledger.submit(d),
                    lambda answer, o=order: self.collected(o, answer), "capture", until=self.sim.now + 10**9,
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
        for state, agreed, active, expires in self.db.rows(
            "SELECT state, agreed_ms, active_ms, expires_ms FROM leases"
        ):
            if state == "agreed":
                due.append(agreed + limits.FUNDING_TIMEOUT_MS)
            elif state in LIVE:
                due += [expires, active + self.world.idle_ms]
        at = min((at for at in due if at > self.now_ms()), default=0)
        if at and not self.now_ms() < self.tick_at <= at:
            self.tick_at = at
            self.later(at - self.now_ms(), self.tick)


def _for(lease: bytes, signed: Signed[Any]) -> Signed[Any]:
    if signed.doc.lease != lease:
        raise PeerError(Fault.NOT_ALLOWED, "the order is for another lease than this stream's")
    return signed


__all__ = ["CERTIFICATE", "SEALING_PUBLIC", "KeyReveal", "LedgerActor", "ProviderActor", "payment", "signer"]
