"""A ledger with a clock that tests turn, and people who sign. `world` is in memory, `make_world` of your choice."""

import hashlib

import pytest

from gpufair.protocol import envelope, limits
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner
from gpufair.protocol.messages import (
    Balance,
    Capture,
    Captured,
    Decline,
    Hold,
    HoldOrder,
    HoldState,
    Issue,
    Lock,
    Pay,
    Posted,
    Query,
    QueryKind,
    Redeem,
    Voucher,
)
from gpufair.provider.ledger import Ledger, open_store

NOW = 1_800_000_000_000
ANSWERS = {kind.TYPE: kind for kind in (Hold, Captured, Posted, Decline, Balance, HoldState)}


class TurnedClock:
    def __init__(self):
        self.ms = NOW

    def now_ms(self):
        return self.ms


class CountedRandom:
    def __init__(self, seed=b""):
        self.seed, self.count = seed, 0

    def bytes(self, count):
        self.count += 1
        return hashlib.sha256(b"%b:%d" % (self.seed, self.count)).digest()[:count]


class World:
    """One ledger and whoever is named: `world.alice` is a desk, made when first used."""

    def __init__(self, path=None, *, grace_ms=0, auditors=(), random_seed=b""):
        self.clock, self.random = TurnedClock(), CountedRandom(random_seed)
        self.path, self.grace_ms, self.auditors = path, grace_ms, auditors
        self.store = self.ledger = None
        self.start()

    def start(self):
        self.store = open_store(self.path, self.bank.did)
        auditors = [getattr(self, name).did for name in self.auditors]
        self.ledger = Ledger(self.bank, self.store, grace_ms=self.grace_ms, auditors=auditors)
        return self.ledger

    def restart(self):
        self.store.close()
        return self.start()

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        desk = Desk(KeySigner.from_seed(name.encode().ljust(32)), self.clock, self.random)
        setattr(self, name, desk)
        return desk

    # --- documents --------------------------------------------------------------------------------------------------
    def sign(self, who, kind, *args, audience=None):
        desk = getattr(self, who)
        return desk.sign(kind(desk.head(*(audience or (self.bank.did,))), *args))

    def hold_order(self, payer, payee, name, amount, *, lasts=3_600_000):
        return self.sign(payer, HoldOrder, lease(name), getattr(self, payee).did, amount, self.clock.ms + lasts)

    def capture_order(self, payee, name, unlocked=None, locks=(), keys=(), *, payer="alice", final=False):
        voucher = b"" if unlocked is None else self.voucher(payer, payee, name, unlocked, locks).bytes
        return self.sign(payee, Capture, lease(name), voucher, tuple(key(k) for k in keys), final)

    def voucher(self, payer, payee, name, unlocked, locks=()):
        held = tuple(Lock(amount, hashlock(k)) for k, amount in locks)
        audience = (self.bank.did, self.did(payee))
        return self.sign(payer, Voucher, lease(name), unlocked, held, audience=audience)

    def query(self, who, kind, account=None, name=None, since=0):
        account = self.did(account or who)
        return self.sign(who, Query, kind, account, lease(name) if name else b"", since).envelope

    def did(self, name):
        return getattr(self, name).did

    # --- orders, executed ---------------------------------------------------------------------------------------------
    def give(self, order):
        return read(self.ledger.submit(order.envelope))

    def issue(self, who, amount, reference=None):
        return self.give(self.sign("bank", Issue, self.did(who), amount, reference or f"cash {self.random.count}"))

    def redeem(self, who, amount, reference="cash"):
        return self.give(self.sign("bank", Redeem, self.did(who), amount, reference))

    def pay(self, payer, payee, amount):
        return self.give(self.sign(payer, Pay, self.did(payee), amount, ""))

    def hold(self, *args, **options):
        return self.give(self.hold_order(*args, **options))

    def capture(self, *args, **options):
        return self.give(self.capture_order(*args, **options))

    # --- what is there ------------------------------------------------------------------------------------------------
    def balance(self, who):
        answer = read(self.ledger.ask(self.query(who, QueryKind.BALANCE)))
        return answer.available, answer.held, answer.earning

    def hold_state(self, who, name, since=0):
        return read(self.ledger.ask(self.query(who, QueryKind.HOLD, name=name, since=since)))

    def page(self, who, since=1, kind=QueryKind.JOURNAL, account=None):
        return self.ledger.journal(self.query(who, kind, account, since=since))

    def state(self):
        """Everything that money could show in: for 'nothing changed'."""
        with self.store.database.read() as connection:
            return {
                name: connection.exec_driver_sql(f"SELECT * FROM {name} ORDER BY 1, 2").all()
                for name in ("accounts", "holds", "events", "postings", "keys", "outside")
            }


def lease(name):
    return hashlib.sha256(f"lease {name}".encode()).digest()


def key(name):
    return hashlib.sha256(f"key {name}".encode()).digest()


def hashlock(name):
    return hashlib.sha256(key(name)).digest()


def read(answer):
    """The document in a ledger's answer."""
    return envelope.authenticate(envelope.read(answer, ANSWERS[answer.payload_type])).doc


def refused(answer, code):
    """Held to be a decline for this one reason."""
    assert isinstance(answer, Decline), answer
    assert [reason.code for reason in answer.reasons] == [code]


@pytest.fixture
def world():
    made = World()
    yield made
    made.store.close()


@pytest.fixture
def funded(world):
    """Alice has 1000, of which 300 are held for bob under lease L."""
    world.issue("alice", 1000)
    world.hold("alice", "bob", "L", 300)
    return world


@pytest.fixture
def make_world():
    worlds = []

    def make(*args, **options):
        worlds.append(World(*args, **options))
        return worlds[-1]

    yield make
    for one in worlds:
        one.store.close()


@pytest.fixture
def tools():
    """The small functions above, for tests that need them by name."""

    class Tools:
        lease, key, hashlock, read = staticmethod(lease), staticmethod(key), staticmethod(hashlock), staticmethod(read)
        refused = staticmethod(refused)
        margin_ms, skew_ms, now_ms = limits.MARGIN_MIN_MS, limits.SKEW_MS, NOW

    return Tools
