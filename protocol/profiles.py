"""The digest of a runtime profile. Rule: a worker's own words and a document's have one digest.

Both are dataclasses of the same fields in the same order: texts, and the flags as the last.
"""

from __future__ import annotations

import hashlib
from dataclasses import fields
from typing import Any

_DOMAIN = b"gpufair/profile/v1\x00"


def digest(profile: Any) -> bytes:
    """SHA-256 over every field in order, each a u32 big-endian length and its UTF-8 bytes; flags sorted, last."""
    *words, flags = (getattr(profile, field.name) for field in fields(profile))
    parts = [word.encode() for word in (*words, *sorted(flags))]
    return hashlib.sha256(_DOMAIN + b"".join(len(part).to_bytes(4, "big") + part for part in parts)).digest()
