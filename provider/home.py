"""Where a node keeps things. Rule: everything of a node lies below one folder, which only its owner can read."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import platformdirs


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
