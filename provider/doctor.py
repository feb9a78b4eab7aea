"""Is this machine ready to sell? Rule: each check says what it found, and if that is bad, the command that mends it."""

from __future__ import annotations

import asyncio
import shutil
import socket
from dataclasses import dataclass

from gpufair.protocol import limits
from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.channels import Peers
from gpufair.protocol.edge.keys import Keys
from gpufair.protocol.edge.system import SystemClock
from gpufair.protocol.errors import FairError, Fault, LocalError
from gpufair.protocol.messages import Role
from gpufair.provider.config import Config
from gpufair.provider.hardware.probe import probe
from gpufair.provider.home import Home
from gpufair.provider.models.store import ModelStore
from gpufair.provider.sales.lists import sold
from gpufair.provider.workers import sources
from gpufair.provider.workers.process import ProcessRuntime

COMPILERS = ("c++", "g++", "clang++")
DISK_MIN = 2 * 1024 * limits.MIB


@dataclass(frozen=True)
class Check:
    """One thing looked at: what was found, and what to do if it is not well."""

    name: str
    ok: bool
    found: str
    fix: str = ""


async def examine(home: Home, config: Config, keys: Keys) -> list[Check]:
    """Look at everything that the configured roles need."""
    checks = [await _port(home, config), await _disk(home), await _clock(config)]
    if "provider" in config.node.roles:
        checks += [await _engine(home, config, keys), await _machine(home, config), await _models(home, config)]
        checks += [_compiler()] if config.workers.compile else []
        checks += [await _ledger(address, keys, config) for address in config.ledger.accepted]
    return checks


async def _port(home: Home, config: Config) -> Check:
    host, _, port = config.node.listen.rpartition(":")
    if home.running():
        return Check("port", ok=True, found=f"{config.node.listen} (the node is running)")
    family = socket.AF_INET6 if host.startswith("[") else socket.AF_INET
    with socket.socket(family) as probe_socket:
        # As a server would: connections that have just ended don't keep the port taken.
        probe_socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe_socket.bind((host.strip("[]"), int(port)))
        except (OSError, ValueError) as error:
            return Check("port", ok=False, found=f"{config.node.listen}: {error}", fix="choose another `listen`")
    hint = "" if config.node.announce else "others can't reach you yet: set `announce`, open the port in your firewall"
    return Check("port", ok=True, found=f"{config.node.listen} is free", fix=hint)


async def _disk(home: Home) -> Check:
    free = probe(home.root).disk_free
    text = f"{free // limits.MIB:,} MiB free at {home.root}"
    return Check("disk", ok=free >= DISK_MIN, found=text, fix="" if free >= DISK_MIN else "make room: 2 GiB at least")


async def _clock(config: Config) -> Check:
    """A wrong clock gets every document refused. A peer's fresh record tells; without one only nonsense is seen."""
    if SystemClock().now_ms() < 1_700_000_000_000:
        return Check("clock", ok=False, found="the clock is years behind", fix="set it: timedatectl set-ntp true")
    for text in (*config.node.peers, *config.ledger.accepted):
        try:
            async with Peers(SystemClock()) as peers:
                record = (await peers.meet(text)).record.doc.head
        except FairError as error:
            if error.fault in (Fault.EXPIRED, Fault.FROM_THE_FUTURE):
                found = f"{PeerAddress.parse(text).endpoint} shows a record that is {error.fault.name.lower()} by it"
                return Check("clock", ok=False, found=found, fix="set it: timedatectl set-ntp true")
            continue
        ahead = record.issued_at_ms - SystemClock().now_ms()
        ok = ahead <= limits.SKEW_MS // 2
        fix, where = "" if ok else "set it: timedatectl set-ntp true", PeerAddress.parse(text).endpoint
        return Check("clock", ok=ok, found=f"{'agrees with' if ok else f'{ahead} ms behind'} {where}", fix=fix)
    return Check("clock", ok=True, found="plausible (no peer answered to compare with)")


async def _engine(home: Home, config: Config, keys: Keys) -> Check:
    from gpufair.provider.workers.docker import DockerRuntime

    work = config.workers
    if work.runtime == "process":
        return Check("engine", ok=True, found="none wanted: jobs run as processes, isolation none")
    try:
        runtime = await DockerRuntime.connect(
            node=keys.did, image=work.image, host=work.docker_host, gvisor=work.gvisor
        )  # fmt: skip
    except LocalError as error:
        if not work.needs_engine:
            await ProcessRuntime(node=keys.did, state=home.workers).close()
            found = f"no containers ({error.what}): jobs would run as processes, isolation none"
            return Check("engine", ok=True, found=found, fix=error.hint)
        return Check("engine", ok=False, found=error.what, fix=error.hint or "start Docker, then run this again")
    found = f"docker, isolation {runtime.isolation.name.lower()}, image {runtime.worker_image.hex()[:16]}"
    outdated = runtime.outdated
    await runtime.close()
    if work.compile:
        fix = '`compile = false`, or `runtime = "process"`'
        return Check("engine", ok=False, found=f"{found}; containers have no compiler, and `compile` is set", fix=fix)
    if outdated:  # it works, only not as the newest would
        found += ", built from other sources than this gpufaird"
        return Check("engine", ok=True, found=found, fix=sources.REBUILD)
    return Check("engine", ok=True, found=found)


def _compiler() -> Check:
    """What `compile` needs where workers are processes."""
    there = next(filter(shutil.which, COMPILERS), "")
    found = there or f"`compile` is set, and there is none of {', '.join(COMPILERS)}"
    return Check("compiler", ok=bool(there), found=found, fix="" if there else "apt install g++, or `compile = false`")


async def _machine(home: Home, config: Config) -> Check:
    hardware = await asyncio.to_thread(probe, home.models)
    here = {device.uuid for device in hardware.gpus.devices}
    missing = [uuid for uuid in config.workers.gpus if uuid not in here]
    names = ", ".join(device.name for device in hardware.gpus.devices) or f"no GPU ({hardware.gpus.why})"
    found = f"{hardware.cpu_cores} cores, {hardware.memory_bytes // limits.MIB:,} MiB, {names}"
    if missing:
        return Check("machine", ok=False, found=f"{found}; missing {', '.join(missing)}", fix="correct `gpus`")
    wanted = config.workers.memory_mib * config.workers.workers * limits.MIB
    if wanted > hardware.memory_bytes:
        fix = "lower `memory_mib` or `concurrent_jobs`"
        return Check("machine", ok=False, found=f"{found}; the workers may take {wanted // limits.MIB:,} MiB", fix=fix)
    if config.workers.dtype == "float16" and not config.workers.gpus:  # it works, at a tenth of the speed
        fix = 'set `dtype` to "bfloat16" or "float32": processors compute float16 many times slower'
        return Check("machine", ok=True, found=found, fix=fix)
    return Check("machine", ok=True, found=found)


async def _models(home: Home, config: Config) -> Check:
    models = ModelStore(home.models).list()
    if not models:
        return Check("models", ok=False, found="none: there is nothing to sell", fix="gpufaird models add FOLDER")
    offered = [model.name for model in models if sold(model, config.models)]
    if not offered:
        found = f"{len(models)} in the store, and the lists in [models] let none of them be sold"
        return Check("models", ok=False, found=found, fix="correct `allow` or `refuse`")
    return Check("models", ok=True, found=", ".join(offered))


async def _ledger(address: str, keys: Keys, config: Config) -> Check:
    parsed = PeerAddress.parse(address)
    if parsed.did == keys.did:
        found = "this node's own; strangers refuse it unless they say --trust-provider-ledger"
        ok = "ledger" in config.node.roles
        return Check("ledger", ok=ok, found=found, fix="" if ok else 'add "ledger" to `roles`')
    try:
        async with Peers(SystemClock()) as peers:
            roles = (await peers.meet(address)).record.doc.roles
    except FairError as error:
        return Check("ledger", ok=False, found=f"{parsed.endpoint}: {error.what}", fix=error.hint or "is it running?")
    if Role.LEDGER not in roles:
        return Check("ledger", ok=False, found=f"{parsed.endpoint} keeps no ledger", fix="correct `accepted`")
    return Check("ledger", ok=True, found=f"{parsed.endpoint} answers as {parsed.did[8:20]}…")
