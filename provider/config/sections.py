"""The sections of config.toml. Rule: types and defaults; what `init` writes says what each key means."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from gpufair.protocol import limits
from gpufair.protocol.messages import Role

OURS = {"ours": True}
"""A key for tests and measurements: it is read, and no owner is told of it."""

PINNED = re.compile(r"(?:[a-z0-9][a-z0-9._:/-]{0,200}@)?sha256:[0-9a-f]{64}")
"""How a worker image is named: by its digest. A tag could be another image tomorrow."""

LICENCE = "licence:"
"""How an entry of the models' lists begins that means a licence."""
NO_LICENCE = "unknown"
"""The licence of what states none."""
DIGITS_MIN = 6
"""Digits of a digest that are enough to mean it: fewer would often mean others too."""
POLICIES = ("fixed", "utilisation", "cost-plus")
"""How prices are set (docs/prices.md)."""
DTYPES = ("float32", "bfloat16", "float16")
"""What a denoiser may compute in. The first alone gives the precisions exact and single; the others give half."""


@dataclass(frozen=True)
class NodeConfig:
    """Where the node listens, how others reach it, and what it does."""

    listen: str = "0.0.0.0:7700"
    announce: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("provider", "directory")
    peers: tuple[str, ...] = ()
    region: str = ""


@dataclass(frozen=True)
class WorkersConfig:
    """How jobs run: in containers where an engine is found (`auto`), and with how much of the machine."""

    runtime: str = "auto"
    image: str = ""
    docker_host: str = ""
    gvisor: bool = False
    concurrent_jobs: int = 1
    memory_mib: int = 4096
    cpus: float = 0.0
    gpus: tuple[str, ...] = ()
    dtype: str = DTYPES[0]
    compile: bool = False
    null: bool = field(default=False, metadata=OURS)
    reserved_workers: int = 0

    @property
    def workers(self) -> int:
        """How many there are: one for each GPU, else as many as are wanted on the CPU."""
        return len(self.gpus) or self.concurrent_jobs

    @property
    def needs_engine(self) -> bool:
        """Whether the owner wants containers and nothing less: an image of theirs is never run any other way."""
        return self.runtime == "docker" or self.gvisor or (bool(self.image) and self.runtime != "process")


@dataclass(frozen=True)
class UtilisationConfig:
    """How prices follow the work there is: from a share of the written sheet when idle to another when all is taken."""

    idle_milli: int = 500
    busy_milli: int = 2_000
    minutes: int = 10
    band_milli: int = 50


@dataclass(frozen=True)
class CostPlusConfig:
    """What a worker's energy costs its owner, and what is to be earned on it. A tariff is micro-credits for a kWh."""

    tariff: int = 300_000
    margin_milli: int = 500
    watts: int = 0


@dataclass(frozen=True)
class PriceConfig:
    """Every model's price sheet in micro-credits, the policy that moves it, and what class and notice take off."""

    per_step_megapixel: int = 0
    per_decoded_megapixel: int = 0
    per_cold_load: int = 0
    per_adapter: int = 0
    minimum: int = 0
    per_reserved_second: int = 0
    policy: str = POLICIES[0]
    floor_milli: int = 1_000
    notice_seconds: int = 0
    notice_discount_milli: int = 0
    utilisation: UtilisationConfig = field(default_factory=UtilisationConfig)
    cost_plus: CostPlusConfig = field(default_factory=CostPlusConfig)


@dataclass(frozen=True)
class LimitsConfig:
    """The largest job, the largest lease, and how much unpaid work strangers get."""

    pixels: int = 1024 * 1024
    steps: int = 100
    count: int = 16
    queue: int = 8
    window: int = 100_000
    unsecured: int = 1_000_000
    cap: int = 1_000_000_000
    lease_minutes: int = 240
    capture_at: int = 10_000_000
    traces_mib: int = limits.TRACES_BYTES_MAX // limits.MIB


@dataclass(frozen=True)
class ModelsConfig:
    """Which models and adapters may be sold: by name, by digest (hex, or its beginning), or `licence:` and a licence.

    An empty allow list allows all; what is refused is not sold, whatever else allows it.
    """

    allow: tuple[str, ...] = ()
    refuse: tuple[str, ...] = ()


@dataclass(frozen=True)
class LedgerConfig:
    """A ledger that this provider trusts with its earnings: `did@host:port`."""

    accepted: tuple[str, ...] = ()
    auditors: tuple[str, ...] = ()


@dataclass(frozen=True)
class Config:
    """The whole file."""

    node: NodeConfig = field(default_factory=NodeConfig)
    workers: WorkersConfig = field(default_factory=WorkersConfig)
    price: PriceConfig = field(default_factory=PriceConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    models: ModelsConfig = field(default_factory=ModelsConfig)
    ledger: LedgerConfig = field(default_factory=LedgerConfig)

    @property
    def roles(self) -> tuple[Role, ...]:
        """The node's roles."""
        return tuple(Role[name.upper()] for name in self.node.roles)
