#!/usr/bin/env python3
"""A market in a bottle: one client, one provider, one ledger, all three the real code, in bad weather.

    python tests/simulation/world.py --seed N           replay one run, event by event
    python tests/simulation/world.py --runs 2000        many runs from a seed on

Rule: a run is a function of its seed. network.py has time, chance and wires; keeping.py, actors.py and buyer.py
the three processes; cheats.py those that don't keep to the rules; invariants.py what must hold all the while, and
settled.py what must be so in the end.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from buyer import ClientActor
from errand import Errand
from invariants import BrokenError, insist
from network import NOW, Sim, line
from scenario import IMAGE, MODEL, START_FUNDS, Scenario, advert, scenario
from settled import settle
from stage import Stage

from gpufair.client.market.leases import Terms
from gpufair.protocol import limits
from gpufair.protocol.messages import Issue, Posted
from gpufair.protocol.pricing import quote


class World(Stage):
    """Three processes, their wires, and the judge."""

    def __init__(self, story: Scenario, *, verbose: bool = False) -> None:
        super().__init__(Sim(story.seed, story.weather, story.heal_ms))
        self.story = story
        self.sim.verbose = verbose
        self.workers, self.window = story.workers, story.window
        self.errand = Errand(
            story.plan, story.deadline_ms, story.hurry_ms, story.cancels, finishes=story.finishes,
            checkpoint_every=story.checkpoint_every,
        )  # fmt: skip
        self.model, self.image = MODEL, IMAGE
        self.ledger = self.enter(story.ledger(self.sim, self, "ledger", story.skews[0]))
        self.provider = self.enter(story.provider(self.sim, self, "provider", story.skews[1]))
        self.client = self.enter(story.client(self.sim, self, "client", story.skews[2]))
        self.record, self.signed_offer = advert(story.sheet, story.window)
        self.offer = self.signed_offer
        self.terms = Terms(story.cap, story.window, self.ledger.desk.did, story.lasts_ms, story.idle_ms)
        self._begin()

    def errand_for(self, _client: ClientActor, _lease: bytes) -> Errand:
        """There is one lease, and one errand."""
        return self.errand

    def _begin(self) -> None:
        calm, self.sim.heal_at = self.sim.heal_at, 0
        self.ledger.boot()
        issue = Issue(self.ledger.desk.head(self.ledger.desk.did), self.client.desk.did, START_FUNDS, "cash")
        assert self.ledger.ledger.submit(self.ledger.desk.sign(issue).envelope).payload_type == Posted.TYPE
        self.provider.boot()
        self.sim.heal_at = calm
        self.sim.after(0, lambda: self.client.guard(self.client.boot))
        for at, outcome in self.story.stops:
            self.sim.after(at, lambda why=outcome: self.provider.guard(self.provider.stop_all, why))

    def run(self) -> World:
        """Let it all happen, until everything is over."""
        end = NOW + self.story.lasts_ms + 4 * limits.MARGIN_MIN_MS
        steps = 0
        while self.sim.now < end and self.sim.step():
            steps += 1
            if steps > 60_000:
                raise BrokenError("the run never ends")
        return self

    @property
    def smooth(self) -> bool:
        """Whether nothing stands between the plan and its fulfilment: time, money, and no worker that failed."""
        story, rows = self.story, self.client.db.rows
        failed = rows("SELECT 1 FROM jobs WHERE state NOT IN ('paid', 'placed', 'running', 'delivered')")
        roomy = story.lasts_ms >= 600_000 and story.idle_ms >= 120_000 and story.deadline_ms >= 300_000
        errand, funded = self.errand, rows("SELECT 1 FROM leases WHERE length(hold)") and not self.errand.unfunded
        return bool(roomy and funded and not failed and not errand.short and not errand.cancelled
                    and story.heal_ms <= 60_000)  # fmt: skip


def finished(world: World) -> None:
    """What must be so in the end, and of two honest parties: that all of the plan was made and paid, exactly."""
    settle(world)
    if not (world.provider.honest and world.client.honest and world.ledger.honest and world.watch.holds):
        return
    insist(not world.client.cheats_seen, "an honest provider was accused", world.client.cheats_seen)
    tame = not (world.provider.crashes or world.client.crashes or world.ledger.crashes or world.sim.weather.wild)
    insist(not tame or not world.refusals or world.errand.unfunded, "an honest message was refused", world.refusals)
    if not world.smooth:
        return
    plan, rows = world.errand.plan, world.client.db.rows
    pictures, jobs = rows("SELECT 1 FROM deliveries WHERE length(plain) AND step = 0"), rows("SELECT state FROM jobs")
    insist(len(pictures) == sum(s.count for s in plan), "pictures are missing", len(pictures), jobs)
    insist(all(state == "paid" for (state,) in jobs), "a job is not paid", jobs)
    exact = sum(quote(s, world.story.sheet, first=n == 0).total for n, s in enumerate(plan))
    insist(world.watch.captured() == exact, "not the quote", world.watch.captured(), exact)


# --- one run, many runs ---------------------------------------------------------------------------------------------


def play(story: Scenario, *, verbose: bool = False, judge: Any = finished) -> World:
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
