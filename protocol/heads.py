"""How documents are begun. Rule: every head of ours is made here, from an injected clock and randomness."""

from __future__ import annotations

from dataclasses import dataclass

from gpufair.protocol import envelope, limits
from gpufair.protocol.envelope import D, Signed
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.identity import Signer
from gpufair.protocol.messages import Envelope, Head
from gpufair.protocol.ports import Clock, Random


@dataclass(frozen=True)
class Desk:
    """One identity at work: it dates, numbers and signs documents."""

    signer: Signer
    clock: Clock
    random: Random

    @property
    def did(self) -> str:
        """Whose desk it is."""
        return self.signer.did

    def now_ms(self) -> int:
        """The time on this desk's clock."""
        return self.clock.now_ms()

    def head(self, *audience: str, parent: bytes = b"", expires_at_ms: int | None = None) -> Head:
        """A head for a command to `audience`; it lives five minutes unless told otherwise."""
        now = self.clock.now_ms()
        until = now + limits.COMMAND_TTL_MS if expires_at_ms is None else expires_at_ms
        return Head(self.did, audience, self.random.bytes(16), now, until, parent)

    def broadcast_head(self) -> Head:
        """A head for a record or offer: for everyone, for a quarter of an hour."""
        return self.head(BROADCAST, expires_at_ms=self.clock.now_ms() + limits.BROADCAST_TTL_MS)

    def sign(self, doc: D) -> Signed[D]:
        """Sign a document that this desk began."""
        return envelope.sign(doc, self.signer)

    def receive(self, document: Envelope, kind: type[D], *, lifetime_max_ms: int | None = None) -> Signed[D]:
        """Check a document from outside that is meant for this identity."""
        lifetime = limits.COMMAND_TTL_MS if lifetime_max_ms is None else lifetime_max_ms
        return envelope.receive(document, kind, me=self.did, now_ms=self.now_ms(), lifetime_max_ms=lifetime)

    def receive_recorded(self, document: Envelope, kind: type[D], *, me: str = "") -> Signed[D]:
        """Check an answer for this identity (or `me`) that may be said again, the same bytes, long after its expiry."""
        signed = envelope.read(document, kind)
        envelope.check_audience(signed.doc.head, me or self.did)
        envelope.check_issued(signed.doc.head, self.now_ms())
        return envelope.authenticate(signed)
