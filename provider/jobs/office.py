"""The jobs room as one. Rule: `Leases` and `Attempts` commit a change; here its effects are only carried out."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import count

from gpufair.protocol import envelope as dsse
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import AttemptState
from gpufair.protocol.messages import (
    Body,
    Cancel,
    Challenge,
    Chunk,
    Closing,
    Delivery,
    Document,
    Down,
    Envelope,
    Fetch,
    Finish,
    JobHeader,
    KeyReveal,
    Open,
    Order,
    Reason,
    Reserve,
    Spec,
    StatePiece,
    StreamOpen,
    Up,
    Voucher,
)
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.attempts import Attempts
from gpufair.provider.jobs.audits import Audits
from gpufair.provider.jobs.bodies import Pieces, Room
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.clearing import Clearing
from gpufair.provider.jobs.collector import Collector, LedgerPort
from gpufair.provider.jobs.effects import Drop, Effect, Enqueue, Expect, Keep, LetGo, Post, Send, Stop, Wake
from gpufair.provider.jobs.fetches import Fetches
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.jobs.lookup import find, find_turn
from gpufair.provider.jobs.making import Workers
from gpufair.provider.jobs.objections import Admission
from gpufair.provider.jobs.requests import check_stream, is_known, receive, remember
from gpufair.provider.jobs.resend import delivery_messages
from gpufair.provider.jobs.reservations import Holding, Reservations
from gpufair.provider.jobs.restarts import requeue
from gpufair.provider.jobs.runner import Runner
from gpufair.provider.jobs.store import LeaseRow, RequestRow
from gpufair.provider.jobs.streams import Streams
from gpufair.provider.jobs.traces import Traces

log = logging.getLogger(__name__)

TICK_S = 1.0
BEAT_EVERY = limits.BEAT_MS // limits.SECOND
FORGET_EVERY = 60
GOODBYE_S = 3.0
"""How long a client has to read that its lease is closing, or the node is, before its stream ends."""


class JobOffice:
    """Leases, attempts, their streams, the runner and the collector, together."""

    def __init__(
        self,
        desk: Desk,
        store: RowStore,
        *,
        policy: Policy,
        admission: Admission,
        workers: Workers,
        ledgers: LedgerPort,
        sealing: SealingKeys,
        certificate_sha256: bytes,
        traces: Traces,
        lasts_ms: Callable[[Spec], int] = lambda _spec: 0,
        held_workers: int = 0,
        gate: Callable[[], tuple[Reason, ...]] = tuple,
        carries: Callable[[bytes], bool] = lambda _model: True,
    ) -> None:
        self._desk, self._store, self._sealing, self._certificate = desk, store, sealing, certificate_sha256
        self.leases = Leases(desk, store, policy)
        self.attempts = Attempts(desk, store, admission, carries=carries)
        self.streams = Streams()
        self._workers, self._traces, self._lasts_ms = workers, traces, lasts_ms
        self._fetches = Fetches(desk.clock)
        self._audits = Audits(desk, store, traces, self._fetches)
        self._room = Room()
        self.runner = Runner(self.attempts, workers, sealing, desk.clock, self.perform, traces)
        self.reservations = Reservations(desk, store, Holding(held_workers, gate, self.runner.can_keep))
        self.clearing = Clearing(
            self.attempts, self.leases, self.runner, self._is_owed,
            lambda reason: self.perform(self.reservations.end_all(reason)),
        )  # fmt: skip
        self.collector = Collector(self.leases, ledgers, desk.clock)
        self._tasks: list[asyncio.Task[None]] = []

    def perform(self, effects: list[Effect]) -> None:
        """Carry out what follows from a committed change."""
        for effect in effects:
            match effect:
                case Send(lease, Closing() as message):
                    self.streams.send(lease, message)
                    self.streams.end(lease, GOODBYE_S)
                case Send(lease, message):
                    self.streams.send(lease, message)
                case Enqueue(attempt):
                    self._enqueue(attempt)
                case Stop():
                    self.runner.halt(effect)
                case Drop(attempt):
                    self.runner.drop(attempt)
                case Wake(lease):
                    self.runner.wake(lease)
                case Post():
                    self.collector.post()
                case Expect(model):
                    self._workers.prefetch(model)
                case Keep(lease, model):
                    self.runner.keep(lease, model)
                case LetGo(lease):
                    self.runner.let_go(lease)

    def _enqueue(self, attempt: bytes) -> None:
        with self._store.read() as rows:
            turn = find_turn(rows, attempt, self._lasts_ms)
        self.runner.enqueue(turn)

    # --- life ----------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the store into a consistent state after whatever happened, then begin to work."""
        with self._store.begin() as rows:  # of a time when a node had one sealing key, which is the oldest now
            rows.change(LeaseRow, {"sealing_key": b""}, sealing_key=self._sealing.oldest)
        self.perform(requeue(self._store, self.attempts))
        # What is late by now is not begun again.
        self.perform([*self.reservations.restarted(), *self.leases.tick(), *self.attempts.tick(), Post()])
        for attempt in self.attempts.in_state(AttemptState.QUEUED):
            self._enqueue(attempt.id)
        self._tasks = [asyncio.create_task(self.collector.run()), asyncio.create_task(self._tick())]

    async def _tick(self) -> None:
        for ticks in count(1):
            await asyncio.sleep(TICK_S)
            duties = [self.leases.tick, self.attempts.tick, self.reservations.tick, self.runner.tend]
            if ticks % BEAT_EVERY == 0:
                duties.append(self.runner.beats)
            if ticks % FORGET_EVERY == 1:
                duties += [self.forget, self.leases.forget, self.turn_keys]
            for duty in duties:
                try:
                    self.perform(duty())
                except Exception:  # a full disk, or a bug: the next tick may do better, and no tick would close nothing
                    log.exception("not everything could be looked after")

    def forget(self) -> list[Effect]:
        """Drop answers to requests that have expired, and old traces: nobody can ask for them any more (rule 19)."""
        with self._store.note() as rows:
            rows.delete_below(RequestRow, "forget_ms", self._desk.now_ms())
        self._traces.forget(self._desk.now_ms())
        going = self.attempts.in_state(AttemptState.QUEUED, AttemptState.RUNNING)
        self._traces.sweep([attempt.id for attempt in going])
        return []

    def turn_keys(self) -> list[Effect]:
        """Change the sealing key when its day is over, and erase those that no lease needs any more (rule 16)."""
        self._sealing.turn(self._desk.now_ms(), self.leases.sealing_keys())
        return []

    async def stop(self, *, settle: bool) -> None:
        """Stop working. With `settle`, jobs end at a step (drained) and every open lease is closed and captured."""
        if settle:
            await self.clearing.drain()
        await self.runner.close()
        if settle:
            self.perform(self.leases.close_all("the provider is stopping"))
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.collector.round(), 5)
            await self.streams.left(GOODBYE_S)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.streams.close()

    # --- streams -------------------------------------------------------------------------------------------------

    async def execute(self, up: AsyncIterator[Up], send: Callable[[Down], Awaitable[None]]) -> None:
        """One `Execute` stream: challenge, proof, then orders one way and work the other."""
        nonce = self._desk.random.bytes(32)
        await send(Challenge(nonce))
        first = await anext(up, None)
        if first is None:
            return
        lease = self._opened(first, nonce)
        stream = self.streams.open(lease)
        pump = asyncio.create_task(stream.pump(send))
        reader = asyncio.create_task(self._read(lease, up))
        try:
            self.perform(self.leases.open(lease))
            await asyncio.wait((pump, reader), return_when=asyncio.FIRST_COMPLETED)
            if reader.done():
                reader.result()
                # The client has said all it wants to say; what is under way still reaches it.
                await asyncio.wait((pump,))
        finally:
            self.streams.gone(lease, stream)
            for task in (pump, reader):
                task.cancel()
            left, _ = await asyncio.gather(pump, reader, return_exceptions=True)
            if isinstance(left, Exception):  # the client is gone, most likely: it attaches again when it is back
                log.info("the stream of lease %s could not be written: %r", lease.hex()[:12], left)

    def _opened(self, first: Up, nonce: bytes) -> bytes:
        """Check the client's answer to the challenge; the lease whose stream this is."""
        if not isinstance(first, Open):
            raise PeerError(Fault.WRONG_TYPE, "a stream begins with the signed answer to its challenge")
        with self._store.read() as rows:
            signed = receive(rows, self._desk, first.envelope, StreamOpen)
        if signed.doc.challenge != nonce or signed.doc.certificate_sha256 != self._certificate:
            raise PeerError(Fault.BAD_SIGNATURE, "this answers another stream's challenge")
        # Noted, for a stream must open fast: should a power cut undo it, the challenge alone refuses the same bytes.
        self._remember(signed)
        return signed.doc.lease

    def _remember(self, signed: dsse.Signed[Document]) -> None:
        """Note a request whose repetition does no harm by itself; its id is for no other bytes (rule 19)."""
        with self._store.note() as rows:
            if not is_known(rows, signed):
                remember(rows, signed)

    async def _read(self, lease: bytes, up: AsyncIterator[Up]) -> None:
        with contextlib.closing(Pieces(self._room)) as pieces:
            async for message in up:
                match message:
                    case Body():
                        self.perform(self.attempts.body(lease, message, pieces))
                    case Order(envelope):
                        self.perform(self.order(lease, envelope))
                    case Open():
                        raise PeerError(Fault.CONFLICT, "the stream is open already")

    def order(self, lease: bytes, document: Envelope) -> list[Effect]:
        """Take a signed order for the lease of a stream."""
        match document.payload_type:
            case JobHeader.TYPE:
                job = dsse.read(document, JobHeader)
                check_stream(lease, job.doc.lease)
                return self.attempts.take(job)
            case Voucher.TYPE:
                voucher = dsse.read(document, Voucher)
                check_stream(lease, voucher.doc.lease)
                return self.leases.voucher(voucher)
            case Cancel.TYPE:
                return self.attempts.cancel(lease, document)
            case Reserve.TYPE:
                return self.reservations.order(lease, document)
            case Finish.TYPE:
                return self.leases.finish(lease, document)
            case other:
                raise PeerError(Fault.WRONG_TYPE, f"{other} is no order for a stream")

    async def fetch(self, request: Envelope) -> AsyncIterator[Envelope | Chunk | KeyReveal]:
        """A finished delivery again, with its key if it is out."""
        with self._store.read() as rows:
            signed = receive(rows, self._desk, request, Fetch)
        # Noted: it is answered with what lies there, as often as it is asked.
        self._remember(signed)
        with self._fetches.one(signed.doc.lease) as spend:
            ask = signed.doc
            row = self.attempts.delivery(ask.lease, ask.job, ask.picture, ask.step)
            spend(len(row.cipher))
            for message in delivery_messages(row):
                yield message.receipt if isinstance(message, Delivery) else message
            if row.revealed:
                yield KeyReveal(row.job, row.picture, row.key, row.step)

    def audit(self, request: Envelope) -> AsyncIterator[Envelope | StatePiece]:
        """See `Audits.answer`."""
        return self._audits.answer(request)

    def busy(self) -> bool:
        """Whether any attempt runs or waits."""
        return not self.runner.idle

    def _is_owed(self) -> bool:
        """Whether somebody who is connected has a delivery to pay for."""
        with self._store.read() as rows:
            return any(Account.load(rows, find(rows, lease)).unpaid for lease in self.streams.leases)
