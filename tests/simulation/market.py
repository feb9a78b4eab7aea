#!/usr/bin/env python3
"""A whole market in a bottle: sellers with directories, buyers, ledgers; all real code, in bad weather and company.

    python tests/simulation/market.py --seed N            replay one run, event by event
    python tests/simulation/market.py --seeds 1000        many runs from a seed on
    python tests/simulation/market.py --nodes 200         how large it is

Rule: a run is a function of its seed. market_story.py says what happens, market_talking.py, market_selling.py and
market_buying.py play the daemons and the buyers, market_cheats.py lies, market_judging.py judges.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from invariants import BrokenError, insist
from judging import Judge
from keeping import LedgerActor
from market_buying import BuyingActor
from market_judging import DirectoryJudge, WorksJudge, converged
from market_selling import SellerActor
from market_story import START_FUNDS, Story, story
from market_talking import verified
from network import NOW, Sim, line
from settled import settle
from stage import Stage

from gpufair.client.market.market import Market as Found
from gpufair.protocol import limits
from gpufair.protocol.messages import Envelope, Issue, Outcome, Posted
from gpufair.provider.directory import documents

STEPS_MAX = 3_000_000
DEATHS_MS, GONE_MS = (20_000, 50_000), 50_000
"""When nodes vanish, and for how long."""


class World(Stage):
    """Everybody in one market, and the judges."""

    def __init__(self, tale: Story, *, verbose: bool = False) -> None:
        super().__init__(Sim(tale.seed, tale.weather, tale.heal_ms))
        self.story, self.sim.verbose = tale, verbose
        self.verify, self.on_disk, self.quiet, self.opens = verified, tale.on_disk, False, NOW
        self.directories: dict[str, Any] = {}
        self.signed: dict[str, set[bytes]] = {}
        """By did: the ids of all that an honest node has published."""
        self.shown: dict[str, tuple[Envelope, ...]] = {}
        """By did: what one of them shows."""
        self.directory_judges: dict[str, DirectoryJudge] = {}
        self.works: dict[str, Judge] = {}
        self.events = 0
        self._populate()
        self._begin()

    # --- who is there ----------------------------------------------------------------------------------------------

    def _populate(self) -> None:
        tale = self.story
        for name in tale.names("bank", tale.banks):
            self.enter(LedgerActor(self.sim, self, name, tale.skew()))
        for number, name in enumerate(tale.names("node", tale.sellers)):
            place = tale.sellers - 1 - number  # cheats come last: the first nodes are those that newcomers know
            kind = tale.cheating_sellers[place] if place < len(tale.cheating_sellers) else SellerActor
            node = self.enter(_among(kind, SellerActor)(self.sim, self, name, tale.skew(), tale.shop(number)))
            self.directories[node.desk.did] = node
            self.directory_judges[node.name] = DirectoryJudge(self, node)
            if node.honest:
                self.signed[node.desk.did] = set()
        for number, name in enumerate(tale.names("buyer", tale.buyers)):
            kind = tale.cheating_buyers[number] if number < len(tale.cheating_buyers) else BuyingActor
            buyer = self.enter(_among(kind, BuyingActor)(self.sim, self, name, tale.skew(), tale.shopping()))
            self.works[buyer.name] = WorksJudge(self, buyer)

    def _begin(self) -> None:
        calm, self.sim.heal_at = self.sim.heal_at, 0
        for bank in self.banks.values():
            bank.boot()
            for buyer in self.buyers.values():
                issue = Issue(bank.desk.head(bank.desk.did), buyer.desk.did, START_FUNDS, f"cash of {buyer.name}")
                assert bank.ledger.submit(bank.desk.sign(issue).envelope).payload_type == Posted.TYPE
        self.sim.heal_at = calm
        for actor in (*self.shops.values(), *self.buyers.values()):
            actor.up = False
            self.sim.after(self.sim.rng.randrange(2_000), actor.start)
        self._plan_trouble()
        begins, ends = self.story.parted
        if ends:
            self.sim.after(begins, self._part)
            self.sim.after(ends, self.sim.islands.clear)

    def _plan_trouble(self) -> None:
        dice, shops = self.sim.rng, list(self.shops.values())
        for _ in range(self.story.stops):
            self.sim.after(dice.randrange(15_000, self.story.quiet_ms), self._stop_somebody)
        for _ in range(self.story.deaths):
            shop = dice.choice(shops)
            self.sim.after(dice.randrange(*DEATHS_MS), lambda s=shop: s.vanish(GONE_MS))

    def _stop_somebody(self) -> None:
        """An owner who has work wants it to end."""
        busy = [shop for shop in self.shops.values() if shop.up and shop.running]
        if busy:
            shop, dice = self.sim.rng.choice(busy), self.sim.rng
            shop.guard(shop.stop_all, dice.choice((Outcome.RECLAIMED, Outcome.PREEMPTED, Outcome.DRAINED)))

    def _part(self) -> None:
        names = [actor.name for actor in (*self.banks.values(), *self.shops.values(), *self.buyers.values())]
        self.sim.islands.update({name: self.sim.rng.randrange(2) for name in names})
        self.sim.note("the network is in two")

    # --- what happens ----------------------------------------------------------------------------------------------

    def run(self) -> World:
        """Trade until it is quiet, see that all directories are at one, and let everything end."""
        tale = self.story
        back = DEATHS_MS[1] + GONE_MS if tale.deaths else 0
        healed = max(tale.heal_ms, tale.parted[1], back) + tale.healing_ms
        self._until(NOW + max(tale.quiet_ms, healed))
        missing = converged(self)
        insist(not missing, "directories are not at one", missing[:5])
        self.quiet = True
        self._until(NOW + max(tale.quiet_ms, healed) + 10 * limits.MINUTE + 4 * limits.MARGIN_MIN_MS)
        return self

    def _until(self, end: int) -> None:
        while self.sim.now < end and self.sim.step():
            self.events += 1
            insist(self.events < STEPS_MAX, "the run never ends")

    # --- who sees what -----------------------------------------------------------------------------------------------

    def published(self, node: Any, papers: tuple[Envelope, ...]) -> None:
        """A node shows itself: an honest one is bound by nothing else."""
        if node.honest:
            self.signed[node.desk.did] |= {documents.read(one).signed.id for one in papers}
            self.shown[node.desk.did] = papers

    def newest(self) -> list[Envelope]:
        """What honest nodes have shown last."""
        return [one for papers in self.shown.values() for one in papers]

    def honest_directories(self) -> list[Any]:
        """Those that should know all of it."""
        return [node for node in self.directories.values() if node.honest and node.up]

    def taken(self, node: Any, held: Any, doc: Any) -> None:
        """A directory has taken a document."""
        if node.honest:
            self.directory_judges[node.name].taken(held, doc)

    def torn(self, node: Any) -> None:
        """A directory's disk has lost its newest commits."""
        self.directory_judges[node.name].torn()

    def gathered(self, buyer: Any, market: Found) -> None:
        """A buyer has looked around: nothing forged counts for it."""
        for paper in (*market.offers, *market.records.values()):
            known = self.signed.get(paper.issuer)
            insist(known is None or paper.id in known, "a buyer believes a forged document", buyer.name)

    def check(self, actor: Any = None) -> None:
        super().check(actor)
        if actor is not None and actor.name in self.works:
            self.works[actor.name].look()


def _among(kind: Any, base: Any) -> Any:
    """A cheat of the pair's world, in this one."""
    return kind if issubclass(kind, base) else type(kind.__name__, (kind, base), {})


def finished(world: World) -> None:
    """What must be so in the end."""
    settle(world)
    for node in world.honest_directories():
        world.directory_judges[node.name].whole()


def play(tale: Story, *, verbose: bool = False, judge: Any = finished) -> World:
    """Run a story and judge its end. Raises BrokenError with the seed and the end of the diary in its text."""
    world = World(tale, verbose=verbose)
    try:
        world.run()
        judge(world)
    except Exception as error:
        tail = "\n".join(line(entry) for entry in world.sim.trace[-120:])
        raise BrokenError(f"seed {tale.seed}: {error!r}\n{tail}\nreplay: python tests/simulation/market.py "
                          f"--seed {tale.seed} --nodes {tale.sellers}") from error  # fmt: skip
    return world


def pictures(world: World) -> tuple[int, int]:
    """How many pictures the honest buyers have, and how many they wanted."""
    honest = [buyer for buyer in world.buyers.values() if buyer.honest]
    return sum(b.shopping.pictures - len(b.missing()) for b in honest), sum(b.shopping.pictures for b in honest)


def main() -> int:
    """Replay one seed, or run many."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--nodes", type=int, default=0)
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    started, broken = time.monotonic(), 0
    fixed: dict[str, Any] = {"sellers": args.nodes, "on_disk": args.nodes <= 40} if args.nodes else {}
    for seed in range(args.seed, args.seed + args.seeds):
        try:
            world = play(story(seed, **fixed), verbose=args.verbose)
            have, wanted = pictures(world)
            print(f"seed {seed}: {len(world.directories)} nodes, {world.events} events, {have} of {wanted} pictures, "
                  f"{world.watch.captured()} paid, {time.monotonic() - started:.1f} s")  # fmt: skip
        except BrokenError as error:
            broken += 1
            print(error if args.seeds == 1 else f"seed {seed}: {str(error).splitlines()[0][:300]}")
    print(f"{args.seeds} runs, {broken} broken, {time.monotonic() - started:.1f} s")
    return bool(broken)


if __name__ == "__main__":
    sys.exit(main())
