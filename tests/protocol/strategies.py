"""Messages of any kind, made from the bounds that their fields declare: what is generated is what the wire allows."""

from __future__ import annotations

import dataclasses
import types
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from gpufair.protocol import fields as f
from gpufair.protocol import journal, messages
from gpufair.protocol.edge import calls
from gpufair.protocol.identity import KeySigner

DIDS = tuple(KeySigner.from_seed(bytes([n]) * 32).did for n in range(1, 5))
VISIBLE = st.characters(codec="utf-8", categories=("L", "N", "P", "S"), include_characters=" ")
ITEMS_MAX = 3

_FOUND = (kind for module in (messages, calls) for kind in vars(module).values() if isinstance(kind, type))
KINDS: tuple[type[Any], ...] = (
    *dict.fromkeys(kind for kind in _FOUND if dataclasses.is_dataclass(kind) and kind is not messages.Document),
    journal.JournalPage,
)
"""Every message that crosses a wire."""


def hints(kind: type[Any]) -> dict[str, Any]:
    found = get_type_hints(kind, include_extras=True)
    return {field.name: found[field.name] for field in dataclasses.fields(kind)}


def parts(hint: Any) -> tuple[Any, tuple[f.Constraint, ...]]:
    """A field's plain type and its constraints."""
    if get_origin(hint) is Annotated:
        plain, *extras = get_args(hint)
        return plain, tuple(extra for extra in extras if isinstance(extra, f.Constraint))
    return hint, ()


def inner(hint: Any) -> Any:
    """What an optional field holds when it is there; None for a field that is not optional."""
    if get_origin(hint) is types.UnionType:
        return next(arg for arg in get_args(hint) if arg is not type(None))
    return None


def _find(checks: tuple[f.Constraint, ...], kind: type[Any]) -> Any:
    return next((check for check in checks if isinstance(check, kind)), None)


def values(hint: Any) -> st.SearchStrategy[Any]:
    """Values of one field, its bounds included."""
    plain, checks = parts(hint)
    size = _find(checks, f.Size)
    low, high = (size.low, size.high) if size else (0, 64)
    if inner(plain) is not None:
        return st.none() | values(inner(plain))
    if get_origin(plain) is tuple:
        items = st.lists(values(get_args(plain)[0]), min_size=low, max_size=max(low, min(high, ITEMS_MAX))).map(tuple)
        return items | st.just(()) if size and size.or_empty else items
    if plain is bool:
        return st.booleans()
    if plain is int:
        bounds = _find(checks, f.Range)
        return st.sampled_from((bounds.low, bounds.high)) | st.integers(bounds.low, bounds.high)
    if plain is bytes:
        data = st.binary(min_size=low, max_size=max(low, min(high, 100)))
        return data | st.just(b"") if size and size.or_empty else data
    if plain is str:
        did = _find(checks, f.IsDid)
        if did:
            return st.sampled_from((*DIDS, f.BROADCAST) if did.broadcast else DIDS)
        return st.text(VISIBLE, min_size=low, max_size=max(low, min(high, 40) // 4))
    if issubclass(plain, IntEnum):
        return st.sampled_from([member for member in plain if member != 0])
    return instances(plain)


@cache
def instances(kind: type[Any]) -> st.SearchStrategy[Any]:
    """Messages of one kind. Of a oneof exactly one field is filled."""
    if kind in (calls.FetchPart, calls.AuditPart):
        return st.one_of(
            values(inner(hint)).map(lambda part, n=name: kind(**{n: part})) for name, hint in hints(kind).items()
        )
    return st.builds(kind, **{name: values(hint) for name, hint in hints(kind).items()})
