"""Integers with names. Rule: no float ever touches an amount, and there is one way to round: up, in `per_million`."""

from __future__ import annotations

from typing import NewType

Credits = NewType("Credits", int)
"""Micro-credits: 1 credit = 1,000,000 of these. Every amount in gpufair is an integer of them."""

StepPixels = NewType("StepPixels", int)
"""The unit of work: steps x width x height x count x (2 if guided). A million of them is a step-megapixel."""

Millis = NewType("Millis", int)
"""Milliseconds: a Unix time or a duration, as the name of the variable says."""

MICRO_PER_CREDIT = 1_000_000
MILLION = 1_000_000


def per_million(quantity: int, rate: int) -> Credits:
    """Price `quantity` units at `rate` micro-credits per million units, rounded up to a whole micro-credit.

    Rounding up is the only rounding rule: work is never free, and both sides compute the same integer.
    """
    if quantity < 0 or rate < 0:
        raise ValueError(f"quantity and rate must not be negative: {quantity}, {rate}")
    return Credits(-(-quantity * rate // MILLION))


def step_pixels(*, steps: int, width: int, height: int, count: int, guided: bool) -> StepPixels:
    """The work of denoising `count` pictures; a guided step evaluates the model twice."""
    return StepPixels(steps * width * height * count * (2 if guided else 1))


def show(amount: int) -> str:
    """An amount for people, exact: `1.25 cr`, `0.000117 cr`. Never parsed back by a program."""
    sign, value = ("-", -amount) if amount < 0 else ("", amount)
    whole, rest = divmod(value, MICRO_PER_CREDIT)
    digits = f"{rest:06d}".rstrip("0")
    return f"{sign}{whole:,}.{digits} cr" if digits else f"{sign}{whole:,} cr"


def parse_credits(text: str) -> Credits:
    """Read an amount that a person wrote in credits (`0.5`, `12`), exactly, at most six decimals.

    Raises ValueError with the reason for anything else: signs, exponents, NaN, more than six decimals.
    """
    whole, dot, fraction = text.strip().partition(".")
    ascii_digits = (whole + fraction).isascii() and (whole + fraction).isdigit()
    if not ascii_digits or not whole or (dot and not fraction):
        raise ValueError(f"{text!r} is not an amount in credits: write it like 12 or 0.25")
    if len(fraction) > 6:
        raise ValueError(f"{text!r} has more than six decimals: the smallest amount is 0.000001 credits")
    return Credits(int(whole) * MICRO_PER_CREDIT + int(fraction.ljust(6, "0") or "0"))
