"""A provider dies in the middle of a job. ONE RULE: SIGKILL, no word of farewell; the buyer's own code finds out alone.

Two providers with null workers, one of which is killed while it draws and replaced before the next round. Measured is
the time from its death to the first step at the other one, from the newest checkpoint that was bought. The job is long
for a null worker (500 steps, a checkpoint every 50), so that it dies in the middle.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass

from benchmarks import machine, nodes
from benchmarks.rows import Row, Samples
from benchmarks.running import Options, say
from gpufair.client.buyer import Buyer
from gpufair.client.config import Home
from gpufair.client.opening import open_buyer
from gpufair.client.session import events as ev
from gpufair.client.wallet.store import LeaseRow, PeerRow
from gpufair.client.wishing import wish
from gpufair.protocol import limits
from gpufair.protocol.edge import keys

STEPS, EVERY, KILLED_AFTER = 500, 50, 120


@dataclass
class Death:
    """What happened in one round, in seconds of `time.perf_counter`."""

    killed: float = 0.0
    noticed: float = 0.0
    resumed: float = 0.0
    step: int = 0
    """The step that it went on from."""


def run(options: Options) -> Iterator[Row]:
    """The rows."""
    rounds = options.rounds(10, 2)
    with contextlib.ExitStack() as stack, machine.watched() as state:
        roles = ("--role", "ledger", "--role", "directory")
        ledger = stack.enter_context(nodes.started(options.folder / "ledger", *roles))
        deaths = asyncio.run(_deaths(options, stack, ledger, rounds))
    resumed = Samples([death.resumed - death.killed for death in deaths])
    detail = {
        "to_first_resumed_step_s": resumed.summary(),
        "p50_s": round(resumed.median, 2),
        "p99_s": round(resumed.percentile(0.99), 2),
        "of_it_deciding_s": Samples([death.noticed - death.killed for death in deaths]).summary(),
        "of_it_elsewhere_s": Samples([death.resumed - death.noticed for death in deaths]).summary(),
        "lost_after_s": limits.LOST_MS / 1000,
        "steps_done_again": Samples([float(KILLED_AFTER - death.step) for death in deaths]).summary(),
        "machine": state,
    }
    yield Row("failover", resumed.median, None, "s", detail=detail)


async def _deaths(options: Options, stack: contextlib.ExitStack, ledger: nodes.Node, rounds: int) -> list[Death]:
    home = Home(options.folder / "buyer")
    made = keys.create(home.keys)
    nodes.gpufaird("ledger", "issue", made.did, "1000", "--reference", "bench", "--home", str(ledger.home))
    change = {"runtime": '"process"', "null": "true", "cpus": "1.0", "steps": str(STEPS)}
    providers: dict[str, nodes.Node] = {}
    deaths = []
    async with open_buyer(home) as buyer:
        for number in range(rounds + 1):
            while len(providers) < 2:
                folder = options.folder / f"provider-{number}-{len(providers)}"
                started = nodes.started(folder, "--ledger", ledger.address, change=change)
                node = await asyncio.to_thread(stack.enter_context, started)
                await asyncio.to_thread(nodes.wait_warm, node)
                providers[node.did] = node
                nodes.know(buyer.store, node)
            victim, death = await _death(buyer, providers, number)
            say(f"failover: {death.resumed - death.killed:.2f} s, from step {death.step}")
            deaths.append(death)
            _forget(buyer, providers.pop(victim))
    return deaths


async def _death(buyer: Buyer, providers: dict[str, nodes.Node], seed: int) -> tuple[str, Death]:
    """Buy a job, kill who draws it, and see it end; who that was, and when what happened."""
    death, victims = Death(), list[str]()

    def listen(event: object) -> None:
        now = time.perf_counter()
        match event:
            case ev.StepDone(_, _, step, _) if not death.killed and step >= KILLED_AFTER:
                victims.append(_newest(buyer).provider)
                os.kill(providers[victims[0]].process.pid, signal.SIGKILL)
                death.killed = time.perf_counter()
            case ev.GoesOn():
                death.noticed, death.step = now, event.step
            case ev.StepDone() if death.noticed and not death.resumed:
                death.resumed = now

    wanted = wish("anything", steps=STEPS, size=(64, 64), seed=seed, checkpoint_every=EVERY)
    purchase = await buyer.buy(await buyer.plan(wanted), listen)
    assert purchase.opened
    assert death.resumed, "the job was done before its provider died"
    return victims[0], death


def _newest(buyer: Buyer) -> LeaseRow:
    with buyer.store.read() as rows:
        return rows.all(LeaseRow, order="created_ms")[-1]


def _forget(buyer: Buyer, node: nodes.Node) -> None:
    with buyer.store.begin() as rows:
        rows.delete(PeerRow, did=node.did)
