"""The payment rules hold in every reachable state, and every one of them is needed.

A pass can't be vacuous: the searches must be as large as they were, every move of every player must have happened, and
two honest parties must have paid in full. Each weakened rule must break exactly the promise that it guards.
"""

from __future__ import annotations

import re
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from payment_agents import cheat_captures, cheat_delivers
from payment_invariants import HONEST_PAIR, WITHOUT_LEDGER
from payment_model import AS_WRITTEN, OTHERWISE, WEAKENED, WEAKENINGS, Case, main, show, tell
from payment_rules import HONEST, PRICE, UP_FRONT, Rules, State, Voucher, World
from payment_search import explore, first_false

DOCS = Path(__file__).parents[2] / "docs" / "payment.md"
STATES_AT_LEAST = {
    "honest pair": 50_000,
    "honest pair, no clock": 16_000,
    "honest pair, no clock, no ledger": 250,
    "cheating client": 85_000,
    "cheating provider": 84_000,
    "provider with its ledger": 22_000,
}


PAIR = {
    "client signs",
    "client receives",
    "provider keeps",
    "provider works and delivers",
    "provider reveals the key of",
}
SENT = {"provider sends a capture of", "ledger processes the capture of"}
FINAL = {"provider sends its final capture, of", "ledger processes the final capture of"}
TIME = {"clock ticks", "ledger expires the hold"}
CHEAT = {
    "client signs",
    "provider delivers",
    "provider delivers GARBAGE as",
    "provider reveals the key of",
    "provider captures",
    "ledger expires the hold",
}
MOVES = {  # every one must have happened, or the search proves less than it says
    "honest pair": PAIR | SENT | FINAL | TIME,
    "honest pair, no clock": PAIR | SENT | FINAL,
    "honest pair, no clock, no ledger": PAIR,
    "cheating client": PAIR - {"client signs", "client receives"} | {"provider captures"} | FINAL | TIME,
    "cheating provider": CHEAT,
    "provider with its ledger": CHEAT,
}


def named(cases: list[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=[f"{case.name} ({case.setting.name})" for case in cases])


@named(AS_WRITTEN)
def test_the_rules_hold_in_every_state(case: Case) -> None:
    found = explore(case.setting, case.rules)
    assert found.fallen is None, f"{found.fallen}\n{tell(found)}"
    assert found.states >= STATES_AT_LEAST[case.setting.name], "the model has lost states: does every agent still move?"
    assert {f"{who} {what}" for who, what in found.seen} == MOVES[case.setting.name]
    assert f"| {case.setting.name} |" in DOCS.read_text()
    assert f"| {found.states:,} |" in DOCS.read_text(), "docs/payment.md gives another number of states"
    if case.setting != WITHOUT_LEDGER:
        assert found.most_paid == UP_FRONT + PRICE[HONEST], "nobody was ever paid in full"


@named(WEAKENED)
def test_a_weakened_rule_breaks_its_promise(case: Case) -> None:
    found = explore(case.setting, case.rules)
    assert found.fallen == case.falls, f"expected {case.falls}\n{tell(found)}"
    assert tell(found).count("\n") == len(found.story), "one line a step, and the end"
    assert replay(case, found.story) == found.last, "the story doesn't lead to the state that it ends in"


def replay(case: Case, story: list[Any]) -> State:
    """Follows a story through the agents; no promise may fall before its last step, or it isn't the shortest."""
    world, state = World(case.rules, case.setting), State(held=case.rules.hold)
    for number, label in enumerate(story, 1):
        moves = [after for agent in case.setting.agents for said, after in agent(world, state) if said == label]
        assert moves, f"step {number}, {label}, is not open to anyone"
        before, state = state, moves[0]
        fallen = first_false(case.setting.each_step, world, before, state) or first_false(
            case.setting.always, world, state
        )
        assert fallen is None or number == len(story), f"{fallen} already at step {number} of {len(story)}"
    return state


@named([Case(weak.name, s, Rules(**weak.base)) for weak in WEAKENINGS if weak.base for s in weak.falls])
def test_the_rule_intact_holds_on_the_same_ground(case: Case) -> None:
    """A weakening shown under other numbers (a smaller hold) proves nothing unless the rule holds under those."""
    assert explore(case.setting, case.rules).fallen is None


@pytest.mark.long
@named(OTHERWISE)
def test_other_numbers_hold_too(case: Case) -> None:
    found = explore(case.setting, case.rules)
    assert found.fallen is None, f"{found.fallen}\n{tell(found)}"
    assert found.states > 1_000


def test_every_field_of_the_rules_is_weakened_somewhere() -> None:
    weakened = {name for weak in WEAKENINGS for name in weak.change}
    numbers = {"hold", "lease_expiry", "clock_error"}
    assert {field.name for field in fields(Rules)} - weakened == numbers


def test_every_weakening_changes_something_and_is_told_in_the_docs() -> None:
    told = DOCS.read_text()
    for weak in WEAKENINGS:
        assert Rules(**weak.base, **weak.change) != Rules(**weak.base), weak.name
        for invariant in weak.falls.values():
            row = f"| {weak.rule} | {weak.name} | {invariant.__name__.replace('_', ' ')} |"
            assert row in told, f"docs/payment.md lacks the row\n{row}"
    rows = re.findall(r"^\| \d+ \| (.+?) \|", told, flags=re.MULTILINE)
    assert sorted(set(rows)) == sorted(weak.name for weak in WEAKENINGS), (
        "docs/payment.md names a weakening that is gone"
    )


def test_the_command_tells_the_story(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["-v", "the client may release early"]) == 0
    told = capsys.readouterr().out
    assert "not true: provider loses at most a window" in told
    assert "3. client   releases the hold early" in told
    assert show(Voucher(1, (0, 0, 2, 0))) == "[1 unlocked + B.picture:2]"


def test_the_honest_pair_is_honest() -> None:
    assert not HONEST_PAIR.client_cheats
    assert not HONEST_PAIR.ledger_hides_keys
    assert not {cheat_delivers, cheat_captures} & set(HONEST_PAIR.agents)
