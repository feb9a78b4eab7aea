"""The composition root. Rule: every object of a running node is made here, once, and handed what it needs."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.edge.sqlite import open_database
from gpufair.protocol.edge.system import SystemClock, SystemRandom
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import Envelope, Role
from gpufair.provider import neighbours, report
from gpufair.provider.config import Config
from gpufair.provider.control import ControlServer
from gpufair.provider.directory.directory import Directory
from gpufair.provider.directory.gossip import Gossip
from gpufair.provider.directory.office import DirectoryDesk
from gpufair.provider.directory.store import DirectoryStore
from gpufair.provider.hardware.probe import cpu_cores
from gpufair.provider.home import Home
from gpufair.provider.jobs.store import TABLES
from gpufair.provider.ledger import Ledger, Writer, open_store
from gpufair.provider.ledger.office import LedgerService
from gpufair.provider.rpc.gossiper import Gossiper
from gpufair.provider.rpc.publisher import Publisher
from gpufair.provider.rpc.roads import Roads
from gpufair.provider.rpc.server import NodeServer, serve
from gpufair.provider.sales.offers import Broadcasts
from gpufair.provider.selling import Seller, open_runtime
from gpufair.provider.stops import Stops

log = logging.getLogger(__name__)

MIGRATIONS = "gpufair.provider.jobs:migrations"
SOFTWARE = f"gpufair/{version('gpufair')}"


class Node:
    """One running gpufaird: its roles, its server, its owner's line."""

    def __init__(self, home: Home, config: Config, keys: Keys) -> None:
        self.home, self.config, self.keys = home, config, keys
        self.desk = Desk(keys.signer, SystemClock(), SystemRandom())
        self.stopping = asyncio.Event()
        self.port = 0
        self._exits = contextlib.AsyncExitStack()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Open the stores, reconcile, listen, publish. Raises LocalError with what to do if any of it can't be."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        exits = self._exits
        exits.callback(self.home.take().close)
        exits.enter_context(self.home.claim(self.keys.did))
        self.sealing = SealingKeys(self.home.keys, passphrase=self.keys.passphrase)
        exits.callback(log.info, "node stopped")
        self.store = RowStore(open_database(self.home.jobs, MIGRATIONS, stays_open=True), TABLES)
        exits.callback(self.store.close)
        self.peers = Peers(self.desk.clock)
        exits.push_async_callback(self.peers.close)
        self.directory = self._open_directory()
        exits.callback(self.directory.close)
        self.ledger = self._open_ledger() if Role.LEDGER in self.config.roles else None
        if self.ledger is not None:
            exits.callback(self.ledger.close)
        self.home.keep_to_owner()
        self.seller: Seller | None = None
        self.broadcasts = Broadcasts(
            self.desk, self.store, roles=self.config.roles, endpoints=self._endpoints,
            certificate=self.keys.tls.certificate, sealing=self.sealing, software=SOFTWARE,
        )  # fmt: skip
        if Role.PROVIDER in self.config.roles:
            runtime = await open_runtime(self.config, self.home, self.keys.did)
            exits.push_async_callback(runtime.close)
            self.seller = Seller(
                self.home, self.config, self.keys, self.sealing, self.desk, self.store, self.peers, runtime,
                self.broadcasts,
            )  # fmt: skip
        self.server = self._serve()
        exits.push_async_callback(self.server.stop)
        self.port = self.server.port
        if self.seller is not None:
            exits.push_async_callback(self.seller.stop)
            # Before anybody is let in: what runs after this was begun by this run of the node.
            await self.seller.reconcile()
        await self.server.start()
        if self.seller is not None:
            self.seller.warm()
        await self._go_public()

    async def _go_public(self) -> None:
        """Make the node known, and listen to its owner."""
        exits = self._exits
        exits.push_async_callback(self._end_tasks)
        self.publisher = Publisher(
            self._documents, self.directory, self.peers, self.config.node.peers, self.desk.random
        )
        if Role.DIRECTORY in self.config.roles:
            roads = Roads(self.peers, self.directory, self.publisher.named)
            self._tasks.append(asyncio.create_task(Gossiper(self.directory, roads, self.desk.random).run()))
        await self.publisher.round()
        self._tasks.append(asyncio.create_task(self.publisher.run()))
        self.stops = Stops(self.seller, self.publisher.round, self.stopping.set)
        exits.push_async_callback(self.stops.close)
        self.control = ControlServer(self.home.socket, self._commands())
        exits.push_async_callback(self.control.stop)
        await self.control.start()
        log.info("node %s serves on port %d as %s", self.keys.did, self.port, ", ".join(self.config.node.roles))

    async def run(self) -> None:
        """Serve until told to stop, or until a drain is through."""
        await self.stopping.wait()

    async def stop(self) -> None:
        """Hand back what runs, settle what is open, leave no worker behind; also after a start that failed."""
        await self._exits.aclose()

    async def _end_tasks(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _open_directory(self) -> DirectoryDesk:
        clock, random = self.desk.clock, self.desk.random
        directory = Directory(DirectoryStore(self.home.directory), clock)
        talks = Role.DIRECTORY in self.config.roles
        gossip = Gossip(self.keys.did, directory, clock, random) if talks else None
        return DirectoryDesk(directory, lambda: self.broadcasts.record().envelope, gossip)

    def _open_ledger(self) -> LedgerService:
        store = open_store(self.home.ledger, self.keys.did)
        ledger = Ledger(self.desk, store, auditors=self.config.ledger.auditors)
        # One process keeps up with all that the book's own thread can post; it starts only if orders come in crowds.
        return LedgerService(Writer(ledger, helpers=int(cpu_cores() > 1)), ledger, store)

    def _endpoints(self) -> tuple[str, ...]:
        if self.config.node.announce:
            return self.config.node.announce
        host = self.config.node.listen.rpartition(":")[0]
        return (f"{'127.0.0.1' if host in ('0.0.0.0', '[::]') else host}:{self.port}",)  # noqa: S104

    def _serve(self) -> NodeServer:
        return serve(
            listen=self.config.node.listen,
            tls_identity=self.keys.tls,
            directory=self.directory,
            market=self.seller.market if self.seller is not None else None,
            ledger=self.ledger,
        )

    def _documents(self) -> Sequence[Envelope]:
        record = self.broadcasts.record().envelope
        return (record,) if self.seller is None else (record, self.seller.offers.current().envelope)

    # --- the owner's commands ------------------------------------------------------------------------------------

    def _commands(self) -> dict[str, Any]:
        return {
            "status": self.status,
            "price": self._price,
            "pause": self.stops.pause,
            "resume": self.stops.resume,
            "reclaim": self.stops.reclaim,
            "drain": self.stops.drain,
            "stop": self._stop,
            "audit": self._audit,
        }

    async def status(self) -> dict[str, Any]:
        """Everything that `gpufaird status` shows."""
        now, known = self.desk.now_ms(), await self.directory.standing()
        answer: dict[str, Any] = {
            "did": self.keys.did,
            "port": self.port,
            "endpoints": list(self._endpoints()),
            "roles": list(self.config.node.roles),
            "software": SOFTWARE,
            "peers": neighbours.peers(self.publisher.states, known, now),
            "directory": neighbours.directory(known, now),
        }
        if self.seller is not None:
            answer["provider"] = {**self.seller.status(), **report.earnings(self.store, now)}
        if self.ledger is not None:
            answer["ledger"] = self.ledger.status()
        return answer

    async def _price(self) -> dict[str, Any]:
        if self.seller is None:
            raise LocalError(Fault.NOT_ALLOWED, "this node is no provider: it asks nothing", hint="see its roles")
        return self.seller.prices()

    async def _audit(self) -> dict[str, Any]:
        if self.ledger is None:
            raise LocalError(Fault.NOT_ALLOWED, "this node keeps no ledger", hint='add "ledger" to its roles')
        return await self.ledger.audit()

    async def _stop(self) -> dict[str, Any]:
        self.stopping.set()
        return {"stopping": True}
