"""Where a node keeps things. Rule: everything of a node lies below one folder, which only its owner can read.

Only the claim on an identity lies outside of it: two folders with the same keys have to see it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import platformdirs

from gpufair.protocol.errors import Fault, LocalError, printable

CLAIMS = Path("/tmp")  # noqa: S108 -- fixed, whatever the environment says: who shares keys must share it; checked below
HOLDER = "home"


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
    def traces(self) -> Path:
        """How delivered pictures came about, for their buyers' audits."""
        return self.root / "traces"

    @property
    def speeds(self) -> Path:
        """What `gpufaird bench` measured."""
        return self.root / "speeds.json"

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

    @contextlib.contextmanager
    def claim(self, did: str) -> Iterator[None]:
        """Hold the identity `did` on this machine, for this user.

        A folder and its copy have the same keys. Two nodes of them would sign against each other, and take each other's
        workers for those of an earlier run. Raises LocalError if a node of another folder holds it.
        """
        word = hashlib.sha256(did.encode()).hexdigest()[:32]
        folder = CLAIMS / f"gpufaird-{os.geteuid()}-{word}"
        while (held := _lock(folder)) is None:
            pass
        try:
            (folder / HOLDER).write_text(str(self.root))
            yield
        finally:
            # Still under the lock. What a crash leaves, or this can't remove, is taken over by the next.
            shutil.rmtree(folder, ignore_errors=True)
            os.close(held)


def _lock(folder: Path) -> int | None:
    """The locked descriptor of `folder`; None if its last holder removed it meanwhile. LocalError if another holds it.

    The folder itself is locked, not a file in it: what sweeps old temporary files leaves a locked folder alone.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _not_ours(folder) from error
    locked = False
    try:
        ours = os.fstat(held)
        if ours.st_uid != os.geteuid() or stat.S_IMODE(ours.st_mode) & 0o077:
            raise _not_ours(folder)
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        locked = os.path.samestat(ours, folder.lstat())
    except BlockingIOError as error:
        raise _claimed(folder) from error
    except FileNotFoundError:
        return None
    finally:
        if not locked:
            os.close(held)
    return held if locked else None


def _claimed(folder: Path) -> LocalError:
    try:
        other = printable((folder / HOLDER).read_text(), 400)
    except OSError:
        return LocalError(Fault.CONFLICT, "a node with the same keys is starting or stopping", hint="try again")
    hint = f"stop it first (`gpufaird stop --home {other}`), or make this one keys of its own with `gpufaird init`"
    return LocalError(Fault.CONFLICT, f"a node with the same keys is running in {other}", hint=hint)


def _not_ours(folder: Path) -> LocalError:
    hint = "it tells whether a node with these keys runs; look whose it is, and remove it"
    return LocalError(Fault.NOT_ALLOWED, f"{folder} is not a private folder of this user", hint=hint)
