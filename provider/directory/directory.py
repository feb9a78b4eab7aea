"""What a directory takes and shows. Rule: docs/payment.md, rules 20 and 23: cheap checks first, the newest wins.

`publish` is the one door, for a node itself, a stranger and (later) gossip alike: a document that proves itself needs
nobody's word. Not thread-safe: one thread works here.
"""

from __future__ import annotations

from gpufair.protocol import envelope, limits, wire
from gpufair.protocol.addresses import Endpoint
from gpufair.protocol.edge import tls
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.fields import BROADCAST
from gpufair.protocol.messages import Envelope, NodeRecord, Offer
from gpufair.protocol.ports import Clock
from gpufair.provider.directory.store import DirectoryStore, Entry, Kind

Published = NodeRecord | Offer

_KINDS: dict[str, tuple[Kind, type[Published]]] = {
    NodeRecord.TYPE: (Kind.RECORD, NodeRecord),
    Offer.TYPE: (Kind.OFFER, Offer),
}
_BURY_EVERY_MS = limits.MINUTE
_FORGET_AFTER_MS = limits.BROADCAST_TTL_MS + 2 * limits.SKEW_MS
"""By then every older document that could have been published beside this one has expired too."""
_FORGET_AT_ONCE = 1_000
_PAGE_BYTES = limits.MESSAGE_MAX - limits.PAYLOAD_MAX // 4  # room for what each document's framing adds


class Directory:
    """The node records and offers known to one node."""

    def __init__(self, store: DirectoryStore, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._buried_at_ms = 0

    def publish(self, document: Envelope) -> tuple[int, bool]:
        """Take a document: (its sequence, True) if it is now held, or was already, byte for byte.

        (highest sequence, False) if a newer one, or another one of the same sequence, is held: publish a higher one.
        Raises PeerError for a document that can't be believed, LIMIT when the house is full.
        """
        known = _KINDS.get(document.payload_type)
        if known is None:
            raise PeerError(Fault.WRONG_TYPE, f"a directory keeps no {document.payload_type}")
        kind, shape = known
        signed: Signed[Published] = envelope.read(document, shape)
        _check_broadcast(signed)
        now_ms = self._clock.now_ms()
        envelope.check_time(signed.doc.head, now_ms, lifetime_max_ms=limits.BROADCAST_TTL_MS)
        held = self._store.get(kind, signed.issuer)
        if held is not None and held.sequence >= signed.doc.sequence:
            return held.sequence, held.id == signed.id
        _check_sense(signed.doc)
        envelope.authenticate(signed)
        self._make_room(len(signed.bytes), now_ms, is_new=held is None)
        expiry = signed.doc.head.expires_at_ms
        self._store.put(Entry(kind, signed.issuer, signed.doc.sequence, signed.id, expiry, signed.bytes))
        return signed.doc.sequence, True

    def find_records(self, dids: tuple[str, ...] = (), after: str = "") -> tuple[list[Envelope], str]:
        """A page of live node records, and the `after` of the next page (empty: this was the last)."""
        return self._find(Kind.RECORD, dids, after)

    def find_offers(self, dids: tuple[str, ...] = (), after: str = "") -> tuple[list[Envelope], str]:
        """A page of live offers, likewise."""
        return self._find(Kind.OFFER, dids, after)

    def prune(self) -> None:
        """Drop what has expired. Called by `publish` too; a daemon need not."""
        now_ms = self._clock.now_ms()
        self._store.bury(now_ms - limits.SKEW_MS)
        self._buried_at_ms = now_ms

    def close(self) -> None:
        """Let go of the store."""
        self._store.close()

    def _find(self, kind: Kind, dids: tuple[str, ...], after: str) -> tuple[list[Envelope], str]:
        found, more = self._store.page(
            kind,
            dids=dids,
            after=after,
            now_ms=self._clock.now_ms(),
            count_max=limits.FIND_MAX,
            bytes_max=_PAGE_BYTES,
        )
        documents = [wire.decode(Envelope, entry.envelope) for entry in found if entry.envelope is not None]
        return documents, found[-1].did if more else ""

    def _make_room(self, size: int, now_ms: int, *, is_new: bool) -> None:
        if now_ms - self._buried_at_ms >= _BURY_EVERY_MS or not self._fits(size, is_new=is_new):
            self.prune()
        if not self._fits(size, is_new=is_new):
            self._store.forget(now_ms - _FORGET_AFTER_MS, _FORGET_AT_ONCE)
        if not self._fits(size, is_new=is_new):
            raise PeerError(Fault.LIMIT, "this directory is full", hint="publish to another one, or here again later")

    def _fits(self, size: int, *, is_new: bool) -> bool:
        rows = self._store.count + is_new
        return rows <= limits.DIRECTORY_RECORDS_MAX and self._store.bytes + size <= limits.DIRECTORY_BYTES_MAX


def _check_broadcast(signed: Signed[Published]) -> None:
    head = signed.doc.head
    if head.audience != (BROADCAST,):
        raise PeerError(Fault.WRONG_AUDIENCE, "a record or offer is addressed to everyone and to no one else")
    if head.parent:
        raise PeerError(Fault.MALFORMED, "a record or offer answers nothing: its parent must be empty")


def _check_sense(doc: Published) -> None:
    """Whether anyone could act on it: addresses that lead to a machine, a certificate that can be pinned."""
    if isinstance(doc, NodeRecord):
        tls.check_certificate(doc.tls_certificate)
        endpoints = doc.endpoints
    else:
        endpoints = tuple(ledger.endpoint for ledger in doc.ledgers)
    for endpoint in endpoints:
        Endpoint.parse(endpoint)
