"""What the owner decides, in one file. Rule: read once, checked whole, frozen; an unknown key is an error."""

from __future__ import annotations

import ipaddress
import re
import tomllib
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from gpufair.protocol import identity, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.errors import FairError, Fault, LocalError, printable
from gpufair.protocol.messages import Role

T = TypeVar("T")

_KINDS: dict[type, str] = {str: "a text", int: "a whole number", float: "a number", bool: "true or false"}

_OURS = {"ours": True}
"""A key for tests and measurements: it is read, and no owner is told of it."""

PINNED = re.compile(r"(?:[a-z0-9][a-z0-9._:/-]{0,200}@)?sha256:[0-9a-f]{64}")
"""How a worker image is named: by its digest. A tag could be another image tomorrow."""
FILE_MAX = 256 * limits.KIB

LICENCE = "licence:"
"""How an entry of the models' lists begins that means a licence."""
NO_LICENCE = "unknown"
"""The licence of what states none."""
DIGITS_MIN = 6
"""Digits of a digest that are enough to mean it: fewer would often mean others too."""
DTYPES = ("float32", "bfloat16", "float16")
"""What a denoiser may compute in. The first alone gives the precisions exact and single; the others give half."""


@dataclass(frozen=True)
class NodeConfig:
    """Where the node listens, how others reach it, and what it does."""

    listen: str = "0.0.0.0:7700"
    announce: tuple[str, ...] = ()
    roles: tuple[str, ...] = ("provider", "directory")
    peers: tuple[str, ...] = ()


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
    null: bool = field(default=False, metadata=_OURS)

    @property
    def workers(self) -> int:
        """How many there are: one for each GPU, else as many as are wanted on the CPU."""
        return len(self.gpus) or self.concurrent_jobs

    @property
    def needs_engine(self) -> bool:
        """Whether the owner wants containers and nothing less: an image of theirs is never run any other way."""
        return self.runtime == "docker" or self.gvisor or (bool(self.image) and self.runtime != "process")


@dataclass(frozen=True)
class PriceConfig:
    """The price sheet of every model that has none of its own, in micro-credits."""

    per_step_megapixel: int = 0
    per_decoded_megapixel: int = 0
    per_cold_load: int = 0
    per_adapter: int = 0
    minimum: int = 0


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


def load(path: Path) -> Config:
    """Read a node's configuration. Raises LocalError that names the key, what is wrong, and what would be right."""
    try:
        data = tomllib.loads(_read(path))
    except FileNotFoundError as error:
        raise LocalError(Fault.UNKNOWN, f"there is no {path}", hint="run `gpufaird init` first") from error
    except (OSError, ValueError, RecursionError) as error:
        # ValueError: not TOML, not UTF-8, or a number with thousands of digits.
        hint = "write it as TOML; `gpufaird init --home ELSEWHERE` makes one to compare with"
        raise LocalError(Fault.MALFORMED, f"{path} can't be read: {str(error)[:200]}", hint=hint) from error
    config = _section(Config, data, str(path))
    _check(config, str(path))
    return config


def _read(path: Path) -> str:
    with path.open("rb") as file:
        data = file.read(FILE_MAX + 1)
    if len(data) > FILE_MAX:
        raise LocalError(Fault.TOO_LARGE, f"{path} has more than {FILE_MAX} bytes", hint="is it the right file?")
    return data.decode("utf-8")


def _section(kind: type[T], data: dict[str, Any], where: str) -> T:
    hints = get_type_hints(kind)
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    unknown = sorted(set(data) - set(known))
    if unknown:
        shown = [name for name, one in known.items() if not one.metadata.get("ours")]
        raise _wrong(where, unknown[0], f"is not a key here: there are {', '.join(shown)}")
    values: dict[str, Any] = {}
    for name, spec in known.items():
        if name not in data:
            if spec.default is MISSING and spec.default_factory is MISSING:
                raise _wrong(where, name, "is missing")
            continue
        values[name] = _value(hints[name], data[name], where, name)
    return kind(**values)


def _value(hint: Any, value: Any, where: str, name: str) -> Any:
    if isinstance(value, dict) and isinstance(hint, type):
        return _section(hint, value, f"{where} [{name}]")
    if hint == tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(where, name, "must be a list of texts")
        return tuple(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise _wrong(where, name, f"must be {_KINDS.get(hint, 'a [section]')}, not {_said(value)}")
    if hint is int and not 0 <= value <= limits.AMOUNT_MAX:
        raise _wrong(where, name, f"is {_said(value)}: it must be 0 to {limits.AMOUNT_MAX}")
    if isinstance(value, str) and not (value.isprintable() and len(value) <= limits.TEXT_MAX):
        raise _wrong(where, name, f"must be one line of at most {limits.TEXT_MAX} characters")
    return value


def _said(value: object) -> str:
    return printable(repr(value), limit=80)


def _check(config: Config, where: str) -> None:
    """What one key can't know about another."""
    node, work, size = config.node, config.workers, config.limits
    _check_listen(node.listen, where)
    for name in node.roles:
        if name.upper() not in Role.__members__ or name == "unspecified":
            raise _wrong(where, "roles", f"{name!r} is no role: there are provider, directory, ledger")
    if not node.roles:
        raise _wrong(where, "roles", "must name at least one role")
    for key, texts, parse in (
        ("announce", node.announce, Endpoint.parse),
        ("peers", node.peers, PeerAddress.parse),
        ("accepted", config.ledger.accepted, PeerAddress.parse),
    ):
        for text in texts:
            try:
                parse(text)
            except FairError as error:
                raise _wrong(where, key, f"{_said(text)}: {error.what}") from error
    for key, value, low, high in (
        ("concurrent_jobs", work.concurrent_jobs, 1, 64),
        ("memory_mib", work.memory_mib, 256, 16 * 1024 * 1024),
        ("cpus", work.cpus, 0, 1024),
        ("per_step_megapixel", config.price.per_step_megapixel, 0, limits.RATE_MAX),
        ("per_decoded_megapixel", config.price.per_decoded_megapixel, 0, limits.RATE_MAX),
        ("number of entries in announce", len(node.announce), 0, limits.ENDPOINTS_MAX),
        ("number of entries in accepted", len(config.ledger.accepted), 0, limits.OFFER_LEDGERS_MAX),
        ("number of entries in gpus", len(work.gpus), 0, limits.OFFER_GPUS_MAX),
        ("pixels", size.pixels, 64, limits.PIXELS_MAX),
        ("steps", size.steps, 1, limits.STEPS_MAX),
        ("count", size.count, 1, limits.COUNT_MAX),
        ("queue", size.queue, 1, limits.QUEUE_MAX),
        ("window", size.window, 1, limits.AMOUNT_MAX),
        ("cap", size.cap, 1, limits.AMOUNT_MAX),
        ("lease_minutes", size.lease_minutes, 1, limits.LEASE_MAX_MS // limits.MINUTE),
        ("capture_at", size.capture_at, 1, limits.AMOUNT_MAX),
        ("traces_mib", size.traces_mib, 0, 16 * 1024 * 1024),
    ):
        if not low <= value <= high:
            raise _wrong(where, key, f"is {value}: it must be {low} to {high}")
    _check_lists(config.models, where)
    _check_provider(config, where)


def _check_lists(models: ModelsConfig, where: str) -> None:
    for key, entries in (("allow", models.allow), ("refuse", models.refuse)):
        for entry in entries:
            if not entry.removeprefix(LICENCE).strip():
                raise _wrong(where, key, f"{_said(entry)} means nothing: give a name, a digest, or {LICENCE}mit")
            if entry.lower().startswith("license:"):
                raise _wrong(where, key, f"{_said(entry)}: write it {_said(LICENCE + entry[8:].strip())}")


def _check_provider(config: Config, where: str) -> None:
    node, work = config.node, config.workers
    if work.runtime not in ("auto", "docker", "process"):
        raise _wrong(where, "runtime", f"{work.runtime!r} is none of auto, docker, process")
    if work.dtype not in DTYPES:
        raise _wrong(where, "dtype", f"{_said(work.dtype)} is none of {', '.join(DTYPES)}")
    if work.image and not PINNED.fullmatch(work.image):
        raise _wrong(
            where, "image", f"{_said(work.image)}: it must be sha256:… and 64 digits, as script/image prints it"
        )
    if work.gvisor and work.runtime == "process":
        raise _wrong(where, "gvisor", 'needs runtime = "docker"')
    if "provider" in node.roles and not config.price.per_step_megapixel:
        raise _wrong(where, "per_step_megapixel", "must be at least 1: that is what you earn")
    for text in (a for a in config.ledger.accepted if not PeerAddress.parse(a).did):
        raise _wrong(where, "accepted", f"{_said(text)} names no did: say whose ledger it is, did:key:…@host:port")
    for did in config.ledger.auditors:
        try:
            identity.public_key(did)
        except FairError as error:
            raise _wrong(where, "auditors", f"{_said(did)}: {error.what}") from error
    if "provider" in node.roles and not config.ledger.accepted:
        raise _wrong(where, "accepted", "names no ledger: say which ledgers you trust, as did:key:…@host:port")


def _check_listen(listen: str, where: str) -> None:
    host, _, port = listen.rpartition(":")
    try:
        bare = host.removeprefix("[").removesuffix("]")
        right = (":" in bare) == host.startswith("[") and ipaddress.ip_address(bare) is not None
    except ValueError:
        right = False
    if not (right and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise _wrong(where, "listen", f"{_said(listen)}: it must be an IP address and a port, such as 0.0.0.0:7700")


def _wrong(where: str, key: str, what: str) -> LocalError:
    return LocalError(Fault.MALFORMED, f"{where}: {key} {what}", hint="mend that line, then `gpufaird doctor`")
