"""The buyer's side. Rule: it never imports the provider; what both need lies in `gpufair.protocol`.

`from gpufair.client import Client, SyncClient`: see `gpufair.client.sdk` and `gpufair.client.sync`. They are loaded
when they are first asked for, so that a command line that only wants `--help` does not wait for gRPC and SQL.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from gpufair.client.bought import Picture
    from gpufair.client.sdk import Client, Lease
    from gpufair.client.sync import SyncClient, SyncLease

__all__ = ["Client", "Lease", "Picture", "SyncClient", "SyncLease"]


def __getattr__(name: str) -> object:
    if name in __all__:
        from gpufair.client import sdk, sync

        return getattr(sync if name.startswith("Sync") else sdk, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
