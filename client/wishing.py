"""From plain values to a wish. Rule: what can't be meant is said in plain words, before anybody is asked or paid."""

from __future__ import annotations

from collections.abc import Iterable
from enum import IntEnum
from pathlib import Path
from typing import Any, TypeVar

from gpufair.client.config import Manner
from gpufair.client.market.stake import SHARE_MAX_MILLI, Stake
from gpufair.client.market.wish import WEIGHT_MILLI, Lora, Wish
from gpufair.client.pictures.inputs import Beginning, beginning
from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.fields import DID_PREFIX
from gpufair.protocol.messages import BidClass, Isolation, Precision, Scheduler
from gpufair.protocol.search import facts, strategies
from gpufair.protocol.search.filters import Search

File = str | Path | bytes
"""A file by its name, or its bytes."""
E = TypeVar("E", bound=IntEnum)

_AMOUNTS = ("budget", "dearest", "max_price")


def wish(
    prompt: str,
    *,
    negative: str = "",
    model: str = "",
    size: tuple[int, int] | None = None,
    steps: int | None = None,
    guidance_milli: int | None = None,
    seed: int | None = None,
    scheduler: str | None = None,
    precision: str | None = None,
    count: int = 1,
    image: File | None = None,
    mask: File | None = None,
    outpaint: tuple[int, int, int, int] | None = None,
    strength_milli: int | None = None,
    loras: Iterable[str | tuple[str, int]] = (),
    preview_every: int = 0,
    max_price: int | None = None,
    trust_provider_ledger: bool = False,
    gpu: str = "",
    memory_bytes: int = 0,
    isolation: str | None = None,
    profile: str = "",
    region: str = "",
    ledger: str = "",
    strategy: str | None = None,
    checkpoint_every: int | None = None,
    bid_class: str | None = None,
    notice_ms: int = 0,
    bid_milli: int = 0,
    bid_rate: int = 0,
    bargain: str | None = None,
    **unknown: Any,
) -> Wish:
    """A wish in plain values: `size` in pixels, guidance, strength and weights in thousandths, prices in micro-credits.

    `gpu` to `ledger` are what its provider must have; `strategy` says which of those is the best. `bid_class`,
    `notice_ms` and the bid (in thousandths of the ask on demand, or in micro-credits a step-megapixel) are how the job
    is served; `bargain` says how far to go with a provider that declines.
    Raises LocalError for a value that can't be meant, and for an option that there is not.
    """
    if unknown:
        known = ", ".join(sorted(wish.__kwdefaults__ or ()))
        raise LocalError(Fault.MALFORMED, f"there is no option {next(iter(unknown))!r}", hint=f"there are {known}")
    _check_text(prompt=prompt, negative=negative, model=model)
    width, height = _sides(size)
    check_whole(count=count, preview_every=preview_every)
    left_open = {
        "steps": steps, "guidance_milli": guidance_milli, "seed": seed, "max_price": max_price,
        "strength_milli": strength_milli, "checkpoint_every": checkpoint_every,
    }  # fmt: skip
    check_whole(**{name: value for name, value in left_open.items() if value is not None})
    if not isinstance(trust_provider_ledger, bool):
        raise LocalError(
            Fault.MALFORMED, f"trust_provider_ledger is {trust_provider_ledger!r}: it must be True or False"
        )
    made = Wish(
        prompt, negative, model, width, height, steps, guidance_milli, seed, named(Scheduler, scheduler), count,
        preview_every, max_price, trust_provider_ledger, named(Precision, precision),
        _beginning(image, mask, outpaint), strength_milli, tuple(map(_lora, loras)),
        where(gpu, memory_bytes, isolation, profile, region, ledger),
        None if strategy is None else strategies.strategy(strategy),
        checkpoint_every,
        _stake(bid_class, notice_ms, bid_milli, bid_rate), manner(bargain),
    )  # fmt: skip
    made.check()
    return made


def where(gpu: str, memory_bytes: int, isolation: str | None, profile: str, region: str, ledger: str) -> Search:
    """What a provider must have, in plain values. Raises LocalError for what can't be meant."""
    _check_text(gpu=gpu, profile=profile, region=region, ledger=ledger)
    check_whole(memory_bytes=memory_bytes)
    try:
        digest = bytes.fromhex(profile)
    except ValueError:
        digest = b"?"
    for name, value, is_meant, hint in (
        ("memory_bytes", memory_bytes, 0 <= memory_bytes < 2**62, "bytes: 24 GiB are 25769803776"),
        ("profile", profile, len(digest) in (0, 32), "64 hexadecimal digits, as `gpufair offers --json` shows them"),
        ("ledger", ledger, not ledger or ledger.startswith(DID_PREFIX), "the did of a ledger: did:key:z6Mk..."),
        ("gpu", gpu, not gpu or (facts.words(gpu) and _is_name(gpu)), "words of its name, like RTX 4090"),
        ("region", region, not region or (facts.region(region) and _is_name(region)), "a short word, like eu-north"),
    ):
        if not is_meant:
            raise LocalError(Fault.MALFORMED, f"{name} is {value!r}: that can't be one", hint=hint)
    return Search(
        gpu=gpu, memory_bytes=memory_bytes, isolation=named(Isolation, isolation), profile=digest, region=region,
        ledgers=(ledger,) if ledger else (),
    )  # fmt: skip


def _is_name(text: str) -> bool:
    return text.isprintable() and len(text.encode()) <= limits.NAME_MAX


def _stake(bid_class: str | None, notice_ms: int, share_milli: int, rate: int) -> Stake:
    check_whole(notice_ms=notice_ms, bid_milli=share_milli, bid_rate=rate)
    for name, value, most in (
        ("notice_ms", notice_ms, limits.NOTICE_MAX_MS),
        ("bid_milli", share_milli, SHARE_MAX_MILLI),
        ("bid_rate", rate, limits.RATE_MAX),
    ):
        if not 0 <= value <= most:
            raise LocalError(Fault.MALFORMED, f"{name} is {value}: it must be 0 to {most}")
    if share_milli and rate:
        raise LocalError(Fault.MALFORMED, "a bid is a share of the ask or a rate, not both", hint="give one of them")
    return Stake(named(BidClass, bid_class) or BidClass.ON_DEMAND, notice_ms, share_milli, rate)


def manner(text: str | None) -> Manner | None:
    """How far to go with a provider that declines, by name; None: as the config says. Raises LocalError."""
    if text is None or text in list(Manner):
        return None if text is None else Manner(text)
    raise LocalError(Fault.MALFORMED, f"there is no way to bargain {text!r}", hint=f"there are {', '.join(Manner)}")


def _beginning(image: File | None, mask: File | None, outpaint: object) -> Beginning | None:
    """What to begin from, read from files."""
    margins: tuple[int, int, int, int] | None = None
    match outpaint:
        case None:
            pass
        case (int() as left, int() as top, int() as right, int() as below):
            margins = left, top, right, below
        case _:
            what = f"outpaint is {outpaint!r}: it must be (left, top, right, bottom) in pixels"
            raise LocalError(Fault.MALFORMED, what, hint="write it like (0, 0, 64, 0)")
    if image is None:
        for name, value in (("a mask", mask), ("an outpainting", margins)):
            if value is not None:
                raise LocalError(Fault.MALFORMED, f"{name} is for an image, and there is none", hint="give the image")
        return None
    return beginning(_read(image, "image"), None if mask is None else _read(mask, "mask"), margins)


def _read(file: File, name: str) -> bytes:
    """A file's bytes, one more at most than may be taken."""
    if isinstance(file, bytes):
        return file
    try:
        with Path(file).open("rb") as stream:
            return stream.read(limits.INPUT_FILE_MAX + 1)
    except (OSError, TypeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise LocalError(Fault.MALFORMED, f"the {name} {file} cannot be read: {why}") from error


def _lora(value: object) -> Lora:
    match value:
        case str() as name:
            return Lora(name)
        case (str() as name, int() as weight_milli):
            return Lora(name, weight_milli)
    what = f"a LoRA is {value!r}: it must be a name, or (name, weight in thousandths)"
    raise LocalError(Fault.MALFORMED, what, hint=f"write it like ('pixel', {WEIGHT_MILLI})")


def named(kind: type[E], value: str | None) -> E | None:
    """A member by its name; None for None."""
    if value is None:
        return None
    name = kind.__name__.lower()
    _check_text(**{name: value})
    if value.upper() not in kind.__members__ or value.lower() == "unspecified":
        known = ", ".join(one.name.lower() for one in kind if one)
        raise LocalError(Fault.MALFORMED, f"there is no {name} {value!r}", hint=f"there are {known}")
    return kind[value.upper()]


def _check_text(**values: object) -> None:
    for name, value in values.items():
        if not isinstance(value, str):
            raise LocalError(Fault.MALFORMED, f"{name} is {value!r}: it must be text")


def check_whole(**values: object) -> None:
    """Refuse what is no whole number, by its name."""
    for name, value in values.items():
        if not isinstance(value, int) or isinstance(value, bool):
            amount = name in _AMOUNTS
            hint = "a credit has 1,000,000 micro-credits" if amount else ""
            of = " of micro-credits" if amount else ""
            raise LocalError(Fault.MALFORMED, f"{name} is {value!r}: it must be a whole number{of}", hint=hint)


def _sides(size: object) -> tuple[int | None, int | None]:
    """Width and height out of a size; neither without one."""
    match size:
        case None:
            return None, None
        case (int() as width, int() as height):
            return width, height
    raise LocalError(Fault.MALFORMED, f"size is {size!r}: it must be (width, height)", hint="write it like (512, 768)")
