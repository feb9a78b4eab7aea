"""Who sees what: an account its own affairs, a party its lease, operator and auditors all, a stranger nothing."""

import dataclasses

import pytest

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.journal import Auditor, JournalPage
from gpufair.protocol.messages import Balance, Decline, Event, HoldState, JournalHead, Query, QueryKind, ReasonCode


@pytest.fixture
def busy(funded):
    """Two pairs of people who have nothing to do with each other."""
    funded.capture("bob", "L", 100, [("a", 50)], ["a"])
    funded.issue("carol", 500)
    funded.hold("carol", "dave", "M", 200)
    funded.capture("dave", "M", 20, payer="carol", final=True)
    funded.pay("alice", "erin", 5)
    return funded


def code(answer):
    assert answer.payload_type == Decline.TYPE
    return envelope.read(answer, Decline).doc.reasons[0].code


@pytest.mark.parametrize(("asker", "kind", "subject", "answer"), [
    ("alice", QueryKind.BALANCE, "alice", Balance),
    ("bank", QueryKind.BALANCE, "alice", Balance),
    ("bob", QueryKind.BALANCE, "alice", ReasonCode.NOT_ENTITLED),
    ("nobody", QueryKind.BALANCE, "nobody", Balance),
    ("alice", QueryKind.HOLD, "L", HoldState),
    ("bob", QueryKind.HOLD, "L", HoldState),
    ("bank", QueryKind.HOLD, "L", HoldState),
    ("carol", QueryKind.HOLD, "L", ReasonCode.NOT_ENTITLED),
    ("carol", QueryKind.HOLD, "X", ReasonCode.HOLD_UNKNOWN),
])  # fmt: skip
def test_questions(busy, tools, asker, kind, subject, answer):
    about = {"name": subject} if kind is QueryKind.HOLD else {"account": subject}
    got = busy.ledger.ask(busy.query(asker, kind, **about))
    if isinstance(answer, ReasonCode):
        assert code(got) is answer
    else:
        assert envelope.authenticate(envelope.read(got, answer)).issuer == busy.bank.did


def test_keys_are_given_from_the_one_the_asker_lacks(busy, tools):
    busy.capture("bob", "L", 150, [("b", 10), ("c", 10)], ["b", "c"])
    every = (tools.key("a"), tools.key("b"), tools.key("c"))
    assert [busy.hold_state("alice", "L", since=n).keys for n in range(4)] == [every, every[1:], every[2:], ()]


@pytest.mark.parametrize("who", ["alice", "bob", "carol", "dave", "erin"])
def test_everyone_can_audit_the_whole_chain_and_sees_only_their_own(busy, who):
    page = busy.page(who)
    own = [wire.decode(Event, item) for item in page.events if len(item) > 32]
    assert own, "each of them has taken part"
    assert len(own) < len(page.events)
    leases = {event.lease for event in own if event.lease}
    assert all(event.lease in leases or any(leg.account == busy.did(who) for leg in event.legs) for event in own)
    auditor = Auditor(busy.bank.did, busy.did(who))
    auditor.feed(page.events, page.head)
    balance = busy.ledger.ask(busy.query(who, QueryKind.BALANCE))
    auditor.check_balance(envelope.read(balance, Balance))
    assert auditor.report().findings == ()


def test_nothing_of_a_stranger_shows_in_the_bytes_one_gets(busy):
    for page in (busy.page("alice"), busy.page("alice", kind=QueryKind.STATEMENT)):
        seen = b"".join(page.events)
        assert busy.alice.did.encode() in seen
        assert busy.carol.did.encode() not in seen
        assert busy.dave.did.encode() not in seen


@pytest.mark.parametrize("who", ["bank", "watcher"])
def test_operator_and_auditors_see_everything(make_world, who):
    world = make_world(auditors=("watcher",))
    world.issue("alice", 10)
    world.pay("alice", "bob", 3)
    page = world.page(who)
    auditor = Auditor(world.bank.did)
    auditor.feed(page.events, page.head)
    assert auditor.report().ok
    assert envelope.read(page.head, JournalHead).doc.head.audience == (world.did(who),)


def test_a_stranger_gets_no_journal_and_nobody_a_strangers_statement(busy):
    assert code(busy.page("nobody")) is ReasonCode.ACCOUNT_UNKNOWN
    assert code(busy.page("alice", kind=QueryKind.STATEMENT, account="bob")) is ReasonCode.NOT_ENTITLED


def test_a_statement_is_ones_own_events_in_order(busy):
    page = busy.page("alice", kind=QueryKind.STATEMENT)
    assert [wire.decode(Event, item).sequence for item in page.events] == [1, 2, 3, 7]
    assert busy.page("alice", kind=QueryKind.STATEMENT, since=4).events == page.events[3:]
    assert busy.page("bank", kind=QueryKind.STATEMENT, account="alice").events == page.events


def test_pages_follow_each_other_to_the_end(busy, monkeypatch):
    monkeypatch.setattr(limits, "JOURNAL_PAGE", 3)
    auditor, sizes = Auditor(busy.bank.did, busy.alice.did), []
    while (page := busy.page("alice", since=auditor.sequence + 1)).events:
        auditor.feed(page.events, page.head)
        sizes.append(len(page.events))
        if len(sizes) == 1:
            busy.pay("alice", "erin", 1)  # the journal grows while it is read
    auditor.feed((), page.head)
    assert sizes == [3, 3, 2]
    assert auditor.report().findings == ()


def test_a_page_fits_into_a_message(world):
    world.issue("alice", 10**9)
    orders = [world.sign("alice", Query, QueryKind.BALANCE, world.alice.did, b"", 0) for _ in range(2)]
    world.hold("alice", "bob", "L", 10**6)
    keys = [f"k{n}" for n in range(16)]
    orders = [world.capture_order("bob", "L", 100 * n, [(k, 1) for k in keys], keys).envelope for n in range(1, 401)]
    world.ledger.submit_many(orders)
    page = world.page("bank")
    assert 100 < len(page.events) < 402, "this page is bounded by its bytes"
    assert len(wire.encode(page)) < limits.MESSAGE_MAX
    assert isinstance(wire.from_generated(JournalPage, wire.to_generated(page)), JournalPage)


def test_questions_of_the_wrong_kind_are_refused(busy):
    with pytest.raises(PeerError):
        busy.ledger.ask(busy.query("alice", QueryKind.JOURNAL))
    with pytest.raises(PeerError):
        busy.ledger.journal(busy.query("alice", QueryKind.BALANCE))


def test_a_question_is_for_this_ledger_in_time_signed_and_under_an_id_of_its_own(busy):
    query = busy.sign("alice", Query, QueryKind.BALANCE, busy.alice.did, b"", 0)
    first = busy.ledger.ask(query.envelope)
    assert envelope.read(busy.ledger.ask(query.envelope), Balance).doc.available == \
        envelope.read(first, Balance).doc.available  # fmt: skip
    other = busy.alice.sign(dataclasses.replace(query.doc, since=1))
    foreign = busy.sign("alice", Query, QueryKind.BALANCE, busy.alice.did, b"", 0, audience=(busy.bob.did,))
    forged = dataclasses.replace(query.envelope, payload=other.envelope.payload)
    for bad, fault in ((other.envelope, Fault.REPLAYED_DIFFERENT), (foreign.envelope, Fault.WRONG_AUDIENCE),
                       (forged, Fault.BAD_SIGNATURE)):  # fmt: skip
        with pytest.raises(PeerError) as caught:
            busy.ledger.ask(bad)
        assert caught.value.fault is fault
    busy.clock.ms += 8 * 60_000
    with pytest.raises(PeerError) as caught:
        busy.ledger.ask(query.envelope)
    assert caught.value.fault is Fault.EXPIRED
