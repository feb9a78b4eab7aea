"""A node of a simulated market: it sells, and keeps a directory. Rule: what it sells and to whom the real rooms decide.

Offers, prices, admission and the job's own bounds are `provider/sales`; here its daemon is played: it shows itself when
its offer has changed, and its workers are those of drawing.py.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from actors import ProviderActor
from drawing import PROFILE
from market_talking import TalkingActor
from network import Call
from scenario import IMAGE, MODEL

from gpufair.protocol import limits
from gpufair.protocol.edge import keys
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Envelope, Isolation, JobHeader, Outcome, Reason, Role
from gpufair.provider.config import Config
from gpufair.provider.jobs.beats import beats
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.leases import Leases
from gpufair.provider.sales.admission import Admission
from gpufair.provider.sales.offers import Broadcasts, Offers
from gpufair.provider.sales.policies import chosen
from gpufair.provider.sales.stock import Gate, Model, Stock

LOOKS_MS = 3_000
"""How often it looks whether its offer has changed."""
AGAIN_MS = 60_000
"""How often a peer is shown our record again that has taken it."""
ON_SALE = Model(MODEL, "tiny", "StableDiffusionPipeline", "cc0")
_HOMES: list[Any] = []


@cache
def identity_folder() -> Path:
    """The key files of a node: all nodes seal and serve with these, and sign with their own."""
    _HOMES.append(tempfile.TemporaryDirectory())
    folder = Path(_HOMES[-1].name) / "keys"
    keys.create(folder)
    return folder


@cache
def certificate() -> bytes:
    """The TLS certificate in those files."""
    return keys.load(identity_folder()).tls.certificate


@dataclass(frozen=True)
class Shop:
    """What an owner has decided, and how fast the machine is."""

    config: Config
    friends: tuple[str, ...]
    where: str
    workers: int = 1
    pace_ms: int = 200


class SellerActor(TalkingActor, ProviderActor):
    """A node with the roles provider and directory."""

    def __init__(self, sim: Any, world: Any, name: str, skew_ms: int, shop: Shop) -> None:
        self.shop, self.friends = shop, shop.friends
        self.sealing = SealingKeys(identity_folder())
        self.sealing_key = self.sealing.find(self.sealing.public)
        super().__init__(sim, world, name, skew_ms)
        self.workers, self.pace_ms = shop.workers, shop.pace_ms
        self.told: dict[str, tuple[tuple[Envelope, ...], int]] = {}

    def boot(self) -> None:
        self.gate = Gate()
        self.warm_models: frozenset[bytes] = frozenset()
        self.profiles = frozenset((PROFILE,))
        config = self.shop.config
        self.stock = Stock(
            config, lambda: [ON_SALE], self, self.gate, gpus=(), cpu_cores=self.workers, isolation=Isolation.NONE,
            worker_image=IMAGE, worker_name="simulated", waiting=lambda: len(self.queue),
        )  # fmt: skip
        super().boot()
        self.leases = Leases(self.desk, self.store, Policy(self.capture_at, config.limits.unsecured))
        self.broadcasts = Broadcasts(
            self.desk, self.store, roles=(Role.PROVIDER, Role.DIRECTORY), endpoints=lambda: (self.shop.where,),
            certificate=certificate(), sealing=self.sealing, software="simulated",
        )  # fmt: skip
        ask = chosen(config.price, self, lambda: (len(self.running), self.workers), lambda _digest: None)
        self.offers = Offers(self.desk, self.broadcasts, self.stock, ask)
        self.admission = Admission(self.desk, self.store, self.leases, self.offers, self.stock)
        self.shown_last: tuple[Envelope, ...] = ()
        self.told = {}
        self.open_directory()
        self.show()
        self.beat()

    def admit(self, header: JobHeader, waiting: int) -> tuple[Reason, ...]:
        return self.stock.admit(header, waiting)

    def warm(self, model: bytes) -> None:
        self.warm_models = frozenset((model,))

    def _place(self, document: Envelope) -> Envelope:
        answer = self.admission.place(document)
        self.plan_tick()
        return answer

    def beat(self) -> None:
        """Every client hears that we have its job."""
        if self.world.quiet and not self.queue and not self.running:
            return
        self.later(limits.BEAT_MS, self.beat)
        now = self.now_ms()
        works = [work.at for work in self.running.values()]
        self.perform(list(beats(works, self.queue.ready((), now), self.workers, now)))

    def stop_all(self, outcome: Outcome) -> None:
        if outcome is Outcome.DRAINED:
            self.gate.paused = True
            self.later(20_000, self._open_again)
        super().stop_all(outcome)

    def _open_again(self) -> None:
        self.gate.paused = False

    # --- being seen ----------------------------------------------------------------------------------------------

    def show(self) -> None:
        """The own directory hears first, then the peers of the configuration, each until it has taken it."""
        if self.world.quiet:
            return
        self.later(LOOKS_MS, self.show)
        papers = (self.broadcasts.record().envelope, self.offers.current().envelope)
        self.world.published(self, papers)
        for document in papers:
            if document not in self.shown_last:
                self.directory.publish(document)
        self.shown_last = papers
        self.put([])
        for did in self.friends:
            told, when = self.told.get(did, ((), 0))
            if told != papers:
                self._tell(self.world.directories[did], papers, papers)
            elif self.sim.now > when + AGAIN_MS:
                self._tell(self.world.directories[did], papers, papers[:1])

    def _tell(self, friend: Any, papers: tuple[Envelope, ...], some: tuple[Envelope, ...]) -> None:
        def done(held: Any) -> None:
            if not isinstance(held, PeerError):
                self.told[friend.desk.did] = (papers, self.sim.now)

        Call(self.sim, self, lambda: friend.take(some, self.shop.where), done, "publish",
             until=self.sim.now + LOOKS_MS, to=friend.name)  # fmt: skip
