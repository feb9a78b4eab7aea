#!/usr/bin/env python3
"""A market in a bottle: one client, one provider, one ledger, all three the real code, in bad weather.

    python tests/simulation/world.py --seed N [-v]      replay one run, event by event
    python tests/simulation/world.py --runs 2000        many runs from a seed on

Rule: a run is a function of its seed. network.py has time, chance and wires; keeping.py, actors.py and buyer.py
the three processes; cheats.py those that don't keep to the rules; invariants.py what must hold all the while.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
import time
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

import cheats
from actor import signer
from actors import ProviderActor
from buyer import ClientActor
from drawing import SEALING_PUBLIC
from invariants import BrokenError, Watch, insist
from keeping import LedgerActor
from network import NOW, Sim, Weather, line

from gpufair.client.market.leases import Terms
from gpufair.protocol import envelope, limits
from gpufair.protocol import journal as journals
from gpufair.protocol.envelope import Signed, from_bytes
from gpufair.protocol.errors import PeerError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    Issue,
    JobAcceptance,
    JobLimits,
    KeyReveal,
    LedgerRef,
    ModelOffer,
    ModelState,
    NodeRecord,
    Offer,
    Order,
    Posted,
    Precision,
    PriceSheet,
    Query,
    QueryKind,
    Role,
    Scheduler,
    Spec,
    Task,
    Voucher,
    WorkerImage,
)
from gpufair.protocol.pricing import quote

MODEL = hashlib.sha256(b"model").digest()
IMAGE = hashlib.sha256(b"image").digest()
START_FUNDS = 10**6


@dataclass
class Scenario:
    """What a run is about; everything else follows from its seed."""

    seed: int
    weather: Weather = field(default_factory=Weather)
    heal_ms: int = 0
    plan: tuple[Spec, ...] = ()
    cold_load: int = 0
    minimum: int = 0
    window: int = 0
    cap: int = 0
    lasts_ms: int = 600_000
    idle_ms: int = 120_000
    deadline_ms: int = 300_000
    hurry_ms: int = 300
    cancels: float = 0.0
    finishes: bool = True
    workers: int = 1
    skews: tuple[int, int, int] = (0, 0, 0)
    client: type[ClientActor] = ClientActor
    provider: type[ProviderActor] = ProviderActor
    ledger: type[LedgerActor] = LedgerActor

    @property
    def sheet(self) -> PriceSheet:
        """What the model costs."""
        return PriceSheet(MODEL, 1_000_000, 0, self.cold_load, 0, self.minimum)


def spec(steps: int, count: int) -> Spec:
    """A job: pictures of 8 x 8 pixels, so that a step costs 64."""
    return Spec(Task.TEXT_TO_IMAGE, MODEL, Scheduler.DDIM, Precision.EXACT, 8, 8, steps, count, guided=False)


def scenario(seed: int, **fixed: Any) -> Scenario:
    """The random scenario of a seed."""
    rng = Random(seed)
    plan = tuple(spec(rng.randrange(1, 4), rng.choice((1, 1, 1, 2, 3))) for _ in range(rng.choice((1, 1, 2, 2, 3, 5))))
    widest = 64 * max(s.steps for s in plan)
    cold = rng.choice((0, 0, 50, 190))
    minimum = rng.choice((0, 0, 0, 150))
    window = max(int(widest * rng.choice((1, 1, 1.5, 2, 4))), cold + minimum)
    price = sum(64 * s.steps * s.count + minimum for s in plan) + cold
    weather = rng.choice((
        Weather(),
        Weather(slow=0.2),
        Weather(lose=0.2, double=0.2, slow=0.1, break_stream=0.01),
        Weather(lose=0.1, double=0.1, break_stream=0.02, crash=0.03),
        Weather(crash=0.1),
        Weather(lose=0.15, double=0.2, slow=0.2, wild=True),
        Weather(lose=0.2, double=0.2, slow=0.2, break_stream=0.02, crash=0.05, wild=True),
    ))  # fmt: skip
    values: dict[str, Any] = {
        "weather": weather, "heal_ms": rng.choice((20_000, 60_000, 240_000)), "plan": plan, "cold_load": cold,
        "minimum": minimum, "window": window,
        "cap": max(1, price * rng.choice((1, 1, 2, 2, 3)) - rng.choice((0, 0, 0, 60))),
        "lasts_ms": rng.choice((20_000, 600_000, 600_000, 600_000)), "idle_ms": rng.choice((5_000, 120_000, 120_000)),
        "deadline_ms": rng.choice((10_000, 300_000, 300_000)), "hurry_ms": rng.choice((1, 300, 3000)),
        "cancels": rng.choice((0, 0, 0, 0.3)), "finishes": rng.random() < 0.7, "workers": rng.choice((1, 1, 2)),
        "skews": rng.choice(((0, 0, 0), tuple(rng.randrange(-50_000, 50_000) for _ in range(3)))),
    }  # fmt: skip
    if rng.random() < 0.3:
        values["client"] = rng.choice(cheats.CLIENTS)
    elif rng.random() < 0.4:
        values["provider"] = rng.choice(cheats.PROVIDERS)
    return Scenario(seed, **{**values, **fixed})


class World:
    """Three processes, their wires, and the judge."""

    def __init__(self, story: Scenario, *, verbose: bool = False) -> None:
        self.story = story
        self.sim = Sim(story.seed, story.weather, story.heal_ms)
        self.sim.verbose = verbose
        for name in ("plan", "window", "idle_ms", "deadline_ms", "hurry_ms", "cancels", "finishes", "workers"):
            setattr(self, name, getattr(story, name))
        self.short = self.cancelled = self.unfunded = False
        self.refusals: list[str] = []
        self.model, self.image = MODEL, IMAGE
        self.watch = Watch(self)
        self.ledger = story.ledger(self.sim, self, "ledger", story.skews[0])
        self.provider = story.provider(self.sim, self, "provider", story.skews[1])
        self.client = story.client(self.sim, self, "client", story.skews[2])
        self.record, self.signed_offer = advert(story.sheet, story.window)
        self.offer = self.signed_offer
        self.terms = Terms(story.cap, story.window, self.ledger.desk.did, story.lasts_ms, story.idle_ms)
        self._begin()

    def _begin(self) -> None:
        calm, self.sim.heal_at = self.sim.heal_at, 0
        self.ledger.boot()
        issue = Issue(self.ledger.desk.head(self.ledger.desk.did), self.client.desk.did, START_FUNDS, "cash")
        assert self.ledger.ledger.submit(self.ledger.desk.sign(issue).envelope).payload_type == Posted.TYPE
        self.provider.boot()
        self.sim.heal_at = calm
        self.sim.after(0, lambda: self.client.guard(self.client.boot))

    def run(self) -> World:
        """Let it all happen, until everything is over."""
        end = NOW + self.story.lasts_ms + 4 * limits.MARGIN_MIN_MS
        steps = 0
        while self.sim.now < end and self.sim.step():
            steps += 1
            if steps > 60_000:
                raise BrokenError("the run never ends")
        return self

    # --- what the watch is told ----------------------------------------------------------------------------------

    def check(self) -> None:
        """After every event."""
        self.watch.check()

    def sent_up(self, message: Any) -> None:
        """The honest client says something."""
        if self.client.honest and isinstance(message, Order) and message.envelope.payload_type == Voucher.TYPE:
            self.watch.voucher_goes_out(envelope.read(message.envelope, Voucher).doc)

    def sent_down(self, lease: bytes, message: Any) -> None:
        """The provider says something."""
        if self.provider.honest and isinstance(message, KeyReveal):
            self.watch.key_goes_out(lease, message.job, message.picture)

    def refused(self, who: Any, what: Any, error: PeerError) -> None:
        """Somebody got a PeerError."""
        self.refusals.append(f"{who.name}: {type(what).__name__}: {error}")


@cache
def advert(sheet: PriceSheet, window: int) -> tuple[Signed[NodeRecord], Signed[Offer]]:
    """The provider's record and offer."""

    class Fixed:
        def now_ms(self) -> int:
            return NOW

        def bytes(self, count: int) -> bytes:
            return bytes(count)

    desk = Desk(signer("provider"), Fixed(), Fixed())
    record = desk.sign(
        NodeRecord(desk.broadcast_head(), 1, (Role.PROVIDER,), ("p:1",), b"certificate", SEALING_PUBLIC, "simulated")
    )
    offer = Offer(
        desk.broadcast_head(), 1, record.id, (), 1, 1, (Task.TEXT_TO_IMAGE,), (Scheduler.DDIM,), (Precision.EXACT,),
        (BidClass.ON_DEMAND,), (ModelOffer(MODEL, "m", "f", "", ModelState.CACHED, sheet),),
        (WorkerImage(IMAGE, "w"),), (LedgerRef(signer("ledger").did, "l:1"),), Isolation.NONE, (PROFILE,),
        JobLimits(4096, 50, 64, 1), window, 1, "",
    )  # fmt: skip
    return record, desk.sign(offer)


PROFILE = hashlib.sha256(b"profile").digest()


# --- when all is over -----------------------------------------------------------------------------------------------


def settle(world: World) -> None:
    """What must be so in the end: everything settled, everybody agrees, and honest work was paid exactly."""
    ledger, provider, client = world.ledger, world.provider, world.client
    holds = ledger.db.rows("SELECT lease, amount, captured, released, closed FROM holds")
    insist(all(closed for *_, closed in holds), "a hold is still open", holds)
    audit(world)
    if provider.honest:
        states = provider.db.rows("SELECT state FROM leases")
        insist(all(s in ("settled", "abandoned", "expired") for (s,) in states), "a provider's lease is open", states)
        insist(not provider.db.rows("SELECT 1 FROM outbox WHERE answer = x''"), "an order was never answered")
        insist(not provider.running, "a worker still runs")
    mine = client.db.rows("SELECT id, state, captured, released, hold FROM leases")
    for lease, state, captured, released, hold in mine:
        found = [h for h in holds if h[0] == lease]
        if not found:
            insist(state in ("proposed", "agreed", "declined", "expired", "abandoned"), "a lease without a hold", state)
        elif hold and client.honest and ledger.honest:
            insist(state == "settled", "the client's lease is not settled", state)
            insist((captured, released) == found[0][2:4], "the wallet disagrees with the ledger", captured, found[0])
    if provider.honest and holds:
        [(made,)] = provider.db.rows("SELECT coalesce(sum(amount), 0) FROM deliveries")
        [(upfront,)] = provider.db.rows("SELECT coalesce(sum(upfront), 0) FROM attempts")
        lost = made + upfront - holds[0][2]
        insist(lost <= world.window, "the provider lost more than the window", lost, world.window)
    if provider.honest and client.honest and ledger.honest and holds:
        honest_pair(world, holds[0])


def honest_pair(world: World, hold: Any) -> None:
    """Two honest parties: every picture that was paid for is open, and nothing else was paid."""
    client, provider = world.client, world.provider
    captured = hold[2]
    insist(not client.cheats_seen, "an honest provider was accused", client.cheats_seen)
    tame = not (provider.crashes or client.crashes or world.ledger.crashes or world.sim.weather.wild)
    insist(not tame or not world.refusals or world.unfunded, "an honest message was refused", world.refusals)
    got = client.db.rows("SELECT amount, length(plain), length(key), locked FROM deliveries")
    opened = sum(amount for amount, png, _, _ in got if png)
    insist(all(png for _, png, key, _ in got if key), "a key did not open its picture")
    jobs = client.db.rows("SELECT state, upfront, acceptance FROM jobs")
    upfront = sum(row[1] for row in jobs)
    agreed = sum(from_bytes(row[2], JobAcceptance).doc.upfront for row in jobs if row[2])
    insist(opened <= captured <= opened + agreed, "not what the pictures cost", captured, opened, upfront, agreed)
    due = provider.db.rows("SELECT coalesce(sum(amount), 0) FROM deliveries WHERE revealed")[0][0]
    insist(captured >= due, "revealed and not paid", captured, due)
    if not smooth(world):
        return
    wanted = sum(s.count for s in world.plan)
    insist(sum(bool(row[1]) for row in got) == wanted, "pictures are missing", got, jobs)
    insist(all(state == "paid" for state, _, _ in jobs), "a job is not paid", jobs)
    exact = sum(quote(s, world.story.sheet, first=n == 0).total for n, s in enumerate(world.plan))
    insist(captured == exact, "not the quote", captured, exact)


def smooth(world: World) -> bool:
    """Whether nothing stands between the plan and its fulfilment: time, money, and no worker that failed."""
    story, client = world.story, world.client
    failed = client.db.rows("SELECT 1 FROM jobs WHERE state NOT IN ('paid', 'placed', 'running', 'delivered')")
    roomy = story.lasts_ms >= 600_000 and story.idle_ms >= 120_000 and story.deadline_ms >= 300_000
    funded = client.row() is not None and client.row().hold and not world.unfunded
    return roomy and funded and not failed and not world.short and not world.cancelled and story.heal_ms <= 60_000


def audit(world: World) -> None:
    """The ledger's own journal, executed again by the operator and by the client's side."""
    ledger = world.ledger
    auditor = journals.Auditor(ledger.desk.did)
    query = Query(ledger.desk.head(ledger.desk.did), QueryKind.JOURNAL, ledger.desk.did, b"", 1)
    page = ledger.ledger.journal(ledger.desk.sign(query).envelope)
    auditor.feed(page.events, page.head)
    insist(auditor.report().ok, "the journal does not audit", auditor.report().findings)
    for did, _, available, held in ledger.db.rows("SELECT did, issued, available, held FROM accounts"):
        funds = auditor.funds(did)
        insist((funds.available, funds.held) == (available, held), "the journal adds up to something else", did)


# --- one run, many runs ---------------------------------------------------------------------------------------------


def play(story: Scenario, *, verbose: bool = False, judge: Any = settle) -> World:
    """Run a scenario and judge its end. Raises BrokenError with the seed and the end of the diary in its text."""
    world = World(story, verbose=verbose)
    try:
        world.run()
        judge(world)
    except Exception as error:
        tail = "\n".join(line(entry) for entry in world.sim.trace[-120:])
        raise BrokenError(f"seed {story.seed}: {error!r}\n{tail}\nreplay: python tests/simulation/world.py "
                          f"--seed {story.seed}") from error  # fmt: skip
    return world


def main() -> int:
    """Replay one seed, or run many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--runs", type=int, default=1)
    args = parser.parse_args()
    started, broken = time.monotonic(), 0
    for seed in range(args.seed, args.seed + args.runs):
        try:
            world = play(scenario(seed), verbose=args.runs == 1)
        except BrokenError as error:
            broken += 1
            print(error if args.runs == 1 else f"seed {seed}: {str(error).splitlines()[0][:300]}")
    if args.runs == 1 and not broken:
        print("refusals:", *world.refusals, sep="\n  ")
    print(f"{args.runs} runs, {broken} broken, {time.monotonic() - started:.1f} s")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
