"""A jobs room with a scripted worker. ONE RULE: store, office, runner and streams are the real ones; a client's part is
played by hand, so that it can be a bad client.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random as Dice
from typing import Any

from gpufair.protocol import frames, limits, sealing, trace, wire
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.edge.sqlite import open_database
from gpufair.protocol.envelope import Signed, countersign, from_bytes
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Bid,
    BidClass,
    Body,
    Challenge,
    Envelope,
    Hold,
    Input,
    JobBody,
    JobEnded,
    JobHeader,
    Lock,
    Open,
    Order,
    Precision,
    PriceSheet,
    Scheduler,
    Spec,
    StreamOpen,
    Task,
    Voucher,
)
from gpufair.provider.jobs.bodies import Pieces, Room
from gpufair.provider.jobs.leases import Policy
from gpufair.provider.jobs.objections import Admission
from gpufair.provider.jobs.office import JobOffice
from gpufair.provider.jobs.store import TABLES, AttemptRow, LeaseRow
from gpufair.provider.jobs.traces import Traces
from gpufair.provider.workers.outcome import Failure, PictureResult, Reached, Taken, WorkerFailedError

NOW = 1_800_000_000_000
PNG = b"\x89PNG\r\n\x1a\n" + bytes(100)
IMAGE = MODEL = hashlib.sha256(b"model").digest()
CERTIFICATE = hashlib.sha256(b"certificate").digest()
STEPS = 3
PICTURE = 64 * STEPS
"""What a picture of 8 x 8 pixels and three steps costs at the sheet below."""
SHEET = PriceSheet(MODEL, 1_000_000, 0, 0, 0, 0)
PROFILE = frames.RuntimeProfile("3.11", "none", "none", "none", "scripted", "cpu", "scripted", "float32")
CANARY = "a walrus plays the theremin under green lightning"


def signer(name: str) -> KeySigner:
    return KeySigner.from_seed(hashlib.sha256(name.encode()).digest())


def state(picture: int, step: int) -> bytes:
    """What the leaf of a step commits to here."""
    return bytes([picture, step] * 32)


@dataclass
class Scripted:
    """A warm pool of one size; `gate` holds its pictures back before their second step, `fail` breaks its next run."""

    size: int = 1
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    fail: Failure | None = None
    started: list[bytes] = field(default_factory=list)
    runs: list[frames.Run] = field(default_factory=list)
    held_before: int = 2
    profile: frames.RuntimeProfile = PROFILE
    deaf: bool = False
    """Whether it goes on when it is told to stop."""

    warm_models: frozenset[bytes] = frozenset()
    prefetched: list[bytes] = field(default_factory=list)

    held: dict[bytes, bytes] = field(default_factory=dict)
    holders: list[bytes] = field(default_factory=list)

    def prefetch(self, model: bytes) -> None:
        self.prefetched.append(model)

    def hold(self, holder: bytes, model: bytes) -> None:
        self.held[holder] = model

    def release(self, holder: bytes) -> None:
        del self.held[holder]

    async def run(
        self,
        run: frames.Run,
        cancel: asyncio.Event | None = None,
        *,
        inputs: Sequence[bytes] = (),
        holder: bytes = b"",
        profile: bytes = b"",
    ) -> AsyncGenerator[Any, None]:
        """As the pool: leaves, then the picture, or how far it came; ends early when it is cancelled."""
        assert [hashlib.sha256(data).digest() for data in inputs] == [one.sha256 for one in run.inputs]
        if profile not in (b"", self.profile.digest()):
            raise WorkerFailedError(Failure.DIED, "no worker of the same runtime profile can go on")
        self.started.append(run.attempt)
        yield Taken(run.attempt, self.profile)
        self.holders.append(holder)
        self.runs.append(run)
        assert cancel is not None
        assert run.trace
        first, picture = run.first_step, run.first_picture
        assert not first or inputs[-1] == state(picture, first)
        leaves = [trace.leaf(first, state(picture, first))] if first else []
        for step in range(first + 1 if first else 0, run.end_step + 1):
            if step == self.held_before:
                if self.gate.is_set():
                    await asyncio.sleep(0)
                elif not await self._held(cancel):
                    if step - 1 > first:
                        yield Reached(picture, step - 1, state(picture, step - 1), tuple(leaves), self.profile)
                    raise WorkerFailedError(Failure.CANCELLED, "cancelled")
                if self.fail is not None:
                    failure, self.fail = self.fail, None
                    raise WorkerFailedError(failure, "it broke", log="an owner's secret")
            data = state(picture, step)
            leaves.append(trace.leaf(step, data))
            yield frames.State(run.attempt, picture, step, 0, 64, data[:40])
            yield frames.State(run.attempt, picture, step, 40, 64, data[40:])
            yield frames.Step(run.attempt, picture, step, leaves[-1])
        if run.end_step < run.steps:
            yield Reached(picture, run.end_step, state(picture, run.end_step), tuple(leaves), self.profile)
            return
        digest = hashlib.sha256(PNG).digest()
        yield PictureResult(
            picture, PNG, digest, trace.root(leaves), len(leaves), tuple(leaves), self.profile.digest(), self.profile
        )  # fmt: skip

    async def _held(self, cancel: asyncio.Event) -> bool:
        """Wait at the gate; False if it is cancelled meanwhile."""
        waits = [asyncio.create_task(event.wait()) for event in (self.gate, cancel)]
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        for task in waits:
            task.cancel()
        if cancel.is_set() and self.deaf:
            await asyncio.Event().wait()
        return not cancel.is_set()


class NoLedger:
    """A ledger that nobody reaches."""

    async def capture(self, ledger: str, order: Envelope) -> Envelope:
        raise LocalError(Fault.UNAVAILABLE, "down")


class World:
    """A provider's jobs room, and the hand that plays its client."""

    def __init__(
        self,
        path: Path,
        *,
        workers: Scripted | None = None,
        ledgers: Any = None,
        unpaid_ms: int = 10_000,
        carries: Callable[[bytes], bool] = lambda _model: True,
        held_workers: int = 0,
        admission: Admission = lambda _header, _waiting: (),
    ):
        self.now, self.dice, self.path, self.gate = NOW, Dice(1), path, ()
        self.desk, self.client = (Desk(signer(name), self, self) for name in ("provider", "client"))
        if not keys.exists(path.parent / "keys"):
            keys.create(path.parent / "keys")
        self.sealing = SealingKeys(path.parent / "keys")
        self.workers = workers or Scripted()
        self.store = RowStore(open_database(path, "gpufair.provider.jobs:migrations"), TABLES)
        self.office = JobOffice(
            self.desk, self.store, policy=Policy(capture_at=10**9), admission=admission,
            workers=self.workers, ledgers=ledgers or NoLedger(), sealing=self.sealing, certificate_sha256=CERTIFICATE,
            traces=Traces(path.parent / "traces"), carries=carries,
            held_workers=held_workers, gate=lambda: self.gate,
        )  # fmt: skip
        self.office.attempts._unpaid_ms = unpaid_ms

    def now_ms(self) -> int:
        return self.now

    def bytes(self, count: int) -> bytes:
        return self.dice.randbytes(count)

    def lease(self, *, cap: int = 100 * PICTURE, client: Desk | None = None, **terms: Any) -> Signed[Bid]:
        """A funded lease."""
        client = client or self.client
        bid = self.agreed(cap=cap, client=client, **terms)
        book = Desk(signer("ledger"), self, self)
        until = bid.doc.lease_expires_at_ms + bid.doc.margin_ms
        head = book.head(client.did, self.desk.did, expires_at_ms=limits.TIME_MAX_MS)
        hold = book.sign(Hold(head, bid.id, client.did, self.desk.did, cap, until, 1))
        self.office.perform(self.office.leases.fund(hold.envelope))
        return bid

    def agreed(
        self,
        *,
        window: int = PICTURE,
        cap: int = 100 * PICTURE,
        client: Desk | None = None,
        model: bytes = MODEL,
        rate: int = SHEET.per_step_megapixel,
        per_second: int = 0,
        bid_class: BidClass = BidClass.ON_DEMAND,
        notice_ms: int = 0,
    ) -> Signed[Bid]:
        """A lease that nobody has funded."""
        client = client or self.client
        bid = client.sign(
            Bid(
                head=client.head(self.desk.did, parent=bytes(32)),
                sheet=replace(SHEET, model=model, per_step_megapixel=rate, per_reserved_second=per_second),
                bid_class=bid_class, cap=cap,
                window=window, notice_ms=notice_ms, idle_limit_ms=60_000,
                ledger=signer("ledger").did, accept_by_ms=self.now + 30_000, lease_expires_at_ms=self.now + limits.HOUR,
                margin_ms=limits.MARGIN_MIN_MS, worker_image=IMAGE, record=bytes(32),
            )
        )  # fmt: skip
        signed = countersign(bid, self.desk.signer)
        with self.store.begin() as rows:
            self.office.leases.agree(rows, signed, self.sealing.public)
        return signed

    def job(
        self,
        lease: Signed[Bid],
        *,
        count: int = 1,
        deadline_ms: int = 60_000,
        sealed: bytes = b"",
        task: Task = Task.TEXT_TO_IMAGE,
        model: bytes = MODEL,
        precision: Precision = Precision.EXACT,
        inputs: tuple[Input, ...] = (),
        job: bytes = b"",
        steps: int = STEPS,
        done: int = 0,
        side: int = 8,
        scheduler: Scheduler = Scheduler.DDIM,
        **claims: Any,
    ) -> Any:
        """A job's order and body, whole; `claims` are what the header says otherwise than it should."""
        job = job or self.bytes(16)
        plain = wire.encode(JobBody(bytes(16), CANARY, "", 7, 1000, inputs))
        if not sealed:
            with self.store.read() as rows:
                named = rows.get(LeaseRow, id=lease.id)
            assert named is not None
            sealed = sealing.seal_plain(plain, named.sealing_key, lease=lease.id, job=job)
        spec = Spec(task, model, scheduler, precision, side, side, steps, count, guided=False, done=done)
        digest = hashlib.sha256(plain).digest()
        claims = {"body_length": len(sealed), "audit_commitment": b"", "plain_sha256": digest, **claims}
        claims = {"checkpoint": bytes([1] * 32) if done else b"", **claims}
        header = self.client.sign(
            JobHeader(
                head=self.client.head(self.desk.did, parent=lease.id), lease=lease.id, job=job, spec=spec,
                worker_image=IMAGE, body_sha256=hashlib.sha256(sealed).digest(),
                deadline_ms=deadline_ms, memory_bytes=0, preview_every=0, **claims,
            )
        )  # fmt: skip
        return job, Order(header.envelope), Body(job, sealed)

    def begin(self, lease: Signed[Bid], **terms: Any) -> bytes:
        """Have a job taken and queued; its attempt."""
        job, order, body = self.job(lease, **terms)
        self.office.perform(self.office.order(lease.id, order.envelope))
        self.send(lease, body)
        return self.attempt(job, lease=lease.id).id

    def send(self, lease: Signed[Bid], body: Body) -> None:
        """Bring a whole body in."""
        self.office.perform(self.office.attempts.body(lease.id, body, Pieces(Room())))

    def pay(self, lease: Signed[Bid], unlocked: int, *locks: Lock) -> None:
        """Send a voucher."""
        until = lease.doc.lease_expires_at_ms + lease.doc.margin_ms
        head = self.client.head(lease.doc.ledger, self.desk.did, parent=lease.id, expires_at_ms=until)
        voucher = self.client.sign(Voucher(head, lease.id, unlocked, locks))
        self.office.perform(self.office.order(lease.id, voucher.envelope))

    def attempt(self, job: bytes, **where: bytes) -> AttemptRow:
        with self.store.read() as rows:
            found = rows.get(AttemptRow, job=job, **where)
        assert found is not None
        return found

    def ended(self, attempt: bytes) -> JobEnded:
        """How an attempt ended, as the client is told."""
        with self.store.read() as rows:
            found = rows.get(AttemptRow, id=attempt)
        assert found is not None
        return from_bytes(found.ended, JobEnded).doc

    def state(self, attempt: bytes) -> str:
        with self.store.read() as rows:
            found = rows.get(AttemptRow, id=attempt)
        assert found is not None
        return found.state

    async def until(self, condition: Any, patience_s: float = 5) -> None:
        """Wait for something that happens by itself."""
        async with asyncio.timeout(patience_s):
            while not condition():
                await asyncio.sleep(0.002)

    @asynccontextmanager
    async def stream(self, lease: Signed[Bid], **open_: Any) -> AsyncIterator[Line]:
        """An open stream."""
        line = Line()
        line.task = asyncio.create_task(self.office.execute(line.up(), line.take))
        challenge = await line.heard(Challenge)
        line.say(self.opening(lease, challenge, **open_))
        try:
            yield line
        finally:
            line.task.cancel()
            await asyncio.gather(line.task, return_exceptions=True)

    def opening(self, lease: Signed[Bid], challenge: Challenge, /, *, desk: Desk | None = None, **changes: Any) -> Open:
        """The client's answer to a challenge."""
        desk = desk or self.client
        plain = StreamOpen(desk.head(self.desk.did, parent=lease.id), lease.id, challenge.nonce, CERTIFICATE)
        return Open(desk.sign(replace(plain, **changes)).envelope)


class Line:
    """The client's end of a stream."""

    def __init__(self) -> None:
        self.task: asyncio.Task[None]
        self.said: asyncio.Queue[Any] = asyncio.Queue()
        self.got: list[Any] = []
        self.hang = False

    async def up(self) -> AsyncIterator[Any]:
        while (message := await self.said.get()) is not None:
            yield message

    async def take(self, message: Any) -> None:
        if self.hang:
            await asyncio.Event().wait()
        self.got.append(message)

    def say(self, message: Any) -> None:
        self.said.put_nowait(message)

    async def heard(self, kind: type[Any], patience_s: float = 5) -> Any:
        """The first message of a kind."""
        async with asyncio.timeout(patience_s):
            while not (found := [m for m in self.got if isinstance(m, kind)]):
                await asyncio.sleep(0.002)
        return found[0]

    async def refusal(self, patience_s: float = 5) -> PeerError:
        """What the stream ends with."""
        done, _ = await asyncio.wait((self.task,), timeout=patience_s)
        assert done, "the stream goes on"
        error = self.task.exception()
        assert isinstance(error, PeerError), error
        return error
