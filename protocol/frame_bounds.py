"""How large each field of a frame may be. Rule: a bound stands in the field's type, and the codec reads it there.

Ranges that make sense to a buyer (steps, sizes, counts) are wide on purpose: breaking them fails one attempt, not the
worker.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import limits


@dataclass(frozen=True, slots=True)
class Between:
    """An integer from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Length:
    """Bytes of a byte string, or of a text in UTF-8, from `low` to `high`, both included."""

    low: int
    high: int


@dataclass(frozen=True, slots=True)
class Items:
    """Entries of a tuple, at most."""

    high: int


U32 = Annotated[int, Between(0, 2**32 - 1)]
U64 = Annotated[int, Between(0, 2**64 - 1)]
Nonce = Annotated[bytes, Length(16, 16)]
AttemptId = Annotated[bytes, Length(16, 16)]
Digest = Annotated[bytes, Length(32, 32)]
Word = Annotated[str, Length(0, limits.NAME_MAX)]
Text = Annotated[str, Length(0, limits.PROMPT_MAX)]
Path = Annotated[str, Length(1, 1024)]
Message = Annotated[str, Length(0, limits.TEXT_MAX)]
PreviewBytes = Annotated[bytes, Length(1, limits.PREVIEW_MAX)]
ChunkBytes = Annotated[bytes, Length(1, limits.OUTPUT_CHUNK)]
PictureSize = Annotated[int, Between(1, limits.OUTPUT_MAX)]
StateSize = Annotated[int, Between(1, limits.STATE_MAX)]
