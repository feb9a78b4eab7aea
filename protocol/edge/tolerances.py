"""What honest machines differ by. Rule: a limit is measured, never guessed: what nobody has measured has no row.

The table that comes with gpufair is `tolerances.json`. Rows of one's own come from a file of the same form, and win.
"""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.auditing import Errors, Pair, Table
from gpufair.protocol.errors import Fault, LocalError

_HOUSE = "tolerances.json"
_FILE_MAX = limits.MIB


def load(own: Path | None = None) -> Table:
    """The rows of the house, and those of a file of one's own. Raises LocalError for one that can't be read."""
    table = dict(_rows((files("gpufair.protocol.edge") / _HOUSE).read_bytes(), _HOUSE))
    if own is not None:
        try:
            with own.open("rb") as file:
                data = file.read(_FILE_MAX)
        except OSError as error:
            raise LocalError(Fault.UNAVAILABLE, f"{own} cannot be read: {error.strerror}") from error
        table |= _rows(data, str(own))
    return table


def _rows(data: bytes, name: str) -> dict[Pair, Errors]:
    try:
        return dict(_row(row) for row in json.loads(data)["rows"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        what = f"{name} is no table of tolerances: {type(error).__name__}: {error}"
        raise LocalError(Fault.MALFORMED, what, hint="docs/audit.md shows its form") from error


def _row(row: Any) -> tuple[Pair, Errors]:
    pair = (row["provider"], row["verifier"])
    errors = Errors(row["start_nano"], row["step_nano"], row["picture_nano"])
    if not all(isinstance(word, str) for word in pair):
        raise TypeError("a class is text")
    if not all(type(one) is int and 0 <= one < 2**62 for one in (errors.start, errors.step, errors.picture)):
        raise ValueError("a limit is a whole number of thousand-millionths")
    return pair, errors
