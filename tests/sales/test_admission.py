"""A bid becomes a lease, or a decline with every reason and its numbers; never anything else, and never twice."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.lifecycle import LeaseState
from gpufair.protocol.messages import BidClass, ReasonCode
from gpufair.provider.jobs.store import LeaseRow, OutboxRow, RequestRow

LEDGER = "did:key:z6MkhaXgBZDvotDkL5257faiztiGiC2QtKLGpbnnEGta2doK"
CAP = 10**9


def rows(world: Any, kind: Any) -> list[Any]:
    with world.store.read() as found:
        return list(found.all(kind))


def test_a_good_bid_becomes_a_lease(world: Any) -> None:
    bid = world.bid()
    assert world.place(bid) == bid.id
    (lease,) = rows(world, LeaseRow)
    assert (lease.id, lease.state, lease.client, lease.hold) == (bid.id, LeaseState.AGREED, bid.issuer, 0)


@pytest.mark.parametrize(
    ("change", "code", "wanted", "limit"),
    [
        ({"bid_class": BidClass.INTERRUPTIBLE}, ReasonCode.CLASS_NOT_SOLD, 0, 0),
        ({"cap": CAP + 1}, ReasonCode.CAP_TOO_HIGH, CAP + 1, CAP),
        ({"window": 100_001}, ReasonCode.WINDOW_TOO_LARGE, 100_001, 100_000),
        ({"ledger": LEDGER}, ReasonCode.LEDGER_NOT_ACCEPTED, 0, 0),
        ({"worker_image": bytes(32)}, ReasonCode.IMAGE_NOT_OFFERED, 0, 0),
        ({"notice_ms": 5}, ReasonCode.NOTICE_NOT_OFFERED, 5, 0),
        ({"record": bytes(32)}, ReasonCode.OFFER_SUPERSEDED, 0, 0),
    ],
)
def test_each_objection_has_its_number(
    world: Any, change: dict[str, Any], code: ReasonCode, wanted: int, limit: int
) -> None:
    reasons = world.reasons(world.bid(**change))
    assert set(reasons) == {code}
    assert (reasons[code].wanted, reasons[code].limit) == (wanted, limit)
    assert rows(world, LeaseRow) == []


@pytest.mark.parametrize("line", ["per_step_megapixel", "per_decoded_megapixel", "per_cold_load", "minimum"])
def test_each_line_of_the_price_is_asked_for(world: Any, line: str) -> None:
    sheet = world.bid().doc.sheet
    asked = getattr(sheet, line)
    reasons = world.reasons(world.bid(sheet=replace(sheet, **{line: asked - 1})))
    assert (reasons[ReasonCode.PRICE_TOO_LOW].wanted, reasons[ReasonCode.PRICE_TOO_LOW].limit) == (asked - 1, asked)
    assert reasons[ReasonCode.PRICE_TOO_LOW].detail == line
    # More than is asked is never refused.
    assert world.place(world.bid(sheet=replace(sheet, **{line: asked + 1})))


def test_time_has_its_numbers(world: Any) -> None:
    longest = 240 * limits.MINUTE
    for lasts in (longest + 1, 0, -5):
        reasons = world.reasons(world.bid(lease_expires_at_ms=world.now + lasts))
        assert set(reasons) == {ReasonCode.EXPIRY_TOO_LATE}
        assert (reasons[ReasonCode.EXPIRY_TOO_LATE].wanted, reasons[ReasonCode.EXPIRY_TOO_LATE].limit) == (
            lasts,
            longest,
        )
    late = world.reasons(world.bid(accept_by_ms=world.now - 1))[ReasonCode.EXPIRED]
    assert (late.wanted, late.limit, late.unit) == (world.now, world.now - 1, "ms")
    assert world.place(world.bid(lease_expires_at_ms=world.now + longest, accept_by_ms=world.now))


def test_all_reasons_come_at_once_with_what_would_be_accepted(world: Any) -> None:
    answer = world.place(world.bid(cap=CAP + 1, window=100_001, worker_image=bytes(32), notice_ms=7))
    codes = {reason.code for reason in answer.doc.reasons}
    assert codes == {
        ReasonCode.CAP_TOO_HIGH, ReasonCode.WINDOW_TOO_LARGE, ReasonCode.IMAGE_NOT_OFFERED,
        ReasonCode.NOTICE_NOT_OFFERED,
    }  # fmt: skip
    instead = answer.doc.would_accept
    assert instead.window_max == 100_000
    assert instead.limits == world.stock.limits
    assert world.place(world.bid(sheet=instead.sheet, window=instead.window_max)), "and indeed it is accepted"


def test_nothing_is_suggested_for_a_model_that_is_not_sold(world: Any) -> None:
    answer = world.place(world.bid(sheet=replace(world.bid().doc.sheet, model=bytes(32))))
    assert {reason.code for reason in answer.doc.reasons} == {ReasonCode.MODEL_NOT_OFFERED}
    assert answer.doc.would_accept is None


# --- one bid, one answer ---------------------------------------------------------------------------------------------


def test_the_same_bytes_get_the_same_answer_for_ever(world: Any) -> None:
    good, bad = world.bid(), world.bid(notice_ms=1)
    answers = [world.admission.place(bid.envelope) for bid in (good, bad)]
    world.gate.paused = True
    for _ in range(2):
        assert [world.admission.place(bid.envelope) for bid in (good, bad)] == answers
        world.restart()
        world.now += limits.MINUTE
    world.now += limits.HOUR  # expired long ago: recorded answers come before the clock (rule 19)
    assert world.admission.place(good.envelope) == answers[0]
    assert len(rows(world, LeaseRow)) == 1


def test_a_known_id_with_other_bytes_is_refused(world: Any) -> None:
    bid = world.bid()
    world.place(bid)
    other = world.bid(head=bid.doc.head, cap=999)
    with pytest.raises(PeerError) as refusal:
        world.admission.place(other.envelope)
    assert refusal.value.fault is Fault.REPLAYED_DIFFERENT
    # The same id in somebody else's hand is somebody else's id.
    theirs = world.bid(client="stranger")
    assert world.place(world.bid(client="stranger", head=replace(theirs.doc.head, id=bid.doc.head.id)))
    assert len(rows(world, LeaseRow)) == 2


def test_hostile_bids_change_nothing(world: Any) -> None:
    good = world.bid()
    flipped = replace(good.envelope, payload=good.envelope.payload[:-1] + bytes([good.envelope.payload[-1] ^ 1]))
    head, desk = good.doc.head, world.desk_of("client")
    stale = replace(head, issued_at_ms=world.now - limits.HOUR, expires_at_ms=world.now - limits.HOUR + 1000)
    future = replace(head, issued_at_ms=world.now + limits.HOUR, expires_at_ms=world.now + limits.HOUR + 1000)
    hostile = {
        "flipped": flipped,
        "unsigned": replace(good.envelope, signatures=()),
        "signed by another": replace(good.envelope, signatures=world.bid(client="stranger").envelope.signatures),
        "for another": world.bid(head=replace(head, audience=(desk.did,))).envelope,
        "for everyone": world.bid(head=replace(head, audience=("*",))).envelope,
        "expired": world.bid(head=stale).envelope,
        "from the future": world.bid(head=future).envelope,
        "signed twice": envelope.countersign(good, world.desk_of("stranger").signer).envelope,
        "of another type": replace(good.envelope, payload_type="application/vnd.gpufair.hold.v1+protobuf"),
        "truncated": replace(good.envelope, payload=good.envelope.payload[:40]),
    }
    for name, document in hostile.items():
        with pytest.raises(PeerError):
            print(name, world.admission.place(document))
    assert rows(world, LeaseRow) == []
    assert rows(world, RequestRow) == []
    assert world.place(good) == good.id, "and none of it has spoiled the real one"


# --- offers come and go ----------------------------------------------------------------------------------------------


def test_a_superseded_offer_has_a_minute_of_grace(world: Any) -> None:
    old = world.offers.current()
    world.models = world.models[:1]
    world.now += 1000
    new = world.offers.current()
    assert new.id != old.id
    world.now += limits.SUPERSEDED_GRACE_MS
    assert world.place(world.bid(old))
    world.now += 1
    assert set(world.reasons(world.bid(old))) == {ReasonCode.OFFER_SUPERSEDED}
    assert world.place(world.bid(new))


def test_offers_that_nobody_made(world: Any) -> None:
    bid = world.bid()
    head = replace(bid.doc.head, parent=bytes(32))
    assert set(world.reasons(world.bid(head=head))) == {ReasonCode.OFFER_UNKNOWN}


# --- how much, and for how many --------------------------------------------------------------------------------------


def test_two_unfunded_leases_for_each(world: Any) -> None:
    first, second = world.bid(), world.bid()
    assert world.place(first)
    assert world.place(second)
    reason = world.reasons(world.bid())[ReasonCode.TOO_MANY_LEASES]
    assert (reason.wanted, reason.limit) == (3, limits.UNFUNDED_PER_DID_MAX)
    assert world.place(world.bid(client="other")), "another one's leases are another's"
    world.fund(first)
    assert world.place(world.bid()), "a funded lease counts no more"


def test_sixty_four_unfunded_leases_for_all(world: Any) -> None:
    for number in range(limits.UNFUNDED_MAX):
        world.place(world.bid(client=f"client {number // 2}"))
    reason = world.reasons(world.bid(client="one more"))[ReasonCode.TOO_MANY_LEASES]
    assert (reason.wanted, reason.limit) == (limits.UNFUNDED_MAX + 1, limits.UNFUNDED_MAX)


def test_strangers_owe_no_more_than_the_owner_lets_them(world: Any, limited: Any) -> None:
    world.restart(**limited(unsecured=250))
    for number in range(2):
        bid = world.bid(client=f"client {number}", window=100)
        world.place(bid)
        world.fund(bid)
    reason = world.reasons(world.bid(client="third", window=51))[ReasonCode.UNSECURED_LIMIT]
    assert (reason.wanted, reason.limit) == (251, 250)
    assert world.place(world.bid(client="third", window=50))


def test_unfunded_for_half_a_minute_is_abandoned(world: Any) -> None:
    bid = world.bid()
    world.place(bid)
    world.now += limits.FUNDING_TIMEOUT_MS - 1
    world.leases.tick()
    assert rows(world, LeaseRow)[0].state == LeaseState.AGREED
    world.now += 1
    world.leases.tick()
    assert rows(world, LeaseRow)[0].state == LeaseState.ABANDONED
    assert rows(world, OutboxRow) == []
    # A hold that comes too late is given back at once, whole: nobody else could end it before its time.
    hold = world.hold(bid)
    for _ in range(2):
        world.leases.fund(hold)
    with pytest.raises(PeerError, match="takes no hold"):
        world.fund(bid)
    (order,) = rows(world, OutboxRow)
    assert order.final
    assert rows(world, LeaseRow)[0].state == LeaseState.ABANDONED


@pytest.mark.parametrize(
    "change",
    [{"amount": 999}, {"payer": LEDGER}, {"payee": LEDGER}, {"hold_expires_at_ms": 1_800_000_000_000}],
)  # fmt: skip
def test_a_wrong_hold_funds_nothing(world: Any, change: dict[str, Any]) -> None:
    bid = world.bid()
    world.place(bid)
    with pytest.raises(PeerError):
        world.leases.fund(world.hold(bid, **change))
    with pytest.raises(PeerError, match="not signed by the lease's ledger"):
        world.leases.fund(world.hold(bid, by="stranger"))
    assert rows(world, LeaseRow)[0].state == LeaseState.AGREED


# --- the owner's will ------------------------------------------------------------------------------------------------


def test_paused_and_draining(world: Any) -> None:
    world.gate.paused = True
    assert world.offers.current().doc.models == (), "nothing is on sale"
    assert ReasonCode.PAUSED in world.reasons(world.bid())
    world.gate.paused = False
    assert world.place(world.bid())
    world.gate.draining = True
    assert ReasonCode.DRAINING in world.reasons(world.bid(client="other"))


def test_a_bid_under_an_offer_from_before_the_pause(world: Any) -> None:
    bid = world.bid()
    world.gate.paused = True
    assert set(world.reasons(bid)) == {ReasonCode.PAUSED}
