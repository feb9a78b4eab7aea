#!/usr/bin/env python3
"""The payment rules as a machine that tries everything: what docs/payment.md says must hold in every reachable state.

One lease: two jobs, three deliveries (A.checkpoint, then A.picture; B.picture), one up-front line, a window, a hold.
Read payment_rules.py (the rules, one field each), payment_agents.py (who may do what), payment_invariants.py (what must
stay true, and for whom); payment_search.py visits every state, nearest first. The table here breaks one rule at a time
and names the invariant that falls for it; the search tells the shortest story of how.

    python tests/simulation/payment_model.py [-v] [NAME]     -v tells the stories, NAME picks settings and weakenings

How the world is cut down without losing a story:
- What was sent may arrive now, later, again or never, so loss, repetition and reordering need no moves of their own.
- A crash before a write is a lost message; only a write that comes too late (a weakened rule 8) makes a crash visible.
- Time is three ticks: the lease ends at 1, its hold at 1 + margin; the provider's clock may be wrong by `clock_error`.
- A cheat does not have to be clever: it may do anything that nobody can prevent, so the cleverest is among them.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

from payment_invariants import (
    BAD_CLIENT,
    BAD_LEDGER,
    BAD_PROVIDER,
    HONEST_PAIR,
    SETTINGS,
    WITHOUT_LEDGER,
    captures_stay_within_the_hold,
    client_can_open_what_it_paid,
    client_loses_at_most_a_window_and_the_up_front_line,
    client_pays_no_step_twice,
    every_key_given_is_paid,
    provider_loses_at_most_a_window,
    two_honest_parties_can_finish,
    what_is_paid_stays_paid,
    what_the_provider_secured_stays_secured,
)
from payment_rules import BITS, DELIVERIES, PRICE, UP_FRONT, Rules, Setting, Voucher
from payment_search import Found, explore


@dataclass(frozen=True)
class Weakening:
    """One rule broken, and the invariant that must fall for it in each setting; `base` holds with the rule intact."""

    rule: int
    name: str
    change: dict[str, Any]
    falls: dict[Setting, Callable[..., bool]]
    base: dict[str, Any] = field(default_factory=dict)


H, F, C, S, L = HONEST_PAIR, WITHOUT_LEDGER, BAD_CLIENT, BAD_PROVIDER, BAD_LEDGER
secure, window = what_the_provider_secured_stays_secured, provider_loses_at_most_a_window
bounded, opens = client_loses_at_most_a_window_and_the_up_front_line, client_can_open_what_it_paid
finish, paid = two_honest_parties_can_finish, every_key_given_is_paid

# fmt: off
WEAKENINGS = tuple(Weakening(*row) for row in (
    (1, "each lock is paid once, plus unlocked", {"capture": "each lock once"}, {S: opens}),
    (1, "a repeated capture is paid again", {"capture": "afresh"}, {H: opens}),
    (1, "a capture is paid beyond the hold", {"capture": "unbounded"}, {C: captures_stay_within_the_hold}),
    (1, "a late, lower capture takes money back", {"capture": "signed"}, {H: what_is_paid_stays_paid}),
    (2, "the newest voucher is kept, not the highest", {"keeps": "latest"}, {H: secure, C: secure}),
    (2, "locks on foreign hashes count", {"counts_foreign_locks": True}, {C: secure}),
    (2, "a voucher counts beyond the hold", {"counts_beyond_hold": True}, {C: paid}, {"hold": 2}),
    (2, "a key is revealed for any lock on it", {"reveals": "any lock"}, {C: paid}),
    (2, "a key is revealed for its full lock alone", {"reveals": "full lock"}, {C: paid}),
    (2, "a key is revealed for the total alone", {"reveals": "total"}, {F: finish}),
    (3, "the window is per job", {"window_is_per": "job"}, {C: window}),
    (3, "the client bounds no locks", {"client_bounds_locks": False}, {S: bounded, L: bounded}),
    (3, "the up-front line counts in the lock bound", {"counts_up_front_in_bound": True}, {F: finish}),
    (3, "an increment exceeds the window", {"window": 1}, {F: finish}),
    (6, "a second hashlock is signed for the same steps", {"one_hashlock_per_range": False},
        {S: client_pays_no_step_twice}),
    (6, "a preimage may have any length", {"one_key_length": False}, {S: opens}),
    (7, "two tasks write vouchers", {"one_writer": False}, {S: opens, H: opens}),
    (8, "the voucher is written after it is acted on", {"voucher_on_disk_first": False}, {H: paid, C: paid}),
    (8, "the key is written after the ciphertext is sent", {"key_on_disk_first": False}, {H: secure, C: secure}),
    (8, "the lock is signed before the ciphertext is written", {"lock_needs": "ciphertext in memory"}, {S: opens}),
    (8, "the provider deletes deliveries before the hold closes", {"keeps_deliveries": False}, {F: finish}),
    (9, "the lock is signed without the ciphertext", {"lock_needs": "hashlock"}, {S: opens}),
    (11, "the release is a message of its own", {"closes_by": "separate release"}, {H: window, C: window}),
    (11, "the client may release early", {"client_may_release": True}, {C: window}),
    (11, "the provider serves on after its final capture", {"deaf_once_closing": False}, {C: window}),
    (12, "the margin is no larger than the clock error", {"margin": 1}, {C: window}),
    (12, "the provider neither stops nor captures at lease expiry", {"stops_at_lease_expiry": False}, {C: window}),
    (12, "a voucher expires before its hold", {"voucher_expiry": 1}, {C: window}),
    (12, "a hold expires during an outage", {"grace_after_outage": False}, {C: window}),
))
# fmt: on

ALSO_HOLD: tuple[tuple[str, dict[str, Any], tuple[Setting, ...]], ...] = (
    ("more captures are under way", {}, (replace(HONEST_PAIR, captures_in_flight=3),)),
    ("the client's locks may exceed the price", {}, (replace(BAD_CLIENT, most_overpaid=1),)),
    ("the hold is smaller than the work", {"hold": 3}, (C, S, L)),
    ("the hold pays for one delivery", {"hold": 2}, (C, S, L)),
    ("the ledger remembers keys of earlier captures", {"capture": "with remembered keys"}, (H, S)),
    ("the margin is one tick, the clocks agree", {"margin": 1, "clock_error": 0}, (H, C)),
    ("the provider's clock is a tick fast", {"lease_expiry": 2, "clock_error": 1}, (C,)),
)


def show(thing: Any) -> str:
    match thing:
        case Voucher():
            locks = [f"{DELIVERIES[d].name}:{amount}" for d, amount in enumerate(thing.locks) if amount]
            return "[" + " + ".join([f"{thing.unlocked} unlocked", *locks]) + "]"
        case tuple():
            return ", ".join(DELIVERIES[d].name for d in thing) or "none"
        case int():
            return DELIVERIES[thing].name
    return str(thing)


def tell(found: Found) -> str:
    lines = [f"{n:6}. {label[0]:8} {' '.join(map(show, label[1:]))}" for n, label in enumerate(found.story, 1)]
    s = found.last
    work = UP_FRONT + PRICE[s.worked] if s.worked else 0
    money = f"paid {s.paid}, held {s.held}, given back {s.returned}; work done {work}"
    return "\n".join([*lines, f"        {money}; opened by the client: {show(BITS[s.opened])}"])


class Case(NamedTuple):
    """One search, and the invariant that must fall in it (None: it must exhaust every state, and all hold)."""

    name: str
    setting: Setting
    rules: Rules
    falls: str | None = None


AS_WRITTEN = [Case("the rules", setting, Rules()) for setting in SETTINGS]
WEAKENED = [
    Case(f"{weak.rule}. {weak.name}", setting, Rules(**weak.base, **weak.change), invariant.__name__)
    for weak in WEAKENINGS
    for setting, invariant in weak.falls.items()
]
OTHERWISE = [
    Case(f"also holds: {name}", setting, Rules(**change))
    for name, change, settings in ALSO_HOLD
    for setting in settings
]


def main(arguments: list[str]) -> int:
    wanted = [a for a in arguments if a != "-v"]
    wrong = 0
    for name, setting, rules, expected in AS_WRITTEN + WEAKENED + OTHERWISE:
        if wanted and not any(w in f"{name} ({setting.name})" for w in wanted):
            continue
        found = explore(setting, rules)
        wrong += found.fallen != expected
        verdict = "holds" if found.fallen is None else "FALLS"
        told = f"{verdict} {found.states:7} states, {len(found.story):2} steps  {name} ({setting.name})"
        print(told if found.fallen == expected else f"{told}   EXPECTED {expected}", flush=True)
        if found.fallen:
            print(f"      -> not true: {found.fallen.replace('_', ' ')}")
            if "-v" in arguments:
                print(tell(found))
    return wrong


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
