"""What a batch is to draw. Rule: every picture is settled when the batch is made, its seed included.

A picture that is drawn again elsewhere is thereby the same picture.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import product
from typing import Any

from gpufair.client.market.wish import Wish
from gpufair.client.wishing import wish
from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Scheduler

AXES = ("prompt", "scheduler", "steps", "guidance_milli", "strength_milli", "seed")
"""What can differ from picture to picture, the slowest first."""
_WORDS = {"guidance_milli": "guidance", "strength_milli": "strength"}

Own = dict[str, Any]
"""Options of one picture."""


def sweep(axes: Mapping[str, Sequence[Any]]) -> list[Own]:
    """Every combination of the axes' values, the last axis of `AXES` running fastest. Raises LocalError."""
    unknown = [name for name in axes if name not in AXES]
    if unknown:
        raise LocalError(Fault.MALFORMED, f"{unknown[0]} can't differ within a batch", hint=f"{', '.join(AXES)} can")
    names = [name for name in AXES if axes.get(name)]
    count = 1
    for name in names:
        count *= len(axes[name])
    check_count(count)
    return [dict(zip(names, values, strict=True)) for values in product(*(axes[name] for name in names))]


def check_count(count: int) -> None:
    """Raise LocalError for more pictures than one batch has."""
    if not 1 <= count <= limits.BATCH_MAX:
        raise LocalError(Fault.MALFORMED, f"a batch of {count} pictures: it must be 1 to {limits.BATCH_MAX}")


def seeds(first: int, count: int) -> list[int]:
    """As many seeds, one after the other."""
    check_count(count)
    return [(first + number) % 2**63 for number in range(count)]


def times(items: Sequence[Own], count: int) -> list[Own]:
    """Each item `count` times: with one seed after the other from its own, or a seed that is still to be drawn."""
    check_count(len(items) * count)
    return [
        {**own, "seed": own["seed"] + number} if "seed" in own and number else dict(own)
        for own in items
        for number in range(count)
    ]


def names(items: Sequence[Own]) -> list[str]:
    """A file name for each picture: its number, and what differs: `017-steps20-guidance3.5-seed4.png`."""
    digits = max(3, len(str(len(items))))
    differing = [name for name in AXES if name != "prompt" and len({str(one.get(name)) for one in items}) > 1]
    return [
        "-".join([f"{place:0{digits}d}", *(_word(name, one[name]) for name in differing if name in one)]) + ".png"
        for place, one in enumerate(items, 1)
    ]


def wishes(options: Mapping[str, Any], items: Sequence[Own]) -> list[Wish]:
    """The wish of each picture, checked. `options` are those of `wish` that all have in common. Raises LocalError."""
    first = {"prompt": items[0].get("prompt", options.get("prompt", ""))}
    common = wish(**{**options, **first})
    made = [replace(common, **{name: _value(name, value) for name, value in own.items()}) for own in items]
    for one in made:
        one.check()
    return made


def _value(name: str, value: Any) -> Any:
    if name != "scheduler":
        return value
    if str(value).upper() not in Scheduler.__members__ or value == "unspecified":
        known = ", ".join(one.name.lower() for one in Scheduler if one)
        raise LocalError(Fault.MALFORMED, f"there is no scheduler {value!r}", hint=f"there are {known}")
    return Scheduler[str(value).upper()]


def _word(name: str, value: Any) -> str:
    if name.endswith("_milli"):
        value = f"{value / 1000:g}"
    return f"{_WORDS.get(name, name)}{value}"
