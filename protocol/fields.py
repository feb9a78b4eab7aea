"""What a field of a message may hold. Rule: a bound is part of the field's type; what `check` refuses never passes.

`Amount` on a dataclass field is a plain `int` for the type checker and carries its range for `wire`, which refuses
anything outside it in both directions. A bound's `shortcut` is a test as Python source (see `codec`), of a value whose
type is known: where it is true, `check` would find nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import limits
from gpufair.protocol.errors import Fault, PeerError

DID_PREFIX = "did:key:z6Mk"
BROADCAST = "*"


@dataclass(frozen=True)
class Range:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int

    def check(self, name: str, value: object) -> None:
        """Refuse a value outside the range."""
        if not isinstance(value, int) or isinstance(value, bool) or not self.low <= value <= self.high:
            raise PeerError(Fault.MALFORMED, f"{name} is {value!r}: it must be {self.low} to {self.high}")

    def shortcut(self, value: str, _kind: type[object]) -> str:
        """Within the range."""
        return f"{self.low} <= {value} <= {self.high}"


@dataclass(frozen=True)
class Size:
    """Bytes (of `bytes` or UTF-8 text) or items (of a tuple), from `low` to `high`; `or_empty` allows none."""

    low: int
    high: int
    or_empty: bool = False

    def check(self, name: str, value: object) -> None:
        """Refuse a value of another length."""
        size = len(value.encode()) if isinstance(value, str) else len(value)  # type: ignore[arg-type]
        if self.or_empty and size == 0:
            return
        if not self.low <= size <= self.high:
            raise PeerError(Fault.MALFORMED, f"{name} has length {size}: it must be {self.low} to {self.high}")

    def shortcut(self, value: str, kind: type[object]) -> str:
        """Of a length within the bounds; for text only where a character is a byte."""
        length = f"{'not ' + value + ' or ' if self.or_empty else ''}{self.low} <= len({value}) <= {self.high}"
        return f"{value}.isascii() and ({length})" if kind is str else length


@dataclass(frozen=True)
class Printable:
    """One line of visible text: what a terminal and a log can show as it is."""

    def check(self, name: str, value: object) -> None:
        """Refuse control characters, line ends and invisible characters."""
        if not isinstance(value, str) or not value.isprintable():
            raise PeerError(Fault.MALFORMED, f"{name} holds characters that cannot be shown")

    def shortcut(self, value: str, _kind: type[object]) -> str:
        """Visible."""
        return f"{value}.isprintable()"


@dataclass(frozen=True)
class IsDid:
    """An Ed25519 `did:key`, or the broadcast audience `*` where `broadcast` says so. Shape only: `identity` decodes."""

    broadcast: bool = False

    def check(self, name: str, value: object) -> None:
        """Refuse anything that is not shaped like an Ed25519 did:key."""
        if self.broadcast and value == BROADCAST:
            return
        if not isinstance(value, str) or not value.startswith(DID_PREFIX) or not 50 <= len(value) <= limits.DID_MAX:
            raise PeerError(Fault.MALFORMED, f"{name} is not an Ed25519 did:key")

    def shortcut(self, value: str, _kind: type[object]) -> str:
        """Shaped like a did; a broadcast is left to `check`."""
        return f"{value}.startswith({DID_PREFIX!r}) and 50 <= len({value}) <= {limits.DID_MAX}"


Constraint = Range | Size | Printable | IsDid

Amount = Annotated[int, Range(0, limits.AMOUNT_MAX)]
PositiveAmount = Annotated[int, Range(1, limits.AMOUNT_MAX)]
SignedAmount = Annotated[int, Range(-limits.AMOUNT_MAX * 4096, limits.AMOUNT_MAX * 4096)]
Milli = Annotated[int, Range(0, 1_000)]
Rate = Annotated[int, Range(0, limits.RATE_MAX)]
PositiveRate = Annotated[int, Range(1, limits.RATE_MAX)]
TimeMs = Annotated[int, Range(0, limits.TIME_MAX_MS)]
Count = Annotated[int, Range(0, 2**62)]
Sequence = Annotated[int, Range(1, 2**62)]
Small = Annotated[int, Range(0, 2**31 - 1)]
Digest = Annotated[bytes, Size(32, 32)]
MaybeDigest = Annotated[bytes, Size(32, 32, or_empty=True)]
Id = Annotated[bytes, Size(16, 16)]
Key = Annotated[bytes, Size(limits.KEY_BYTES, limits.KEY_BYTES)]
Did = Annotated[str, IsDid()]
Audience = Annotated[str, IsDid(broadcast=True)]
Name = Annotated[str, Size(1, limits.NAME_MAX), Printable()]
MaybeName = Annotated[str, Size(0, limits.NAME_MAX), Printable()]
Text = Annotated[str, Size(0, limits.TEXT_MAX), Printable()]
EnvelopeBytes = Annotated[bytes, Size(1, limits.PAYLOAD_MAX + 4 * limits.KIB)]
MaybeEnvelopeBytes = Annotated[bytes, Size(0, limits.PAYLOAD_MAX + 4 * limits.KIB)]
