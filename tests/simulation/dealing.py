"""One lease of a simulated client. Rule: what to say is the real session's; when to knock again is this shell's."""

from __future__ import annotations

from typing import Any

from actors import CERTIFICATE
from asking import Asking
from errand import Errand, Ordered
from network import Call, Stream

from gpufair.client.session import events as ev
from gpufair.client.session.session import Session
from gpufair.client.session.turn import Turn
from gpufair.client.wallet.store import LeaseRow
from gpufair.protocol import limits, wire
from gpufair.protocol.errors import LocalError, PeerError
from gpufair.protocol.lifecycle import LIVE, JobState, LeaseState
from gpufair.protocol.messages import (
    Challenge,
    Envelope,
    JobBody,
    Open,
    Opened,
)

OVER = {JobState.PAID, JobState.STOPPED, JobState.FAILED, JobState.CANCELLED, JobState.EXPIRED}
GOOD = {JobState.PLACED, JobState.RUNNING, JobState.DELIVERED, JobState.PAID}


class Dealing(Asking):
    """A lease from the bid to its settlement, in the memory of one process of its client."""

    def __init__(self, client: Any, lease: bytes, errand: Errand) -> None:
        self.client, self.lease, self.errand = client, lease, errand
        self.sim, self.name = client.sim, client.name
        self.session: Session | None = None
        self.stream: Stream | None = None
        self.opened = self.placing = self.finished = False
        self.cuts = 0
        self.silent_since = self.sim.now
        row = self.row()
        self.shop, self.bank = client.world.shops[row.provider], client.world.banks[row.ledger]

    def row(self) -> LeaseRow:
        """Our lease."""
        with self.client.store.read() as rows:
            row: LeaseRow = rows.get(LeaseRow, id=self.lease)
        return row

    def later(self, ms: int, act: Any) -> None:
        """See `Actor.later`."""
        self.client.later(ms, act)

    # --- towards a funded lease ------------------------------------------------------------------------------------

    def go(self) -> None:
        """The next step towards a working lease, whatever happened before."""
        row = self.row()
        match row.state:
            case LeaseState.PROPOSED:
                bid = wire.decode(Envelope, row.envelope)
                self._call(self.shop, "place", lambda: self.shop.place(bid), self._answered)
            case LeaseState.AGREED:
                order = self.client.leases.order_hold(row.id).envelope
                self._call(self.bank, "hold", lambda: self.bank.submit(order), self._held)
            case LeaseState.FUNDED | LeaseState.OPEN:
                hold = wire.decode(Envelope, row.hold)
                self.session = self.session or Session(self.client.desk, self.client.store, row.id)
                if row.state == LeaseState.FUNDED:
                    self._call(self.shop, "fund", lambda: self.shop.fund(hold), self._funded)
                else:
                    self.connect()
                self.later(row.expires_ms - self.client.now_ms() + 1000, self.poll)
            case LeaseState.CLOSING:
                self.session = self.session or Session(self.client.desk, self.client.store, row.id)
                self.poll()

    def _call(self, whom: Any, name: str, ask: Any, done: Any) -> None:
        Call(self.sim, self.client, ask, done, name, until=self.sim.now + 10 * limits.MINUTE, to=whom.name)

    def _answered(self, answer: Any) -> None:
        if not isinstance(answer, PeerError) and self.row().state == LeaseState.PROPOSED:
            self._taken(self.client.leases.answered(self.lease, answer))

    def _held(self, answer: Any) -> None:
        if not isinstance(answer, PeerError) and self.row().state == LeaseState.AGREED:
            self._taken(self.client.leases.held(self.lease, answer))

    def _taken(self, reasons: tuple[Any, ...]) -> None:
        if reasons:
            self.client.declined += reasons
            self.client.over(self)
        else:
            self.go()

    def _funded(self, answer: Any) -> None:
        if isinstance(answer, PeerError):
            # It came too late: the money waits for the ledger to give it back.
            self.sim.note("{} is refused as unfunded", self.name)
            self.errand.unfunded = True
            self.client.over(self)
            return
        self.connect()

    # --- the stream ----------------------------------------------------------------------------------------------

    def connect(self) -> None:
        """Open a stream, and another one whenever it is gone."""
        row = self.row()
        if row.state not in LIVE or self.stream is not None:
            return
        if self.client.now_ms() > row.expires_ms + limits.MINUTE:
            return
        stream = self.stream = Stream(self.sim, self, self.shop)
        self.opened, self.silent_since = False, self.sim.now
        stream.open()
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
        """The process is gone, and its end of the stream with it."""
        if self.stream is not None:
            self.stream.cut()
            self.stream = None

    def on_down(self, stream: Stream, message: Any) -> None:
        """A message from the provider."""
        if not self.client.up or stream is not self.stream:
            return
        self.silent_since = self.sim.now
        try:
            self.client.guard(self._on_down, stream, message)
        except PeerError as error:
            self.sim.note("{} refuses {}: {}", self.name, message, error)
            self.client.world.refused(self.client, message, error)
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
        self.tell(self.session.on(message))

    def tell(self, turn: Turn) -> None:
        """Answer, and hear what the session tells."""
        self.say(turn)
        for event in turn.events:
            self.heard(event)

    def heard(self, event: ev.Event) -> None:
        """The session tells something."""
        if not isinstance(event, ev.StepDone):
            self.sim.note("  {}: {}", self.name, event)
        match event:
            case ev.Cheated(_, what):
                self.client.cheats_seen.append(what)
                self.poll()
            case ev.LeaseClosing():
                self.poll()
            case ev.PictureOpened() | ev.JobOver() | ev.JobDeclined():
                self.work_on_plan()

    def say(self, turn: Turn) -> None:
        """Send the session's answers; a cheat may change them here."""
        for up in self.client.outgoing(self, turn.ups):
            self.client.world.sent_up(self.client, up)
            self.sim.note("  {} says {}", self.name, up)
            if self.stream is not None and self.is_open:
                self.stream.send_up(up)

    @property
    def is_open(self) -> bool:
        """Whether we may speak: what is said before `resume` would be out of order."""
        return self.opened and self.stream is not None

    # --- the plan ------------------------------------------------------------------------------------------------

    def jobs(self) -> list[tuple[bytes, str, int]]:
        """Our jobs: id, state, pictures."""
        query = 'SELECT id, state, "count" FROM jobs WHERE lease=? ORDER BY rowid'
        found: list[tuple[bytes, str, int]] = self.client.db.rows(query, self.lease)
        return found

    def idle(self) -> bool:
        """Whether nothing is wanted at the moment."""
        return all(state in OVER for _, state, _ in self.jobs())

    def wanted(self) -> int | None:
        """Which job of the plan comes next; None if none does."""
        jobs, plan = self.jobs(), self.errand.plan
        good = sum(state in GOOD for _, state, _ in jobs)
        return good if good < len(plan) and len(jobs) < len(plan) + 4 else None

    def order_of(self, number: int) -> Ordered:
        """What a job of the plan is, word for word."""
        return Ordered(self.errand.plan[number], JobBody(self.client.bytes(16), "a cat", "", number, 1000))

    def work_on_plan(self) -> None:
        """Order what the plan still wants, one after another; then finish."""
        if not self.is_open or self.placing or self.session is None:
            return
        number, distrust = self.wanted(), self.row().distrust
        if number is not None and not distrust:
            self.placing = True
            self.later(self.sim.rng.randrange(0, self.errand.hurry_ms), lambda: self.place(number))
        elif self.idle() and (self.errand.finishes or distrust) and not self.finished:
            self.finished = True
            self.later(self.sim.rng.randrange(0, 500), self.finish)

    def place(self, number: int) -> None:
        """Order the next job."""
        self.placing = False
        if self.session is None:
            return
        ordered = self.order_of(number)
        try:
            turn = self.session.place(
                ordered.spec, ordered.body, deadline_ms=self.errand.deadline_ms, job=ordered.job,
                checkpoint_every=self.errand.checkpoint_every, before=ordered.before,
            )  # fmt: skip
        except LocalError as error:
            self.sim.note("{} can't pay: {}", self.name, error)
            self.errand.short = True
            if self.idle() and not self.finished:
                self.finished = True
                self.finish()
            return
        self.say(turn)
        if self.sim.rng.random() < self.errand.cancels:
            job = turn.events[0].job  # type: ignore[union-attr]
            self.later(self.sim.rng.randrange(0, 800), lambda: self.cancel(job))
        self.work_on_plan()
        if self.sim.weather.wild and self.stream is not None:
            self.watch(self.stream)

    def cancel(self, job: bytes) -> None:
        """Change our mind."""
        if self.session is not None and self.is_open:
            self.errand.cancelled = True
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
        if self.row().state == LeaseState.OPEN:
            self.finish()
