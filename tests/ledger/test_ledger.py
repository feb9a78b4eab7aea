"""The ledger's orders: one effect each, an answer that can be had again, and a refusal for everything else."""

import dataclasses
import threading

import pytest

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.messages import (
    Bid,
    Capture,
    Captured,
    Decline,
    Envelope,
    Hold,
    HoldOrder,
    Issue,
    Pay,
    Posted,
    ReasonCode,
    Signature,
)
from gpufair.provider.ledger import Ledger
from gpufair.provider.ledger.batch import Batch

MINUTE = 60_000


def refused(answer, code):
    assert isinstance(answer, Decline), answer
    assert [reason.code for reason in answer.reasons] == [code]
    return answer


# --- what answers say -----------------------------------------------------------------------------------------------
def test_the_way_of_a_payment(world, tools):
    posted = world.issue("alice", 1000)
    assert (posted.event, posted.account, posted.available, posted.held) == (1, world.alice.did, 1000, 0)
    hold = world.hold("alice", "bob", "L", 300)
    assert (hold.payer, hold.payee, hold.amount, hold.event) == (world.alice.did, world.bob.did, 300, 2)
    assert set(hold.head.audience) == {world.alice.did, world.bob.did}
    assert world.balance("bob") == (0, 0, 300)
    captured = world.capture("bob", "L", 100, [("a", 50), ("b", 25)], ["a"])
    assert (captured.paid, captured.captured, captured.released, captured.closed) == (150, 150, 0, False)
    assert world.hold_state("alice", "L").keys == (tools.key("a"),)
    captured = world.capture("bob", "L", 175, final=True)
    assert (captured.paid, captured.captured, captured.released, captured.closed) == (25, 175, 125, True)
    assert (world.balance("alice"), world.balance("bob")) == ((825, 0, 0), (175, 0, 0))
    posted = world.pay("bob", "carol", 75)
    assert (posted.account, posted.available) == (world.bob.did, 100)
    assert world.redeem("bob", 100).available == 0
    assert world.ledger.status().outstanding == 900


def test_an_answer_names_its_order_and_can_be_read_years_later(funded):
    order = funded.sign("alice", Pay, funded.bob.did, 5, "")
    answer = funded.ledger.submit(order.envelope)
    funded.clock.ms += 365 * 24 * 3_600_000
    received = funded.alice.receive(answer, Posted, lifetime_max_ms=limits.TIME_MAX_MS)
    assert received.doc.head.parent == order.id


def test_a_capture_that_pays_nothing_more_is_answered_and_leaves_no_event(funded):
    funded.capture("bob", "L", 100)
    before = funded.state()
    again = funded.capture("bob", "L", 100)
    assert (again.paid, again.captured, again.event) == (0, 100, 0)
    assert funded.state() == before


def test_a_key_shown_twice_is_learnt_once(funded, tools):
    funded.capture("bob", "L", 100, [("a", 50)], ["a"])
    assert funded.capture("bob", "L", 120, [("a", 50), ("b", 5)], ["a", "b"]).paid == 25
    assert funded.hold_state("alice", "L").keys == (tools.key("a"), tools.key("b"))


# --- repeats ---------------------------------------------------------------------------------------------------------
ORDERS = {
    "issue": lambda w: w.sign("bank", Issue, w.carol.did, 5, "cash 9"),
    "pay": lambda w: w.sign("alice", Pay, w.carol.did, 5, ""),
    "hold": lambda w: w.hold_order("alice", "carol", "M", 5),
    "capture": lambda w: w.capture_order("bob", "L", 5, [("a", 5)], ["a"]),
    "final capture": lambda w: w.capture_order("bob", "L", final=True),
}


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS.keys())
def test_the_same_bytes_again_get_the_recorded_answer_and_no_second_effect(funded, make):
    order = make(funded)
    first = funded.ledger.submit(order.envelope)
    state = funded.state()
    assert funded.ledger.submit(order.envelope) == first
    assert funded.ledger.submit_many([order.envelope] * 3) == [first] * 3
    funded.clock.ms += 50 * MINUTE
    assert funded.ledger.submit(order.envelope) == first, "long past its expiry"
    assert funded.state() == state


@pytest.mark.parametrize("make", ORDERS.values(), ids=ORDERS.keys())
def test_the_recorded_answer_outlives_a_restart(make_world, tmp_path, make):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    order = make(world)
    first, state = world.ledger.submit(order.envelope), world.state()
    world.restart()
    world.clock.ms += 50 * MINUTE
    assert world.ledger.submit(order.envelope) == first
    assert world.state() == state


def test_the_same_bytes_twice_in_one_transaction_have_one_effect(funded):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "").envelope
    first, second = funded.ledger.submit_many([order, order])
    assert first == second
    assert funded.balance("carol")[0] == 5


def test_other_bytes_under_a_known_id_are_refused_and_change_nothing(funded):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "")
    funded.give(order)
    state = funded.state()
    other = funded.alice.sign(dataclasses.replace(order.doc, amount=6))
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(other.envelope)
    assert caught.value.fault is Fault.REPLAYED_DIFFERENT
    assert funded.state() == state


def test_an_id_is_its_signers_own(funded):
    first = funded.sign("alice", Pay, funded.carol.did, 5, "")
    funded.give(first)
    head = dataclasses.replace(funded.carol.head(funded.bank.did), id=first.doc.head.id)
    assert isinstance(funded.give(funded.carol.sign(Pay(head, funded.bob.did, 1, ""))), Posted)


def test_a_declined_order_is_dead_a_new_one_is_not(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    declined = funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    assert funded.ledger.submit(order.envelope) == declined
    assert funded.balance("carol")[0] == 100
    assert isinstance(funded.pay("carol", "bob", 5), Posted)


def test_a_decline_is_forgotten_only_when_its_order_is_dead_of_age(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    for _ in range(12):
        funded.clock.ms += MINUTE
        funded.ledger.expire()
        [again] = funded.ledger.submit_many([order.envelope])
        assert again.fault is Fault.EXPIRED if isinstance(again, PeerError) else again.payload_type == Decline.TYPE
    with funded.store.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM requests WHERE sequence IS NULL").scalar()
    assert kept == 0
    assert funded.balance("carol")[0] == 100


def test_a_ledger_that_is_never_idle_forgets_declines_too(funded):
    for _ in range(30):
        funded.ledger.submit(funded.sign("carol", Pay, funded.bob.did, 5, "").envelope)
        funded.clock.ms += MINUTE
    with funded.store.database.read() as connection:
        kept = connection.exec_driver_sql("SELECT count(*) FROM requests WHERE sequence IS NULL").scalar()
    assert kept < 15


def test_an_old_order_whose_decline_is_forgotten_between_the_checks_is_still_too_old(funded):
    order = funded.sign("carol", Pay, funded.bob.did, 5, "")
    funded.ledger.submit(order.envelope)
    funded.issue("carol", 100)
    funded.clock.ms += 8 * MINUTE
    prepared = funded.ledger.prepare(order.envelope)
    funded.clock.ms += 2 * MINUTE
    funded.ledger.expire()
    [answer] = funded.ledger.post([prepared])
    assert isinstance(answer, PeerError)
    assert answer.fault is Fault.EXPIRED
    assert funded.balance("carol")[0] == 100


# --- bad documents: a typed refusal, and nothing changed --------------------------------------------------------------
def resigned(world, **changes):
    doc = world.sign("alice", Pay, world.carol.did, 5, "").doc
    return world.alice.sign(dataclasses.replace(doc, head=dataclasses.replace(doc.head, **changes))).envelope


def unsigned(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    return dataclasses.replace(order, signatures=(Signature(world.alice.did, bytes(64)),))


def signed_by_another(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "")
    return dataclasses.replace(order.envelope, signatures=(world.bob.sign(Pay(
        world.bob.head(world.bank.did), world.carol.did, 5, "")).envelope.signatures[0],))  # fmt: skip


def in_anothers_name(world):
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    encoding = envelope.pre_authentication_encoding(order.payload_type, order.payload)
    return dataclasses.replace(order, signatures=(Signature(world.alice.did, world.bob.signer.sign(encoding)),))


def relabelled(world):
    """An issue signed by the bank, shown under the type of another order."""
    order = world.sign("bank", Issue, world.alice.did, 5, "x").envelope
    return dataclasses.replace(order, payload_type=Pay.TYPE)


def padded(world):
    """Unknown fields are legal protobuf; a ledger that kept them for ever could be filled with them."""
    order = world.sign("alice", Pay, world.carol.did, 5, "").envelope
    return dataclasses.replace(order, payload=order.payload + b"\xfa\x3f\x80\x80\x02" + bytes(32 * 1024))


BAD = {
    "wrong audience": (lambda w: resigned(w, audience=(w.bob.did,)), Fault.WRONG_AUDIENCE),
    "everybody's audience": (lambda w: resigned(w, audience=("*",)), Fault.WRONG_AUDIENCE),
    "two audiences": (lambda w: resigned(w, audience=(w.bank.did, w.bob.did)), Fault.WRONG_AUDIENCE),
    "expired": (lambda w: resigned(w, issued_at_ms=w.clock.ms - 8 * MINUTE, expires_at_ms=w.clock.ms - 3 * MINUTE),
                Fault.EXPIRED),
    "from the future": (lambda w: resigned(w, issued_at_ms=w.clock.ms + 3 * MINUTE,
                                           expires_at_ms=w.clock.ms + 4 * MINUTE), Fault.FROM_THE_FUTURE),
    "lives too long": (lambda w: resigned(w, expires_at_ms=w.clock.ms + 6 * MINUTE), Fault.MALFORMED),
    "unsigned": (unsigned, Fault.BAD_SIGNATURE),
    "signed by another": (signed_by_another, Fault.BAD_SIGNATURE),
    "in another's name": (in_anothers_name, Fault.BAD_SIGNATURE),
    "relabelled": (relabelled, Fault.BAD_SIGNATURE),
    "padded": (padded, Fault.TOO_LARGE),
    "no protobuf": (lambda w: dataclasses.replace(unsigned(w), payload=b"\xff\xff\xff"), Fault.MALFORMED),
    "another type": (lambda w: dataclasses.replace(unsigned(w), payload_type=Bid.TYPE), Fault.WRONG_TYPE),
    "no hold for the lease": (lambda w: w.capture_order("bob", "nowhere", 5).envelope, Fault.UNKNOWN),
}  # fmt: skip


@pytest.mark.parametrize(("make", "fault"), BAD.values(), ids=BAD.keys())
def test_a_bad_document_is_refused_and_changes_nothing(funded, make, fault):
    bad, state = make(funded), funded.state()
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(bad)
    assert caught.value.fault is fault
    good = funded.sign("alice", Pay, funded.carol.did, 1, "").envelope
    [refusal, done] = funded.ledger.submit_many([bad, good])
    assert isinstance(refusal, PeerError)
    assert done.payload_type == Posted.TYPE, "its neighbours in the transaction don't suffer"
    assert len(funded.state()["events"]) == len(state["events"]) + 1


@pytest.mark.parametrize("bit", range(0, 8 * 180, 37))
def test_a_flipped_bit_is_refused(funded, bit):
    order = funded.sign("alice", Pay, funded.carol.did, 5, "").envelope
    payload = bytearray(order.payload)
    payload[bit // 8 % len(payload)] ^= 1 << bit % 8
    state = funded.state()
    with pytest.raises(PeerError):
        funded.ledger.submit(dataclasses.replace(order, payload=bytes(payload)))
    assert funded.state() == state


REFUSALS = {
    "spending what one lacks": (lambda w: w.pay("carol", "bob", 1), ReasonCode.FUNDS_SHORT),
    "holding what is held": (lambda w: w.hold("alice", "bob", "M", 701), ReasonCode.FUNDS_SHORT),
    "a second hold for a lease": (lambda w: w.hold("alice", "bob", "L", 1), ReasonCode.HOLD_EXISTS),
    "issuing by anyone": (lambda w: w.give(w.sign("alice", Issue, w.alice.did, 5, "x")), ReasonCode.NOT_ENTITLED),
    "capturing another's hold": (lambda w: w.capture("carol", "L", 5), ReasonCode.NOT_ENTITLED),
    "releasing by the payer": (lambda w: w.capture("alice", "L", final=True), ReasonCode.NOT_ENTITLED),
    "a voucher of one's own": (lambda w: w.capture("bob", "L", 5, payer="bob"), ReasonCode.VOUCHER_WRONG),
    "the same lock twice": (lambda w: w.capture("bob", "L", 5, [("a", 5), ("a", 6)]), ReasonCode.VOUCHER_WRONG),
    "a key for no lock": (lambda w: w.capture("bob", "L", 5, [("a", 5)], ["b"]), ReasonCode.VOUCHER_WRONG),
    "a hold without end": (lambda w: w.hold("alice", "bob", "M", 1, lasts=limits.HOLD_MAX_MS + 1),
                           ReasonCode.EXPIRY_TOO_LATE),
}  # fmt: skip


@pytest.mark.parametrize(("order", "code"), REFUSALS.values(), ids=REFUSALS.keys())
def test_the_book_refuses_with_a_reason_and_changes_nothing(funded, order, code):
    state = funded.state()
    refused(order(funded), code)
    assert funded.state() == state


def test_a_lowered_voucher_takes_nothing_back(funded):
    funded.capture("bob", "L", 200)
    lowered = funded.capture("bob", "L", 50)
    assert (lowered.paid, lowered.captured) == (0, 200)


def test_a_voucher_over_the_cap_pays_the_cap(funded):
    assert funded.capture("bob", "L", 5000).paid == 300
    assert funded.balance("alice") == (700, 0, 0)


@pytest.mark.parametrize("length", [0, 1, 31, 33, 64])
def test_a_key_of_any_other_length_never_gets_in(funded, length):
    order = funded.capture_order("bob", "L", 5, [("a", 5)], ["a"])
    with pytest.raises(LocalError):
        funded.bob.sign(dataclasses.replace(order.doc, keys=(bytes(length),)))
    odd = wire.to_generated(order.doc)
    odd.keys[0] = bytes(length)
    payload = odd.SerializeToString()
    encoding = envelope.pre_authentication_encoding(Capture.TYPE, payload)
    signature = Signature(funded.bob.did, funded.bob.signer.sign(encoding))
    with pytest.raises(PeerError) as caught:
        funded.ledger.submit(Envelope(payload, Capture.TYPE, (signature,)))
    assert caught.value.fault is Fault.MALFORMED


# --- time ----------------------------------------------------------------------------------------------------
def test_a_hold_expires_by_the_ledgers_clock_and_gives_back_the_rest(funded):
    funded.capture("bob", "L", 100)
    funded.clock.ms += 60 * MINUTE - 1
    assert funded.ledger.expire() == 0
    funded.clock.ms += 1
    assert funded.ledger.expire() == 1
    assert funded.ledger.expire() == 0
    assert funded.balance("alice") == (900, 0, 0)
    refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)


def test_a_capture_that_arrives_at_the_expiry_is_too_late_whoever_looked_before(funded):
    funded.clock.ms += 60 * MINUTE
    refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)
    assert funded.balance("alice") == (1000, 0, 0)


def test_what_an_expired_hold_gives_back_can_be_spent_by_the_very_next_order(funded):
    assert isinstance(funded.pay("alice", "carol", 701), Decline)
    funded.clock.ms += 60 * MINUTE
    assert isinstance(funded.pay("alice", "carol", 1000), Posted)


def test_a_capture_may_wait_for_the_ledger_as_long_as_its_hold_lasts(funded):
    def lasting(lifetime):
        doc = funded.capture_order("bob", "L", 100).doc
        head = dataclasses.replace(doc.head, expires_at_ms=doc.head.issued_at_ms + lifetime)
        return funded.bob.sign(dataclasses.replace(doc, head=head))

    patient = lasting(60 * MINUTE)
    funded.clock.ms += 59 * MINUTE
    assert funded.give(patient).paid == 100
    with pytest.raises(PeerError) as caught:
        funded.give(lasting(limits.HOLD_MAX_MS + 1))
    assert caught.value.fault is Fault.MALFORMED


def test_a_late_capture_is_refused_even_when_more_holds_are_due_than_one_sweep_closes(funded, monkeypatch):
    funded.hold("alice", "bob", "M", 10, lasts=1)
    monkeypatch.setattr(Batch, "due", lambda self, at_ms: [])
    funded.clock.ms += 60 * MINUTE
    refused(funded.capture("bob", "L", 200), ReasonCode.HOLD_CLOSED)
    refused(funded.capture("bob", "M", 5, final=True), ReasonCode.HOLD_CLOSED)
    assert funded.balance("alice") == (1000, 0, 0)


def test_after_a_start_nothing_expires_for_one_margin(make_world, tmp_path, tools):
    world = make_world(tmp_path / "book.db", grace_ms=tools.margin_ms)
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    world.hold("alice", "bob", "M", 300)
    world.clock.ms += 24 * 60 * MINUTE  # the ledger was down while both holds ran out
    world.restart()
    assert world.ledger.expire() == 0
    assert world.capture("bob", "L", 200).paid == 200
    world.clock.ms += tools.margin_ms - 1
    assert world.ledger.expire() == 0
    world.clock.ms += 1
    assert world.ledger.expire() == 2
    refused(world.capture("bob", "M", 200), ReasonCode.HOLD_CLOSED)
    assert world.balance("alice") == (800, 0, 0)


def test_a_clock_that_goes_back_stops_the_ledger_instead_of_writing_nonsense(funded, tools):
    funded.clock.ms -= tools.skew_ms
    assert isinstance(funded.pay("alice", "bob", 1), Posted)
    funded.clock.ms -= 1
    order = funded.sign("alice", Pay, funded.bob.did, 1, "").envelope
    with pytest.raises(LocalError, match="clock went back"):
        funded.ledger.submit(order)
    funded.clock.ms += tools.skew_ms
    assert funded.ledger.submit(order).payload_type == Posted.TYPE


# --- races ---------------------------------------------------------------------------------------------------
def test_captures_that_race_in_threads_never_pay_more_than_the_best_of_them(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    orders = [world.capture_order("bob", "L", 10 * n).envelope for n in range(1, 25)]
    answers, gate = [], threading.Barrier(8)

    def capture(mine):
        gate.wait()
        answers.extend(Ledger.submit(world.ledger, order) for order in mine)

    threads = [threading.Thread(target=capture, args=(orders[n::8],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    paid = [envelope.read(answer, Captured).doc.paid for answer in answers]
    assert sum(paid) == 240
    assert world.balance("alice") == (700, 60, 0)
    assert world.balance("bob") == (240, 0, 60)


def test_holds_that_race_for_the_same_credits(make_world, tmp_path):
    world = make_world(tmp_path / "book.db")
    world.issue("alice", 100)
    orders = [world.hold_order("alice", "bob", f"L{n}", 30).envelope for n in range(8)]
    answers = []
    threads = [threading.Thread(target=lambda o=o: answers.append(world.ledger.submit(o))) for o in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answer.payload_type for answer in answers) == [Decline.TYPE] * 5 + [Hold.TYPE] * 3
    assert world.balance("alice") == (10, 90, 0)


def test_orders_in_one_transaction_see_each_other(world):
    world.issue("alice", 100)
    orders = [
        world.hold_order("alice", "bob", "L", 100),
        world.sign("alice", Pay, world.carol.did, 1, ""),
        world.sign("bank", Issue, world.alice.did, 1, "same"),
        world.sign("bank", Issue, world.alice.did, 1, "same"),
        world.sign("alice", Pay, world.carol.did, 1, ""),
    ]
    kinds = [answer.payload_type for answer in world.ledger.submit_many([order.envelope for order in orders])]
    assert kinds == [Hold.TYPE, Decline.TYPE, Posted.TYPE, Decline.TYPE, Posted.TYPE]


def test_a_capture_comes_after_the_answer_to_its_hold(world):
    """The cheap check of the lease looks at what is committed: no payee knows of a hold before its answer is out."""
    world.issue("alice", 100)
    hold, capture = world.hold_order("alice", "bob", "L", 100), world.capture_order("bob", "L", 5)
    answers = world.ledger.submit_many([hold.envelope, capture.envelope])
    assert answers[0].payload_type == Hold.TYPE
    assert isinstance(answers[1], PeerError)
    assert isinstance(world.give(capture), Captured)


def test_the_book_of_another_identity_is_not_opened(world):
    with pytest.raises(LocalError):
        Ledger(world.alice, world.store)


def test_a_hold_order_is_what_it_says(funded):
    """A payee's name in somebody else's order gives the payee nothing but the right to capture."""
    order = funded.sign("carol", HoldOrder, b"x" * 32, funded.bob.did, 5, funded.clock.ms + MINUTE)
    refused(funded.give(order), ReasonCode.FUNDS_SHORT)
