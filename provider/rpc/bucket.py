"""Token buckets by name. Rule: one caller's flood costs that caller, and what is remembered is bounded.

A name is a connection, or the address that it comes from: whoever opens many connections has one address still.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from collections.abc import Callable
from urllib.parse import unquote

from gpufair.protocol import limits
from gpufair.protocol.addresses import Reach, heard_at


class Buckets:
    """Everybody's bucket; it refills `rate` tokens a second, up to `burst`, by the monotonic clock `now_s`."""

    def __init__(
        self, now_s: Callable[[], float], *, rate: float = limits.BUCKET_RATE, burst: float = limits.BUCKET_BURST
    ) -> None:
        self._now_s = now_s
        self._rate = rate
        self._burst = burst
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()  # name: (tokens, when), oldest first

    def take(self, name: str, price: int = 1) -> float:
        """Take so many tokens: 0 if they were there; otherwise the seconds until they are, and nothing is taken."""
        now = self._now_s()
        tokens, when = self._levels.pop(name, (self._burst, now))
        tokens = min(self._burst, tokens + (now - when) * self._rate)
        lacking = max(0.0, price - tokens)
        self._levels[name] = (tokens if lacking else tokens - price, now)
        if len(self._levels) > limits.CONNECTIONS_TRACKED:
            self._levels.popitem(last=False)  # idle for longest, so the fullest or near it
        return lacking / self._rate

    def __len__(self) -> int:
        return len(self._levels)


def address_of(peer: str) -> str:
    """Where a connection comes from, as gRPC names it (`ipv4:203.0.113.7:41000`), without the port.

    Of IPv6 only the first 64 bits: whoever has one such address has all that begin alike.
    """
    kind, text = _split(peer)
    if kind == "ipv6":
        network = ipaddress.IPv6Network((text, 64), strict=False)
        mapped = ipaddress.IPv6Address(text).ipv4_mapped
        return f"ipv4:{mapped}" if mapped else f"ipv6:{network.network_address}"
    return f"{kind}:{text}"


def reach_of(peer: str) -> Reach:
    """How far away the other end of a connection is."""
    kind, text = _split(peer)
    return heard_at(text) if kind in ("ipv4", "ipv6") else Reach.LOOPBACK


def _split(peer: str) -> tuple[str, str]:
    kind, _, rest = peer.partition(":")
    host = unquote(rest.rpartition(":")[0])
    return kind, host.removeprefix("[").removesuffix("]").partition("%")[0]
