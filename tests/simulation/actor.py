"""A process of a simulated market. Rule: its database outlives a crash, everything else is made anew.

Clock, dice and faults come from the simulator; a crash may come before and after each commit.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from typing import Any

from network import CrashError, Sim
from sqlalchemy import Connection

from gpufair.client.wallet.store import MIGRATIONS as WALLET
from gpufair.protocol.edge.sqlite import Database, _empty_image, open_database
from gpufair.protocol.heads import Desk
from gpufair.protocol.identity import KeySigner

LEDGER = "gpufair.provider.ledger:migrations"
JOBS = "gpufair.provider.jobs:migrations"
DIRECTORY = "gpufair.provider.directory:migrations"
FOLDERS = {"ledger": LEDGER, "provider": JOBS, "client": WALLET, "directory": DIRECTORY}


class CrashDatabase(Database):
    """A database in memory that is emptied between runs, and that can die at each of its commits.

    With `waits` a plain transaction is on disk when it is over; else a power cut may undo it, as in a directory.
    """

    fault: Callable[[str], None]

    def __init__(self, folder: str, *, waits: bool = True) -> None:
        super().__init__(open_database(None, folder)._engine, None)
        self._waits = waits
        self._image = _empty_image(folder)
        with self.read() as connection:
            self.raw: Any = connection.connection.dbapi_connection
        self.writes = self.cuts = 0
        self._undone: bytes | None = None
        """The image that a power cut leaves behind, where the newest commits did not wait for the disk."""

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """As the real one, with a fault before and after the commit."""
        before = self._undone
        if not self._waits and before is None:
            before = self.raw.serialize()
        with super().write() as connection:
            yield connection
            self.fault("before commit")
        self._undone = before
        self._committed(lasting=self._waits)

    @contextmanager
    def driver(self, begin: str, *, lasting: bool = True) -> Iterator[Any]:
        """As the real one, with a fault before and after the commit of whatever may write."""
        writes, lasting = begin != "BEGIN", lasting and self._waits
        image = self.raw.serialize() if writes and (self._undone is None) is not lasting else None
        before = image if self._undone is None and not lasting else self._undone
        with super().driver(begin, lasting=lasting) as raw:
            yield raw
            if writes:
                self.fault("before commit")
        if writes:
            self._undone = before
            # SQLite does not wait for the disk when nothing has changed, so what was noted before stays in the air.
            self._committed(lasting=lasting and image != self.raw.serialize())

    def _committed(self, *, lasting: bool) -> None:
        if lasting:
            self._undone = None
        self.writes += 1
        self.fault("after commit")

    def power_cut(self) -> bool:
        """Undo what was committed without waiting for the disk; whether there was any."""
        if self._undone is None:
            return False
        self.raw.deserialize(self._undone)
        self.raw.execute("PRAGMA foreign_keys=ON")
        self._undone = None
        self.writes += 1
        self.cuts += 1
        return True

    def reset(self, fault: Callable[[str], None]) -> None:
        """As it was when it was made."""
        self.raw.deserialize(self._image)
        self.raw.execute("PRAGMA foreign_keys=ON")
        self.fault, self.writes, self.cuts, self._undone = fault, 0, 0, None

    def rows(self, query: str, *values: Any) -> list[Any]:
        """Look into it from outside, past all code under test."""
        return self.raw.execute(query, values).fetchall()


@cache
def database(role: str, name: str = "") -> CrashDatabase:
    """One database a process for all runs: making an engine costs more than a run."""
    return CrashDatabase(FOLDERS[role], waits=role != "directory")


@cache
def signer(name: str) -> KeySigner:
    """The same identities in every run."""
    return KeySigner.from_seed(hashlib.sha256(name.encode()).digest())


class Actor:
    """A process: clock and dice of its own, a database that survives it."""

    role = ""

    def __init__(self, sim: Sim, world: Any, name: str, skew_ms: int = 0) -> None:
        self.sim, self.world, self.name, self.skew = sim, world, name, skew_ms
        self.up, self.epoch, self.crashes = True, 0, 0
        self.desk = Desk(signer(name), self, self)
        self.db = database(self.role, name)
        self.db.reset(self._fault)

    def now_ms(self) -> int:
        """This machine's clock."""
        return self.sim.now + self.skew

    def bytes(self, count: int) -> bytes:
        """This machine's randomness."""
        return self.sim.rng.randbytes(count)

    def _fault(self, point: str) -> None:
        if self.sim.chance(self.sim.weather.crash):
            self.sim.note("{} crashes {}", self.name, point)
            raise CrashError(point)

    def guard(self, act: Callable[..., Any], *args: Any) -> Any:
        """Do something that may end in a crash; None if the process is down, or goes down in it."""
        if not self.up:
            return None
        try:
            return act(*args)
        except CrashError:
            self.crash()
            return None
        finally:
            self.world.check(self)

    def later(self, ms: int, act: Callable[[], Any]) -> None:
        """Do something later, unless the process has died since."""
        epoch = self.epoch
        self.sim.after(ms, lambda: self.guard(act) if self.epoch == epoch else None)

    def crash(self) -> None:
        """The process dies and comes back after a while."""
        self.up, self.epoch, self.crashes = False, self.epoch + 1, self.crashes + 1
        if self.sim.rng.random() < 0.5 and self.db.power_cut():
            self.sim.note("{} loses what the disk had not seen", self.name)
        self.sim.after(self.sim.rng.randrange(50, 9000), self.start)

    def vanish(self, ms: int) -> None:
        """The machine is gone for so long, in the middle of whatever it does."""
        if self.up:
            self.sim.note("{} is gone", self.name)
            self.up, self.epoch, self.crashes = False, self.epoch + 1, self.crashes + 1
            self.sim.after(ms, self.start)

    def start(self) -> None:
        """The process begins, or comes back."""
        self.up = True
        self.sim.note("{} is up", self.name)
        self.guard(self.boot)

    def boot(self) -> None:
        """Come up with what the database holds."""
