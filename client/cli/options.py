"""The options that describe a picture. Rule: typed text becomes a checked wish here, or a usage error."""

from __future__ import annotations

import re
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
    str, typer.Option("--scheduler", help="ddim, euler, euler_ancestral, dpmpp_2m, unipc or lcm.")
]
Count = Annotated[int, typer.Option("--count", "-n", help="Pictures, each with the next seed.")]
Model = Annotated[str, typer.Option("--model", "-m", help="A model's name, or the first digits of its digest.")]

_SIZE = re.compile(r"([0-9]{1,5})\s*[xX]\s*([0-9]{1,5})", re.ASCII)
_NUMBER = re.compile(r"([0-9]{1,3})(?:\.([0-9]{1,3}))?", re.ASCII)


def make_wish(prompt: str, *, size: str = "", guidance: str = "", max_price: str = "", **options: Any) -> Wish:
    """A wish out of what was typed. Raises LocalError (a usage error) that says how to write it."""
    from gpufair.client import sdk
    from gpufair.protocol import units
    from gpufair.protocol.errors import Fault, LocalError

    try:
        limit = units.parse_credits(max_price) if max_price else None
    except ValueError as error:
        raise LocalError(Fault.MALFORMED, f"--max-price: {error}") from error
    return sdk.wish(
        prompt, size=_size(size) if size else None, guidance_milli=_milli(guidance) if guidance else None,
        max_price=limit, **options,
    )  # fmt: skip


def _size(text: str) -> tuple[int, int]:
    from gpufair.protocol.errors import Fault, LocalError

    shape = _SIZE.fullmatch(text.strip())
    if shape is None:
        raise LocalError(Fault.MALFORMED, f"--size: {text!r} is not a size", hint="write it like 512x768")
    return int(shape[1]), int(shape[2])


def _milli(text: str) -> int:
    """Thousandths out of a decimal number, without a float in between."""
    from gpufair.protocol import limits
    from gpufair.protocol.errors import Fault, LocalError

    shape = _NUMBER.fullmatch(text.strip())
    if shape is None:
        raise LocalError(Fault.MALFORMED, f"--guidance: {text!r} is not a number", hint="write it like 7.5")
    thousandths = int(shape[1]) * 1000 + int((shape[2] or "").ljust(3, "0"))
    if thousandths > limits.GUIDANCE_MILLI_MAX:
        most = limits.GUIDANCE_MILLI_MAX // 1000
        raise LocalError(Fault.MALFORMED, f"--guidance: {text.strip()} is too much: it must be 0 to {most}")
    return thousandths
