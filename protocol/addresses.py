"""Where a node is. Rule: an address is `host:port` and nothing else: no scheme, path, socket file or zone gets through.

A peer chooses the text of its endpoints, so what reaches the network is only what was parsed here, and what was learned
from others is dialled only if it is no nearer to this machine than where it was heard of (`check_reach`): from the
internet no private address, from a private network no loopback, and some addresses never.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache

from gpufair.protocol import identity, limits
from gpufair.protocol.errors import Fault, LocalError, PeerError

_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?", re.ASCII)
_SHAPE = re.compile(r"(?:\[([0-9a-fA-F:.]{2,45})\]|([^\[\]:@/]{1,253})):([1-9][0-9]{0,4})", re.ASCII)
_PORT_MAX = 65_535
_ALL = ipaddress.ip_address("255.255.255.255")


_LOOPBACK = tuple(map(ipaddress.ip_network, ("127.0.0.0/8", "::1/128")))
_PRIVATE = tuple(
    map(ipaddress.ip_network, ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "fc00::/7"))
)
"""Private networks; the carriers' shared space (100.64/10) is one: whoever is in it shares it with strangers."""
_NEVER = tuple(
    map(
        ipaddress.ip_network,
        (
            "0.0.0.0/8", "169.254.0.0/16", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "198.18.0.0/15",
            "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/3",
            "2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20",
        ),
    )
)  # fmt: skip
"""Unspecified, link-local, documentation, measurement, multicast, reserved; and tunnels that lead anywhere."""
_GLOBAL_6 = ipaddress.ip_network("2000::/3")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NETWORK_BITS = {4: 24, 6: 48}


class Reach(IntEnum):
    """How far away an address can be: the internet, a private network, this machine; never: it leads to no node."""

    NEVER = 0
    LOOPBACK = 1
    PRIVATE = 2
    GLOBAL = 3


def reach(text: str) -> Reach:
    """The reach of an IP address. An IPv4 address inside an IPv6 one counts as what it is."""
    address = _plain(text)
    if any(address in network for network in _LOOPBACK):
        return Reach.LOOPBACK
    if any(address in network for network in _PRIVATE):
        return Reach.PRIVATE
    if any(address in network for network in _NEVER) or (address.version == 6 and address not in _GLOBAL_6):
        return Reach.NEVER
    return Reach.GLOBAL


def heard_at(text: str) -> Reach:
    """How far away is what is heard from an IP address: from one that no node has, as from the internet."""
    return reach(text) or Reach.GLOBAL


def network(text: str) -> str:
    """The network of an internet address, as one owner has it at least; of any other the address itself."""
    address = _plain(text)
    if reach(text) is not Reach.GLOBAL:
        return str(address)
    return str(ipaddress.ip_network((address, _NETWORK_BITS[address.version]), strict=False))


def check_reach(text: str, heard: Reach, *, name: str = "") -> None:
    """Refuse to have anything to do with a learned address (`name`: what resolved to it) that is too near.

    A name leads where its owner says today, and whoever passed it on could not know where: only the internet will do.
    """
    found, shown = reach(text), f"{name} ({text})" if name else text
    least = Reach.GLOBAL if name else max(heard, Reach.LOOPBACK)
    if found is Reach.NEVER:
        raise PeerError(Fault.NOT_ALLOWED, f"{shown} is an address that no node has")
    if found < least:
        where = "by its name" if name else f"from {_WORDS[heard]}"
        hint = f"if you know it, name it yourself: gpufair peers add, or peers in config.toml, with {text}"
        raise PeerError(Fault.NOT_ALLOWED, f"{shown} lies in {_WORDS[found]} but was heard of {where}", hint=hint)


def check_endpoints(texts: Iterable[str], heard: Reach) -> None:
    """Refuse a learned document if an address in it (names are judged when they are dialled) is too near, or none."""
    for text in texts:
        endpoint = Endpoint.parse(text)
        if endpoint.is_ip:
            check_reach(endpoint.host, heard)


_WORDS = {Reach.LOOPBACK: "this machine", Reach.PRIVATE: "a private network", Reach.GLOBAL: "the internet"}


def _plain(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    address = ipaddress.ip_address(text.partition("%")[0])
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A host (DNS name, IPv4 or IPv6 address, in canonical form) and a TCP port."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Endpoint:
        """Read `host:port` or `[v6]:port`. Raises PeerError for anything that can't be another node's address."""
        return _endpoint(text)

    @property
    def is_ip(self) -> bool:
        """Whether the host is an address and no name."""
        return ":" in self.host or self.host.replace(".", "").isdigit()

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


@lru_cache(maxsize=8192)  # a node says the same of itself every few minutes
def _endpoint(text: str) -> Endpoint:
    shape = _SHAPE.fullmatch(text) if len(text) <= limits.NAME_MAX else None
    if shape is None or int(shape[3]) > _PORT_MAX:
        raise PeerError(Fault.MALFORMED, f"{text[:80]!r} is not an address like node.example:7700")
    host = _ip(shape[1], 6) if shape[1] else _host(shape[2].lower())
    return Endpoint(host, int(shape[3]))


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
