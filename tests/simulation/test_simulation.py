"""The real client, provider and ledger in bad weather and bad company: nobody loses more than docs/payment.md allows.

A pass can't be vacuous: the runs must have crashed, paid and opened; every cheat must have lied; and a judge that is
shown broken rules must break. `python tests/simulation/world.py --seed N` replays a run.
"""

from __future__ import annotations

import hashlib
import os
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import cheats
from actors import ProviderActor
from buyer import ClientActor
from cheating_clients import PartialLocks, VanishingClient
from cheating_providers import Dearer, FalseStates, Grabber, NoiseMaker, TwoLocks, Withholder, WrongGoods
from invariants import BrokenError, insist
from judges import upfront_agreed
from network import Weather
from scenario import scenario, spec
from world import World, play

from gpufair.client.session.purse import Purse
from gpufair.client.wallet import account as buying
from gpufair.protocol import envelope, limits, payment, sealing
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Receipt
from gpufair.provider.jobs.account import Account
from gpufair.provider.jobs.leases import Leases

QUICK = int(os.environ.get("GPUFAIR_SIMULATIONS", "250"))
CALM = {"weather": Weather(), "heal_ms": 0, "lasts_ms": 600_000, "idle_ms": 120_000, "deadline_ms": 300_000,
        "cancels": 0.0, "stops": (), "client": ClientActor, "provider": ProviderActor}  # fmt: skip


def tally(world: World, counts: Counter[str]) -> None:
    client = world.client.db.rows
    counts["crashes"] += world.client.crashes + world.provider.crashes + world.ledger.crashes
    counts["captured"] += world.watch.captured()
    counts["opened"] += len(client("SELECT 1 FROM deliveries WHERE length(plain)"))
    counts["checkpoints"] += len(client("SELECT 1 FROM deliveries WHERE length(plain) AND step"))
    counts["lies"] += getattr(world.client, "lies", 0) + getattr(world.provider, "lies", 0)
    if world.client.honest and world.provider.honest:
        counts["exact"] += world.smooth
    for (state,) in world.provider.db.rows("SELECT state FROM attempts"):
        counts[state] += 1


def many(seeds: range) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        tally(play(scenario(seed)), counts)
    return counts


@pytest.mark.timeout(300)
def test_whatever_happens_nobody_loses_more_than_agreed() -> None:
    counts = many(range(QUICK))
    ways = {"crashes", "captured", "opened", "checkpoints", "lies", "exact", "paid", "failed", "cancelled", "expired",
            "rejected", "reclaimed", "preempted", "drained"}  # fmt: skip
    assert not {way for way in ways if counts[way] < QUICK // 100}, counts


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(20))
def test_many_more_seeds(block: int) -> None:
    assert many(range(10_000 + 500 * block, 10_500 + 500 * block))["opened"] > 300


@pytest.mark.timeout(120)
def test_bodies_in_many_pieces_come_through_whatever_breaks(monkeypatch: pytest.MonkeyPatch) -> None:
    """With small pieces every body has several: streams break, and machines crash, between them."""
    monkeypatch.setattr(limits, "CHUNK", 64)
    assert many(range(2_000, 2_060))["opened"] > 20
    broken = Weather(break_stream=0.05, crash=0.01)
    for seed in range(3_000, 3_020):
        world = play(scenario(seed, **{**CALM, "weather": broken, "heal_ms": 60_000}))
        assert "rejected" not in {state for (state,) in world.provider.db.rows("SELECT state FROM attempts")}


def test_a_run_is_a_function_of_its_seed() -> None:
    first, second = (play(scenario(77)).sim.trace for _ in range(2))
    assert [entry[:2] for entry in first] == [entry[:2] for entry in second]


# --- each cheat against the real code --------------------------------------------------------------------------------


def company(cheat: Any, runs: int = 10, **fixed: Any) -> Iterator[World]:
    """Runs in calm weather with one cheat in them; the next run empties the databases of the one before.

    The invariants have held in each, and the cheat must have lied in most.
    """
    lies = 0
    for seed in range(500, 500 + runs):
        world = play(scenario(seed, **{**CALM, cheat.role: cheat, **fixed}))
        lies += bool(getattr(world, cheat.role).lies)
        yield world
    assert lies > runs // 2


def paid(world: World) -> int:
    return world.watch.captured()


def opened(world: World) -> int:
    return sum(amount for (amount,) in world.client.db.rows("SELECT amount FROM deliveries WHERE length(plain)"))


def upfront(world: World) -> int:
    return sum(upfront_agreed(world.client, lease) for (lease,) in world.client.db.rows("SELECT id FROM leases"))


@pytest.mark.parametrize("cheat", cheats.CLIENTS)
def test_a_cheating_client_costs_at_most_one_window(cheat: Any) -> None:
    for world in company(cheat):  # `settle` insists on the bound
        assert world.provider.db.rows("SELECT state FROM leases") == [("settled",)]


def test_a_client_that_vanishes_has_not_seen_its_picture() -> None:
    for world in company(VanishingClient):
        assert opened(world) == 0
        assert paid(world) <= upfront(world)


def test_what_the_provider_withholds_the_ledger_shows() -> None:
    for world in company(Withholder, cap=10**5, window=10**4, finishes=True):
        assert paid(world) == opened(world) + upfront(world) > 0
        assert not world.client.db.rows("SELECT 1 FROM deliveries WHERE locked AND NOT length(plain)")


def test_a_key_that_opens_noise_leaves_evidence_for_anyone() -> None:
    for world in company(NoiseMaker):
        assert world.client.cheats_seen
        rows = world.client.db.rows("SELECT receipt, cipher, key, length(plain) FROM deliveries WHERE length(key)")
        assert rows
        for receipt, cipher, key, png in rows:
            signed = envelope.authenticate(from_bytes(receipt, Receipt))
            claim = signed.doc
            assert signed.issuer == world.provider.desk.did
            assert claim.cipher_sha256 == hashlib.sha256(cipher).digest()
            assert claim.hashlock == payment.hashlock(key)
            assert claim.plain_sha256 != hashlib.sha256(sealing.decrypt_output(cipher, key)).digest()
            assert not png


def test_a_state_that_its_trace_does_not_have_is_seen_by_whoever_opens_it() -> None:
    for world in company(FalseStates, window=64, plan=(spec(4, 1), spec(3, 1)), cap=5000, cold_load=0, minimum=0):
        assert world.client.cheats_seen
        assert not world.client.db.rows("SELECT 1 FROM deliveries WHERE length(plain)")
        assert paid(world) <= upfront(world) + 64


def test_another_price_is_not_paid() -> None:
    for world in company(Dearer):
        assert world.client.cheats_seen
        assert paid(world) == 0


def test_other_goods_are_not_locked() -> None:
    for world in company(WrongGoods):
        locked = {lock for (lock,) in world.client.db.rows("SELECT hashlock FROM deliveries WHERE locked")}
        assert locked <= world.provider.honoured
        assert paid(world) <= opened(world) + upfront(world)


def test_a_picture_delivered_twice_is_paid_once() -> None:
    for world in company(TwoLocks):
        assert 0 < opened(world) <= paid(world) <= opened(world) + upfront(world)


def test_no_capture_pays_twice_or_late() -> None:
    late = 0
    for world in company(Grabber, runs=20):
        assert paid(world) <= opened(world) + upfront(world)
        late += world.provider.final_late
    assert late


def test_a_ledger_that_lies_is_caught() -> None:
    for world in company(cheats.LyingLedger):
        [(cap, told)] = world.client.db.rows("SELECT cap, captured FROM leases")
        # To say that the whole hold was taken is no lie where the whole of it was promised and paid.
        assert world.client.cheats_seen or cap == told == paid(world)


# --- the judge can see -----------------------------------------------------------------------------------------------


def reveal_on_any_lock(kept: Any, lock: Any, own: Any, *, due: int, hold: int) -> bool:
    return any(have.hashlock == lock.hashlock for have in kept.locks)


BLIND = {
    "the client locks beyond the window": (buying.payment, "may_lock", lambda *_a, **_k: True,
                                             {"provider": Withholder}),
    "the provider works beyond the window": (Account, "has_room", lambda *_a: True,
                                             {"window": 192, "client": PartialLocks}),
    "a capture shows every key": (Account, "_full", property(lambda self: self.own), {"client": PartialLocks}),
    "a key goes out for a partial lock": (payment, "may_reveal", reveal_on_any_lock, {"client": PartialLocks}),
    "foreign vouchers are kept": (Leases, "_check_voucher", lambda *_a: None, {"client": cheats.Foreign}),
    "fake locks count": (payment, "total", lambda p, _own, *, hold: p.unlocked + sum(x.amount for x in p.locks),
                         {"client": cheats.FakeLocks}),
    "goods are not checked": (Purse, "distrust", lambda *_a: None, {"provider": WrongGoods}),
}  # fmt: skip


@pytest.mark.parametrize("name", BLIND)
def test_a_broken_rule_is_seen(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    place, attribute, instead, fixed = BLIND[name]
    monkeypatch.setattr(place, attribute, instead)
    plain = {"window": 200, "cold_load": 0, "minimum": 0, "plan": (spec(3, 3), spec(3, 2)), "cap": 5000, "hurry_ms": 1}

    def until_it_breaks() -> None:
        for seed in range(30):
            play(scenario(seed, **{**CALM, **plain, **fixed}))

    with pytest.raises(BrokenError, match="seed"):
        until_it_breaks()


def test_the_judge_sees_missing_money() -> None:
    world = World(scenario(1, **CALM))
    world.ledger.db.raw.execute("UPDATE accounts SET available = available + 1 WHERE available > 0")
    world.ledger.db.writes += 1
    with pytest.raises(BrokenError, match="money"):
        world.check()
    with pytest.raises(BrokenError):
        insist(holds=False, what="")
