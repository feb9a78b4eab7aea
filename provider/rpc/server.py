"""The node's one gRPC server. Rule: every bound of a connection is set here, from `limits`; none is left to gRPC."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2

from gpufair.protocol import limits, server_limits
from gpufair.protocol.edge import calls, tls
from gpufair.protocol.edge.channels import MESSAGE_OPTIONS
from gpufair.protocol.edge.system import SystemRandom, monotonic_s
from gpufair.protocol.edge.tls import TlsIdentity
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.ports import Random
from gpufair.provider.rpc import services
from gpufair.provider.rpc.bucket import Buckets
from gpufair.provider.rpc.guard import Guard
from gpufair.provider.rpc.offices import DirectoryOffice, LedgerOffice, MarketOffice
from gpufair.provider.rpc.silence import Silence

_CLEANUP_S = limits.CONNECT_TIMEOUT_MS / 1000
"""How long a cancelled call may take to clean up after itself when the node stops."""
_OPTIONS = (
    *MESSAGE_OPTIONS,
    ("grpc.max_concurrent_streams", limits.STREAMS_MAX),
    ("grpc.http2.min_ping_interval_without_data_ms", limits.KEEPALIVE_MS // 2),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", limits.KEEPALIVE_MS // 2),
    ("grpc.http2.max_ping_strikes", 3),
    ("grpc.server_handshake_timeout_ms", limits.CONNECT_TIMEOUT_MS),
    ("grpc.max_connection_idle_ms", limits.HOUR),
    ("grpc.so_reuseport", 0),  # a second node on the same port must fail, not share it
)


class NodeServer:
    """A bound server; `port` is the one that it got."""

    def __init__(self, server: grpc.aio.Server, guard: Guard, services_offered: tuple[str, ...], port: int) -> None:
        self._server = server
        self._guard = guard
        self._services = services_offered
        self._health = health.aio.HealthServicer()
        server.add_generic_rpc_handlers((_health_service(self._health),))
        self.port = port

    async def start(self) -> None:
        """Begin to answer."""
        for name in self._services:
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        await self._server.start()

    async def stop(self, grace_s: float = 5.0) -> None:
        """Take no new calls, give running ones `grace_s`, cancel the rest and see them end."""
        await self._server.stop(grace_s)
        await self._guard.idle(_CLEANUP_S)


def serve(
    *,
    listen: str,
    tls_identity: TlsIdentity,
    directory: DirectoryOffice,
    market: MarketOffice | None = None,
    ledger: LedgerOffice | None = None,
    silence: Silence | None = None,
    connections: int = server_limits.CONNECTIONS_MAX,
    now_s: Callable[[], float] = monotonic_s,
    random: Random | None = None,
) -> NodeServer:
    """Bind `listen` (`127.0.0.1:50551`, `[::]:0`); `start` comes next. Raises LocalError if the port can't be had."""
    addresses = Buckets(now_s, rate=limits.ADDRESS_RATE, burst=limits.ADDRESS_BURST)
    guard = Guard(Buckets(now_s), addresses, silence or Silence(), random or SystemRandom())
    options = (*_OPTIONS, ("grpc.max_allowed_incoming_connections", connections))
    server = grpc.aio.server(interceptors=(guard,), options=options, maximum_concurrent_rpcs=limits.RPCS_MAX)
    handlers = {calls.DIRECTORY: services.directory_service(directory)}
    if market is not None:
        handlers[calls.MARKET] = services.market_service(market)
    if ledger is not None:
        handlers[calls.LEDGER] = services.ledger_service(ledger)
    server.add_generic_rpc_handlers(tuple(handlers.values()))
    return NodeServer(server, guard, tuple(handlers), _bind(server, listen, tls_identity))


def _health_service(servicer: health.aio.HealthServicer) -> grpc.GenericRpcHandler:
    """The standard health check, by asking. Watching is left out: it would keep calls open for nothing."""
    check = grpc.unary_unary_rpc_method_handler(
        servicer.Check,
        request_deserializer=health_pb2.HealthCheckRequest.FromString,
        response_serializer=health_pb2.HealthCheckResponse.SerializeToString,
    )
    return grpc.method_handlers_generic_handler(health.SERVICE_NAME, {"Check": check})


def _bind(server: grpc.aio.Server, listen: str, identity: TlsIdentity) -> int:
    host, _, port = listen.rpartition(":")
    if not _is_ip(host.removeprefix("[").removesuffix("]")) or not port.isdigit() or int(port) > 65_535:
        hint = "write an IP address and a port, such as 0.0.0.0:7700 or [::]:7700"
        raise LocalError(Fault.MALFORMED, f"cannot listen on {listen!r}", hint=hint)
    credentials = grpc.ssl_server_credentials([(identity.key_pem, tls.pem_of(identity.certificate))])
    try:
        return server.add_secure_port(listen, credentials)
    except RuntimeError as error:
        hint = "another program has the port, or the address is not this machine's: choose another in the config"
        raise LocalError(Fault.UNAVAILABLE, f"cannot listen on {listen}", hint=hint) from error


def _is_ip(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
