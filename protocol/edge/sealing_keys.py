"""The sealing keys of a running node. Rule: a key is kept while a lease names it, and erased for good when none does.

The newest is in the node record; each day there is a newer one. To make a key is one step on disk (a file that appears
whole), and to erase one is one (a file that vanishes), so a crash leaves a folder that can be read as it is. Whoever
takes this machine later can open no body that was sealed to a key that is gone, whatever was recorded on the way.
"""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from gpufair.protocol import limits
from gpufair.protocol.edge import files, keys


class SealingKeys:
    """All sealing keys of the identity in `folder`. Only the one process that holds the node's home may have this."""

    def __init__(self, folder: Path, *, passphrase: str | None = None) -> None:
        """Raises LocalError as `keys.load` does."""
        self._folder, self._passphrase = folder, passphrase
        loaded = keys.load(folder, passphrase=passphrase).sealings
        self._keys = {_public(key): (name, key) for name, key in loaded.items()}
        for left in folder.glob(".sealing*"):  # a crash left it: a key that nobody was shown, or half erased
            files.erase(left)

    @property
    def public(self) -> bytes:
        """The key to show now (32 raw bytes): the newest."""
        return max(self._keys, key=lambda public: keys.sealing_number(self._keys[public][0]))

    @property
    def oldest(self) -> bytes:
        """The one that was made first of those that are kept."""
        return min(self._keys, key=lambda public: keys.sealing_number(self._keys[public][0]))

    def find(self, public: bytes) -> X25519PrivateKey | None:
        """The private half of a key, unless it was erased."""
        found = self._keys.get(public)
        return found[1] if found else None

    def turn(self, now_ms: int, in_use: Collection[bytes]) -> None:
        """Make a new key if the newest is a day old, and erase older ones but those `in_use`. Raises OSError.

        For a minute after a new one was made all are kept: offers that show the one before are still taken up.
        """
        newest = self.public
        age_ms = now_ms - self._made_ms(newest)
        if not -limits.SKEW_MS <= age_ms < limits.SEALING_KEY_MS:  # one from the future: the clock was wrong, or is
            self._make(now_ms)
        elif age_ms > limits.SUPERSEDED_GRACE_MS:
            for public in [public for public in self._keys if public != newest and public not in in_use]:
                files.erase(self._path(public))
                del self._keys[public]

    def _make(self, now_ms: int) -> None:
        key = X25519PrivateKey.generate()
        name = keys.sealing_name(keys.sealing_number(self._keys[self.public][0]) + 1)
        files.write_private(self._folder / name, keys.pem_of(key, self._passphrase))
        self._keys[_public(key)] = (name, key)
        os.utime(self._folder / name, ns=(now_ms * 1_000_000, now_ms * 1_000_000))

    def _made_ms(self, public: bytes) -> int:
        return self._path(public).stat().st_mtime_ns // 1_000_000

    def _path(self, public: bytes) -> Path:
        return self._folder / self._keys[public][0]


def _public(key: X25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
