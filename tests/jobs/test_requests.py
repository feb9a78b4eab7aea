"""What names a lease: looked at in one order, the signature last; an id means one document; no answer is ahead."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from office_world import CERTIFICATE, World, signer

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.lifecycle import AttemptState, LeaseState
from gpufair.protocol.messages import (
    Answer,
    Cancel,
    Captured,
    Challenge,
    Closing,
    Decline,
    Envelope,
    Fetch,
    Finish,
    Hold,
    Open,
    Outcome,
    Reason,
    ReasonCode,
    StreamOpen,
)
from gpufair.provider.jobs.effects import Send
from gpufair.provider.jobs.store import LeaseRow, OutboxRow, RequestRow

NONCE = bytes(32)
FAR = limits.SKEW_MS + 1


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path / "jobs.db")


def documents(world: World, lease: bytes, head: Any) -> dict[str, Any]:
    until = world.now + 10 * limits.HOUR
    return {
        "cancel": Cancel(head, lease, bytes(16)),
        "finish": Finish(head, lease),
        "fetch": Fetch(head, lease, bytes(16), 0),
        "open": StreamOpen(head, lease, NONCE, CERTIFICATE),
        "hold": Hold(head, lease, world.client.did, world.desk.did, 10**6, until, 1),
    }


def take(world: World, stream: bytes, kind: str, document: Envelope) -> Any:
    """Hand a document to whom it is for."""

    async def fetched() -> list[Any]:
        return [part async for part in world.office.fetch(document)]

    if kind == "fetch":
        return asyncio.run(fetched())
    if kind == "hold":
        return world.office.leases.fund(document)
    if kind == "open":
        return world.office._opened(Open(document), NONCE)
    return world.office.order(stream, document)


def refusal(act: Callable[..., Any], *args: Any) -> Fault:
    with pytest.raises(PeerError) as refused:
        act(*args)
    return refused.value.fault


KINDS = ("cancel", "finish", "fetch", "open", "hold")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cheap_is_checked_first_and_the_signature_last(world: World, kind: str) -> None:
    """Wrong in every way; then one thing after the other is mended, and the next one is named."""
    lease, desk = world.lease().id, Desk(signer("ledger"), world, world) if kind == "hold" else world.client

    def wrong(depth: int) -> Envelope:
        head = desk.head(world.desk.did if depth > 1 else desk.did)
        if depth <= 2:
            head = replace(head, issued_at_ms=world.now + FAR, expires_at_ms=world.now + FAR + limits.MINUTE)
        document = desk.sign(documents(world, lease if depth > 3 else bytes(32), head)[kind]).envelope
        signature = replace(document.signatures[0], sig=bytes(64))
        forged = replace(document, signatures=(signature,))
        return replace(forged, payload=forged.payload + bytes(10**6)) if depth == 0 else forged

    world.office.leases.close(lease, "over", Outcome.CANCELLED)  # and even so, nothing is said of it
    named = [refusal(take, world, lease if depth > 3 else b"", kind, wrong(depth)) for depth in range(5)]
    assert named == [
        Fault.TOO_LARGE, Fault.WRONG_AUDIENCE, Fault.FROM_THE_FUTURE, Fault.UNKNOWN, Fault.BAD_SIGNATURE,
    ]  # fmt: skip
    with world.store.read() as rows:
        assert rows.all(RequestRow) == [], "an id is stored only after its document was verified"


@pytest.mark.parametrize("kind", ["cancel", "finish", "fetch", "open"])
def test_an_id_means_one_document(world: World, kind: str) -> None:
    """Its id is recorded for as long as it lives; other bytes under it are refused, of whatever kind they are."""
    lease = world.lease().id
    head = world.client.head(world.desk.did)

    def signed(kind: str, **changes: Any) -> Envelope:
        return world.client.sign(replace(documents(world, lease, head)[kind], **changes)).envelope

    def known() -> int:
        with world.store.read() as rows:
            return len([row for row in rows.all(RequestRow) if row.id == head.id])

    before = None if kind == "fetch" else take(world, lease, kind, signed(kind))
    if kind == "fetch":
        assert refusal(take, world, lease, kind, signed(kind)) is Fault.UNKNOWN, "there is no delivery yet"
    assert known() == 1
    for other in ("cancel", "finish", "fetch", "open"):
        later = replace(head, expires_at_ms=head.expires_at_ms + (other == kind))
        assert refusal(take, world, lease, other, signed(other, head=later)) is Fault.REPLAYED_DIFFERENT
    # The same bytes again, a moment before they are forgotten: no time check, and no second effect.
    world.now = head.expires_at_ms + limits.SKEW_MS
    world.office.forget()
    assert known() == 1
    if kind in ("cancel", "finish"):
        assert take(world, lease, kind, signed(kind)) == []
    elif kind == "open":
        assert take(world, lease, kind, signed(kind)) == before == lease
    world.now += 1
    if kind == "fetch":
        assert refusal(take, world, lease, kind, signed(kind)) is Fault.UNKNOWN, "not EXPIRED: it is known"
    world.office.forget()
    assert known() == 0
    assert refusal(take, world, lease, kind, signed(kind)) is Fault.EXPIRED


def test_a_repeated_order_has_no_second_effect(world: World) -> None:
    lease = world.lease()
    job, order, _ = world.job(lease)
    world.office.order(lease.id, order.envelope)
    cancel = world.client.sign(Cancel(world.client.head(world.desk.did), lease.id, job)).envelope
    first = world.office.order(lease.id, cancel)
    assert [type(e.message) for e in first if isinstance(e, Send)] == [Answer]
    assert world.attempt(job).state == AttemptState.CANCELLED
    assert world.office.order(lease.id, cancel) == []
    finish = world.client.sign(Finish(world.client.head(world.desk.did), lease.id)).envelope
    assert any(isinstance(e, Send) and isinstance(e.message, Closing) for e in world.office.order(lease.id, finish))
    assert world.office.order(lease.id, finish) == []
    with world.store.read() as rows:
        assert len(rows.all(OutboxRow)) == 1


def test_another_streams_proof_is_not_recorded(world: World) -> None:
    lease = world.lease()
    opening = world.opening(lease, Challenge(bytes([7]) * 32))
    assert refusal(world.office._opened, opening, NONCE) is Fault.BAD_SIGNATURE
    with world.store.read() as rows:
        assert rows.all(RequestRow) == []


# --- a ledger's answers --------------------------------------------------------------------------------------------


def outbox(world: World) -> OutboxRow:
    lease = world.lease()
    world.office.leases.close(lease.id, "done", Outcome.CANCELLED)
    return world.office.leases.captures.outbox()[0]


@pytest.mark.parametrize("refused", [False, True])
def test_an_answer_may_be_old_but_not_ahead_nor_for_another(world: World, refused: bool) -> None:
    order, ledger = outbox(world), Desk(signer("ledger"), world, world)
    captures = world.office.leases.captures

    def answer(to: str, ahead_ms: int = 0, **changes: Any) -> Envelope:
        head = ledger.head(to, parent=order.id, expires_at_ms=limits.TIME_MAX_MS)
        head = replace(head, **{"issued_at_ms": world.now + ahead_ms, **changes})
        if refused:
            return ledger.sign(Decline(head, (Reason(ReasonCode.LIMIT),))).envelope
        return ledger.sign(Captured(head, order.lease, 0, 0, 100, closed=True, event=2)).envelope

    me = world.desk.did
    for bad, fault in (
        (answer(world.client.did), Fault.WRONG_AUDIENCE),
        (answer(me, FAR), Fault.FROM_THE_FUTURE),
        (answer(me, parent=bytes(32)), Fault.BAD_SIGNATURE),
    ):
        assert refusal(captures.captured, order, bad) is fault
        assert len(captures.outbox()) == 1, "it is asked again"
    early = answer(me, FAR)
    world.now += 1
    captures.captured(order, early)
    assert captures.outbox() == []
    with world.store.read() as rows:
        assert [row.state for row in rows.all(LeaseRow)] == [LeaseState.SETTLED]


def test_an_answer_recorded_long_ago_is_taken(world: World) -> None:
    order, ledger = outbox(world), Desk(signer("ledger"), world, world)
    head = ledger.head(world.desk.did, parent=order.id)
    old = replace(head, issued_at_ms=world.now - 40 * 24 * limits.HOUR, expires_at_ms=world.now - limits.HOUR)
    world.office.leases.captures.captured(
        order, ledger.sign(Captured(old, order.lease, 0, 0, 100, closed=True, event=2)).envelope
    )
    assert world.office.leases.captures.outbox() == []
