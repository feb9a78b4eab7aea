"""What is in memory, and what leaves it first. Rule: what is in use stays; of the rest, the longest unused model goes.

Models are held as parts (text encoder, denoiser, VAE), each named by the digest of its files: models that have one in
common hold it once, and it goes with the last of them. Beside a GPU, what has to leave the card waits in pinned memory,
from where it is back in a fraction of a load's time, and leaves that too, oldest first, when there is no more room.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from gpufair.protocol.frames import FailCode
from gpufair.provider.inference.engine import RefusedError


class Tier(Enum):
    """Where a part lies: where it is computed with, or in the machine's memory beside a GPU."""

    DEVICE = "device"
    SPARE = "spare"


@dataclass
class Part:
    """A part in memory: the module, the bytes of its weights, and where they lie."""

    module: Any
    size: int
    tier: Tier = Tier.DEVICE


@dataclass
class Model:
    """A model in memory: what draws with it, and the names of its parts."""

    pipeline: Any
    parts: frozenset[str]


Keep = Callable[[str, int, Callable[[], Any]], Any]
"""Gives the part of a name, of so many bytes: the one in memory, or the one that the callable makes."""


@dataclass
class Residency:
    """The models of one worker. `device_bytes` and `spare_bytes` are what their weights may take on each tier.

    `move` brings a module to a tier. `in_use` are the digests of models with attempts under way.
    """

    device_bytes: int
    spare_bytes: int
    move: Callable[[Any, Tier], None]
    in_use: Callable[[], Collection[bytes]] = tuple
    _parts: dict[str, Part] = field(default_factory=dict)
    _models: OrderedDict[bytes, Model] = field(default_factory=OrderedDict)
    """The longest unused first."""
    _loading: set[str] = field(default_factory=set)
    """Parts that a model which is being put together has got already."""

    @property
    def held(self) -> tuple[bytes, ...]:
        """The models in memory, the one used last at the end."""
        return tuple(self._models)

    def bytes_on(self, tier: Tier) -> int:
        """The bytes of the parts that lie there."""
        return sum(part.size for part in self._parts.values() if part.tier is tier)

    def size(self, digest: bytes) -> int:
        """The bytes of a held model's parts, shared ones too."""
        return sum(self._parts[name].size for name in self._models[digest].parts)

    def use(self, digest: bytes) -> Any | None:
        """What draws with the model, every part where it is computed with; None if the model is not in memory.

        `RefusedError` if it waits in spare memory and the device has no room beside what is in use.
        """
        model = self._models.get(digest)
        if model is None:
            return None
        self._models.move_to_end(digest)
        with self._holding(model.parts):
            self._bring([self._parts[name] for name in model.parts if self._parts[name].tier is Tier.SPARE])
        return model.pipeline

    def load(self, digest: bytes, make: Callable[[Keep], Any]) -> Any:
        """What draws with a model that `make` puts together out of parts that it asks for, one by one.

        `RefusedError` if there is no room beside what is in use; then nothing more is held than before.
        """
        names: set[str] = set()

        def keep(name: str, size: int, make_part: Callable[[], Any]) -> Any:
            names.add(name)
            self._loading.add(name)
            part = self._parts.get(name)
            if part is None:
                self._make_room(size)
                part = self._parts[name] = Part(make_part(), size)
                self.move(part.module, Tier.DEVICE)
            elif part.tier is Tier.SPARE:
                self._bring([part])
            return part.module

        with self._holding(()):
            pipeline = make(keep)
            self._models[digest] = Model(pipeline, frozenset(names))
        return pipeline

    def drop(self, but: bytes = b"") -> bool:
        """Let the longest unused model go altogether; whether there was one that is not in use, nor `but`."""
        digest = next((digest for digest in self._idle() if digest != but), None)
        if digest is not None:
            self._forget(digest)
        return digest is not None

    @contextmanager
    def _holding(self, names: Iterable[str]) -> Iterator[None]:
        """Let none of these parts leave, nor any loaded meanwhile; then forget what no model came to have."""
        self._loading = set(names)
        try:
            yield
        finally:
            self._loading = set()
            self._sweep()

    def _bring(self, parts: list[Part]) -> None:
        """Bring parts from spare memory, what makes room for them taking their place there."""
        for part in parts:
            part.tier = Tier.DEVICE
        try:
            self._make_room(0)
            for part in parts:
                self.move(part.module, Tier.DEVICE)
        except BaseException:
            for part in parts:
                self.move(part.module, Tier.SPARE)
                part.tier = Tier.SPARE
            raise

    def _make_room(self, size: int) -> None:
        """Have the device take `size` bytes more."""
        while self.bytes_on(Tier.DEVICE) + size > self.device_bytes:
            digest = next((digest for digest in self._idle() if self._leaving(digest)), None)
            if digest is None:
                used = self.bytes_on(Tier.DEVICE)
                raise RefusedError(
                    FailCode.OUT_OF_MEMORY,
                    f"{size} bytes of weights find no room: {used} of {self.device_bytes} bytes are in use",
                )
            self._put_by(digest, self._leaving(digest))

    def _leaving(self, digest: bytes) -> list[str]:
        """The parts that leave the device with a model: those that no other there needs."""
        others = [model for other, model in self._models.items() if other != digest and not self._is_away(model)]
        needed = {name for model in others for name in model.parts} | self._loading
        parts = self._models[digest].parts
        return [name for name in parts if self._parts[name].tier is Tier.DEVICE and name not in needed]

    def _put_by(self, digest: bytes, names: list[str]) -> None:
        """Bring parts of a model to spare memory, or let the model go where that is too small."""
        size = sum(self._parts[name].size for name in names)
        while size <= self.spare_bytes < size + self.bytes_on(Tier.SPARE):
            oldest = next((d for d in self._idle() if d != digest and self._is_away(self._models[d])), None)
            if oldest is None:
                break
            self._forget(oldest)
        if size + self.bytes_on(Tier.SPARE) > self.spare_bytes:
            self._forget(digest)
            return
        for name in names:
            self.move(self._parts[name].module, Tier.SPARE)
            self._parts[name].tier = Tier.SPARE

    def _is_away(self, model: Model) -> bool:
        return any(self._parts[name].tier is Tier.SPARE for name in model.parts)

    def _idle(self) -> list[bytes]:
        busy = set(self.in_use())
        return [digest for digest in self._models if digest not in busy]

    def _forget(self, digest: bytes) -> None:
        del self._models[digest]
        self._sweep()

    def _sweep(self) -> None:
        """Let go of the parts that no model has."""
        needed = {name for model in self._models.values() for name in model.parts} | self._loading
        for name in [name for name in self._parts if name not in needed]:
            del self._parts[name]
