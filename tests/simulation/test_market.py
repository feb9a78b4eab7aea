"""A whole market of real cores: directories agree, and honest buyers get what they pay for, whoever lies in it.

As with the pair no pass can be vacuous: there were crashes, lies, floods and payments, and a judge that is shown a
broken rule breaks. `python tests/simulation/market.py --seed N` replays a run, `--seeds 1000` plays many.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import market_cheats
from invariants import BrokenError
from market import World, pictures, play
from market_story import story
from market_talking import TalkingActor
from network import Weather

from gpufair.client.wallet import works
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import JobHeader
from gpufair.provider.directory import directory as taking

QUICK = int(os.environ.get("GPUFAIR_MARKETS", "16"))
CALM: dict[str, Any] = {
    "weather": Weather(), "heal_ms": 0, "parted": (0, 0), "skew_ms": 0, "stops": 0, "deaths": 0, "quiet_ms": 240_000,
    "cheating_sellers": (), "cheating_buyers": (),
}  # fmt: skip
LARGE: dict[str, Any] = {
    "sellers": 198, "banks": 2, "buyers": 8, "on_disk": False, "quiet_ms": 70_000, "healing_ms": 50_000, "stops": 30,
    "deaths": 0,
}  # fmt: skip
STOPPED = "SELECT 1 FROM attempts WHERE state IN ('reclaimed', 'preempted', 'drained')"


def resumed(buyer: Any) -> int:
    """Pictures that were finished elsewhere from a checkpoint that was bought."""
    rows = buyer.db.rows("SELECT header FROM jobs WHERE state = 'paid'")
    return sum(from_bytes(header, JobHeader).doc.spec.done > 0 for (header,) in rows)


def tally(world: World, counts: Counter[str]) -> None:
    everybody = [*world.banks.values(), *world.shops.values(), *world.buyers.values()]
    counts["crashes"] += sum(one.crashes for one in everybody)
    counts["lies"] += sum(getattr(one, "lies", 0) for one in everybody)
    counts["paid"] += world.watch.captured()
    counts["parted"] += world.story.parted != (0, 0)
    counts["stopped"] += sum(len(shop.db.rows(STOPPED)) for shop in world.shops.values())
    counts["resumed"] += sum(resumed(buyer) for buyer in world.buyers.values())
    counts["elsewhere"] += sum(buyer.tries > 1 for buyer in world.buyers.values())
    have, wanted = pictures(world)
    counts["pictures"], counts["wanted"] = counts["pictures"] + have, counts["wanted"] + wanted


def many(seeds: range, **fixed: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for seed in seeds:
        tally(play(story(seed, **fixed)), counts)
    return counts


@pytest.mark.timeout(300)
def test_whatever_happens_directories_agree_and_nobody_is_robbed() -> None:
    counts = many(range(QUICK))
    ways = ("crashes", "lies", "paid", "parted", "elsewhere", "stopped", "resumed")
    assert not {way for way in ways if not counts[way]}, counts
    assert counts["pictures"] > 0.8 * counts["wanted"], counts


@pytest.mark.timeout(300)
def test_two_hundred_nodes_that_part_and_lie() -> None:
    liars = (*market_cheats.LIARS, market_cheats.Forger)
    parted = {"parted": (5_000, 15_000), "heal_ms": 15_000, "weather": Weather(lose=0.02, double=0.02, crash=0.0005)}
    world = play(story(200, **LARGE, **parted, cheating_sellers=liars, cheating_buyers=()))
    assert all(node.lies for node in world.directories.values() if not node.honest)
    have, wanted = pictures(world)
    assert 0.8 * wanted < have


@pytest.mark.long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("block", range(20))
def test_many_more_seeds(block: int) -> None:
    counts = many(range(10_000 + 100 * block, 10_100 + 100 * block))
    assert counts["pictures"] > 0.8 * counts["wanted"], counts


def test_in_calm_weather_and_good_company_everybody_gets_everything() -> None:
    for seed in range(300, 306):
        world = play(story(seed, **CALM))
        have, wanted = pictures(world)
        assert have == wanted > 0
        assert not world.refusals


def test_a_run_is_a_function_of_its_seed() -> None:
    first, second = (play(story(7)).sim.trace for _ in range(2))
    assert [entry[:2] for entry in first] == [entry[:2] for entry in second]


@pytest.mark.parametrize("liar", market_cheats.LIARS)
def test_a_liar_in_the_gossip_keeps_nobody_from_the_truth(liar: Any) -> None:
    counts = many(range(320, 323), **{**CALM, "cheating_sellers": (liar, liar), "sellers": 8})
    assert counts["lies"] > 0
    assert counts["pictures"] == counts["wanted"] > 0


# --- the judge can see -----------------------------------------------------------------------------------------------


def test_a_forged_document_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking.envelope, "authenticate", lambda signed, **_: signed)
    with pytest.raises(BrokenError, match="never published"):
        many(range(320, 330), **{**CALM, "cheating_sellers": (market_cheats.Forger,)})


def test_a_second_payment_for_one_picture_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(works, "is_wanted", lambda *_: True)
    with pytest.raises(BrokenError, match="paid twice"):
        many(range(1_000), weather=Weather(slow=0.3), heal_ms=90_000)


def test_directories_that_do_not_agree_are_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TalkingActor, "put", lambda *_: None)
    with pytest.raises(BrokenError, match="not at one"):
        play(story(301, **CALM))
