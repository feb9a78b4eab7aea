"""Reaching ledgers. Rule: every ledger, this node's own included, is met over gRPC by the did that the owner trusts."""

from __future__ import annotations

from gpufair.protocol.addresses import PeerAddress
from gpufair.protocol.edge.channels import Peer, Peers
from gpufair.protocol.errors import Fault, LocalError
from gpufair.protocol.messages import Envelope


class Ledgers:
    """The ledgers named in the configuration, by did."""

    def __init__(self, peers: Peers, accepted: tuple[str, ...]) -> None:
        self._peers = peers
        self._addresses = {address.did: address for address in map(PeerAddress.parse, accepted)}

    async def capture(self, ledger: str, order: Envelope) -> Envelope:
        """Send a capture; the ledger's signed answer."""
        return await (await self.meet(ledger)).ledger.capture(order)

    async def meet(self, ledger: str) -> Peer:
        """The ledger's node. Raises LocalError if the owner does not name it (any more)."""
        address = self._addresses.get(ledger)
        if address is None:
            hint = "put did@host:port back under [ledger] accepted until its leases are settled"
            raise LocalError(Fault.UNKNOWN, f"no address is configured for the ledger {ledger}", hint=hint)
        return await self._peers.meet(address)
