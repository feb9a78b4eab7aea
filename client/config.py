"""The buyer's folder and settings. Rule: config.toml holds choices, never secrets, and a key that we don't know is
an error with a name, so that a mistyped spending cap can't be silently no cap.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, fields
from enum import StrEnum
from pathlib import Path
from typing import Any

from gpufair.protocol import limits, units
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.search.strategies import CHEAPEST, Strategy, strategy

_FILE_MAX = 64 * limits.KIB
DAY_MS = 24 * limits.HOUR

TEMPLATE = """\
# gpufair: how you buy. Amounts are in credits, e.g. "0.25". No secrets belong here.

# The most that may be spent, or reserved, within 24 hours. Delete the line for no cap.
daily_cap = "10"

# A job that costs more is refused, unless --max-price says otherwise.
# max_price = "0.5"

# The model to use when none is named: a name, or the first digits of its digest.
# model = "emoji64"

# Which offer is the best: "cheapest", "fastest", "balanced", or weights from 0 to 9 like "price=2,speed=1".
strategy = "cheapest"

# What to do when a provider declines a bid and says what it would accept: "accept" that within the highest price,
# "firm": only where it costs no more than the bid did, "never".
bargain = "accept"

# Nodes to start looking from: host:port, or did:key:...@host:port. `gpufair peers add` keeps its own list.
peers = []

# How long one job may take, in seconds, waiting included.
deadline = 600

# Between strangers the ledger must be run by neither. true lets a provider run the ledger that pays it.
trust_provider_ledger = false
"""


@dataclass(frozen=True, slots=True)
class Home:
    """Where one buyer's things lie."""

    folder: Path

    @property
    def keys(self) -> Path:
        """The identity's folder."""
        return self.folder / "keys"

    @property
    def wallet(self) -> Path:
        """The wallet's database."""
        return self.folder / "wallet.db"

    @property
    def config(self) -> Path:
        """The settings."""
        return self.folder / "config.toml"


class Manner(StrEnum):
    """How far a buyer goes with a provider that declines a bid.

    Accept: any counter-offer within the highest price. Firm: one that costs no more than the bid did. Never: none.
    """

    ACCEPT = "accept"
    FIRM = "firm"
    NEVER = "never"


@dataclass(frozen=True, slots=True)
class Config:
    """The settings. Amounts are micro-credits; None means no such bound."""

    daily_cap: int | None = None
    max_price: int | None = None
    model: str = ""
    peers: tuple[PeerAddress, ...] = ()
    deadline: int = 600
    trust_provider_ledger: bool = False
    strategy: Strategy = CHEAPEST
    bargain: Manner = Manner.ACCEPT

    @property
    def deadline_ms(self) -> int:
        """How long one job may take."""
        return self.deadline * limits.SECOND


def default_home() -> Path:
    """$GPUFAIR_HOME, else the usual folder for this user on this system."""
    from platformdirs import user_data_path

    if os.environ.get("GPUFAIR_HOME"):
        return Path(os.environ["GPUFAIR_HOME"])
    return user_data_path("gpufair", appauthor=False)


def make_folder(home: Home) -> None:
    """Make the buyer's folder, for nobody else to look into. Raises LocalError where there can be none."""
    try:
        home.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        what = f"{home.folder} cannot be made: {error.strerror}"
        raise LocalError(Fault.UNAVAILABLE, what, hint="choose another --home") from error


def write_template(home: Home) -> None:
    """Put the explained defaults where there is no config yet."""
    make_folder(home)
    if not home.config.exists():
        home.config.write_text(TEMPLATE, encoding="utf-8")


def load(home: Home) -> Config:
    """Read the settings; without a file, the defaults. Raises LocalError that names the key and what it must be."""
    try:
        with home.config.open("rb") as file:
            data = file.read(_FILE_MAX + 1)
    except FileNotFoundError:
        return Config()
    except OSError as error:
        raise LocalError(Fault.UNAVAILABLE, f"{home.config} cannot be read: {error.strerror}") from error
    if len(data) > _FILE_MAX:
        raise LocalError(Fault.TOO_LARGE, f"{home.config} has more than {_FILE_MAX} bytes")
    return parse(data, str(home.config))


def parse(data: bytes, name: str) -> Config:
    """Read the settings from the bytes of a file called `name`."""
    try:
        # Decimal fractions stay text: no amount ever passes through a float.
        table = tomllib.loads(data.decode("utf-8"), parse_float=str)
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise LocalError(Fault.MALFORMED, f"{name} is not TOML: {error}", hint="correct it, or delete it") from error
    known = {field.name for field in fields(Config)}
    for key in table:
        if key not in known:
            hint = f"known are: {', '.join(sorted(known))}"
            raise LocalError(Fault.MALFORMED, f"{name} has a key {key!r} that means nothing", hint=hint)
    values: dict[str, Any] = {}
    for key, value in table.items():
        try:
            values[key] = _READERS[key](value)
        except (ValueError, TypeError, LocalError) as error:
            what = error.what if isinstance(error, LocalError) else str(error)
            raise LocalError(Fault.MALFORMED, f"{key} in {name}: {what}") from error
    return Config(**values)


def _amount(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, str | int):
        raise TypeError('write an amount in credits, like "0.25"')
    amount = units.parse_credits(str(value))
    if amount > limits.AMOUNT_MAX:
        raise ValueError(f"at most {units.show(limits.AMOUNT_MAX)}")
    return amount


def _text(value: object) -> str:
    if not isinstance(value, str) or not value.isprintable() or len(value) > limits.NAME_MAX:
        raise ValueError(f"write one line of text, at most {limits.NAME_MAX} characters")
    return value


def _yes_or_no(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError("write true or false")
    return value


def _strategy(value: object) -> Strategy:
    return strategy(_text(value))


def _manner(value: object) -> Manner:
    if value not in list(Manner):
        raise ValueError(f"write one of {', '.join(Manner)}")
    return Manner(str(value))


def _seconds(value: object) -> int:
    most = limits.DEADLINE_MAX_MS // limits.SECOND
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= most:
        raise ValueError(f"write whole seconds, 1 to {most}")
    return value


def _peers(value: object) -> tuple[PeerAddress, ...]:
    if not isinstance(value, list) or len(value) > 100 or not all(isinstance(one, str) for one in value):
        raise ValueError('write a list of at most 100 addresses, like ["node.example:50551"]')
    return tuple(PeerAddress.parse(one) for one in value)


_READERS: dict[str, Callable[[object], Any]] = {
    "daily_cap": _amount,
    "max_price": _amount,
    "model": _text,
    "peers": _peers,
    "deadline": _seconds,
    "trust_provider_ledger": _yes_or_no,
    "strategy": _strategy,
    "bargain": _manner,
}
