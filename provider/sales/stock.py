"""What there is to sell right now. Rule: offers are made from the stock, and jobs admitted against it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from gpufair.protocol.matching import feasible_size
from gpufair.protocol.messages import (
    Gpu,
    Isolation,
    JobHeader,
    JobLimits,
    ModelState,
    Precision,
    Reason,
    ReasonCode,
    Scheduler,
    Task,
)
from gpufair.provider.config import Config

TASKS = (Task.TEXT_TO_IMAGE,)
SCHEDULERS = tuple(s for s in Scheduler if s not in (Scheduler.UNSPECIFIED, Scheduler.LCM))
PRECISIONS = (Precision.EXACT,)
"""What our worker does; the offer says so, and no other job is let in."""


@dataclass(frozen=True, slots=True)
class Model:
    """A model in the store, as a seller sees it."""

    digest: bytes
    name: str
    family: str
    licence: str


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
    """Whether the owner lets work in: `pause` refuses new leases and jobs for now, `drain` for good."""

    paused: bool = False
    draining: bool = False

    def reasons(self) -> tuple[Reason, ...]:
        """Why nothing is let in; empty when the gate is open."""
        if self.draining:
            return (Reason(ReasonCode.DRAINING),)
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
    ) -> None:
        self.config, self.gate, self.shelf = config, gate, shelf
        self.gpus, self.cpu_cores, self.isolation = gpus, cpu_cores, isolation
        self.worker_image, self.worker_name = worker_image, worker_name
        self._models, self._waiting = models, waiting

    @property
    def memory_bytes(self) -> int:
        """What one job may use."""
        return self.config.workers.memory_mib * 1024 * 1024

    @property
    def limits(self) -> JobLimits:
        """The largest job that is taken."""
        size = self.config.limits
        return JobLimits(size.pixels, size.steps, size.count, self.memory_bytes)

    @property
    def queue_free(self) -> int:
        """Jobs that could still wait."""
        return max(0, self.config.limits.queue - self._waiting())

    def models(self) -> list[Model]:
        """The models on sale: in the store, allowed, and not refused."""
        return [model for model in self._models() if self.allowed(model)]

    def allowed(self, model: Model) -> bool:
        """Whether the owner's lists let a model be sold."""
        lists = self.config.models
        return not _named(model, lists.refuse) and (not lists.allow or _named(model, lists.allow))

    def state(self, digest: bytes) -> ModelState:
        """Whether a model of the store is loaded."""
        return ModelState.WARM if digest in self.shelf.warm_models else ModelState.CACHED

    def admit(self, header: JobHeader, waiting: int) -> tuple[Reason, ...]:
        """What the owner's limits say of a job, `waiting` being the others that are not at work yet; empty: welcome."""
        reasons = [*self.gate.reasons(), *feasible_size(header.spec, self.limits)]
        for wanted, sold, code in (
            (header.spec.task, TASKS, ReasonCode.TASK_NOT_OFFERED),
            (header.spec.scheduler, SCHEDULERS, ReasonCode.SCHEDULER_NOT_OFFERED),
            (header.spec.precision, PRECISIONS, ReasonCode.PRECISION_NOT_OFFERED),
        ):
            if wanted not in sold:
                reasons.append(Reason(code, detail=wanted.name.lower()))
        if header.spec.model not in {model.digest for model in self.models()}:
            reasons.append(Reason(ReasonCode.MODEL_REFUSED, detail=header.spec.model.hex()[:16]))
        if header.spec.adapters:
            reasons.append(Reason(ReasonCode.ADAPTERS_NOT_OFFERED, len(header.spec.adapters), 0, "adapters"))
        if header.memory_bytes > self.memory_bytes:
            reasons.append(Reason(ReasonCode.MEMORY_SHORT, header.memory_bytes, self.memory_bytes, "bytes"))
        if waiting >= (queue := self.config.limits.queue):
            reasons.append(Reason(ReasonCode.QUEUE_FULL, waiting + 1, queue, "jobs waiting"))
        return tuple(reasons)


def _named(model: Model, entries: tuple[str, ...]) -> bool:
    return any(entry and (model.name == entry or model.digest.hex().startswith(entry.lower())) for entry in entries)
