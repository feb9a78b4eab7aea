"""Finding out where two directories differ. Rule: an answer is read only if it is about what was asked.

A round begins with the digest of everything; where digests differ their sixteen parts are asked about, down to leaves.
"""

from __future__ import annotations

from collections.abc import Callable

from gpufair.protocol import gossip_limits
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Branch, Compare, Compared, Heading, Leaf, Tell
from gpufair.protocol.ports import Clock
from gpufair.provider.directory.asks import Ask
from gpufair.provider.directory.company import Mate, Trouble
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.wants import Wants

_DIGITS = "0123456789abcdef"


class Comparing:
    """One directory's side of comparing. `pick` gives a number below another, by chance."""

    def __init__(self, me: str, directory: Directory, wants: Wants, clock: Clock, pick: Callable[[int], int]) -> None:
        self._me, self._directory, self._wants, self._clock, self._pick = me, directory, wants, clock, pick

    def differ(self, asked: Compare) -> Compared:
        """Where we differ from the asker."""
        tree = self._directory.tree
        split: list[str] = []
        branches: list[Branch] = []
        leaves: list[Leaf] = []
        for branch in asked.branches:
            _check_prefix(branch.prefix)
            if tree.digest(branch.prefix) == branch.digest:
                continue
            look = tree.look(branch.prefix)
            if look.headings is not None:
                leaves.append(Leaf(branch.prefix, look.headings))
            else:
                split.append(branch.prefix)
                branches += look.branches
        return Compared(tuple(split), tuple(branches), tuple(leaves))

    def whole(self, mate: Mate) -> list[Ask]:
        """Begin a round with a peer."""
        mate.budget = gossip_limits.COMPARES_PER_ROUND
        return self._compare(mate, [Branch("", self._directory.tree.digest())])

    def _compare(self, mate: Mate, branches: list[Branch]) -> list[Ask]:
        """Ask where we differ, within what a round may cost; where there is more, chance says what waits."""
        asks = []
        while branches and mate.budget > 0:
            mate.budget -= 1
            some = [
                branches.pop(self._pick(len(branches)))
                for _ in range(min(gossip_limits.COMPARE_BRANCHES, len(branches)))
            ]
            asks.append(Ask(mate.did, Compare(tuple(some))))
        return asks

    def compared(self, mate: Mate, asked: Compare, found: Compared) -> list[Ask]:
        """What follows from a peer's answer. Raises PeerError."""
        prefixes, tree = {branch.prefix for branch in asked.branches}, self._directory.tree
        theirs = {branch.prefix: branch.digest for branch in found.branches}
        named = [*found.split, *(leaf.prefix for leaf in found.leaves)]
        if not prefixes.issuperset(named) or not {prefix[:-1] for prefix in theirs} <= set(found.split):
            raise PeerError(Fault.MALFORMED, "its digests are of something that it was not asked about")
        if prefixes == {""}:
            self._judge_whole(mate, found)
        deeper: list[Branch] = []
        news: list[Heading] = []
        for prefix in (parent + digit for parent in dict.fromkeys(found.split) for digit in _DIGITS):
            mine = tree.digest(prefix)
            if prefix not in theirs:
                news += (
                    tree.under(prefix, gossip_limits.TELL_HEADINGS)
                    if mine and len(news) < gossip_limits.TELL_HEADINGS
                    else ()
                )
            elif theirs[prefix] != mine:
                deeper.append(Branch(prefix, mine))
        for leaf in found.leaves:
            news += self._read(mate, leaf)
        tell = Tell(self._me, tuple(news[: gossip_limits.TELL_HEADINGS])) if news else None
        return ([Ask(mate.did, tell)] if tell else []) + self._compare(mate, deeper)

    def _judge_whole(self, mate: Mate, found: Compared) -> None:
        """What the first answer of a round says of a peer: that it has what we have, or nothing at all."""
        if found == Compared():
            mate.level_ms = self._clock.now_ms()
            mate.troubled(Trouble.NONE)
        elif any(not leaf.headings for leaf in found.leaves):
            mate.troubled(Trouble.EMPTY, "it knows of nobody")
        elif mate.trouble is Trouble.EMPTY:
            mate.troubled(Trouble.NONE)

    def _read(self, mate: Mate, leaf: Leaf) -> list[Heading]:
        """Want what a leaf has and we don't; what we have and it doesn't."""
        theirs = {heading.place: heading.sequence for heading in leaf.headings}
        if not all(place.hex().startswith(leaf.prefix) for place in theirs):
            raise PeerError(Fault.MALFORMED, "its headings are of other places than it was asked about")
        for heading in leaf.headings:
            self._wants.add(mate, heading)
        mine = self._directory.tree.under(leaf.prefix, gossip_limits.TELL_HEADINGS)
        return [heading for heading in mine if heading.sequence > theirs.get(heading.place, 0)]


def _check_prefix(prefix: str) -> None:
    if not set(prefix) <= set(_DIGITS):
        raise PeerError(Fault.MALFORMED, "a prefix is of hexadecimal digits")
