"""LoRA adapters. Rule: a model's own weights are never written; for a moment, others stand in their place.

An adapter changes some weights W of a model to W + weight · alpha / rank · up · down. The changed ones are made once,
beside the model's own, and remembered for the next attempt. While an attempt's words or steps are computed they take
the place of the model's own by a change of pointers, so that who comes before and after sees the very same tensors.
"""

from __future__ import annotations

import weakref
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from gpufair.protocol import limits
from gpufair.protocol.adapters import FILE, Change, Place, alphas, changes, places
from gpufair.protocol.errors import printable
from gpufair.protocol.frames import FailCode, Run
from gpufair.provider.inference import folder
from gpufair.provider.inference.engine import RefusedError
from gpufair.provider.inference.request import Wanted, wanted

WHOLE_MILLI = 1000
TEXT_PART = "text_encoder"
"""How the names of parts that read texts begin."""


@dataclass(frozen=True)
class Adapter:
    """A LoRA in memory: what it changes, how strongly (alpha / rank), and its tensors."""

    digest: bytes
    changes: Mapping[Place, Change]
    strength: Mapping[Place, float]
    tensors: Mapping[str, torch.Tensor]

    def __str__(self) -> str:
        return f"the adapter {self.digest.hex()}"

    @property
    def size(self) -> int:
        """Bytes of its tensors."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    def delta(self, place: Place, where: torch.device) -> torch.Tensor:
        """What is added to the weight at `place` at a weight of 1: (outputs, inputs · window), fp32."""
        change = self.changes[place]
        up, down = (self.tensors[name].to(where, torch.float32).flatten(1) for name in (change.up, change.down))
        return self.strength[place] * (up @ down)


@dataclass
class Patch:
    """The weights of one model under one set of adapters: `with patch:` they are the model's.

    Not to be entered twice at once. `reading` are the adapters, if texts are read differently under them.
    """

    weights: Sequence[tuple[torch.nn.Parameter, torch.Tensor]] = ()
    reading: Wanted = ()
    model: Callable[[], Any] = lambda: None
    """The pipeline that the weights were made for, as long as it is in memory."""
    _own: list[torch.Tensor] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of the weights."""
        return sum(tensor.nbytes for _parameter, tensor in self.weights)

    def __enter__(self) -> None:
        self._own = [parameter.data for parameter, _tensor in self.weights]
        for parameter, tensor in self.weights:
            parameter.data = tensor

    def __exit__(self, *_exception: object) -> None:
        for (parameter, _tensor), own in zip(self.weights, self._own, strict=True):
            parameter.data = own
        self._own = []


class Adapters:
    """The adapters of one worker, and the weights made with them; the longest unused are dropped first."""

    def __init__(self, files: int = limits.WORKER_ADAPTERS_BYTES, patches: int = limits.WORKER_PATCHES_BYTES) -> None:
        self._adapters: OrderedDict[bytes, Adapter] = OrderedDict()
        self._patches: OrderedDict[tuple[bytes, Wanted], Patch] = OrderedDict()
        self._most = files, patches

    def load(self, path: Path, digest: bytes) -> int:
        """Hold the adapter in the folder `path`, and return its bytes. `RefusedError` if it is none, or another."""
        folder.verify(path, digest)
        self._adapters[digest] = adapter = read(path / FILE, digest)
        _shrink(self._adapters, self._most[0])
        return adapter.size

    def holds(self, digest: bytes) -> int | None:
        """The bytes of an adapter that is in memory, else None; being asked for counts as being used."""
        if digest not in self._adapters:
            return None
        self._adapters.move_to_end(digest)
        return self._adapters[digest].size

    def patch(self, pipeline: Any, run: Run) -> Patch:
        """The model's weights as the attempt wants them. `RefusedError` for an adapter that is missing or doesn't fit.

        The order in which adapters are named changes nothing, and a weight of 0 is no adapter.
        """
        asked = wanted(run)
        if not asked:
            return Patch()
        key = run.model, asked
        known = self._patches.pop(key, None)
        if known is None or known.model() is not pipeline or not _is_beside(known):
            known = merge(pipeline, [(self._held(digest), milli) for digest, milli in asked])
            known.model = weakref.ref(pipeline, lambda _gone: self._patches.pop(key, None))
        self._patches[key] = known
        _shrink(self._patches, self._most[1])
        return known

    def forget(self) -> bool:
        """Drop the weights made so far, for memory is short; whether there were any. Attempts under way keep theirs."""
        had_some = bool(self._patches)
        self._patches.clear()
        return had_some

    def _held(self, digest: bytes) -> Adapter:
        if digest not in self._adapters:
            raise RefusedError(FailCode.MODEL_MISSING, f"the adapter {digest.hex()} is not loaded")
        self._adapters.move_to_end(digest)
        return self._adapters[digest]


def read(path: Path, digest: bytes) -> Adapter:
    """The adapter in a safetensors file, on the CPU. `RefusedError` (model bad) names what is no part of a LoRA."""
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    except (SafetensorError, OSError) as err:
        raise _bad(f"{path.name} is missing or no safetensors") from err
    try:
        found = changes({name: tuple(tensor.shape) for name, tensor in tensors.items()})
        told = alphas(metadata)
        strength = {place: _strength(place, change, tensors, told) for place, change in found.items()}
    except ValueError as err:
        raise _bad(f"no LoRA: {printable(str(err), 400)}") from err
    return Adapter(digest, found, strength, tensors)


def merge(pipeline: Any, adapters: Iterable[tuple[Adapter, int]]) -> Patch:
    """A pipeline's weights under adapters, each with its weight in thousandths. `RefusedError` if one can't fit."""
    adapters = list(adapters)
    own = _weights(pipeline)
    touched = {place: own[place] for adapter, _milli in adapters for place in _fitting(adapter, own)}
    made = []
    for place, weight in touched.items():
        total = weight.detach().to(torch.float32, copy=True)
        for adapter, milli in adapters:
            if place in adapter.changes:
                total += (milli / WHOLE_MILLI * adapter.delta(place, weight.device)).view_as(total)
        made.append((weight, total.to(weight.dtype)))
    reads = any(place.part.startswith(TEXT_PART) for place in touched)
    return Patch(made, tuple((adapter.digest, milli) for adapter, milli in adapters) if reads else ())


def _weights(pipeline: Any) -> dict[Place, torch.nn.Parameter]:
    """Every weight of the pipeline that an adapter could change."""
    found = {}
    for part, module in pipeline.components.items():
        for name, weight in module.named_parameters() if isinstance(module, torch.nn.Module) else ():
            found.update(dict.fromkeys(places(part, {name: tuple(weight.shape)}), weight))
    return found


def _fitting(adapter: Adapter, own: Mapping[Place, torch.nn.Parameter]) -> Iterable[Place]:
    """What the adapter changes, if all of it is there and has the right shape: a part of it is another picture."""
    absent = [place for place in adapter.changes if place not in own]
    if absent:
        names = ", ".join(f"{place.part}.{place.module}" for place in absent[:3])
        raise _bad(
            f"{adapter} is for another kind of model: {len(absent)} of the {len(adapter.changes)} weights that it "
            f"changes are not in this one, such as {names}"
        )
    for place, change in adapter.changes.items():
        shape = tuple(own[place].shape)
        if not change.suits(shape):
            theirs = (change.outputs, change.inputs, *change.kernel)
            name = f"{place.part}.{place.module}"
            raise _bad(f"{adapter} changes {name} as a weight of the shape {theirs}, this model's is {shape}")
    return adapter.changes


def _strength(place: Place, change: Change, tensors: Mapping[str, torch.Tensor], told: Mapping[str, float]) -> float:
    """Alpha / rank, where something says what alpha is; else 1."""
    if change.alpha:
        return float(tensors[change.alpha].item()) / change.rank
    return told.get(place.part, change.rank) / change.rank


def _is_beside(patch: Patch) -> bool:
    """Whether the weights lie where the model's own do now."""
    return all(parameter.device == tensor.device for parameter, tensor in patch.weights)


def _shrink(held: OrderedDict[Any, Any], most: int) -> None:
    """Drop the longest unused until the rest has at most so many bytes; the newest stays in any case."""
    while len(held) > 1 and sum(one.size for one in held.values()) > most:
        held.popitem(last=False)


def _bad(message: str) -> RefusedError:
    return RefusedError(FailCode.MODEL_BAD, message)
