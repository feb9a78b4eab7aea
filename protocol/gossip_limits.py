"""Bounds of what directories say to each other. Rule: as for `limits`: every number that limits anything is here."""

from __future__ import annotations

from gpufair.protocol import limits

PLACE_BYTES = 16
LEAF_HEADINGS = 16
"""Headings that are told one by one; where there are more, their digests are."""
COMPARE_BRANCHES = 256
"""Digests in one question to another directory."""
COMPARES_PER_ROUND = 64
"""Such questions to one directory in one round."""
TELL_HEADINGS = 256
PULL_PLACES = 64
"""Documents asked for at a time."""
WANTS_PER_PEER = 4_096
"""Documents that wait to be asked of one directory."""
SPURNED_MAX = 16_384
"""Headings that are remembered as not worth asking for again soon."""
GOSSIP_PERIOD_MS = 10 * limits.SECOND
"""About how often a directory compares itself with others ..."""
GOSSIP_COMPARED = 2
"""... and with how many ..."""
GOSSIP_FAN_OUT = 4
"""... and how many are told of what is new."""
GOSSIP_NEWS_MS = 200
"""How long news waits for more of it."""
GOSSIP_RETELL_MS = 2 * limits.SECOND
"""One place's news is told no more often than this, however often its document changes."""
GOSSIP_ASKED_AT_ONCE = 32
"""Other directories that are being asked something at the same time."""
GOSSIP_PEERS_MAX = 64
"""Other directories that one exchanges documents with."""
GOSSIP_PER_NETWORK = 4
"""Of them, learned ones of one network (IPv4 /24, IPv6 /48) of the internet."""
GOSSIP_PAUSE_MS = 10 * limits.MINUTE
"""For how long a directory that passes on what does not prove itself is left alone."""
GOSSIP_NAMED_PAUSE_MS = limits.MINUTE
"""The longest that one which our owner named is left alone because it did not answer."""
GOSSIP_BACK_OFF_MS = 5 * limits.SECOND
"""How long one that does not answer is left alone at first, twice as long each time after ..."""
GOSSIP_FAILURES_MAX = 6
"""... and after so many times, a learned one for good."""
WEIGHT_MAX = 9
"""How much price or speed may count in a search."""
