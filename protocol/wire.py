"""The only translation between messages and generated code. Rule: what does not fit a field's bounds never gets past.

The dataclasses name the fields and carry the bounds; the `.proto` files the numbers. A test holds the two together.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterable
from dataclasses import fields
from enum import IntEnum
from functools import cache
from typing import Annotated, Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from google.protobuf.message import DecodeError, Message

from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.fields import Constraint
from gpufair.protocol.v1 import documents_pb2, services_pb2

T = TypeVar("T")
R = TypeVar("R")

_Codec = tuple[Callable[[str, Any], Any], Callable[[Message, str, Any], None]]
_SCALARS = (int, str, bytes, bool)


def _per_class(function: Callable[[type[Any]], R]) -> Callable[[type[Any]], R]:
    """Reflection is done once per message class."""
    return cast("Callable[[type[Any]], R]", cache(function))


def encode(message: Any) -> bytes:
    """A message's wire bytes. Raises LocalError if a field is out of its bounds: we never send what we'd refuse."""
    return to_generated(message).SerializeToString(deterministic=True)


def decode(kind: type[T], data: bytes) -> T:
    """Read wire bytes as a `kind`. Raises PeerError for anything malformed or out of bounds."""
    generated = _generated_class(kind)()
    try:
        generated.ParseFromString(data)
    except DecodeError as error:
        raise PeerError(Fault.MALFORMED, f"these bytes are not a {kind.__name__}") from error
    return from_generated(kind, generated)


def to_generated(message: Any) -> Message:
    """The generated object for `message`, for the gRPC edge."""
    generated = _generated_class(type(message))()
    try:
        _fill(message, generated)
    except PeerError as error:
        raise LocalError(Fault.INTERNAL, f"refusing to send a bad {type(message).__name__}: {error.what}") from error
    return generated


def from_generated(kind: type[T], generated: Message) -> T:
    """The message in a generated object that came over the gRPC edge. Raises PeerError if a field is out of bounds."""
    values: dict[str, Any] = {}
    for name, (read, _) in _plan(kind).items():
        part = getattr(generated, name)
        absent = isinstance(part, Message) and not generated.HasField(name)
        if absent and name not in _optionals(kind):
            raise PeerError(Fault.MALFORMED, f"{kind.__name__} lacks {name}")
        values[name] = None if absent else read(name, part)
    return kind(**values)


def wrap(generated_name: str, message: Any) -> Message:
    """Put a stream message into the oneof of `generated_name` (`StreamUp` or `StreamDown`)."""
    wrapper: Message = getattr(services_pb2, generated_name)()
    getattr(wrapper, _snake(type(message).__name__)).CopyFrom(to_generated(message))
    return wrapper


def unwrap(wrapper: Message, kinds: Iterable[type[Any]]) -> Any:
    """The one message inside a `StreamUp` or `StreamDown`. Raises PeerError if there is none that we know."""
    chosen = wrapper.WhichOneof("message")
    for kind in kinds:
        if chosen is not None and _snake(kind.__name__) == chosen:
            return from_generated(kind, getattr(wrapper, chosen))
    raise PeerError(Fault.WRONG_TYPE, "a stream message of a kind that this version does not know")


def _snake(name: str) -> str:
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in name).lstrip("_")


@_per_class
def _generated_class(kind: type[Any]) -> type[Message]:
    for module in (documents_pb2, services_pb2):
        found = getattr(module, kind.__name__, None)
        if found is not None:
            return cast("type[Message]", found)
    raise LocalError(Fault.INTERNAL, f"{kind.__name__} is not in the .proto files")


@_per_class
def _hints(kind: type[Any]) -> dict[str, Any]:
    hints = get_type_hints(kind, include_extras=True)
    return {field.name: hints[field.name] for field in fields(kind)}


@_per_class
def _optionals(kind: type[Any]) -> frozenset[str]:
    return frozenset(name for name, hint in _hints(kind).items() if _is_union(hint))


def _is_union(hint: Any) -> bool:
    return get_origin(hint) is Union or get_origin(hint) is types.UnionType


@_per_class
def _plan(kind: type[Any]) -> dict[str, _Codec]:
    return {name: _codec(hint) for name, hint in _hints(kind).items()}


def _fill(message: Any, generated: Message) -> None:
    for name, (_, write) in _plan(type(message)).items():
        write(generated, name, getattr(message, name))


def _codec(hint: Any) -> _Codec:
    """How to read and write one field, worked out once per class from its annotation."""
    checks: tuple[Constraint, ...] = ()
    if get_origin(hint) is Annotated:
        hint, *extras = get_args(hint)
        checks = tuple(extra for extra in extras if isinstance(extra, Constraint))
    if _is_union(hint):
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
        inner_read, inner_write = _codec(hint)
        return inner_read, lambda g, name, value: None if value is None else inner_write(g, name, value)
    if get_origin(hint) is tuple:
        return _tuple_codec(get_args(hint)[0], checks)
    if hint in _SCALARS:
        return _scalar_codec(hint, checks)
    if issubclass(hint, IntEnum):
        return _enum_codec(hint)
    return _message_codec(hint)


def _scalar_codec(hint: type[Any], checks: tuple[Constraint, ...]) -> _Codec:
    def read(name: str, value: Any) -> Any:
        for check in checks:
            check.check(name, value)
        return value

    def write(generated: Message, name: str, value: Any) -> None:
        if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
            raise PeerError(Fault.MALFORMED, f"{name} is not a {hint.__name__}")
        setattr(generated, name, read(name, value))

    return read, write


def _enum_codec(hint: type[IntEnum]) -> _Codec:
    def read(name: str, value: Any) -> Any:
        known = hint._value2member_map_.get(value)
        if known is None or value == 0:
            raise PeerError(Fault.MALFORMED, f"{name} is {value}: no {hint.__name__} has that number")
        return known

    return read, lambda generated, name, value: setattr(generated, name, int(read(name, value)))


def _message_codec(hint: type[Any]) -> _Codec:
    def write(generated: Message, name: str, value: Any) -> None:
        part = getattr(generated, name)
        part.SetInParent()
        _fill(value, part)

    return lambda _name, value: from_generated(hint, value), write


def _tuple_codec(item: Any, checks: tuple[Constraint, ...]) -> _Codec:
    read_item, _ = _codec(item)
    inner = get_args(item)[0] if get_origin(item) is Annotated else item
    is_message = inner not in _SCALARS and not issubclass(inner, IntEnum)

    def read(name: str, value: Any) -> Any:
        for check in checks:
            check.check(name, value)
        return tuple(read_item(name, one) for one in value)

    def write(generated: Message, name: str, value: Any) -> None:
        for check in checks:
            check.check(name, value)
        target = getattr(generated, name)
        for one in value:
            if is_message:
                _fill(one, target.add())
            else:
                target.append(read_item(name, one))

    return read, write
