"""What a run of one pair is about. Rule: a scenario is a function of its seed; a test may fix any of its values."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cache
from random import Random
from typing import Any

import cheats
from actor import signer
from actors import ProviderActor
from buyer import ClientActor
from drawing import PROFILE, SEALING_PUBLIC
from keeping import LedgerActor
from network import NOW, Weather

from gpufair.protocol.envelope import Signed
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import (
    BidClass,
    Isolation,
    JobLimits,
    LedgerRef,
    ModelOffer,
    ModelState,
    NodeRecord,
    Offer,
    Outcome,
    Precision,
    PriceSheet,
    Role,
    Scheduler,
    Spec,
    Task,
    WorkerImage,
)

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
    checkpoint_every: int = 0
    stops: tuple[tuple[int, Outcome], ...] = ()
    """When the owner ends all that is under way, in ms, and why."""
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
    plan = tuple(spec(rng.randrange(1, 6), rng.choice((1, 1, 1, 2, 3))) for _ in range(rng.choice((1, 1, 2, 2, 3, 5))))
    widest = 64 * max(s.steps for s in plan)
    cold = rng.choice((0, 0, 50, 190))
    minimum = rng.choice((0, 0, 0, 150))
    window = max(int(widest * rng.choice((0.3, 0.5, 1, 1, 1.5, 2, 4))), cold + minimum, 64)
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
        "checkpoint_every": rng.choice((0, 0, 1, 2)), "stops": _stops(rng) if rng.random() < 0.4 else (),
        "skews": rng.choice(((0, 0, 0), tuple(rng.randrange(-50_000, 50_000) for _ in range(3)))),
    }  # fmt: skip
    if rng.random() < 0.3:
        values["client"] = rng.choice(cheats.CLIENTS)
    elif rng.random() < 0.4:
        values["provider"] = rng.choice(cheats.PROVIDERS)
    return Scenario(seed, **{**values, **fixed})


def _stops(rng: Random) -> tuple[tuple[int, Outcome], ...]:
    kinds = (Outcome.RECLAIMED, Outcome.PREEMPTED, Outcome.DRAINED)
    return tuple((rng.randrange(200, 8_000), rng.choice(kinds)) for _ in range(rng.choice((1, 1, 2, 4))))


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
