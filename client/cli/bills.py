"""Prices on a terminal. Rule: a line says what it counts, at which rate, and what that makes; sums are both sides'."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from gpufair.client.cli.answers import quote_object
from gpufair.client.wallet.bill import bill
from gpufair.protocol.identity import short
from gpufair.protocol.messages import Spec
from gpufair.protocol.units import show, step_pixels

if TYPE_CHECKING:
    from gpufair.client.wallet.purchase import Purchase
    from gpufair.protocol.pricing import QuoteLine


def bill_lines(purchase: Purchase) -> Iterator[str]:
    """What a job was ordered for, and who says so; then what went on elsewhere."""
    made, who = bill(purchase), short(purchase.lease.provider)
    for line in made.quote.lines:
        yield f"            {line_words(line)}"
    if made.accepted is None:
        yield f"  price     {show(made.quote.total)} by our own count; {who} has accepted nothing"
    elif made.agrees:
        yield f"  price     {show(made.quote.total)}: {who} has signed the same number"
    else:
        yield f"  price     {show(made.quote.total)} by our own count, but {who} has signed {show(made.accepted)}"
    for part in purchase.parts:
        yield from bill_lines(part)


def line_words(line: QuoteLine) -> str:
    """A line of a price."""
    per = " per million" if line.unit in ("step-pixels", "pixels") else ""
    return f"{line.line.value}: {line.quantity:,} {line.unit} at {line.rate:,}{per} = {show(line.amount)}"


def work_words(spec: Spec, steps: int) -> str:
    """The work that one picture's price is for: whoever has the price sheet can compute it."""
    work = step_pixels(steps=steps, width=spec.width, height=spec.height, count=1, guided=spec.guided)
    return f"{work:,} step-pixels, {spec.width * spec.height:,} pixels"


def bill_object(purchase: Purchase) -> dict[str, Any]:
    """The same for programs."""
    made = bill(purchase)
    return {"quote": quote_object(made.quote), "accepted": made.accepted}
