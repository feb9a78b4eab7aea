"""What must hold in the payment model: one named predicate a promise, and who is promised it in which setting."""

from __future__ import annotations

from payment_agents import (
    any_time_expiry,
    cheat_captures,
    cheat_delivers,
    client_crashes,
    client_folds,
    client_locks,
    client_pays_up_front,
    client_receives,
    client_releases,
    clock,
    keys_of,
    ledger,
    provider_captures,
    provider_crashes,
    provider_keeps,
    provider_reveals,
    provider_works,
)
from payment_rules import HONEST, PRICE, UP_FRONT, VALUE, Setting, State, World, worth


def captures_stay_within_the_hold(world: World, s: State) -> bool:
    return s.paid <= world.rules.hold


def the_book_balances(world: World, s: State) -> bool:
    return s.held + s.paid + s.returned == world.rules.hold and min(s.held, s.paid, s.returned) >= 0


def what_is_paid_stays_paid(_: World, before: State, after: State) -> bool:
    return after.paid >= before.paid


def secured(world: World, s: State) -> int:
    return max(s.paid, min(world.rules.hold, worth(s.disk, keys_of(s))))


def what_the_provider_secured_stays_secured(world: World, before: State, after: State) -> bool:
    return secured(world, after) >= secured(world, before)


def every_key_given_is_paid(world: World, s: State) -> bool:
    return not s.released or secured(world, s) >= UP_FRONT + PRICE[s.released]


def provider_loses_at_most_a_window(world: World, s: State) -> bool:
    return s.open or not s.worked or UP_FRONT + PRICE[s.worked] - s.paid <= world.rules.window


def client_can_open_what_it_paid(_: World, s: State) -> bool:
    return s.paid <= UP_FRONT + PRICE[s.received & (s.released | s.published)]


def client_pays_no_step_twice(_: World, s: State) -> bool:
    return s.paid <= UP_FRONT + VALUE[s.received & (s.released | s.published)]


def client_loses_at_most_a_window_and_the_up_front_line(world: World, s: State) -> bool:
    good = s.received & (s.released | s.published) & ~s.garbage
    return s.paid - VALUE[good] <= world.rules.window + UP_FRONT


def two_honest_parties_can_finish(world: World, s: State) -> bool:
    """The goal that must stay in reach while the clock stands still: all opened, all secured."""
    return s.opened == HONEST and secured(world, s) == UP_FRONT + PRICE[HONEST]


BOOK = (captures_stay_within_the_hold, the_book_balances)
PROVIDER_SAFE = (every_key_given_is_paid, provider_loses_at_most_a_window)
CLIENT_SAFE = (client_can_open_what_it_paid, client_pays_no_step_twice)
BOUNDED = (client_loses_at_most_a_window_and_the_up_front_line,)
KEPT = (what_is_paid_stays_paid, what_the_provider_secured_stays_secured)

PROVIDER = (provider_works, provider_reveals, provider_keeps, provider_crashes)
CLIENT = (client_pays_up_front, client_locks, client_folds, client_crashes)
CHEAT = (cheat_delivers, cheat_captures, any_time_expiry)

PAIR = (*PROVIDER, client_receives, *CLIENT)
PAIR_SAFE = BOOK + PROVIDER_SAFE + CLIENT_SAFE
HONEST_PAIR = Setting("honest pair", (*PAIR, provider_captures, ledger, clock), PAIR_SAFE, KEPT)
WITHOUT_CLOCK = Setting("honest pair, no clock", (*PAIR, provider_captures, ledger), PAIR_SAFE, must_finish=True)
WITHOUT_LEDGER = Setting("honest pair, no clock, no ledger", PAIR, PROVIDER_SAFE, must_finish=True)
BAD_CLIENT = Setting(
    "cheating client",
    (*PROVIDER, provider_captures, client_releases, ledger, clock),
    BOOK + PROVIDER_SAFE,
    KEPT,
    client_cheats=True,
)
BAD_PROVIDER = Setting("cheating provider", (*CHEAT, *CLIENT), BOOK + CLIENT_SAFE + BOUNDED, KEPT[:1])
BAD_LEDGER = Setting("provider with its ledger", (*CHEAT, *CLIENT), BOOK + BOUNDED, KEPT[:1], ledger_hides_keys=True)
SETTINGS = (HONEST_PAIR, WITHOUT_CLOCK, WITHOUT_LEDGER, BAD_CLIENT, BAD_PROVIDER, BAD_LEDGER)
