"""The services' calls as bytes. Rule: both ends of a call translate it here, so a foreign byte is met by `wire` first.

gRPC is given and gives plain bytes: a request that does not parse becomes a typed refusal, not a stack trace of gRPC's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, TypeVar, cast, get_args

from google.protobuf.message import DecodeError, Message

from gpufair.protocol import fields as f
from gpufair.protocol import limits, wire
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Chunk, Down, Envelope, KeyReveal, StatePiece, Up
from gpufair.protocol.v1 import services_pb2

DIRECTORY = "gpufair.v1.Directory"
MARKET = "gpufair.v1.Market"
LEDGER = "gpufair.v1.Ledger"
EMPTY = b""

Part = Envelope | Chunk | KeyReveal
_Cursor = Annotated[str, f.Size(0, limits.DID_MAX), f.Printable()]
_M = TypeVar("_M", bound=Message)


@dataclass(frozen=True, slots=True)
class FindRequest:
    """Which documents of a directory are wanted: of these dids (none: all), after this one."""

    dids: Annotated[tuple[f.Did, ...], f.Size(0, limits.FIND_MAX)]
    after: _Cursor


@dataclass(frozen=True, slots=True)
class Documents:
    """Signed documents, verbatim, in the order of their issuers' dids; `next` is empty on the last page."""

    documents: Annotated[tuple[Envelope, ...], f.Size(0, limits.FIND_MAX)]
    next: _Cursor


@dataclass(frozen=True, slots=True)
class PublishAnswer:
    """The highest sequence that the directory now holds for the publisher, and whether it is the one just sent."""

    sequence: f.Count
    stored: bool


@dataclass(frozen=True, slots=True)
class FetchPart:
    """One piece of a fetched delivery: exactly one of the three."""

    receipt: Envelope | None = None
    chunk: Chunk | None = None
    key: KeyReveal | None = None


@dataclass(frozen=True, slots=True)
class AuditPart:
    """One piece of an audit's answer: the signed answer first, then the states that it opens."""

    answer: Envelope | None = None
    piece: StatePiece | None = None


def path(service: str, method: str) -> str:
    """A call's name on the wire."""
    return f"/{service}/{method}"


def encode_up(message: Up) -> bytes:
    """What a client sends in an `Execute` stream."""
    return wire.wrap("StreamUp", message).SerializeToString()


def decode_up(data: bytes) -> Up:
    """What a client sent. Raises PeerError."""
    return cast("Up", wire.unwrap(_parse(services_pb2.StreamUp, data), _kinds(Up)))


def encode_down(message: Down) -> bytes:
    """What a provider sends in an `Execute` stream."""
    return wire.wrap("StreamDown", message).SerializeToString()


def decode_down(data: bytes) -> Down:
    """What a provider sent. Raises PeerError."""
    return cast("Down", wire.unwrap(_parse(services_pb2.StreamDown, data), _kinds(Down)))


def encode_part(part: Part) -> bytes:
    """A piece of a fetched delivery."""
    if isinstance(part, Envelope):
        return wire.encode(FetchPart(receipt=part))
    return wire.encode(FetchPart(chunk=part) if isinstance(part, Chunk) else FetchPart(key=part))


def decode_part(data: bytes) -> Part:
    """A piece of a fetched delivery. Raises PeerError."""
    part = wire.decode(FetchPart, data)
    found = part.receipt or part.chunk or part.key
    if found is None:
        raise PeerError(Fault.WRONG_TYPE, "a piece of a delivery of a kind that this version does not know")
    return found


def encode_proof(part: Envelope | StatePiece) -> bytes:
    """A piece of an audit's answer."""
    return wire.encode(AuditPart(answer=part) if isinstance(part, Envelope) else AuditPart(piece=part))


def decode_proof(data: bytes) -> Envelope | StatePiece:
    """A piece of an audit's answer. Raises PeerError."""
    part = wire.decode(AuditPart, data)
    found = part.answer or part.piece
    if found is None:
        raise PeerError(Fault.WRONG_TYPE, "a piece of an audit's answer of a kind that this version does not know")
    return found


def _parse(kind: type[_M], data: bytes) -> _M:
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise PeerError(Fault.MALFORMED, f"these bytes are not a {kind.__name__}") from error
    return message


def _kinds(union: Any) -> tuple[type[Any], ...]:
    return get_args(union)
