"""Errors over gRPC. Rule: a refusal crosses the wire as a fault number and two bounded texts, and comes out the same.

The texts travel percent-encoded in trailing metadata, which must be ASCII; nothing else of an exception ever travels.
"""

from __future__ import annotations

from urllib.parse import quote, unquote

import grpc
import grpc.aio

from gpufair.protocol import limits
from gpufair.protocol.edge.refusals import PeerUnreachable, RemoteRefusal
from gpufair.protocol.errors import Fault, PeerError

_FAULT = "gpufair-fault"
_WHAT = "gpufair-what"
_HINT = "gpufair-hint"

_CODES = {
    Fault.UNSPECIFIED: grpc.StatusCode.UNKNOWN,
    Fault.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.TOO_LARGE: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.WRONG_TYPE: grpc.StatusCode.INVALID_ARGUMENT,
    Fault.WRONG_AUDIENCE: grpc.StatusCode.PERMISSION_DENIED,
    Fault.EXPIRED: grpc.StatusCode.FAILED_PRECONDITION,
    Fault.FROM_THE_FUTURE: grpc.StatusCode.FAILED_PRECONDITION,
    Fault.BAD_SIGNATURE: grpc.StatusCode.UNAUTHENTICATED,
    Fault.REPLAYED_DIFFERENT: grpc.StatusCode.ALREADY_EXISTS,
    Fault.UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Fault.NOT_ALLOWED: grpc.StatusCode.PERMISSION_DENIED,
    Fault.CONFLICT: grpc.StatusCode.ABORTED,
    Fault.INSUFFICIENT_FUNDS: grpc.StatusCode.FAILED_PRECONDITION,
    Fault.LIMIT: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Fault.STALE: grpc.StatusCode.FAILED_PRECONDITION,
    Fault.UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Fault.INTERNAL: grpc.StatusCode.INTERNAL,
}
# What gRPC itself says, where no gpufair node wrote the refusal.
_FAULTS = {
    grpc.StatusCode.INVALID_ARGUMENT: Fault.MALFORMED,
    grpc.StatusCode.RESOURCE_EXHAUSTED: Fault.LIMIT,
    grpc.StatusCode.UNIMPLEMENTED: Fault.UNKNOWN,
    grpc.StatusCode.NOT_FOUND: Fault.UNKNOWN,
    grpc.StatusCode.PERMISSION_DENIED: Fault.NOT_ALLOWED,
    grpc.StatusCode.UNAUTHENTICATED: Fault.BAD_SIGNATURE,
}
_GONE = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.CANCELLED}

_CAUSES = {
    "Connection refused": "connection refused",
    "Connection reset": "the connection broke",
    "Socket closed": "the connection broke",
    "No route to host": "no route to its address",
    "Network is unreachable": "no network",
    "timed out": "no answer",
    "errors resolving": "its name can't be looked up",
    "DNS": "its name can't be looked up",
}
"""What gRPC quotes when nobody is there, and what that means; its other words mean nothing to a user."""

Metadata = tuple[tuple[str, str], ...]


def to_status(error: PeerError) -> tuple[grpc.StatusCode, str, Metadata]:
    """The status, its detail and the trailing metadata that carry a refusal to the caller."""
    what, hint = _bounded(error.what), _bounded(error.hint)
    metadata = ((_FAULT, str(int(error.fault))), (_WHAT, quote(what)), (_HINT, quote(hint)))
    return _CODES[error.fault], what, metadata


def from_status(error: grpc.aio.AioRpcError, peer: str) -> RemoteRefusal | PeerUnreachable:
    """What a failed call to `peer` (a name for people) means."""
    said = {key: value for key, value in error.trailing_metadata() or () if isinstance(value, str)}
    number = said.get(_FAULT, "")
    if number.isascii() and number.isdigit() and len(number) < 4:
        fault = Fault(int(number)) if int(number) in _CODES else Fault.UNSPECIFIED
        return RemoteRefusal(fault, _text(said.get(_WHAT, "")) or "no reason given", hint=_text(said.get(_HINT, "")))
    details = error.details() or ""
    if error.code() in _GONE:
        return _unreachable(error.code(), details, peer)
    if error.code() is grpc.StatusCode.UNIMPLEMENTED:
        return RemoteRefusal(Fault.UNKNOWN, f"{peer} does not offer this service", hint="see its roles in its record")
    return RemoteRefusal(_FAULTS.get(error.code(), Fault.INTERNAL), f"{peer}: {_text(details) or error.code().name}")


def _unreachable(code: grpc.StatusCode, details: str, peer: str) -> PeerUnreachable:
    if "CERTIFICATE_VERIFY_FAILED" in details:
        hint = "somebody else answers at its address, or the node was set up anew: ask its owner for its did"
        return PeerUnreachable(f"{peer} does not show the certificate of its record", hint=hint, impostor=True)
    again = "ask again: the same request has no second effect"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return PeerUnreachable(f"{peer} did not answer in time", hint=again)
    if code is grpc.StatusCode.CANCELLED:
        return PeerUnreachable(f"{peer} broke the call off", hint=again)
    why = next((f": {words}" for said, words in _CAUSES.items() if said in details), "")
    hint = "check that the node is up, its address, and the firewall"
    return PeerUnreachable(f"{peer} cannot be reached{why}", hint=hint)


def _bounded(text: str) -> str:
    """At most so many bytes, cut between characters."""
    return text.encode(errors="replace")[: limits.STATUS_TEXT_MAX].decode(errors="ignore")


def _text(encoded: str) -> str:
    """A peer's words on one line, so that it can't pretend that the next line is ours."""
    return " ".join(_bounded(unquote(encoded, errors="replace")).split())
