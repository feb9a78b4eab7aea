"""The client of a simulated market. Rule: what to say is the real session's; when to knock again is this shell's."""

from __future__ import annotations

from typing import Any

from actor import Actor
from actors import CERTIFICATE
from network import Call, Sim, Stream

from gpufair.client.market import leases as buying
from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.client.wallet.store import TABLES, LeaseRow
from gpufair.protocol import limits, wire
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.lifecycle import LIVE, JobState, LeaseState
from gpufair.protocol.messages import (
    Challenge,
    Decline,
    Envelope,
    HoldState,
    JobBody,
    Open,
    Opened,
    Query,
    QueryKind,
)

OVER = {JobState.PAID, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}


class ClientActor(Actor):
    """A buyer: one lease, a plan of jobs, and patience."""

    role = "client"
    honest = True

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        super().__init__(sim, world, name, skew_ms)
        self.finished, self.cuts = False, 0
        self.declined: list[Any] = []
        self.cheats_seen: list[str] = []

    def boot(self) -> None:
        self.store = RowStore(self.db, TABLES)
        self.leases = buying.Leases(self.desk, self.store)
        self.session: Session | None = None
        self.stream: Stream | None = None
        self.opened = False
        self.polling, self.poll_at = False, 0
        self.placing = False
        self.silent_since = self.sim.now
        self.go()

    def row(self) -> LeaseRow | None:
        """Our lease."""
        with self.store.read() as rows:
            return next(iter(rows.all(LeaseRow)), None)

    def go(self) -> None:
        """The next step towards a working lease, whatever happened before."""
        row = self.row()
        if row is None:
            self.leases.propose(
                self.world.signed_offer, self.world.record, self.world.model, self.world.image, self.world.terms
            )
            row = self.row()
            assert row is not None
        match row.state:
            case LeaseState.PROPOSED:
                bid = wire.decode(Envelope, row.envelope)
                self._call("place", lambda: self.world.provider.place(bid), self._answered)
            case LeaseState.AGREED:
                order = self.leases.order_hold(row.id).envelope
                self._call("hold", lambda: self.world.ledger.submit(order), self._held)
            case LeaseState.FUNDED | LeaseState.OPEN:
                hold = wire.decode(Envelope, row.hold)
                self.session = self.session or Session(self.desk, self.store, row.id)
                if row.state == LeaseState.FUNDED:
                    self._call("fund", lambda: self.world.provider.fund(hold), self._funded)
                else:
                    self.connect()
                self.later(row.expires_ms - self.now_ms() + 1000, self.poll)
            case LeaseState.CLOSING:
                self.session = self.session or Session(self.desk, self.store, row.id)
                self.poll()

    def _call(self, name: str, ask: Any, done: Any) -> None:
        Call(self.sim, self, ask, done, name, until=self.sim.now + 10 * limits.MINUTE)

    def _answered(self, answer: Any) -> None:
        row = self.row()
        assert row is not None
        if isinstance(answer, PeerError):
            return
        if row.state == LeaseState.PROPOSED:
            self.declined += self.leases.answered(row.id, answer)
            self.go()

    def _held(self, answer: Any) -> None:
        row = self.row()
        assert row is not None
        if isinstance(answer, PeerError):
            return
        if row.state == LeaseState.AGREED:
            self.declined += self.leases.held(row.id, answer)
            self.go()

    def _funded(self, answer: Any) -> None:
        if isinstance(answer, PeerError):
            # It came too late: the money waits for the ledger to give it back.
            self.sim.note("{} is refused as unfunded", self.name)
            self.world.unfunded = True
            return
        self.connect()

    # --- the stream ----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a stream, and another one whenever it is gone."""
        row = self.row()
        if row is None or row.state not in LIVE or self.stream is not None:
            return
        if self.now_ms() > row.expires_ms + limits.MINUTE:
            return
        self.stream, self.opened = Stream(self.sim, self, self.world.provider), False
        self.silent_since = self.sim.now
        stream = self.stream
        self.sim.after(self.sim.delay(), lambda: stream.alive and self.world.provider.connect(stream))
        self.later(3_000, lambda: self.watch(stream))

    def watch(self, stream: Stream) -> None:
        """Nobody answers, or messages got lost where they can: try a new stream."""
        if self.stream is not stream or (self.opened and (not self.sim.weather.wild or self.idle())):
            return
        if self.sim.now - self.silent_since > 5_000:
            stream.cut()
            return
        self.later(6_000, lambda: self.watch(stream))

    def on_cut(self, stream: Stream) -> None:
        """Our stream is gone."""
        if self.stream is stream:
            self.stream = None
            self.cuts += 1  # patience wears out, so that a cheat that is always cut off doesn't knock for ever
            self.later(self.sim.rng.randrange(100, 4000) * (1 + self.cuts**2 // 50), self.connect)

    def crash(self) -> None:
        if getattr(self, "stream", None) is not None:
            self.stream.cut()
            self.stream = None
        super().crash()

    def on_down(self, stream: Stream, message: Any) -> None:
        """A message from the provider."""
        if not self.up or stream is not self.stream:
            return
        self.silent_since = self.sim.now
        try:
            self.guard(self._on_down, stream, message)
        except PeerError as error:
            self.sim.note("client refuses {}: {}", message, error)
            self.world.refused(self, message, error)
            if not self.sim.weather.wild:
                stream.cut()

    def _on_down(self, stream: Stream, message: Any) -> None:
        assert self.session is not None
        if isinstance(message, Challenge):
            stream.send_up(Open(self.session.answer_challenge(message, CERTIFICATE).envelope))
            return
        if isinstance(message, Opened):
            self.opened = True
            self.say(self.session.resume())
            self.work_on_plan()
            return
        turn = self.session.on(message)
        self.say(turn)
        for event in turn.events:
            self.heard(event)

    def heard(self, event: ev.Event) -> None:
        """The session tells something."""
        if not isinstance(event, ev.StepDone):
            self.sim.note("  client: {}", event)
        match event:
            case ev.Cheated(_, what):
                self.cheats_seen.append(what)
                self.poll()
            case ev.LeaseClosing():
                self.poll()
            case ev.PictureOpened() | ev.JobOver() | ev.JobDeclined():
                self.work_on_plan()

    def say(self, turn: Turn) -> None:
        """Send the session's answers."""
        for up in turn.ups:
            self.world.sent_up(up)
            self.sim.note("  client says {}", up)
            if self.stream is not None and self.is_open:
                self.stream.send_up(up)

    @property
    def is_open(self) -> bool:
        """Whether we may speak: what is said before `resume` would be out of order."""
        return self.opened and self.stream is not None

    # --- the plan ------------------------------------------------------------------------------------------------

    def jobs(self) -> list[tuple[bytes, str, int]]:
        """Our jobs: id, state, pictures."""
        return self.db.rows('SELECT id, state, "count" FROM jobs ORDER BY rowid')

    def idle(self) -> bool:
        """Whether nothing is wanted at the moment."""
        return all(state in OVER for _, state, _ in self.jobs())

    def work_on_plan(self) -> None:
        """Order what the plan still wants, one after another; then finish."""
        if not self.opened or self.stream is None or self.placing or self.session is None:
            return
        jobs = self.jobs()
        good = [job for job in jobs if job[1] not in (JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED)]
        distrust = self.db.rows("SELECT distrust FROM leases")[0][0]
        if len(good) < len(self.world.plan) and len(jobs) < len(self.world.plan) + 4 and not distrust:
            self.placing = True
            self.later(self.sim.rng.randrange(0, self.world.hurry_ms), lambda: self.place(len(good)))
        elif self.idle() and (self.world.finishes or distrust) and not self.finished:
            self.finished = True
            self.later(self.sim.rng.randrange(0, 500), self.finish)

    def place(self, number: int) -> None:
        """Order the next job."""
        self.placing = False
        if self.session is None:
            return
        spec = self.world.plan[number]
        try:
            turn = self.session.place(
                spec, JobBody(self.bytes(16), "a cat", "", number, 1000), deadline_ms=self.world.deadline_ms
            )
        except LocalError as error:
            self.sim.note("client can't pay: {}", error)
            self.world.short = True
            if self.idle() and not self.finished:
                self.finished = True
                self.finish()
            return
        self.say(turn)
        if self.sim.rng.random() < self.world.cancels:
            job = turn.events[0].job  # type: ignore[union-attr]
            self.later(self.sim.rng.randrange(0, 800), lambda: self.cancel(job))
        self.work_on_plan()
        if self.sim.weather.wild and self.stream is not None:
            self.watch(self.stream)

    def cancel(self, job: bytes) -> None:
        """Change our mind."""
        if self.session is not None and self.is_open:
            self.world.cancelled = True
            self.say(self.session.cancel(job))

    def finish(self) -> None:
        """Nothing more is wanted."""
        if self.session is not None and self.is_open:
            self.say(self.session.finish())
            self.later(5_000, self.finish_again)
        else:
            self.finished = False

    def finish_again(self) -> None:
        """Until the lease closes, say so again."""
        row = self.row()
        if row is not None and row.state == LeaseState.OPEN:
            self.finish()

    # --- the ledger ----------------------------------------------------------------------------------------------

    def poll(self) -> None:
        """Ask the ledger how the hold stands until it is closed."""
        row = self.row()
        if self.polling or row is None or not row.hold or row.state == LeaseState.SETTLED:
            return
        self.polling, self.poll_at = True, 0
        query = self.desk.sign(
            Query(self.desk.head(row.ledger, parent=row.id), QueryKind.HOLD, self.desk.did, row.id, 0)
        ).envelope
        Call(self.sim, self, lambda: self.world.ledger.ask(query), self._hold_state, "hold state",
             until=self.sim.now + 5 * limits.MINUTE)  # fmt: skip
        self.poll_later(6 * limits.MINUTE)

    def poll_later(self, ms: int) -> None:
        """Ask again after a while; of several such wishes the newest counts."""
        at = self.poll_at = self.sim.now + ms
        self.later(ms, lambda: self._poll_again(at))

    def _poll_again(self, at: int) -> None:
        if self.poll_at == at:
            self.polling = False
            self.poll()

    def _hold_state(self, answer: Any) -> None:
        self.polling = False
        if isinstance(answer, PeerError) or answer.payload_type == Decline.TYPE or self.session is None:
            self.poll_later(20_000)
            return
        state = self.desk.receive(answer, HoldState)
        turn = self.session.on_hold_state(state)
        for event in turn.events:
            self.heard(event)
        if not state.doc.closed:
            self.poll_later(30_000)


__all__ = ["ClientActor", "from_bytes"]
