"""The book as an accountant would check it: every line is an order, and what the accounts are after it.

`name=5+2` means 5 available and 2 held; `paid=`, `back=` what a capture moved; a word in capitals is a refusal, which
must leave every account as it was. All accounts not named on a line must not have changed.
"""

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpufair.protocol import book, envelope, limits
from gpufair.protocol.book import Funds, HoldRow, Posting, Unchanged
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Bucket,
    Capture,
    EventKind,
    Head,
    HoldOrder,
    Issue,
    Leg,
    Lock,
    Pay,
    Reason,
    ReasonCode,
    Redeem,
    Voucher,
)

NOW = 1_800_000_000_000
HOUR = 3_600_000
PEOPLE = {name: KeySigner.from_seed(name.encode().ljust(32)) for name in ("bank", "alice", "bob", "carol", "other")}
BANK = PEOPLE["bank"].did


def lease_of(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def key_of(name: str) -> bytes:
    return hashlib.sha256(b"key" + name.encode()).digest()


def lock_of(name: str) -> bytes:
    return hashlib.sha256(key_of(name)).digest()


class Memory:
    """The smallest book there can be."""

    def __init__(self):
        self.accounts: dict[str, Funds] = {}
        self.holds: dict[bytes, HoldRow] = {}
        self.references: set[tuple[EventKind, str]] = set()
        self.now = NOW
        self.orders = 0

    def funds(self, did):
        return self.accounts.get(did, Funds())

    def hold(self, lease):
        return self.holds.get(lease)

    def reference_used(self, kind, reference):
        return (kind, reference) in self.references

    def head(self, who, *audience):
        self.orders += 1
        return Head(PEOPLE[who].did, audience or (BANK,), self.orders.to_bytes(16, "big"), self.now, self.now + 60_000)

    def sign(self, who, doc):
        return envelope.sign(doc, PEOPLE[who])

    def take(self, outcome):
        if isinstance(outcome, Posting):
            self.accounts.update(book.after(self, outcome.legs))
            if outcome.hold is not None:
                self.holds[outcome.lease] = outcome.hold
            if outcome.reference:
                self.references.add((outcome.kind, outcome.reference))
        return outcome

    def give(self, who, doc):
        return self.take(book.decide(self, BANK, book.instruct(self.sign(who, doc)), self.now))

    def voucher(self, payer, payee, lease, unlocked, locks=(), audience=None):
        head = self.head(payer, *(audience or (BANK, PEOPLE[payee].did)))
        return self.sign(payer, Voucher(head, lease_of(lease), unlocked, tuple(locks)))


def obey(memory: Memory, words: list[str]):
    """Execute one line of a table."""
    options = dict(word.split(":") for word in words if ":" in word)
    verb, *args = [word for word in words if ":" not in word and word not in ("final", "=")]
    if verb == "tick":
        memory.now += int(args[0])
        return None
    if verb == "expire":
        return memory.take(book.expire(memory.holds[lease_of(args[0])], memory.now))
    if verb in ("issue", "redeem"):
        kind = Issue if verb == "issue" else Redeem
        head = memory.head(options.get("by", "bank"))
        doc = kind(head, PEOPLE[args[0]].did, int(args[1]), options.get("ref", f"cash {memory.orders}"))
        return memory.give(options.get("by", "bank"), doc)
    if verb == "pay":
        return memory.give(args[0], Pay(memory.head(args[0]), PEOPLE[args[1]].did, int(args[2]), ""))
    if verb == "hold":
        payer, payee, lease, amount = args
        until = memory.now + int(options.get("for", HOUR))
        return memory.give(payer, HoldOrder(memory.head(payer), lease_of(lease), PEOPLE[payee].did, int(amount), until))
    assert verb == "capture", verb
    return capture(memory, args, options, final="final" in words)


def capture(memory: Memory, args: list[str], options: dict[str, str], *, final: bool):
    payee, lease, *unlocked = args
    voucher = b""
    if unlocked:
        locks = [item.split("@") for item in options.get("locks", "").split(",") if item]
        voucher = memory.voucher(
            options.get("signed", "alice"), options.get("payee", payee), options.get("of", lease), int(unlocked[0]),
            [Lock(int(amount), lock_of(name)) for name, amount in locks],
        ).bytes  # fmt: skip
    keys = tuple(key_of(name) for name in options.get("keys", "").split(",") if name)
    return memory.give(payee, Capture(memory.head(payee), lease_of(lease), voucher, keys, final))


TABLES = {
    "credits come in and go out only with the bank's signature": """
        issue alice 100              = alice=100+0 issued=-100
        redeem alice 40              = alice=60+0 issued=-60
        redeem alice 61              = FUNDS_SHORT 61 60
        issue alice 5 by:alice       = NOT_ENTITLED
        redeem alice 5 by:alice      = NOT_ENTITLED
        redeem alice 5 by:bob        = NOT_ENTITLED
    """,
    "a payment outside is booked once in each direction": """
        issue alice 100 ref:bank-7   = alice=100+0 issued=-100
        issue alice 100 ref:bank-7   = REFERENCE_USED
        issue bob 1 ref:bank-7       = REFERENCE_USED
        redeem alice 1 ref:bank-7    = alice=99+0 issued=-99
        redeem alice 1 ref:bank-7    = REFERENCE_USED
    """,
    "all credits together stay within the limit": f"""
        issue alice {limits.AMOUNT_MAX}  = alice={limits.AMOUNT_MAX}+0 issued=-{limits.AMOUNT_MAX}
        issue bob 1                  = LIMIT {limits.AMOUNT_MAX + 1} {limits.AMOUNT_MAX}
        redeem alice 1               = alice={limits.AMOUNT_MAX - 1}+0 issued=-{limits.AMOUNT_MAX - 1}
        issue bob 1                  = bob=1+0 issued=-{limits.AMOUNT_MAX}
    """,
    "nobody pays what they lack, nor themselves": """
        issue alice 100              = alice=100+0 issued=-100
        pay alice bob 30             = alice=70+0 bob=30+0
        pay alice bob 71             = FUNDS_SHORT 71 70
        pay carol bob 1              = FUNDS_SHORT 1 0
        pay alice alice 1            = NOT_ENTITLED
        pay bob alice 30             = alice=100+0 bob=0+0
    """,
    "a hold reserves, once per lease and for ever": """
        issue alice 100              = alice=100+0 issued=-100
        issue carol 100              = carol=100+0 issued=-200
        hold alice bob L1 60         = alice=40+60
        hold alice bob L1 10         = HOLD_EXISTS
        hold carol bob L1 10         = HOLD_EXISTS
        hold alice bob L2 41         = FUNDS_SHORT 41 40
        hold alice alice L3 1        = NOT_ENTITLED
        pay alice bob 41             = FUNDS_SHORT 41 40
        redeem alice 41              = FUNDS_SHORT 41 40
        capture bob L1 final         = alice=100+0 paid=0 back=60
        hold alice bob L1 60         = HOLD_EXISTS
    """,
    "a hold's end lies ahead, and not too far": f"""
        issue alice 100              = alice=100+0 issued=-100
        hold alice bob L1 10 for:0   = EXPIRED
        hold alice bob L1 10 for:-5  = EXPIRED
        hold alice bob L1 10 for:{limits.HOLD_MAX_MS + 1} = EXPIRY_TOO_LATE
        hold alice bob L1 10 for:{limits.HOLD_MAX_MS} = alice=90+10
    """,
    "captures are cumulative: each pays only the difference": """
        issue alice 100              = alice=100+0 issued=-100
        hold alice bob L1 100        = alice=0+100
        capture bob L1 30            = alice=0+70 bob=30+0 paid=30 back=0
        capture bob L1 30            = unchanged
        capture bob L1 45            = alice=0+55 bob=45+0 paid=15 back=0
        capture bob L1 20            = unchanged
        capture bob L1 45 final      = alice=55+0 paid=0 back=55
    """,
    "a lock pays whoever shows its key, and a folded lock is not paid again": """
        issue alice 100                               = alice=100+0 issued=-100
        hold alice bob L1 100                         = alice=0+100
        capture bob L1 10 locks:a@20,b@30             = alice=0+90 bob=10+0 paid=10 back=0
        capture bob L1 10 locks:a@20,b@30 keys:a      = alice=0+70 bob=30+0 paid=20 back=0
        capture bob L1 30 locks:b@30                  = unchanged
        capture bob L1 30 locks:b@30 keys:b           = alice=0+40 bob=60+0 paid=30 back=0
        capture bob L1 60 final                       = alice=40+0 paid=0 back=40
    """,
    "two captures race: the second pays the difference only": """
        issue alice 100                               = alice=100+0 issued=-100
        hold alice bob L1 100                         = alice=0+100
        capture bob L1 10 locks:a@20 keys:a           = alice=0+70 bob=30+0 paid=30 back=0
        capture bob L1 15 locks:a@20 keys:a final     = alice=65+0 bob=35+0 paid=5 back=65
    """,
    "a voucher over the cap pays the cap": """
        issue alice 100              = alice=100+0 issued=-100
        hold alice bob L1 50         = alice=50+50
        capture bob L1 80            = alice=50+0 bob=50+0 paid=50 back=0
        capture bob L1 90            = unchanged
        capture bob L1 90 final      = paid=0 back=0
        capture bob L1 90 final      = HOLD_CLOSED
    """,
    "a hold closes exactly once": """
        issue alice 100              = alice=100+0 issued=-100
        hold alice bob L1 50         = alice=50+50
        expire L1                    = EXPIRED
        tick 3600000                 =
        expire L1                    = alice=100+0
        expire L1                    = HOLD_CLOSED
        capture bob L1 50            = HOLD_CLOSED
        capture bob L1 final         = HOLD_CLOSED
    """,
    "an expiry gives back only what was not captured": """
        issue alice 100              = alice=100+0 issued=-100
        hold alice bob L1 50         = alice=50+50
        capture bob L1 20            = alice=50+30 bob=20+0 paid=20 back=0
        tick 3600000                 =
        expire L1                    = alice=80+0
    """,
    "only the payee captures, and only with what the payer signed for it": """
        issue alice 100                               = alice=100+0 issued=-100
        hold alice bob L1 50                          = alice=50+50
        hold alice carol L2 50                        = alice=0+100
        capture bob L9 10                             = HOLD_UNKNOWN
        capture alice L1 10                           = NOT_ENTITLED
        capture alice L1 final                        = NOT_ENTITLED
        capture carol L1 10                           = NOT_ENTITLED
        capture bob L1 10 signed:bob                  = VOUCHER_WRONG
        capture bob L1 10 signed:carol                = VOUCHER_WRONG
        capture bob L1 10 of:L2                       = VOUCHER_WRONG
        capture bob L1 10 payee:carol                 = VOUCHER_WRONG
        capture bob L1                                = VOUCHER_WRONG
        capture bob L1 keys:a final                   = VOUCHER_WRONG
        capture bob L1 10 locks:a@5,a@6               = VOUCHER_WRONG
        capture bob L1 10 locks:a@5 keys:b            = VOUCHER_WRONG
        capture bob L1 10 locks:a@5 keys:a,a          = VOUCHER_WRONG
        capture bob L1 10 keys:a                      = VOUCHER_WRONG
        capture bob L1 1000000000000000 locks:a@1     = VOUCHER_WRONG
        capture bob L1 10 locks:a@5 keys:a            = alice=0+85 bob=15+0 paid=15 back=0
    """,
}


@pytest.mark.parametrize("table", TABLES.values(), ids=TABLES.keys())
def test_table(table: str):
    memory = Memory()
    for line in filter(None, (line.strip() for line in table.splitlines())):
        left, _, right = line.partition(" =")
        before = dict(memory.accounts)
        outcome = obey(memory, left.split())
        expect(line, memory, before, outcome, right.split())
        assert sum(f.issued + f.available + f.held for f in memory.accounts.values()) == 0, line
        assert all(f.available >= 0 and f.held >= 0 for f in memory.accounts.values()), line


def expect(line: str, memory: Memory, before: dict[str, Funds], outcome: object, words: list[str]):
    should = dict(before)
    for word in words:
        if word == "unchanged":
            assert isinstance(outcome, Unchanged), line
        elif word.isupper():
            assert isinstance(outcome, Reason), (line, outcome)
            assert outcome.code is ReasonCode[word], (line, outcome)
        elif word.isdecimal():
            assert int(word) in (outcome.wanted, outcome.limit), (line, outcome)
        else:
            name, _, value = word.partition("=")
            if name == "paid":
                assert outcome.paid == int(value), line
            elif name == "back":
                assert outcome.hold.released == int(value), line
            elif name == "issued":
                should[BANK] = replace(should.get(BANK, Funds()), issued=int(value))
            else:
                available, held = value.split("+")
                should[PEOPLE[name].did] = Funds(0, int(available), int(held))
    assert memory.accounts == should, line


def test_a_voucher_that_nobody_signed_pays_nothing():
    memory = funded()
    real = memory.voucher("alice", "bob", "L1", 10)
    forged = replace(real.envelope, payload=memory.voucher("alice", "bob", "L1", 40).envelope.payload)
    for bad in (envelope.Signed(real.doc, real.id, forged).bytes, b"\x00\xff" * 9, real.bytes[:-1]):
        outcome = memory.give("bob", Capture(memory.head("bob"), lease_of("L1"), bad, (), False))
        assert isinstance(outcome, Reason)
        assert outcome.code is ReasonCode.VOUCHER_WRONG


@pytest.mark.parametrize("audience", [("bank",), ("bob",), ("bank", "carol"), ("other", "bob"), ("*",)])
def test_a_voucher_for_others_pays_nothing(audience):
    memory = funded()
    dids = tuple("*" if name == "*" else PEOPLE[name].did for name in audience)
    voucher = memory.voucher("alice", "bob", "L1", 10, audience=dids)
    outcome = memory.give("bob", Capture(memory.head("bob"), lease_of("L1"), voucher.bytes, (), False))
    assert isinstance(outcome, Reason)
    assert outcome.code is ReasonCode.VOUCHER_WRONG


def test_a_voucher_lives_as_long_as_its_hold():
    memory = funded()
    voucher = memory.voucher("alice", "bob", "L1", 10)
    memory.now += HOUR - 1
    outcome = memory.give("bob", Capture(memory.head("bob"), lease_of("L1"), voucher.bytes, (), False))
    assert isinstance(outcome, Posting)
    assert outcome.paid == 10


def test_keys_reach_the_posting_so_that_the_payer_can_learn_them():
    memory = funded()
    voucher = memory.voucher("alice", "bob", "L1", 10, [Lock(5, lock_of("a")), Lock(5, lock_of("b"))])
    outcome = memory.give("bob", Capture(memory.head("bob"), lease_of("L1"), voucher.bytes, (key_of("b"),), False))
    assert outcome.keys == (key_of("b"),)


def test_legs_that_break_the_book_are_a_bug_and_raise():
    memory = funded()
    alice = PEOPLE["alice"].did
    with pytest.raises(ValueError, match="sum to zero"):
        book.after(memory, (Leg(alice, Bucket.AVAILABLE, 1),))
    with pytest.raises(ValueError, match="below zero"):
        book.after(memory, (Leg(alice, Bucket.AVAILABLE, -51), Leg(BANK, Bucket.AVAILABLE, 51)))
    with pytest.raises(ValueError, match="below zero"):
        book.after(memory, (Leg(alice, Bucket.HELD, -51), Leg(BANK, Bucket.ISSUED, 51)))


def funded() -> Memory:
    memory = Memory()
    memory.give("bank", Issue(memory.head("bank"), PEOPLE["alice"].did, 100, "cash"))
    until = memory.now + HOUR
    memory.give("alice", HoldOrder(memory.head("alice"), lease_of("L1"), PEOPLE["bob"].did, 50, until))
    return memory


LOCKS = st.lists(st.tuples(st.sampled_from("abcd"), st.integers(1, 30)), max_size=4, unique_by=lambda item: item[0])


@given(st.lists(st.tuples(st.integers(0, 70), LOCKS, st.sets(st.sampled_from("abcd")), st.booleans()), max_size=8))
def test_whatever_is_captured_in_whatever_order_the_best_voucher_is_paid_once(captures):
    """Any sequence of captures pays max over them of min(worth, hold), and never a micro-credit more."""
    memory, best, closed = funded(), 0, False
    for unlocked, locks, keys, final in captures:
        shown = [name for name, _ in locks if name in keys]
        words = ["capture", "bob", "L1", str(unlocked), f"keys:{','.join(shown)}"]
        words.append("locks:" + ",".join(f"{name}@{amount}" for name, amount in locks))
        obey(memory, [*words, *(["final"] if final else [])])
        if not closed:
            best = max(best, min(50, unlocked + sum(amount for name, amount in locks if name in keys)))
        closed = closed or final
    hold = memory.holds[lease_of("L1")]
    assert memory.funds(PEOPLE["bob"].did).available == hold.captured == best
    assert hold.closed == closed
    assert memory.funds(PEOPLE["alice"].did) == (Funds(0, 100 - best) if closed else Funds(0, 50, 50 - best))
