"""The journal, honest and tampered with: each lie that a ledger could tell in it is a finding."""

import dataclasses

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpufair.protocol import book, envelope, journal, wire
from gpufair.protocol.book import Funds
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.journal import START, Auditor, JournalPage, digest, link, verify
from gpufair.protocol.messages import (
    Balance,
    Bucket,
    Capture,
    Event,
    EventKind,
    Head,
    HoldOrder,
    Issue,
    JournalHead,
    Leg,
    Pay,
    Voucher,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
BANK, ALICE, BOB, CAROL = (KeySigner.from_seed(bytes([n]) * 32) for n in (1, 2, 3, 4))
LEASE, OTHER_LEASE = b"l" * 32, b"m" * 32


class Chain:
    """A ledger on one page: an Auditor is a book, so it keeps the state; this only adds orders to it."""

    def __init__(self):
        self.events: list[Event] = []
        self.now = NOW
        self.ids = 0
        self.state = Auditor(BANK.did)

    def head(self, who, *audience):
        self.ids += 1
        return Head(who.did, audience or (BANK.did,), self.ids.to_bytes(16, "big"), self.now, self.now + 60_000)

    def order(self, who, kind, *args, audience=()):
        order = envelope.sign(kind(self.head(who, *audience), *args), who)
        posting = book.decide(self.state, BANK.did, book.instruct(order), self.now)
        assert isinstance(posting, book.Posting), posting
        return self.post(posting, order.bytes)

    def expire(self, lease):
        return self.post(book.expire(self.state.hold(lease), self.now), b"")

    def post(self, posting, instruction):
        previous = self.state.hash
        event = Event(len(self.events) + 1, previous, posting.kind, self.now, posting.lease, instruction, posting.legs)
        self.events.append(event)
        self.state.feed([wire.encode(event)])
        return event

    def items(self):
        return [wire.encode(event) for event in self.events]

    def rechained(self, events):
        """What a lying ledger would show: the same events, with links and numbers made right again."""
        items, previous = [], START
        for number, event in enumerate(events, 1):
            items.append(wire.encode(dataclasses.replace(event, sequence=number, previous=previous)))
            previous = link(previous, digest(items[-1]))
        return items

    def signed_head(self, items=None, who=BANK, sequence=None):
        hash_ = START
        for item in self.items() if items is None else items:
            hash_ = link(hash_, item if len(item) == 32 else digest(item))
        count = len(self.events if items is None else items) if sequence is None else sequence
        return envelope.sign(JournalHead(self.head(who, ALICE.did), count, hash_), who).envelope


def story() -> Chain:
    """Issue, hold, capture, pay, a hold that expires: one of every kind but a redemption."""
    chain = Chain()
    chain.order(BANK, Issue, ALICE.did, 1000, "cash 1")
    chain.order(BANK, Issue, CAROL.did, 50, "cash 2")
    chain.order(ALICE, HoldOrder, LEASE, BOB.did, 300, NOW + HOUR)
    voucher = envelope.sign(Voucher(chain.head(ALICE, BANK.did, BOB.did), LEASE, 120, ()), ALICE)
    chain.order(BOB, Capture, LEASE, voucher.bytes, (), False)
    chain.order(CAROL, Pay, ALICE.did, 7, "thanks")
    chain.order(ALICE, HoldOrder, OTHER_LEASE, CAROL.did, 10, NOW + HOUR)
    chain.order(BOB, Capture, LEASE, b"", (), True)
    chain.now += HOUR
    chain.expire(OTHER_LEASE)
    return chain


def test_an_honest_journal_has_no_findings():
    chain = story()
    audit = verify(chain.items(), chain.signed_head(), BANK.did)
    assert audit.findings == ()
    assert (audit.sequence, audit.visible, audit.heads, audit.ok) == (8, 8, 1, True)


def test_the_fold_is_the_balance():
    chain = story()
    assert chain.state.funds(ALICE.did) == Funds(0, 1000 - 120 + 7, 0)
    assert chain.state.funds(BOB.did) == Funds(0, 120, 0)
    assert chain.state.funds(BANK.did) == Funds(-1050, 0, 0)


def test_an_account_audits_its_own_share_of_a_journal_full_of_digests():
    chain = story()
    mine = {3, 4, 7}
    items = [item if n in mine else digest(item) for n, item in enumerate(chain.items(), 1)]
    audit = verify(items, chain.signed_head(), BANK.did, account=BOB.did)
    assert audit.findings == ()
    assert audit.visible == 3
    assert not verify(items, chain.signed_head(), BANK.did).ok, "a full audit accepts no hidden event"


def test_an_event_that_a_signed_answer_named_can_not_be_hidden():
    chain = story()
    items = [digest(item) for item in chain.items()]
    for expected, ok in (((), True), ((4,), False)):
        auditor = Auditor(BANK.did, BOB.did, expected)
        auditor.feed(items, chain.signed_head())
        assert auditor.report().ok is ok


def test_pages_are_checked_as_they_come_and_heads_may_run_ahead():
    chain = story()
    auditor, items = Auditor(BANK.did), chain.items()
    auditor.feed(items[:3], chain.signed_head())
    assert not auditor.report().ok, "the head says that there is more"
    auditor.feed(items[3:], chain.signed_head())
    auditor.feed((), chain.signed_head())
    assert auditor.report().findings == ()


def test_a_balance_is_compared_with_the_fold():
    chain = story()
    for available, found in ((887, 0), (886, 1)):
        auditor = Auditor(BANK.did, ALICE.did)
        auditor.feed(chain.items(), chain.signed_head())
        said = Balance(chain.head(BANK, ALICE.did), ALICE.did, available, 0, 0, 8)
        auditor.check_balance(envelope.sign(said, BANK))
        assert len(auditor.report().findings) == found


@pytest.mark.parametrize(("event", "available", "findings"), [
    (3, 700, []), (4, 700, []), (8, 887, []), (3, 701, ["add up to 700 + 300"]), (9, 887, ["journal ends earlier"]),
])  # fmt: skip
def test_a_balance_asked_for_first_is_compared_when_the_journal_gets_there(event, available, findings):
    chain = story()
    held = {3: 300, 4: 180}.get(event, 0)
    auditor = Auditor(BANK.did, ALICE.did)
    said = Balance(chain.head(BANK, ALICE.did), ALICE.did, available, held, 0, event)
    auditor.check_balance(envelope.sign(said, BANK))
    auditor.feed(chain.items(), chain.signed_head())
    found = auditor.report().findings
    assert len(found) == len(findings)
    assert all(word in finding.what for word, finding in zip(findings, found, strict=True))


# --- lies: what the ledger does to an honest story, and a word of the finding that must come out -------------------
def legs_changed(chain):
    chain.events[4] = dataclasses.replace(
        chain.events[4], legs=(Leg(CAROL.did, Bucket.AVAILABLE, -8), Leg(ALICE.did, Bucket.AVAILABLE, 8))
    )


def money_made(chain):
    chain.events[4] = dataclasses.replace(chain.events[4], legs=(Leg(ALICE.did, Bucket.AVAILABLE, 7),))


def taken_below_zero(chain):
    chain.events[4] = dataclasses.replace(
        chain.events[4], legs=(Leg(CAROL.did, Bucket.AVAILABLE, -51), Leg(ALICE.did, Bucket.AVAILABLE, 51))
    )


def kind_changed(chain):
    chain.events[4] = dataclasses.replace(chain.events[4], kind=EventKind.ISSUED)


def lease_changed(chain):
    chain.events[3] = dataclasses.replace(chain.events[3], lease=OTHER_LEASE)


def time_turned_back(chain):
    chain.events[4] = dataclasses.replace(chain.events[4], at_ms=NOW - 1)


def executed_long_after(chain):
    chain.events[4:] = [dataclasses.replace(e, at_ms=NOW + 2 * HOUR) for e in chain.events[4:]]


def executed_twice(chain):
    chain.events.insert(5, chain.events[4])


def event_left_out(chain):
    del chain.events[0]


def expired_too_early(chain):
    chain.events[7] = dataclasses.replace(chain.events[7], at_ms=NOW + HOUR - 1)


def expired_with_an_instruction(chain):
    chain.events[7] = dataclasses.replace(chain.events[7], instruction=chain.events[6].instruction)


def expired_what_was_never_held(chain):
    chain.events[7] = dataclasses.replace(chain.events[7], lease=b"n" * 32)


def instruction_missing(chain):
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=b"")


def signature_broken(chain):
    data = bytearray(chain.events[4].instruction)
    data[-1] ^= 1
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=bytes(data))


def signed_by_another(chain):
    stolen = envelope.from_bytes(chain.events[4].instruction, Pay)
    signature = dataclasses.replace(stolen.envelope.signatures[0], sig=BOB.sign(b"anything"))
    forged = dataclasses.replace(stolen.envelope, signatures=(signature,))
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=wire.encode(forged))


def order_for_another_ledger(chain):
    chain.now = NOW
    order = envelope.sign(Pay(chain.head(CAROL, BOB.did), ALICE.did, 7, ""), CAROL)
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=order.bytes)


def order_for_everybody(chain):
    chain.now = NOW
    order = envelope.sign(Pay(chain.head(CAROL, "*"), ALICE.did, 7, ""), CAROL)
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=order.bytes)


def order_that_the_book_refuses(chain):
    chain.now = NOW
    order = envelope.sign(Pay(chain.head(CAROL), ALICE.did, 51, ""), CAROL)
    chain.events[4] = dataclasses.replace(chain.events[4], instruction=order.bytes)


def voucher_of_somebody_else(chain):
    chain.now = NOW
    voucher = envelope.sign(Voucher(chain.head(BOB, BANK.did, BOB.did), LEASE, 120, ()), BOB)
    order = envelope.sign(Capture(chain.head(BOB), LEASE, voucher.bytes, (), False), BOB)
    chain.events[3] = dataclasses.replace(chain.events[3], instruction=order.bytes)


def issued_by_somebody_else(chain):
    chain.now = NOW
    order = envelope.sign(Issue(chain.head(ALICE), ALICE.did, 1000, "x"), ALICE)
    chain.events[0] = dataclasses.replace(chain.events[0], instruction=order.bytes)


LIES = {
    legs_changed: "something else",
    money_made: "sum to zero",
    taken_below_zero: "below zero",
    kind_changed: "something else",
    lease_changed: "something else",
    time_turned_back: "older than",
    executed_long_after: "not valid at that time",
    executed_twice: "executed before",
    event_left_out: "refuses",
    expired_too_early: "still runs",
    expired_with_an_instruction: "with an instruction",
    expired_what_was_never_held: "of no hold",
    instruction_missing: "payload",
    signature_broken: "signature",
    signed_by_another: "signature",
    order_for_another_ledger: "addressed to one ledger",
    order_for_everybody: "addressed to one ledger",
    order_that_the_book_refuses: "funds short",
    voucher_of_somebody_else: "voucher wrong",
    issued_by_somebody_else: "not entitled",
}


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_a_lie_with_a_freshly_made_chain_and_head_is_found(lie):
    chain = story()
    lie(chain)
    items = chain.rechained(chain.events)
    findings = verify(items, chain.signed_head(items), BANK.did).findings
    assert any(LIES[lie] in finding.what for finding in findings), findings


@pytest.mark.parametrize("change", [{"previous": START}, {"sequence": 4}])
def test_an_event_that_names_another_place_in_the_chain(change):
    chain = story()
    items = chain.items()
    items[4] = wire.encode(dataclasses.replace(chain.events[4], **change))
    findings = verify(items[:5], chain.signed_head(items[:5]), BANK.did).findings
    assert [finding.what for finding in findings] == ["the event names another predecessor"]


def test_two_signed_heads_for_one_event_are_a_lie_whatever_else_is_true():
    chain, other = story(), story()
    legs_changed(other)
    auditor = Auditor(BANK.did)
    lie, truth = other.signed_head(other.rechained(other.events)), chain.signed_head()
    auditor.feed((), lie)
    assert (auditor.two_heads, auditor.newest_head) == (None, lie)
    auditor.feed(chain.items(), truth)
    assert any("two signed heads" in finding.what for finding in auditor.report().findings)
    assert auditor.two_heads == (lie, truth)


@pytest.mark.parametrize(
    ("what", "head"),
    [
        ("by another", lambda chain: chain.signed_head(who=ALICE)),
        ("beyond the end", lambda chain: chain.signed_head(sequence=9)),
        ("before the end", lambda chain: chain.signed_head(chain.items()[:7])),
        ("of other events", lambda chain: chain.signed_head(chain.items()[::-1])),
        ("no head at all", lambda chain: envelope.sign(Pay(chain.head(BANK), BOB.did, 1, ""), BANK).envelope),
    ],
)
def test_a_head_that_does_not_fit(what, head):
    chain = story()
    assert not verify(chain.items(), head(chain), BANK.did).ok, what


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_any_flipped_bit_anywhere_is_found_and_nothing_raises(data):
    chain = STORY
    items = chain.items()
    where = data.draw(st.integers(0, len(items) - 1))
    at = data.draw(st.integers(0, len(items[where]) * 8 - 1))
    broken = bytearray(items[where])
    broken[at // 8] ^= 1 << at % 8
    items[where] = bytes(broken)
    assert not verify(items, STORY_HEAD, BANK.did).ok


@settings(deadline=None)
@given(st.lists(st.binary(max_size=80), max_size=5))
def test_noise_is_findings_never_an_exception(items):
    assert not verify([*items, b""], STORY_HEAD, BANK.did).ok


STORY = story()
STORY_HEAD = STORY.signed_head()


def test_a_page_travels():
    page = JournalPage((STORY.items()[0], bytes(32)), STORY_HEAD)
    assert wire.from_generated(JournalPage, wire.to_generated(page)) == page


def test_the_hash_of_a_chain_is_what_the_document_says():
    """Frozen: a client written tomorrow must chain today's journals."""
    first = link(START, digest(b"event"))
    assert first.hex() == "ac87c697203396ef1edd3a55c6780097b6b6761d8aad5aff95c0301d48702f9f"
    assert journal.TAG == b"gpufair-journal-v1\0"
