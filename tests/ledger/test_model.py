"""The real ledger against a book of a hundred lines, on whatever hypothesis thinks of.

The model knows no signatures, chains or databases: only who has what. After every step all balances must be equal,
and at the end the ledger's own journal must pass the audit.
"""

from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Captured, Decline, Hold, Issue, Pay, Posted, Redeem
from gpufair.provider.ledger import audit

MINUTE = 60_000


@dataclass
class ModelHold:
    payer: str
    payee: str
    amount: int
    ends: int
    captured: int = 0
    closed: bool = False


@dataclass
class Model:
    """The whole book: `free` is what everyone can spend; what is held is in the holds."""

    free: dict[str, int] = field(default_factory=dict)
    issued: int = 0
    holds: dict[str, ModelHold] = field(default_factory=dict)
    references: set[tuple[str, str]] = field(default_factory=set)

    def has(self, who):
        return self.free.get(who, 0)

    def add(self, who, amount):
        self.free[who] = self.has(who) + amount

    def held(self, who):
        return sum(h.amount - h.captured for h in self.holds.values() if h.payer == who and not h.closed)

    def earning(self, who):
        return sum(h.amount - h.captured for h in self.holds.values() if h.payee == who and not h.closed)

    def issue(self, who, amount, reference):
        if ("issue", reference) in self.references:
            return False
        self.references.add(("issue", reference))
        self.issued += amount
        self.add(who, amount)
        return True

    def redeem(self, who, amount, reference):
        if ("redeem", reference) in self.references or amount > self.has(who):
            return False
        self.references.add(("redeem", reference))
        self.issued -= amount
        self.add(who, -amount)
        return True

    def pay(self, payer, payee, amount):
        if payer == payee or amount > self.has(payer):
            return False
        self.add(payer, -amount)
        self.add(payee, amount)
        return True

    def hold(self, payer, payee, name, amount, ends):
        if payer == payee or name in self.holds or amount > self.has(payer):
            return False
        self.add(payer, -amount)
        self.holds[name] = ModelHold(payer, payee, amount, ends)
        return True

    def capture(self, payee, signer, name, worth, final):
        """What it pays, or None if it is refused."""
        hold = self.holds[name]
        if hold.payee != payee or hold.closed or (worth is not None and signer != hold.payer):
            return None
        if worth is None and not final:
            return None
        paid = max(0, min(worth or 0, hold.amount) - hold.captured)
        hold.captured += paid
        self.add(payee, paid)
        if final:
            self.close(hold)
        return paid

    def expire(self, now):
        for hold in self.holds.values():
            if not hold.closed and hold.ends <= now:
                self.close(hold)

    def close(self, hold):
        hold.closed = True
        self.add(hold.payer, hold.amount - hold.captured)


PEOPLE = ("alice", "bob", "carol")
people, amounts = st.sampled_from(PEOPLE), st.integers(1, 60)
names = st.sampled_from(["L1", "L2", "L3", "L4", "L5"])
references = st.sampled_from(["r1", "r2", "r3", "r4"])
locks = st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 20)), max_size=3, unique_by=lambda lock: lock[0])


class LedgerMachine(RuleBasedStateMachine):
    """Every rule does the same thing to both and compares the verdicts."""

    orders = Bundle("orders")
    make_world = None  # set by the test: a class has no fixtures

    @initialize()
    def begin(self):
        self.world, self.model = type(self).make_world(), Model()
        order = self.world.sign("bank", Issue, self.world.alice.did, 100, "first")
        self.give(self.model.issue("alice", 100, "first"), order)

    def give(self, expected, order):
        """Execute, compare the verdict, and keep the order for replays."""
        answer = self.world.give(order)
        assert isinstance(answer, Decline) is not bool(expected), (answer, expected)
        return order, self.world.ledger.submit(order.envelope)

    @rule(target=orders, who=people, amount=amounts, reference=references)
    def issue(self, who, amount, reference):
        order = self.world.sign("bank", Issue, self.world.did(who), amount, reference)
        return self.give(self.model.issue(who, amount, reference), order)

    @rule(target=orders, who=people, amount=amounts, reference=references)
    def redeem(self, who, amount, reference):
        order = self.world.sign("bank", Redeem, self.world.did(who), amount, reference)
        return self.give(self.model.redeem(who, amount, reference), order)

    @rule(target=orders, payer=people, payee=people, amount=amounts)
    def pay(self, payer, payee, amount):
        order = self.world.sign(payer, Pay, self.world.did(payee), amount, "")
        return self.give(self.model.pay(payer, payee, amount), order)

    @rule(target=orders, payer=people, payee=people, name=names, amount=amounts, minutes=st.integers(1, 30))
    def hold(self, payer, payee, name, amount, minutes):
        ends = self.world.clock.ms + minutes * MINUTE
        order = self.world.hold_order(payer, payee, name, amount, lasts=minutes * MINUTE)
        return self.give(self.model.hold(payer, payee, name, amount, ends), order)

    @rule(target=orders, payee=people, signer=people, name=names, unlocked=st.none() | st.integers(0, 80), locks=locks,
          shown=st.sets(st.sampled_from("abc")), final=st.booleans())  # fmt: skip
    def capture(self, payee, signer, name, unlocked, locks, shown, final):
        if name not in self.model.holds:
            return multiple()
        locks = [] if unlocked is None else locks
        keys = [key for key, _ in locks if key in shown]
        order = self.world.capture_order(payee, name, unlocked, locks, keys, payer=signer, final=final)
        worth = None if unlocked is None else unlocked + sum(amount for key, amount in locks if key in shown)
        paid = self.model.capture(payee, signer, name, worth, final)
        answer = self.world.give(order)
        assert (answer.paid if isinstance(answer, Captured) else None) == paid, answer
        return order, self.world.ledger.submit(order.envelope)

    @rule(order=orders)
    def replay(self, order):
        signed, answer = order
        try:
            again = self.world.ledger.submit(signed.envelope)
        except PeerError:
            # Only a dead decline may be answered by a refusal: nothing that moved money is ever forgotten.
            assert answer.payload_type not in (Hold.TYPE, Posted.TYPE)
            assert self.world.clock.ms > signed.doc.head.expires_at_ms
        else:
            assert again == answer

    @rule(minutes=st.integers(1, 20))
    def time_passes(self, minutes):
        self.world.clock.ms += minutes * MINUTE
        self.model.expire(self.world.clock.ms)
        self.world.ledger.expire()

    @invariant()
    def balances_agree(self):
        if not hasattr(self, "model"):
            return
        expected = {who: (self.model.has(who), self.model.held(who), self.model.earning(who)) for who in PEOPLE}
        accounts = {who: self.world.store.account(self.world.did(who)) for who in PEOPLE}
        assert {who: (a.funds.available, a.funds.held, a.earning) for who, a in accounts.items()} == expected
        status = self.world.ledger.status()
        assert status.outstanding == self.model.issued == sum(free + held for free, held, _ in expected.values())

    def teardown(self):
        if hasattr(self, "world"):
            assert audit(self.world.ledger, self.world.store).findings == ()
            self.world.store.close()


def run(make_world, **options):
    LedgerMachine.make_world = staticmethod(make_world)
    checks = [HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large]
    case = LedgerMachine.TestCase
    case.settings = settings(deadline=None, suppress_health_check=checks, **options)
    case().runTest()


def test_the_ledger_and_the_model_agree(make_world):
    run(make_world, max_examples=20, stateful_step_count=25)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_ledger_and_the_model_agree_for_long(make_world):
    run(make_world, max_examples=1000, stateful_step_count=60)
