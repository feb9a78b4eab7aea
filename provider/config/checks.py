"""What one key of config.toml can't know about another. Rule: what is wrong is named, with what would be right."""

from __future__ import annotations

import ipaddress

from gpufair.protocol import identity, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.errors import FairError, Fault, LocalError, printable
from gpufair.protocol.messages import Role
from gpufair.provider.config.sections import DTYPES, LICENCE, PINNED, POLICIES, Config, ModelsConfig, PriceConfig


def check(config: Config, where: str) -> None:
    """Raise LocalError for what does not go together."""
    node, work, size = config.node, config.workers, config.limits
    _check_listen(node.listen, where)
    for name in node.roles:
        if name.upper() not in Role.__members__ or name == "unspecified":
            raise wrong(where, "roles", f"{name!r} is no role: there are provider, directory, ledger")
    if len(node.region) > limits.NAME_MAX:
        raise wrong(where, "region", f"must have at most {limits.NAME_MAX} characters")
    if not node.roles:
        raise wrong(where, "roles", "must name at least one role")
    for key, texts, parse in (
        ("announce", node.announce, Endpoint.parse),
        ("peers", node.peers, PeerAddress.parse),
        ("accepted", config.ledger.accepted, PeerAddress.parse),
    ):
        for text in texts:
            try:
                parse(text)
            except FairError as error:
                raise wrong(where, key, f"{said(text)}: {error.what}") from error
    _within(
        where,
        ("concurrent_jobs", work.concurrent_jobs, 1, 64),
        ("memory_mib", work.memory_mib, 256, 16 * 1024 * 1024),
        ("cpus", work.cpus, 0, 1024),
        ("reserved_workers", work.reserved_workers, 0, work.workers),
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
    )
    _check_prices(config.price, where)
    _check_lists(config.models, where)
    _check_provider(config, where)


def _check_prices(price: PriceConfig, where: str) -> None:
    if price.policy not in POLICIES:
        raise wrong(where, "policy", f"{said(price.policy)} is none of {', '.join(POLICIES)}")
    moved, cost = price.utilisation, price.cost_plus
    # The dearest that the policy makes of the sheet must be a sheet too.
    most = limits.RATE_MAX * 1_000 // max(1_000, moved.busy_milli if price.policy == "utilisation" else 0)
    _within(
        where,
        ("busy_milli", moved.busy_milli, 1, 100_000),
        ("idle_milli", moved.idle_milli, 1, moved.busy_milli),
        ("minutes", moved.minutes, 1, 24 * 60),
        ("band_milli", moved.band_milli, 10, 1_000),
        ("per_step_megapixel", price.per_step_megapixel, 0, most),
        ("per_decoded_megapixel", price.per_decoded_megapixel, 0, most),
        ("per_cold_load", price.per_cold_load, 0, most),
        ("per_adapter", price.per_adapter, 0, most),
        ("minimum", price.minimum, 0, most),
        ("per_reserved_second", price.per_reserved_second, 0, most),
        ("floor_milli", price.floor_milli, 1, 1_000),
        ("notice_seconds", price.notice_seconds, 0, limits.NOTICE_MAX_MS // limits.SECOND),
        ("notice_discount_milli", price.notice_discount_milli, 0, 1_000),
        ("tariff", cost.tariff, 1, limits.RATE_MAX),
        ("margin_milli", cost.margin_milli, 0, 100_000),
        ("watts", cost.watts, 0, 100_000),
    )
    if price.notice_discount_milli and not price.notice_seconds:
        raise wrong(where, "notice_discount_milli", "takes something off for a shorter notice: set notice_seconds too")


def _check_lists(models: ModelsConfig, where: str) -> None:
    for key, entries in (("allow", models.allow), ("refuse", models.refuse)):
        for entry in entries:
            if not entry.removeprefix(LICENCE).strip():
                raise wrong(where, key, f"{said(entry)} means nothing: give a name, a digest, or {LICENCE}mit")
            if entry.lower().startswith("license:"):
                raise wrong(where, key, f"{said(entry)}: write it {said(LICENCE + entry[8:].strip())}")


def _check_provider(config: Config, where: str) -> None:
    node, work = config.node, config.workers
    if work.runtime not in ("auto", "docker", "process"):
        raise wrong(where, "runtime", f"{work.runtime!r} is none of auto, docker, process")
    if work.dtype not in DTYPES:
        raise wrong(where, "dtype", f"{said(work.dtype)} is none of {', '.join(DTYPES)}")
    if work.image and not PINNED.fullmatch(work.image):
        raise wrong(where, "image", f"{said(work.image)}: it must be sha256:… and 64 digits, as script/image prints it")
    if work.gvisor and work.runtime == "process":
        raise wrong(where, "gvisor", 'needs runtime = "docker"')
    if "provider" in node.roles and not config.price.per_step_megapixel:
        raise wrong(where, "per_step_megapixel", "must be at least 1: that is what you earn")
    if work.reserved_workers and not config.price.per_reserved_second:
        raise wrong(where, "reserved_workers", "are held for nothing: set per_reserved_second in [price] too")
    if config.price.per_reserved_second and not work.reserved_workers:
        raise wrong(
            where, "per_reserved_second", "is for workers that may be held: set reserved_workers in [workers] too"
        )
    for text in (a for a in config.ledger.accepted if not PeerAddress.parse(a).did):
        raise wrong(where, "accepted", f"{said(text)} names no did: say whose ledger it is, did:key:…@host:port")
    for did in config.ledger.auditors:
        try:
            identity.public_key(did)
        except FairError as error:
            raise wrong(where, "auditors", f"{said(did)}: {error.what}") from error
    if "provider" in node.roles and not config.ledger.accepted:
        raise wrong(where, "accepted", "names no ledger: say which ledgers you trust, as did:key:…@host:port")


def _within(where: str, *bounds: tuple[str, float, float, float]) -> None:
    for key, value, low, high in bounds:
        if not low <= value <= high:
            raise wrong(where, key, f"is {value}: it must be {low} to {high}")


def _check_listen(listen: str, where: str) -> None:
    host, _, port = listen.rpartition(":")
    try:
        bare = host.removeprefix("[").removesuffix("]")
        right = (":" in bare) == host.startswith("[") and ipaddress.ip_address(bare) is not None
    except ValueError:
        right = False
    if not (right and port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise wrong(where, "listen", f"{said(listen)}: it must be an IP address and a port, such as 0.0.0.0:7700")


def said(value: object) -> str:
    """A value as it may be printed."""
    return printable(repr(value), limit=80)


def wrong(where: str, key: str, what: str) -> LocalError:
    """The error for a key."""
    return LocalError(Fault.MALFORMED, f"{where}: {key} {what}", hint="mend that line, then `gpufaird doctor`")
