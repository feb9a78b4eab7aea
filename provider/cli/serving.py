"""What `up` does. Rule: the node is stopped however it ends, and a signal is a wish like the owner's own `stop`."""

from __future__ import annotations

import asyncio
import logging
import resource
import signal
from pathlib import Path

from gpufair.protocol import server_limits
from gpufair.protocol.edge import loading
from gpufair.protocol.edge.keys import Keys
from gpufair.provider.cli.common import open_home, say
from gpufair.provider.config import Config
from gpufair.provider.daemon import Node
from gpufair.provider.home import Home

log = logging.getLogger(__name__)


def serve(home: Path | None, *, verbose: bool) -> None:
    """Run the node until it is told to stop. Raises LocalError if it can't start."""
    loading.done()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("gpufair").setLevel(logging.DEBUG if verbose else logging.INFO)
    _allow_files(server_limits.CONNECTIONS_MAX + server_limits.FILES_OWN)
    asyncio.run(_serve(*open_home(home)))


def _allow_files(wanted: int) -> None:
    """Have this process open so many files, each connection being one; many systems begin with 1,024."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    may = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if may < wanted:
        log.warning(
            "this node may open %d files: with more than %d connections it fails", may, may - server_limits.FILES_OWN
        )
    if soft != resource.RLIM_INFINITY and soft < may:
        resource.setrlimit(resource.RLIMIT_NOFILE, (may, hard))


async def _serve(where: Home, settings: Config, identity: Keys) -> None:
    node = Node(where, settings, identity)
    loop = asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, node.stopping.set)
    await node.start()
    try:
        say(f"node     {identity.did}\naddress  {identity.did}@{_address(node.port, settings)}")
        say(f"roles    {', '.join(settings.node.roles)}\nready    Ctrl-C stops it")
        await node.run()
    finally:
        await node.stop()


def _address(port: int, settings: Config) -> str:
    if settings.node.announce:
        return settings.node.announce[0]
    host = settings.node.listen.rpartition(":")[0]
    return f"{'127.0.0.1' if host in ('0.0.0.0', '[::]', '') else host}:{port}"  # noqa: S104
