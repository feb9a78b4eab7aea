"""Connections to other nodes. Rule: one pinned, long-lived channel per peer, opened only to a certificate we can name.

The certificate comes out of a signed node record. Where there is no record yet, whatever answers is asked for its
record, which must be signed, live, and carry exactly the certificate that answered.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import grpc
import grpc.aio

from gpufair.protocol import envelope, identity, limits
from gpufair.protocol.addresses import Endpoint, PeerAddress
from gpufair.protocol.edge import tls
from gpufair.protocol.edge.peers import DirectoryPeer, LedgerPeer, MarketPeer, Use
from gpufair.protocol.edge.refusals import PeerUnreachable
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, LocalError, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Envelope, NodeRecord
from gpufair.protocol.ports import Clock

_FAILED, _CLOSED = grpc.ChannelConnectivity.TRANSIENT_FAILURE, grpc.ChannelConnectivity.SHUTDOWN
_IDENTITY_ONLY = 1  # bit 0 of gRPC's set of compression algorithms: none but "not compressed"

MESSAGE_OPTIONS = (
    ("grpc.max_send_message_length", limits.MESSAGE_MAX),
    ("grpc.max_receive_message_length", limits.MESSAGE_MAX),
    ("grpc.max_metadata_size", limits.METADATA_MAX),
    ("grpc.absolute_max_metadata_size", limits.METADATA_MAX),
    ("grpc.compression_enabled_algorithms_bitset", _IDENTITY_ONLY),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
)
"""What both ends of a connection are told."""

_CHANNEL_OPTIONS = (
    *MESSAGE_OPTIONS,
    ("grpc.ssl_target_name_override", tls.NODE_NAME),
    ("grpc.default_authority", tls.NODE_NAME),
    ("grpc.use_local_subchannel_pool", 1),  # a channel is a connection: a pin is never shared behind our back
    ("grpc.enable_http_proxy", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),  # a node that restarts is met again within two seconds
)


def open_channel(endpoint: Endpoint, certificate: bytes) -> grpc.aio.Channel:
    """A channel to whoever holds the key of this certificate (DER), and to nobody else."""
    tls.check_certificate(certificate)
    credentials = grpc.ssl_channel_credentials(root_certificates=tls.pem_of(certificate))
    return grpc.aio.secure_channel(_target(endpoint), credentials, options=_CHANNEL_OPTIONS)


class Peer:
    """One node and the channel to it."""

    def __init__(self, channel: grpc.aio.Channel, endpoint: Endpoint, record: Signed[NodeRecord], clock: Clock) -> None:
        name = f"{identity.short(record.issuer)} at {endpoint}"
        self._channel = channel
        self._clock = clock
        self.did = record.issuer
        self.endpoint = endpoint
        self.certificate = record.doc.tls_certificate
        self.record = record
        self._use = Use()
        self.directory = DirectoryPeer(channel, name, self._use)
        self.market = MarketPeer(channel, name, self._use)
        self.ledger = LedgerPeer(channel, name, self._use)

    @property
    def is_alive(self) -> bool:
        """Whether the connection stands or is set up at its next use; not so after it failed or was closed."""
        return self._channel.get_state() not in (_FAILED, _CLOSED)

    @property
    def is_idle(self) -> bool:
        """Whether nothing is being asked over it, and no stream is open."""
        return not self._use.calls

    async def refresh(self) -> Signed[NodeRecord]:
        """Ask the node for its record again; the newest verified one is kept and returned."""
        found = verified(await self.directory.record(), self._clock, certificate=self.certificate, did=self.did)
        self.keep(found)
        return self.record

    def keep(self, record: Signed[NodeRecord]) -> None:
        """Take a record that was verified elsewhere, if it is newer."""
        if record.doc.sequence > self.record.doc.sequence:
            self.record = record

    async def close(self) -> None:
        """Break the connection off."""
        await self._channel.close()


class Peers:
    """Every connection of one process: `async with Peers(clock) as peers`.

    Where there are `most` of them the one that was asked for longest ago makes room, dead ones first.
    """

    def __init__(self, clock: Clock, *, most: int = limits.PEERS_OPEN_MAX) -> None:
        self._clock = clock
        self._most = most
        self._open: dict[tuple[str, bytes], Peer] = {}
        """Whoever was asked for last comes last."""
        self._meeting: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    async def meet(self, address: PeerAddress | str) -> Peer:
        """The node at an address that a person gave. Without a did in it: whoever answers is believed this first time.

        With a did, a connection to it at that address that still stands is used again, its record no older than it may
        be. Raises PeerUnreachable; PeerError if the record doesn't prove the certificate, or another did answers.
        """
        wanted = PeerAddress.parse(address) if isinstance(address, str) else address
        known = await self._known(wanted)
        if known is not None:
            return known
        certificate = await tls.fetch_certificate(wanted.endpoint)
        return await self._connect(wanted.endpoint, certificate, wanted.did)

    async def at(self, record: Signed[NodeRecord], *, through: Sequence[Endpoint] = ()) -> Peer:
        """The node of a record, at the first of its endpoints (or of `through`) that answers as it should.

        Raises PeerUnreachable, PeerError.
        """
        envelope.authenticate(record)
        async with self._meeting.setdefault(record.issuer, asyncio.Lock()):
            have = self._open.get((record.issuer, record.doc.tls_certificate))
            if have is not None and have.is_alive:
                have.keep(record)
                return self._used(have)
            return await self._first(record, through or [Endpoint.parse(text) for text in record.doc.endpoints])

    async def _known(self, wanted: PeerAddress) -> Peer | None:
        """A connection that stands, to this did at this address; None if there is none, or it turns out to be dead."""
        for peer in [one for one in self._open.values() if (one.did, one.endpoint) == (wanted.did, wanted.endpoint)]:
            if not peer.is_alive:
                continue
            try:
                if peer.record.doc.head.expires_at_ms < self._clock.now_ms():
                    await peer.refresh()
            except (PeerUnreachable, PeerError):
                continue  # a new connection shows who is there now
            return self._used(peer)
        return None

    def _used(self, peer: Peer) -> Peer:
        key = (peer.did, peer.certificate)
        if self._open.get(key) is peer:
            self._open[key] = self._open.pop(key)
        return peer

    async def _first(self, record: Signed[NodeRecord], endpoints: Sequence[Endpoint]) -> Peer:
        failure = PeerUnreachable(
            f"{identity.short(record.issuer)} gives no address: it calls others, and none call it"
        )
        for endpoint in endpoints:
            try:
                return await self._connect(endpoint, record.doc.tls_certificate, record.issuer)
            except PeerUnreachable as error:
                failure = error
        raise failure

    async def _connect(self, endpoint: Endpoint, certificate: bytes, did: str) -> Peer:
        channel = open_channel(endpoint, certificate)
        try:
            first = DirectoryPeer(channel, str(endpoint), deadline_ms=limits.CONNECT_TIMEOUT_MS)
            record = verified(await first.record(), self._clock, certificate=certificate, did=did)
            return await self._keep(Peer(channel, endpoint, record, self._clock))
        except BaseException:
            await channel.close()
            raise

    async def _keep(self, peer: Peer) -> Peer:
        key = (peer.did, peer.certificate)
        have = self._open.get(key)
        if have is not None and have.is_alive:
            have.keep(peer.record)
            await peer.close()
            return self._used(have)
        # A dead one of its own makes room: it moved, and the address that just answered is the good one.
        gone = have or (self._spare() if len(self._open) >= self._most else None)
        if gone is not None:
            del self._open[gone.did, gone.certificate]
        self._open[key] = peer
        if gone is not None:
            await gone.close()
        return peer

    def _spare(self) -> Peer:
        """Who makes room: a dead connection, else the idle one that was asked for longest ago. Raises LocalError."""
        idle = [peer for peer in self._open.values() if peer.is_idle]
        if not idle:
            raise LocalError(Fault.LIMIT, f"{self._most} connections to other nodes are open and in use")
        return next((peer for peer in idle if not peer.is_alive), idle[0])

    async def close(self) -> None:
        """Break every connection off."""
        peers, self._open = list(self._open.values()), {}
        for peer in peers:
            await peer.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()


def verified(found: Envelope, clock: Clock, *, certificate: bytes, did: str) -> Signed[NodeRecord]:
    """A node's own record, checked: signed, live, for this very certificate and, if `did` is given, this identity."""
    lifetime = limits.BROADCAST_TTL_MS
    record = envelope.receive(found, NodeRecord, me=BROADCAST, now_ms=clock.now_ms(), lifetime_max_ms=lifetime)
    if record.doc.tls_certificate != certificate:
        what = f"the record of {identity.short(record.issuer)} carries another certificate than the one that answered"
        raise PeerError(Fault.NOT_ALLOWED, what, hint="somebody stands between you and the node; do not go on")
    if did and record.issuer != did:
        what = f"{identity.short(record.issuer)} answers where {identity.short(did)} was expected"
        raise PeerError(Fault.NOT_ALLOWED, what, hint="check the address and the did with the node's owner")
    return record


def _target(endpoint: Endpoint) -> str:
    """The address in gRPC's words; the scheme is always ours."""
    if ":" in endpoint.host:
        return f"ipv6:[{endpoint.host}]:{endpoint.port}"
    return f"{'ipv4:' if endpoint.host.replace('.', '').isdigit() else 'dns:///'}{endpoint}"
