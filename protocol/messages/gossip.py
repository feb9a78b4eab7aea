"""What directories say to each other. Rule: headings are only said; a body comes out of a question that we asked.

A document's place is 16 bytes that everybody computes alike; of two documents of one place the higher sequence wins.
Places form a tree by their hexadecimal digits: what hangs under a prefix has a digest, so that two directories find
out where they differ without saying what they have (`provider/directory/tree.py`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from gpufair.protocol import fields as f
from gpufair.protocol import gossip_limits
from gpufair.protocol.messages.common import Envelope

Place = Annotated[bytes, f.Size(gossip_limits.PLACE_BYTES, gossip_limits.PLACE_BYTES)]
Prefix = Annotated[str, f.Size(0, 2 * gossip_limits.PLACE_BYTES), f.Printable()]


@dataclass(frozen=True, slots=True)
class Heading:
    """That somebody has the document of this place and sequence."""

    place: Place
    sequence: f.Sequence


@dataclass(frozen=True, slots=True)
class Branch:
    """The digest of all headings whose places begin with a prefix (hexadecimal digits); empty: there are none."""

    prefix: Prefix
    digest: Annotated[bytes, f.Size(gossip_limits.PLACE_BYTES, gossip_limits.PLACE_BYTES, or_empty=True)]


@dataclass(frozen=True, slots=True)
class Leaf:
    """All headings whose places begin with a prefix."""

    prefix: Prefix
    headings: Annotated[tuple[Heading, ...], f.Size(0, gossip_limits.LEAF_HEADINGS)]


@dataclass(frozen=True, slots=True)
class Compare:
    """What the asker has under these prefixes."""

    branches: Annotated[tuple[Branch, ...], f.Size(1, gossip_limits.COMPARE_BRANCHES)]


@dataclass(frozen=True, slots=True)
class Compared:
    """Of each branch asked about that differs: its sixteen parts (those that hold nothing are left out), or a leaf.

    `split` are the prefixes that `branches` are the parts of.
    """

    split: Annotated[tuple[Prefix, ...], f.Size(0, gossip_limits.COMPARE_BRANCHES)] = ()
    branches: Annotated[tuple[Branch, ...], f.Size(0, 16 * gossip_limits.COMPARE_BRANCHES)] = ()
    leaves: Annotated[tuple[Leaf, ...], f.Size(0, gossip_limits.COMPARE_BRANCHES)] = ()


@dataclass(frozen=True, slots=True)
class Tell:
    """The node `teller` has these documents: whoever lacks them and knows the node may ask it for them."""

    teller: f.Did
    headings: Annotated[tuple[Heading, ...], f.Size(1, gossip_limits.TELL_HEADINGS)]


@dataclass(frozen=True, slots=True)
class Told:
    """How many of them were new."""

    wanted: f.Small = 0


@dataclass(frozen=True, slots=True)
class Pull:
    """Please give me the documents of these places."""

    places: Annotated[tuple[Place, ...], f.Size(1, gossip_limits.PULL_PLACES)]


@dataclass(frozen=True, slots=True)
class Bodies:
    """Those that are here and fit into one message, in the order in which they were asked for."""

    documents: Annotated[tuple[Envelope, ...], f.Size(0, gossip_limits.PULL_PLACES)] = ()
