"""Bounds of what a server takes from others. Rule: as for `limits`: every number that limits anything is here."""

from __future__ import annotations

from gpufair.protocol import limits

CONNECTIONS_MAX = 4096
"""Connections of others to a node; more are not taken, so that it keeps files to open for its own work."""
FILES_OWN = 1024
"""Files that a node opens beside them."""
SILENT_CALLS_MAX = limits.STREAMS_MAX
"""Calls from one address on which nothing was said yet."""
BID_TOKENS = 8
"""Requests that a bid counts for: it is checked, answered with a signature, and written down, whatever the answer."""
PUBLISH_TOKENS = 4
"""Requests that a published document counts for."""
PAGE_TOKENS = 4
"""Requests that a page of documents counts for, and a comparison of directories."""
