"""Where a node is. Rule: an address is `host:port` and nothing else: no scheme, path, socket file or zone gets through.

A peer chooses the text of its endpoints, so what reaches the network is only what was parsed here.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

from gpufair.protocol import identity, limits
from gpufair.protocol.errors import Fault, LocalError, PeerError

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_SHAPE = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([^\[\]:@/]{1,253})):([1-9][0-9]{0,4})", re.ASCII)
_PORT_MAX = 65_535
_ALL = ipaddress.ip_address("255.255.255.255")


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (DNS name, IPv4 or IPv6 address, in canonical form) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `host:port` or `[v6]:port`. Raises PeerError for anything that can't be another node's address."""
        shape = _SHAPE.fullmatch(text) if len(text) <= limits.NAME_MAX else None
        if shape is None or int(shape[3]) > _PORT_MAX:
            raise PeerError(Fault.MALFORMED, f"{text[:80]!r} is not an address like node.example:7700")
        host = _ip(shape[1], 6) if shape[1] else _host(shape[2].lower())
        return cls(host, int(shape[3]))

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class PeerAddress:
    """What a person types to name a node: where it is and, if they know it, the did that must answer there."""

    endpoint: Endpoint
    did: str = ""

    @classmethod
    def parse(cls, text: str) -> PeerAddress:
        """Read `host:port` or `did:key:…@host:port`. Raises LocalError, since a person wrote it."""
        did, at, where = text.strip().rpartition("@")
        try:
            if at:
                identity.public_key(did)
            return cls(Endpoint.parse(where), did)
        except PeerError as error:
            hint = "write host:port, [v6]:port, or did:key:…@host:port"
            raise LocalError(Fault.MALFORMED, error.what, hint=hint) from error

    def __str__(self) -> str:
        return f"{self.did}@{self.endpoint}" if self.did else str(self.endpoint)


def _host(text: str) -> str:
    labels = text.rstrip(".").split(".")
    if labels[-1].isdigit() or labels[-1].startswith("0x"):  # resolvers take 127.1 or 0x7f000001 for an address too
        return _ip(text, 4)
    if not all(_LABEL.fullmatch(label) for label in labels):
        raise PeerError(Fault.MALFORMED, f"{text[:80]!r} is not a host name")
    return text


def _ip(text: str, version: int) -> str:
    try:
        address = ipaddress.ip_address(text)
    except ValueError as error:
        raise PeerError(Fault.MALFORMED, f"{text[:80]!r} is not an IP address") from error
    inner = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    if any(one.is_unspecified or one.is_multicast or one == _ALL for one in (address, inner or address)):
        raise PeerError(Fault.MALFORMED, f"{text} is not the address of one machine")
    if address.version != version:
        raise PeerError(Fault.MALFORMED, f"{text} is not an IPv{version} address")
    return str(address)
