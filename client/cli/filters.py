"""The options that choose a provider. Rule: the same words in every command that looks at offers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from gpufair.protocol.search.filters import Search
    from gpufair.protocol.search.strategies import Strategy

_WHERE = "Which provider"
_GIB = 1024**3
Gpu = Annotated[str, typer.Option("--gpu", metavar="WORDS", rich_help_panel=_WHERE, help="Words of a GPU's name.")]
Memory = Annotated[str, typer.Option("--memory", metavar="GIB", rich_help_panel=_WHERE, help="At least so much.")]
Isolated = Annotated[
    str,
    typer.Option("--isolation", metavar="TIER", rich_help_panel=_WHERE, help="none, container or gvisor, at least."),
]
Profile = Annotated[
    str, typer.Option("--profile", metavar="DIGEST", rich_help_panel=_WHERE, help="This runtime profile: 64 digits.")
]
Region = Annotated[
    str, typer.Option("--region", metavar="NAME", rich_help_panel=_WHERE, help="There: eu also finds eu-north-1.")
]
Ledger = Annotated[str, typer.Option("--ledger", metavar="DID", rich_help_panel=_WHERE, help="Paid at this ledger.")]
StrategyName = Annotated[
    str,
    typer.Option(
        "--strategy", metavar="NAME", rich_help_panel=_WHERE,
        help="The best is the cheapest, the fastest or balanced; or weights: price=2,speed=1.",
    ),
]  # fmt: skip


_HOW = "How it is served"
ClassName = Annotated[
    str, typer.Option("--class", metavar="NAME", rich_help_panel=_HOW, help="on_demand, or interruptible: cheaper.")
]
Bid = Annotated[
    str,
    typer.Option(
        "--bid", metavar="PERCENT|CREDITS", rich_help_panel=_HOW,
        help="80% of the ask on demand, or credits a step-megapixel; never below what the class is asked.",
    ),
]  # fmt: skip
Notice = Annotated[
    int | None, typer.Option("--notice", metavar="SECONDS", rich_help_panel=_HOW, help="Before the GPU is taken back.")
]
Bargain = Annotated[
    str, typer.Option("--bargain", metavar="HOW", rich_help_panel=_HOW, help="accept counter-offers, firm, or never.")
]


def read_bid(text: str) -> tuple[int, int]:
    """A bid as it was typed: thousandths of the ask, or micro-credits a step-megapixel. Raises LocalError."""
    from gpufair.protocol import units
    from gpufair.protocol.errors import Fault, LocalError

    number = text.strip()
    try:
        if number.endswith("%"):
            return units.parse_credits(number[:-1]) * 10 // units.MICRO_PER_CREDIT, 0
        return (0, units.parse_credits(number)) if number else (0, 0)
    except ValueError as error:
        hint = "write it like 80%, or like 0.00005 for credits a step-megapixel"
        raise LocalError(Fault.MALFORMED, f"--bid: {text!r} is neither", hint=hint) from error


def memory_bytes(text: str) -> int:
    """Bytes out of GiB as they were typed. Raises LocalError."""
    from gpufair.protocol.errors import Fault, LocalError

    whole, dot, rest = text.strip().partition(".")
    digits = whole + rest
    if not (digits.isascii() and digits.isdigit()) or not whole or (dot and not rest) or len(digits) > 9:
        raise LocalError(Fault.MALFORMED, f"--memory: {text!r} is not a number of GiB", hint="write it like 24")
    return int(digits) * _GIB // int("1" + "0" * len(rest))


def make_search(*, task: str, bid_class: str, max_price: str, memory: str, isolation: str, **plain: str) -> Search:
    """A search out of what was typed. Raises LocalError that says how to write it."""
    from dataclasses import replace

    from gpufair.client import wishing
    from gpufair.protocol import units
    from gpufair.protocol.errors import Fault, LocalError
    from gpufair.protocol.messages import BidClass, Task

    try:
        price_max = units.parse_credits(max_price) if max_price else None
    except ValueError as error:
        raise LocalError(Fault.MALFORMED, f"--max-price: {error}") from error
    found = wishing.where(memory_bytes=memory_bytes(memory) if memory else 0, isolation=isolation or None, **plain)
    return replace(
        found, task=wishing.named(Task, task or None), bid_class=wishing.named(BidClass, bid_class or None),
        price_max=price_max,
    )  # fmt: skip


def make_strategy(text: str) -> Strategy | None:
    """A strategy out of what was typed; None: as the config says. Raises LocalError."""
    from gpufair.protocol.search.strategies import strategy

    return strategy(text) if text else None
