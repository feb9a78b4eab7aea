"""Buying under one lease. Rule: what the provider says is checked, written down, and only then answered.

Sans I/O: `on` takes what the provider said and returns what to answer and what to tell the user. The network, the
clock and the crash are somebody else's, so a simulator can be cruel to this very code.
"""

from __future__ import annotations

from dataclasses import replace

from gpufair.client.session import events as ev
from gpufair.client.session import settlement
from gpufair.client.session.answers import Answers
from gpufair.client.session.goods import Incoming
from gpufair.client.session.placing import Terms, write_down
from gpufair.client.session.purse import Purse
from gpufair.client.session.reserving import Reserving
from gpufair.client.session.turn import Turn
from gpufair.client.session.vigil import Pace
from gpufair.client.wallet.account import Account
from gpufair.client.wallet.deliveries import DeliveryKey
from gpufair.client.wallet.sequels import Before
from gpufair.client.wallet.store import JobDue, JobRow
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import JOB, LEASE, JobState, LeaseEvent, LeaseState
from gpufair.protocol.messages import (
    Answer,
    Cancel,
    Challenge,
    Chunk,
    Closing,
    Delivery,
    Down,
    Finish,
    HoldState,
    JobBody,
    JobHeader,
    KeyReveal,
    Offer,
    Order,
    Preview,
    Progress,
    Spec,
    StreamOpen,
    Voucher,
)

_GOING = tuple(state for state in JobState if not JOB.is_terminal(state))
_AT_WORK = (JobState.PLACED, JobState.RUNNING)


class Session:
    """One lease, from its first job to its settlement."""

    def __init__(self, desk: Desk, store: RowStore, lease: bytes) -> None:
        self._desk = desk
        self._store = store
        self._purse = Purse(desk, lease)
        self._goods = Incoming(desk, store, self._purse)
        self._reserving = Reserving(desk, store, self._purse)
        self._answers = Answers(desk, store, self._purse, self._reserving)
        self._paces: dict[bytes, Pace] = {}
        self.lease = lease

    # --- the stream ----------------------------------------------------------------------------------------------

    def answer_challenge(self, challenge: Challenge, certificate_sha256: bytes) -> Signed[StreamOpen]:
        """Prove, bound to this TLS certificate, that the stream is ours."""
        head = self._desk.head(self.account().lease.provider, parent=self.lease)
        return self._desk.sign(StreamOpen(head, self.lease, challenge.nonce, certificate_sha256))

    def resume(self) -> Turn:
        """What to say on a new stream: the newest voucher, and every job that is not over, byte for byte as before."""
        self._purse.new_stream()
        self._goods.new_stream()
        with self._store.begin() as rows:
            lease = self._purse.row(rows)
            if lease.state == LeaseState.FUNDED:
                rows.save(replace(lease, state=LEASE.after(LeaseState.FUNDED, LeaseEvent.OPEN)))
            going = rows.all(JobRow, order="created_ms", lease=lease.id, state=_GOING)
            # What a job brought before it ended may be signed for, and its key lost on the way.
            owed = {one.job for one in rows.all(DeliveryKey, lease=lease.id, locked=True, key=b"")}
            going += rows.all(JobRow, order="created_ms", lease=lease.id, id=owed - {job.id for job in going})
            held = self._reserving.resume(rows)
        turn = Turn()
        if lease.voucher:
            turn.ups.append(Order(from_bytes(lease.voucher, Voucher).envelope))
        # The provider answers each with what we may have missed; to its acceptance we answer with the body.
        turn.ups += [Order(from_bytes(job.header, JobHeader).envelope) for job in going]
        turn.ups += held
        return turn

    def going(self) -> dict[bytes, Pace]:
        """The jobs that the provider has or is about to hear of, and how fast it says that it does such."""
        with self._store.read() as rows:
            going = rows.all(JobDue, lease=self.lease, state=_AT_WORK)
            for job in going:
                if job.id not in self._paces:
                    spec = from_bytes(self._purse.job(rows, job.id).header, JobHeader).doc.spec
                    self._paces[job.id] = Pace.of(spec, from_bytes(self._purse.row(rows).offer, Offer).doc)
        return {job.id: self._paces[job.id] for job in going}

    # --- orders --------------------------------------------------------------------------------------------------

    def place(
        self,
        spec: Spec,
        body: JobBody,
        *,
        deadline_ms: int,
        memory_bytes: int = 0,
        preview_every: int = 0,
        checkpoint_every: int = 0,
        job: bytes = b"",
        before: Before | None = None,
    ) -> Turn:
        """Write a job down, priced and sealed, then order it. Raises LocalError if the lease is over or can't pay.

        `job` is its id, for whoever has written that down already; else one is drawn. `before`: it goes on with what
        that one has left, for which nothing is signed from now on.
        """
        terms = Terms(deadline_ms, memory_bytes, preview_every, checkpoint_every)
        with self._store.begin() as rows:
            account = self._purse.account(rows)
            header, price = write_down(self._desk, rows, account, spec, body, terms, job=job, before=before)
        return Turn([Order(header.envelope)], [ev.JobPlaced(header.doc.job, price.total)])

    def look_again(self) -> Turn:
        """Sign for what is here, and was not wanted when it came."""
        with self._store.begin() as rows:
            return self._purse.go_on(rows)

    def reserve(self, lasts_ms: int) -> Turn:
        """Have a worker held for so long, paid before. Raises LocalError if the lease can't have or pay that."""
        return self._reserving.order(lasts_ms)

    def cancel(self, job: bytes) -> Turn:
        """Ask the provider to stop a job; what it has delivered stays payable."""
        head = self._desk.head(self.account().lease.provider, parent=self.lease)
        return Turn([Order(self._desk.sign(Cancel(head, self.lease, job)).envelope)])

    def finish(self) -> Turn:
        """Tell the provider that nothing more is wanted, the newest promise first so that it captures all of it."""
        with self._store.begin() as rows:
            account = self._purse.account(rows)
            changed = account.promise != account.signed and account.is_paying
            turn = self._purse.sign(rows, account, account.promise) if changed else Turn()
        head = self._desk.head(account.lease.provider, parent=self.lease)
        turn.ups.append(Order(self._desk.sign(Finish(head, self.lease)).envelope))
        return turn

    # --- what the provider says ----------------------------------------------------------------------------------

    def on(self, message: Down) -> Turn:
        """Take one message. Raises PeerError if it breaks the protocol; nothing is changed by such a message."""
        turn = Turn()
        match message:
            case Answer():
                turn = self._answers.on(message)
            case Progress():
                turn = self._goods.progress(message)
            case Preview():
                turn = self._goods.preview(message)
            case Delivery():
                self._goods.begin(message)
            case Chunk():
                turn = self._goods.piece(message)
            case KeyReveal():
                turn = self._on_key(message)
            case Closing():
                turn = self._on_closing(message)
        return turn

    def _on_key(self, message: KeyReveal) -> Turn:
        with self._store.begin() as rows:
            delivery = rows.get(
                DeliveryKey, lease=self.lease, job=message.job, picture=message.picture, step=message.step
            )
            if delivery is None or delivery.key or not delivery.locked:
                return Turn()
            turn = self._purse.use_key(rows, delivery, message.key)
            turn += self._purse.go_on(rows)
            return turn

    def _on_closing(self, message: Closing) -> Turn:
        with self._store.begin() as rows:
            lease = self._purse.row(rows)
            if LEASE.allows(LeaseState(lease.state), LeaseEvent.CLOSE):
                rows.save(replace(lease, state=LEASE.after(LeaseState(lease.state), LeaseEvent.CLOSE)))
        return Turn(events=[ev.LeaseClosing(message.reason)])

    # --- what the ledger says ------------------------------------------------------------------------------------

    def on_hold_state(self, signed: Signed[HoldState], keys: tuple[bytes, ...] | None = None) -> Turn:
        """Take the ledger's word on the hold: keys shown only there, payments, the end.

        `keys` are all that the ledger has shown, where they fill more than this one answer.
        """
        with self._store.begin() as rows:
            return settlement.take(rows, self._purse, signed, signed.doc.keys if keys is None else keys)

    # --- looking -------------------------------------------------------------------------------------------------

    def account(self) -> Account:
        """The lease's money as the wallet has it."""
        with self._store.read() as rows:
            return self._purse.account(rows)
