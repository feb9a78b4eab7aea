"""The only translation between messages and generated code. Rule: what does not fit a field's bounds never gets past.

The dataclasses name the fields and carry the bounds; the `.proto` files the numbers. A test holds the two together.
"""

from __future__ import annotations

from functools import cache
from typing import Any, TypeVar, cast

from google.protobuf.message import DecodeError, Message

from gpufair.protocol import codec
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.v1 import documents_pb2, services_pb2

T = TypeVar("T")


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
    _write(message, generated)
    return generated


def from_generated(kind: type[T], generated: Message) -> T:
    """The message in a generated object that came over the gRPC edge. Raises PeerError if a field is out of bounds."""
    made: T = codec.reader(kind)(generated)
    return made


def wrap(generated_name: str, message: Any) -> Message:
    """Put a stream message into the oneof of `generated_name` (`StreamUp` or `StreamDown`)."""
    wrapper: Message = getattr(services_pb2, generated_name)()
    part = getattr(wrapper, _place(type(message)))
    part.SetInParent()
    _write(message, part)
    return wrapper


def unwrap(wrapper: Message, kinds: tuple[type[Any], ...]) -> Any:
    """The one message inside a `StreamUp` or `StreamDown`. Raises PeerError if there is none that we know."""
    chosen = wrapper.WhichOneof("message")
    kind = _places(kinds).get(chosen)
    if kind is None:
        raise PeerError(Fault.WRONG_TYPE, "a stream message of a kind that this version does not know")
    return from_generated(kind, getattr(wrapper, chosen))


def _write(message: Any, generated: Message) -> None:
    try:
        codec.writer(type(message))(message, generated)
    except PeerError as error:
        raise LocalError(Fault.INTERNAL, f"refusing to send a bad {type(message).__name__}: {error.what}") from error


@codec.per_class
def _place(kind: type[Any]) -> str:
    """The name of a message's place in a oneof: the class's own, in the `.proto` files' spelling."""
    return "".join(f"_{c.lower()}" if c.isupper() else c for c in kind.__name__).lstrip("_")


@cache
def _places(kinds: tuple[type[Any], ...]) -> dict[str | None, type[Any]]:
    return {_place(kind): kind for kind in kinds}


@codec.per_class
def _generated_class(kind: type[Any]) -> type[Message]:
    for module in (documents_pb2, services_pb2):
        found = getattr(module, kind.__name__, None)
        if found is not None:
            return cast("type[Message]", found)
    raise LocalError(Fault.INTERNAL, f"{kind.__name__} is not in the .proto files")
