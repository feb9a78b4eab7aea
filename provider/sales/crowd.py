"""Whose unfunded lease gives way. Rule: an address that has few is never kept out by one that has many.

Identities are free and addresses are not: so the places of leases that nobody has funded yet are shared by address.
What is known of them is lost with a restart, and so are most of those leases: they last half a minute.
"""

from __future__ import annotations

from collections import Counter, OrderedDict
from collections.abc import Sequence

from gpufair.protocol import limits


class Crowd:
    """Where the bids of unfunded leases came from."""

    def __init__(self) -> None:
        self._sources: OrderedDict[bytes, str] = OrderedDict()

    def came(self, lease: bytes, source: str) -> None:
        """A lease was made for a bid from this address."""
        self._sources[lease] = source
        if len(self._sources) > limits.LEASES_MAX:
            self._sources.popitem(last=False)

    def gives_way(self, unfunded: Sequence[bytes], source: str) -> bytes | None:
        """Of these leases, the oldest first, the one that gives its place to a bid from `source`; None where none does.

        It is the oldest one of the most crowded address, and none unless the bidder's has fewer even with one more: so
        each change makes the shares more equal, and no two addresses can push each other out for ever.
        """
        counts = Counter(self._sources.get(lease, "") for lease in unfunded)
        most = max(counts.values(), default=0)
        if counts[source] + 1 >= most:
            return None
        return next(lease for lease in unfunded if counts[self._sources.get(lease, "")] == most)
