"""Where a node keeps things. Rule: everything of a node lies below one folder, which only its owner can read."""

from __future__ import annotations

import fcntl
import os
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from gpufair.protocol.errors import Fault, LocalError


@dataclass(frozen=True)
class Home:
    """The folder of one node."""

    root: Path

    @classmethod
    def find(cls, given: Path | None) -> Home:
        """The folder that was given, or $GPUFAIRD_HOME, or the platform's place for a user's data."""
        if given is None and os.environ.get("GPUFAIRD_HOME"):
            given = Path(os.environ["GPUFAIRD_HOME"])
        return cls((given or Path(platformdirs.user_data_dir("gpufaird"))).absolute())

    def make(self) -> None:
        """Make the folder, its owner's alone. One that is there is left as its owner made it."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)

    def keep_to_owner(self) -> None:
        """Close the databases to everybody else: keys of deliveries and sealed prompts lie in them."""
        for path in (self.jobs, self.ledger, self.directory):
            if path.exists():
                path.chmod(0o600)

    @property
    def config(self) -> Path:
        """The owner's configuration."""
        return self.root / "config.toml"

    @property
    def keys(self) -> Path:
        """Identity, sealing key and TLS certificate."""
        return self.root / "keys"

    @property
    def jobs(self) -> Path:
        """The job store."""
        return self.root / "jobs.db"

    @property
    def ledger(self) -> Path:
        """The ledger's book."""
        return self.root / "ledger.db"

    @property
    def directory(self) -> Path:
        """Records and offers known to this node."""
        return self.root / "directory.db"

    @property
    def models(self) -> Path:
        """The model store."""
        return self.root / "models"

    @property
    def workers(self) -> Path:
        """Scratch and pid files of process workers."""
        return self.root / "workers"

    @property
    def socket(self) -> Path:
        """Where the running node takes its owner's commands."""
        return self.root / "control.sock"

    @property
    def lock(self) -> Path:
        """Held by the one running node."""
        return self.root / "node.lock"

    def running(self) -> bool:
        """Whether a node runs here."""
        try:
            self.take().close()
        except LocalError:
            return True
        return False

    def take(self) -> IO[str]:
        """Hold the home's lock until the file is closed: two nodes on the same stores would sign against each other.

        Raises LocalError if a node is running here.
        """
        self.make()
        lock = self.lock.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            lock.close()
            hint = "stop it first (`gpufaird stop`), or give this one another --home"
            raise LocalError(Fault.CONFLICT, f"a node is running in {self.root}", hint=hint) from error
        return lock
