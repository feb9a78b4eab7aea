"""What a benchmark says. ONE RULE: a row is a ratio measured in one run, with what it was measured on beside it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Row:
    """One line of the table.

    `ours` and `peer` are in `unit`; `peer` is None where there is nothing to compare with. `goal` is None for a row
    that only informs. `detail` holds everything else: rounds, percentiles, processor seconds, the machine's state.
    """

    name: str
    ours: float
    peer: float | None
    unit: str
    goal: str | None = None
    met: bool | None = None
    detail: dict[str, Any] = field(default_factory=dict)

    @property
    def ratio(self) -> float | None:
        """Ours by the peer's."""
        return self.ours / self.peer if self.peer else None

    def to_json(self) -> str:
        """One line of JSON: the seven agreed keys first, then `detail`."""
        ratio = None if self.ratio is None else _short(self.ratio)
        line = {
            "name": self.name, "ours": _short(self.ours), "peer": None if self.peer is None else _short(self.peer),
            "unit": self.unit, "ratio": ratio, "goal": self.goal, "met": self.met, "detail": self.detail,
        }  # fmt: skip
        return json.dumps(line, ensure_ascii=False)


def table(rows: Iterable[Row]) -> str:
    """The rows for people."""
    lines = [("name", "ours", "peer", "unit", "ratio", "goal", "met")]
    for row in rows:
        met = {True: "yes", False: "NO", None: "-"}[row.met]
        ratio = "-" if row.ratio is None else f"{row.ratio:.2f}"
        peer = "-" if row.peer is None else _figure(row.peer)
        lines.append((row.name, _figure(row.ours), peer, row.unit, ratio, row.goal or "-", met))
    widths = [max(len(line[column]) for line in lines) for column in range(7)]
    return "\n".join(
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines
    )


@dataclass(frozen=True)
class Samples:
    """Repeated measurements of one thing."""

    values: Sequence[float]

    @property
    def median(self) -> float:
        """The middle one."""
        return median(self.values)

    def percentile(self, share: float) -> float:
        """The value that `share` (0 to 1) of the samples do not exceed."""
        ordered = sorted(self.values)
        return ordered[min(len(ordered) - 1, max(0, -(-int(share * len(ordered) * 1000) // 1000) - 1))]

    def summary(self) -> dict[str, float]:
        """For `detail`."""
        return {
            "rounds": len(self.values),
            "median": _short(self.median),
            "min": _short(min(self.values)),
            "p90": _short(self.percentile(0.90)),
            "p99": _short(self.percentile(0.99)),
        }


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
