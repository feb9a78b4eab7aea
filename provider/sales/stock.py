"""What there is to sell right now. Rule: offers are made from the stock, and jobs admitted against it.

Both look at the same catalogue, with the same function that buyers choose with: what the offer says is what is let in.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

from gpufair.protocol import families, limits, pricing
from gpufair.protocol.matching import feasible
from gpufair.protocol.memory import Footprint
from gpufair.protocol.messages import (
    AdapterOffer,
    BidClass,
    Gpu,
    Isolation,
    JobHeader,
    JobLimits,
    ModelState,
    Precision,
    Reason,
    ReasonCode,
    Scheduler,
    Spec,
    Speed,
    Task,
)
from gpufair.protocol.timing import estimate_us
from gpufair.provider.config import Config
from gpufair.provider.jobs.capacity import Capacity
from gpufair.provider.sales.lists import sold

_FIT_BYTES = 34
"""What one model takes up in an adapter's line of an offer."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the store, as a seller sees it. `own` is the class of the scheduler that it brings along."""

    digest: bytes
    name: str
    family: str
    licence: str
    own: str = ""
    state: ModelState = ModelState.CACHED
    speed: Speed | None = None

    @property
    def tasks(self) -> tuple[Task, ...]:
        """What it can be asked to make."""
        return families.family(self.family).tasks

    @property
    def schedulers(self) -> tuple[Scheduler, ...]:
        """The schedulers that suit it."""
        return families.schedulers(self.family, self.own)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """All that can be run here, prices aside (see `matching.Catalogue`)."""

    limits: JobLimits
    tasks: tuple[Task, ...]
    schedulers: tuple[Scheduler, ...]
    precisions: tuple[Precision, ...]
    models: tuple[Model, ...]
    adapters: tuple[AdapterOffer, ...]


class Shelf(Protocol):
    """What the pool of workers says of itself."""

    @property
    def warm_models(self) -> frozenset[bytes]:
        """Models that are loaded."""
        ...

    @property
    def profiles(self) -> frozenset[bytes]:
        """Runtime profiles of the workers seen so far."""
        ...


@dataclass
class Gate:
    """Whether the owner lets work in: `pause` and `reclaim` refuse new leases and jobs for now, `drain` for good."""

    paused: bool = False
    reclaimed: bool = False
    draining: bool = False

    def reasons(self) -> tuple[Reason, ...]:
        """Why nothing is let in; empty when the gate is open."""
        if self.draining:
            return (Reason(ReasonCode.DRAINING),)
        if self.reclaimed:
            return (Reason(ReasonCode.RECLAIMED, detail="the owner uses the machine"),)
        return (Reason(ReasonCode.PAUSED),) if self.paused else ()


class Stock:
    """Models, machine, limits and gate of one provider."""

    def __init__(
        self,
        config: Config,
        models: Callable[[], list[Model]],
        shelf: Shelf,
        gate: Gate,
        *,
        gpus: tuple[Gpu, ...],
        cpu_cores: int,
        isolation: Isolation,
        worker_image: bytes,
        worker_name: str,
        waiting: Callable[[], int],
        wait_ms: Callable[[BidClass], int] = lambda _class: 0,
        adapters: Callable[[], list[AdapterOffer]] = list,
        footprint: Callable[[bytes], Footprint | None] = lambda _digest: None,
        speed: Callable[[bytes], Speed | None] = lambda _digest: None,
    ) -> None:
        self.config, self.gate, self.shelf = config, gate, shelf
        self.gpus, self.cpu_cores, self.isolation = gpus, cpu_cores, isolation
        self.worker_image, self.worker_name = worker_image, worker_name
        self._models, self._adapters, self._waiting = models, adapters, waiting
        self.wait_ms = wait_ms
        """About how long a new job would wait for its turn, by its class."""
        self._footprint, self._speed = footprint, speed
        self._open: dict[bytes, bool] = {}

    @property
    def memory_bytes(self) -> int:
        """What one job may use."""
        return self.config.workers.memory_mib * 1024 * 1024

    @property
    def room_bytes(self) -> int:
        """What a worker has for a model and a picture: what its libraries take themselves is not for sale."""
        whole = min((gpu.memory_bytes for gpu in self.gpus), default=self.memory_bytes)
        return max(0, whole - limits.WORKER_BASE_BYTES)

    @property
    def limits(self) -> JobLimits:
        """The largest job that is taken."""
        size = self.config.limits
        return JobLimits(size.pixels, size.steps, size.count, self.memory_bytes)

    @property
    def capacity(self) -> Capacity:
        """For how many jobs there is room."""
        return Capacity(self.config.workers.workers, self.config.limits.queue)

    @property
    def queue_free(self) -> int:
        """Jobs that could still wait."""
        return max(0, self.config.limits.queue - self._waiting())

    @property
    def classes(self) -> tuple[BidClass, ...]:
        """The classes of bids that are taken."""
        price, classes = self.config.price, [BidClass.ON_DEMAND]
        if price.floor_milli < pricing.MILLI:
            classes.append(BidClass.INTERRUPTIBLE)
        if self.config.workers.reserved_workers:
            classes.append(BidClass.RESERVED)
        return tuple(classes)

    @property
    def traces_bytes(self) -> int:
        """Room for the proof of pictures."""
        return self.config.limits.traces_mib * limits.MIB

    @property
    def notice_max_ms(self) -> int:
        """The longest notice that is given before the machine is taken back."""
        return self.config.price.notice_seconds * limits.SECOND

    @property
    def precisions(self) -> tuple[Precision, ...]:
        """What the workers compute in: one that has its weights in 16 bits can do nothing finer."""
        return (Precision.EXACT, Precision.SINGLE) if self.config.workers.dtype == "float32" else (Precision.HALF,)

    def models(self) -> list[Model]:
        """The models on sale: in the store, allowed, and not refused."""
        return [
            replace(model, state=self.state(model.digest), speed=self._speed(model.digest))
            for model in self._models()
            if self.allowed(model)
        ]

    def adapters(self, models: list[Model]) -> list[AdapterOffer]:
        """The adapters on sale that fit any of these models, as many as an offer has room for."""
        sold, room, fitting = {model.digest for model in models}, limits.OFFER_FITS_BYTES, []
        for adapter in filter(self.allowed, self._adapters()):
            fits = tuple(digest for digest in adapter.models if digest in sold)
            room -= _FIT_BYTES * len(fits)
            if fits and room >= 0:
                fitting.append(replace(adapter, models=fits))
        return fitting[: limits.OFFER_ADAPTERS_MAX]

    def catalogue(self) -> Catalogue:
        """All that can be run here now."""
        models = self.models()[: limits.OFFER_MODELS_MAX]
        tasks = {task for model in models for task in model.tasks} or set(families.STRANGER.tasks)
        schedulers = {one for model in models for one in model.schedulers} or set(families.STRANGER.schedulers)
        return Catalogue(
            self.limits, tuple(sorted(tasks)), tuple(sorted(schedulers)), self.precisions, tuple(models),
            tuple(self.adapters(models)),
        )  # fmt: skip

    def allowed(self, one: Model | AdapterOffer) -> bool:
        """Whether the owner's lists let a model or an adapter be sold."""
        return sold(one, self.config.models)

    def carries(self, digest: bytes) -> bool:
        """Whether pictures of a model can be taken up again from their states. What it was seen to be, it stays."""
        if digest not in self._open:
            self._open.update({model.digest: families.family(model.family).is_open for model in self._models()})
        return self._open.get(digest, False)

    def state(self, digest: bytes) -> ModelState:
        """Whether a model of the store is loaded."""
        return ModelState.WARM if digest in self.shelf.warm_models else ModelState.CACHED

    def lasts_ms(self, spec: Spec) -> int:
        """About how long a job takes once it has a worker; 0: its model was not measured here."""
        model = Model(spec.model, "", "", "", state=self.state(spec.model), speed=self._speed(spec.model))
        return estimate_us(spec, model) // 1000

    def _short(self, spec: Spec) -> list[Reason]:
        """Why a job would not fit into a worker's memory, as far as that can be foretold."""
        footprint, half = self._footprint(spec.model), spec.precision is Precision.HALF
        if footprint is None:
            return []
        picture = footprint.picture_bytes(spec.width * spec.height, guided=spec.guided, half=half)
        need = footprint.weights_bytes(half=half) + picture
        if need <= self.room_bytes:
            return []
        return [Reason(ReasonCode.MEMORY_SHORT, need, self.room_bytes, "bytes", "for the model and one such picture")]

    def admit(self, header: JobHeader, waiting: int) -> tuple[Reason, ...]:
        """What the owner's limits say of a job, `waiting` being the others that are not at work yet; empty: welcome."""
        reasons = [*self.gate.reasons(), *feasible(self.catalogue(), header.spec)]
        if header.memory_bytes > self.memory_bytes:
            reasons.append(Reason(ReasonCode.MEMORY_SHORT, header.memory_bytes, self.memory_bytes, "bytes"))
        reasons += self._short(header.spec)
        if waiting >= (queue := self.config.limits.queue):
            reasons.append(Reason(ReasonCode.QUEUE_FULL, waiting + 1, queue, "jobs waiting"))
        return tuple(reasons)
