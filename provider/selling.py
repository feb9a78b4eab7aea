"""The provider role put together. Rule: like the daemon, it makes and connects; the rooms decide."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from typing import Any

from gpufair.protocol import limits
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.edge.sealing_keys import SealingKeys
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.heads import Desk
from gpufair.protocol.messages import AdapterOffer, BidClass, Gpu
from gpufair.provider.config import Config
from gpufair.provider.hardware.probe import Hardware, probe
from gpufair.provider.home import Home
from gpufair.provider.jobs.captures import Policy
from gpufair.provider.jobs.office import JobOffice
from gpufair.provider.jobs.traces import Traces
from gpufair.provider.models.about import ADAPTER, MODEL, StoredModel
from gpufair.provider.models.footprints import Footprints
from gpufair.provider.models.store import ModelStore
from gpufair.provider.rpc.ledgers import Ledgers
from gpufair.provider.sales import showing
from gpufair.provider.sales.admission import Admission
from gpufair.provider.sales.offers import Broadcasts, Offers
from gpufair.provider.sales.office import MarketDesk
from gpufair.provider.sales.policies import chosen
from gpufair.provider.sales.speeds import Speeds
from gpufair.provider.sales.stock import Gate, Model, Stock
from gpufair.provider.workers import sources
from gpufair.provider.workers.keeper import Keeper
from gpufair.provider.workers.pool import Pool
from gpufair.provider.workers.process import ProcessRuntime
from gpufair.provider.workers.runtime import Runtime, Variant, WorkerSpec
from gpufair.provider.workers.times import Times

log = logging.getLogger(__name__)


class Seller:
    """Everything that a provider needs to sell."""

    def __init__(
        self,
        home: Home,
        config: Config,
        keys: Keys,
        sealing: SealingKeys,
        desk: Desk,
        store: RowStore,
        peers: Peers,
        runtime: Runtime,
        broadcasts: Broadcasts,
    ) -> None:
        self._runtime = runtime
        self.models = ModelStore(home.models)
        self.hardware = probe(home.models)
        specs = tuple(worker_specs(config, home, self.hardware))
        self.pool = Pool(runtime, specs, self.models.path, desk.random, times=patience(config))
        self.gate = Gate()
        speeds = Speeds(home.speeds)
        self.jobs: JobOffice
        self.stock = Stock(
            config, self._on_sale, self.pool, self.gate,
            gpus=_gpus(self.hardware, config), cpu_cores=self.hardware.cpu_cores, isolation=runtime.isolation,
            worker_image=runtime.worker_image, worker_name=runtime.name, waiting=lambda: self.jobs.runner.waiting,
            wait_ms=lambda bid_class: self.jobs.runner.wait_ms(on_demand=bid_class is not BidClass.INTERRUPTIBLE),
            adapters=self._adapters_on_sale, footprint=Footprints(self.models.path).of,
            speed=lambda digest: speeds.of(digest, self.pool.profiles),
        )  # fmt: skip
        self.jobs = JobOffice(
            desk, store, policy=Policy(config.limits.capture_at, config.limits.unsecured, self.stock.capacity),
            admission=self.stock.admit,
            workers=self.pool, ledgers=Ledgers(peers, config.ledger.accepted), sealing=sealing,
            certificate_sha256=keys.tls.certificate_sha256,
            traces=Traces(home.traces, config.limits.traces_mib * limits.MIB),
            carries=self.stock.carries, lasts_ms=self.stock.lasts_ms,
            held_workers=config.workers.reserved_workers, gate=self.gate.reasons,
        )  # fmt: skip
        self.ask = chosen(
            config.price, desk.clock, lambda: (self.pool.busy, self.pool.size),
            lambda digest: speeds.measurement(digest, self.pool.profiles),
        )  # fmt: skip
        self.offers = Offers(desk, broadcasts, self.stock, self.ask)
        self.market = MarketDesk(Admission(desk, store, self.jobs.leases, self.offers, self.stock), self.jobs)
        self._warming: asyncio.Task[None] | None = None
        self._fitting: tuple[list[StoredModel], list[AdapterOffer]] = [], []

    async def reconcile(self) -> None:
        """End what a crash left behind and bring the leases into order. Nobody may talk to the jobs room before."""
        reaped = await self.pool.reap()
        if reaped:
            log.warning("%d workers of an earlier run were ended", reaped)
        await self.jobs.start()

    def warm(self) -> None:
        """Have a model in a worker's memory ahead of the first job, and again whenever its worker is gone.

        Then the offer can say `warm`, and charges no cold load.
        """
        if not self.stock.models():
            log.warning("there is nothing to sell yet: add a model with `gpufaird models add FOLDER`")
        self._warming = asyncio.create_task(Keeper(self.pool, self._to_warm, lambda: self.jobs.runner.idle).run())

    def _to_warm(self) -> list[bytes]:
        return [] if self.gate.reasons() else [model.digest for model in self.stock.models()]

    async def drained(self) -> None:
        """Wait until no lease is open and nothing runs."""
        while self.jobs.busy() or self.jobs.leases.pending():
            await asyncio.sleep(0.2)

    async def stop(self) -> None:
        """Hand back, settle, and end every worker. Nothing new is let in any more."""
        self.gate.draining = True
        async with contextlib.AsyncExitStack() as after:  # whatever fails on the way, no worker is left behind
            after.push_async_callback(self.pool.close)
            if self._warming is not None:
                self._warming.cancel()
                await asyncio.gather(self._warming, return_exceptions=True)
            await self.jobs.stop(settle=True)

    def status(self) -> dict[str, Any]:
        """What the owner wants to know of the work."""
        return {
            "runtime": self._runtime.name,
            "isolation": self._runtime.isolation.name.lower(),
            "worker_image": self._runtime.worker_image.hex(),
            "workers": self.pool.size,
            "running": self.jobs.runner.running,
            "waiting": self.jobs.runner.waiting,
            "reserved": self.jobs.runner.kept,
            "paused": self.gate.paused,
            "reclaimed": self.gate.reclaimed,
            "draining": self.gate.draining,
            "price_policy": self.stock.config.price.policy,
            "models": [self._model_status(model) for model in self.stock.models()],
            "adapters": [
                {"digest": one.digest.hex(), "name": one.name, "fits": [model.hex() for model in one.models]}
                for one in self.stock.adapters(self.stock.models())
            ],
            "last_error": self.jobs.collector.last_error or self.pool.last_error,
        }

    def prices(self) -> dict[str, Any]:
        """What is asked now, and why."""
        return {
            "policy": self.stock.config.price.policy,
            "models": showing.prices(self.offers.current().doc, self.ask.why),
        }

    def _model_status(self, model: Model) -> dict[str, Any]:
        return {
            "digest": model.digest.hex(),
            "name": model.name,
            "state": model.state.name.lower(),
            "per_step_megapixel": self.ask.sheet(model.digest).per_step_megapixel,
            "why": self.ask.why(model.digest),
        }

    def _on_sale(self) -> list[Model]:
        return [Model(m.digest, m.name, m.family, m.licence, m.scheduler) for m in self.models.list()]

    def _adapters_on_sale(self) -> list[AdapterOffer]:
        """Every adapter with the models that it fits: looked at anew only when what lies in the store has changed."""
        here = self.models.everything()
        if here != self._fitting[0]:
            models = [one.digest for one in here if one.kind == MODEL][: limits.OFFER_MODELS_MAX]
            fitting = [
                AdapterOffer(
                    one.digest, one.name, one.licence, tuple(m for m in models if self.models.fits(one.digest, m))
                )
                for one in here
                if one.kind == ADAPTER
            ]
            self._fitting = here, fitting
        return self._fitting[1]


async def open_runtime(config: Config, home: Home, did: str) -> Runtime:
    """The runtime that the owner chose; `auto` takes containers where engine and image are there, else processes."""
    work = config.workers
    if work.runtime == "process":
        return ProcessRuntime(node=did, state=home.workers)
    from gpufair.provider.workers.docker import DockerRuntime

    try:
        runtime = await DockerRuntime.connect(node=did, image=work.image, host=work.docker_host, gvisor=work.gvisor)
    except LocalError as error:
        if work.needs_engine:
            raise
        log.warning("no containers here (%s): jobs run as processes, and the offer says isolation none", error.what)
        return ProcessRuntime(node=did, state=home.workers)
    if runtime.outdated:
        log.warning("the worker image was built from other sources than this gpufaird: %s", sources.REBUILD)
    return runtime


def patience(config: Config) -> Times:
    """How long workers may say nothing: far longer where they compile."""
    if config.workers.compile:
        slow = limits.WORKER_COMPILE_MS
        return Times(start_ms=slow, silence_ms=slow, answer_ms=4 * slow)
    return Times()


def worker_specs(config: Config, home: Home, hardware: Hardware) -> list[WorkerSpec]:
    """What each worker is granted: one for each GPU, else as many as the owner wants, each with its share of the cores.

    Raises LocalError for a GPU that is not here: nobody may be sold what there is not.

    One core is the node's own. Threads that wait for a busy core take several times as long as fewer would: together
    the workers have no more threads than there are cores, unless there are more workers than that.
    """
    work = config.workers
    here = {device.uuid: device.name for device in hardware.gpus.devices}
    if missing := [uuid for uuid in work.gpus if uuid not in here]:
        there_are = ", ".join(f"{name} ({uuid})" for uuid, name in here.items()) or f"none ({hardware.gpus.why})"
        hint = f"correct `gpus` in config.toml; there are: {there_are}"
        raise LocalError(Fault.UNAVAILABLE, f"a GPU that is to be sold is not here: {', '.join(missing)}", hint=hint)
    gpus: list[str | None] = [*work.gpus] or [None] * work.workers
    share = work.cpus or max(1.0, (hardware.cpu_cores - 1) / work.workers)
    content = home.models / "content"
    content.mkdir(parents=True, exist_ok=True)
    return [
        WorkerSpec(
            models=content,
            memory_bytes=work.memory_mib * 1024 * 1024,
            cpu_milli=round(share * 1000),
            threads=max(1, int(min(share, hardware.cpu_cores / work.workers))),
            gpu=gpu,
            variant=Variant.NULL if work.null else Variant.WORKER,
            dtype=work.dtype,
            compile=work.compile,
        )
        for gpu in gpus
    ]


def _gpus(hardware: Hardware, config: Config) -> tuple[Gpu, ...]:
    chosen = [device for device in hardware.gpus.devices if device.uuid in config.workers.gpus]
    kinds: dict[tuple[str, int], int] = {}
    for device in chosen:
        kinds[device.name, device.memory_bytes] = kinds.get((device.name, device.memory_bytes), 0) + 1
    return tuple(Gpu(name, memory, count) for (name, memory), count in kinds.items())
