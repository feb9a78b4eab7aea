"""The options that describe a picture. Rule: typed text becomes a checked wish here, or a usage error."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from gpufair.client.market.wish import Wish

Negative = Annotated[str, typer.Option("--negative", help="What to avoid.")]
Seed = Annotated[int | None, typer.Option("--seed", help="For the same picture again.")]
MaxPrice = Annotated[str, typer.Option("--max-price", metavar="CREDITS", help="Refuse to pay more.")]
Steps = Annotated[int | None, typer.Option("--steps", "-s", help="Denoising steps. More: finer and dearer.")]
Size = Annotated[str, typer.Option("--size", metavar="WxH", help="Pixels, such as 512x512.")]
Guidance = Annotated[str, typer.Option("--guidance", "-g", metavar="NUMBER", help="How closely to follow the prompt.")]
SchedulerName = Annotated[
    str, typer.Option("--scheduler", help="ddim, euler, euler_ancestral, dpmpp_2m, unipc, lcm or own (the model's).")
]
Precision = Annotated[str, typer.Option("--precision", help="exact, single or half; else the finest on sale.")]
CheckpointEvery = Annotated[
    int | None,
    typer.Option("--checkpoint-every", metavar="STEPS", help="Buy the state this often: to go on from elsewhere."),
]
Count = Annotated[int, typer.Option("--count", "-n", help="Pictures, each with the next seed.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A model's name, or the first digits of its digest.")]
Budget = Annotated[
    str, typer.Option("--budget", metavar="CREDITS", help="The most that all pictures together may cost.")
]
Hedge = Annotated[
    bool, typer.Option("--hedge/--no-hedge", help="Draw a picture that is late a second time; one of the two is paid.")
]
Folder = Annotated[Path | None, typer.Option("--output", "-o", help="The folder; else named after the prompt.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Don't ask: buy if the price is within the bounds.")]
TrustProviderLedger = Annotated[
    bool, typer.Option("--trust-provider-ledger", help="Allow a ledger that the seller runs.")
]

_BEGIN = "To begin from a picture"
Image = Annotated[
    Path | None, typer.Option("--image", rich_help_panel=_BEGIN, help="Change this picture: PNG, JPEG or WebP.")
]
Strength = Annotated[
    str, typer.Option("--strength", metavar="NUMBER", rich_help_panel=_BEGIN, help="How much is made anew: 0 to 1.")
]
Mask = Annotated[
    Path | None, typer.Option("--mask", rich_help_panel=_BEGIN, help="Only where this is white, of the image's size.")
]
Outpaint = Annotated[
    str,
    typer.Option(
        "--outpaint", metavar="LEFT,TOP,RIGHT,BOTTOM", rich_help_panel=_BEGIN, help="Go on around it: pixels."
    ),
]
Loras = Annotated[
    list[str] | None,
    typer.Option(
        "--lora", metavar="NAME|DIGEST[:WEIGHT]", help="With this LoRA; again for several.", show_default=False
    ),
]

_SIZE = re.compile(r"([0-9]{1,5})\s*[xX]\s*([0-9]{1,5})", re.ASCII)
_NUMBER = re.compile(r"(-?)([0-9]{1,3})(?:\.([0-9]{1,3}))?", re.ASCII)
_SPAN = re.compile(r"([0-9]{1,19})\.\.([0-9]{1,19})", re.ASCII)
_MARGINS = re.compile(r"[0-9]{1,5}(?:\s*,\s*[0-9]{1,5}){3}", re.ASCII)


def make_wish(prompt: str, **typed: Any) -> Wish:
    """A wish out of what was typed. Raises LocalError (a usage error) that says how to write it."""
    from gpufair.client import wishing

    return wishing.wish(prompt, **plain(**typed))


def plain(
    *,
    size: str = "",
    guidance: str = "",
    max_price: str = "",
    strength: str = "",
    outpaint: str = "",
    loras: list[str] | None = None,
    scheduler: str = "",
    precision: str = "",
    memory: str = "",
    isolation: str = "",
    strategy: str = "",
    bid_class: str = "",
    bid: str = "",
    notice: int | None = None,
    bargain: str = "",
    **options: Any,
) -> dict[str, Any]:
    """The options of a wish out of what was typed. Raises LocalError as `make_wish` does."""
    from gpufair.client.cli import filters
    from gpufair.protocol import limits

    share, rate = filters.read_bid(bid)
    return {
        "size": _size(size) if size else None, "max_price": amount("--max-price", max_price) if max_price else None,
        "guidance_milli": guidance_milli(guidance) if guidance else None,
        "strength_milli": strength_milli(strength) if strength else None,
        "outpaint": _margins(outpaint) if outpaint else None, "loras": [_lora(text) for text in loras or ()],
        "scheduler": scheduler or None, "precision": precision or None, "strategy": strategy or None,
        "memory_bytes": filters.memory_bytes(memory) if memory else 0, "isolation": isolation or None,
        "bid_class": bid_class or None, "notice_ms": (notice or 0) * limits.SECOND, "bargain": bargain or None,
        "bid_milli": share, "bid_rate": rate, **options,
    }  # fmt: skip


def amount(option: str, text: str) -> int:
    """Micro-credits out of credits that were typed. Raises LocalError."""
    from gpufair.protocol import units
    from gpufair.protocol.errors import Fault, LocalError

    try:
        return units.parse_credits(text)
    except ValueError as error:
        raise LocalError(Fault.MALFORMED, f"{option}: {error}") from error


def guidance_milli(text: str) -> int:
    """Guidance in thousandths. Raises LocalError."""
    from gpufair.protocol import limits

    return _milli("--guidance", text, limits.GUIDANCE_MILLI_MAX)


def strength_milli(text: str) -> int:
    """Strength in thousandths. Raises LocalError."""
    return _milli("--strength", text, 1_000)


def values(text: str) -> list[str]:
    """The values of one axis: `10,20`, or for whole numbers also `1..5`. Raises LocalError."""
    from gpufair.protocol import limits
    from gpufair.protocol.errors import Fault, LocalError

    found: list[str] = []
    for part in (one.strip() for one in text.split(",")):
        span = _SPAN.fullmatch(part)
        if span is None:
            found.append(part)
            continue
        first, last = int(span[1]), int(span[2])
        if not first <= last < first + limits.BATCH_MAX:
            what = f"{part!r} is not a range of at most {limits.BATCH_MAX}"
            raise LocalError(Fault.MALFORMED, what, hint="write it like 1..5")
        found += map(str, range(first, last + 1))
    if not all(found):
        raise LocalError(Fault.MALFORMED, f"{text!r} has an empty value", hint="write it like 10,20 or 1..5")
    return found


def whole(option: str, text: str) -> list[int]:
    """The values of an axis of whole numbers. Raises LocalError."""
    from gpufair.protocol.errors import Fault, LocalError

    found = values(text)
    for one in found:
        if not (one.isascii() and one.isdigit() and len(one) < 20):
            raise LocalError(Fault.MALFORMED, f"{option}: {one!r} is not a whole number", hint="write it like 10,20")
    return [int(one) for one in found]


def _size(text: str) -> tuple[int, int]:
    from gpufair.protocol.errors import Fault, LocalError

    shape = _SIZE.fullmatch(text.strip())
    if shape is None:
        raise LocalError(Fault.MALFORMED, f"--size: {text!r} is not a size", hint="write it like 512x768")
    return int(shape[1]), int(shape[2])


def _margins(text: str) -> tuple[int, int, int, int]:
    from gpufair.protocol.errors import Fault, LocalError

    if _MARGINS.fullmatch(text.strip()) is None:
        what = f"--outpaint: {text!r} is not four numbers of pixels"
        raise LocalError(Fault.MALFORMED, what, hint="left, top, right, bottom: write it like 0,0,64,0")
    left, top, right, below = (int(side) for side in text.split(","))
    return left, top, right, below


def _lora(text: str) -> tuple[str, int]:
    """A name or digest, and the weight behind its last colon if that is one."""
    from gpufair.client.market.wish import WEIGHT_MILLI
    from gpufair.protocol.errors import Fault, LocalError

    name, colon, weight = text.rpartition(":")
    if not colon:
        name, weight = text, ""
    if not name.strip():
        raise LocalError(Fault.MALFORMED, f"--lora: {text!r} names none", hint="write it like pixel:0.8")
    return name.strip(), _milli("--lora", weight, 8_000, low=-8_000) if colon else WEIGHT_MILLI


def _milli(option: str, text: str, high: int, *, low: int = 0) -> int:
    """Thousandths out of a decimal number, without a float in between."""
    from gpufair.protocol.errors import Fault, LocalError

    shape = _NUMBER.fullmatch(text.strip())
    if shape is None:
        hint = f"write it like 0.75: {low // 1000} to {high // 1000}"
        raise LocalError(Fault.MALFORMED, f"{option}: {text!r} is not a number", hint=hint)
    size = int(shape[2]) * 1000 + int((shape[3] or "").ljust(3, "0"))
    thousandths = -size if shape[1] else size
    if not low <= thousandths <= high:
        much = "much" if thousandths > high else "little"
        what = f"{option}: {text.strip()} is too {much}: it must be {low // 1000} to {high // 1000}"
        raise LocalError(Fault.MALFORMED, what)
    return thousandths
