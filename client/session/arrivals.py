"""Deliveries on their way in. Rule: what is here is not believed yet; to forget it costs no money."""

from __future__ import annotations

from dataclasses import dataclass, field

from gpufair.protocol import limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import Fault, PeerError
from gpufair.protocol.messages import Chunk, Progress, Receipt

Place = tuple[bytes, int]
"""Which picture of which job."""


@dataclass
class _Arriving:
    receipt: Signed[Receipt]
    step: int
    pieces: dict[int, bytes] = field(default_factory=dict)

    def whole(self) -> bytes | None:
        """The ciphertext once it is complete."""
        wanted = range(0, self.receipt.doc.cipher_length, limits.CHUNK)
        return b"".join(self.pieces[offset] for offset in wanted) if len(self.pieces) == len(wanted) else None


class Arrivals:
    """Trace leaves by picture, and pieces of the one delivery of it that is on its way."""

    def __init__(self) -> None:
        self._leaves: dict[Place, dict[int, bytes]] = {}
        self._arriving: dict[Place, _Arriving] = {}

    def step(self, message: Progress) -> None:
        """Remember a leaf; a second leaf for a step counts for nothing: the first one was committed to."""
        self._leaves.setdefault((message.job, message.picture), {}).setdefault(message.step, message.leaf)

    def leaves(self, place: Place, first: int, last: int) -> list[bytes]:
        """The leaves of these steps, both ends included; a gap makes the list too short to pass the checks."""
        known = self._leaves.get(place, {})
        return [known[step] for step in range(first, last + 1) if step in known]

    def begin(self, place: Place, step: int, receipt: Signed[Receipt]) -> None:
        """A delivery's receipt is here, its ciphertext follows. The same receipt again keeps what has come."""
        known = self._arriving.get(place)
        if known is None or known.receipt.id != receipt.id:
            self._arriving[place] = _Arriving(receipt, step)

    def piece(self, message: Chunk) -> tuple[Signed[Receipt], bytes] | None:
        """Take a piece; the receipt and the whole ciphertext once it is complete."""
        place = (message.job, message.picture)
        arriving = self._arriving.get(place)
        if arriving is None or arriving.step != message.step:
            return None
        # Pieces that overlapped would never make a whole, and could fill the memory meanwhile.
        length = min(limits.CHUNK, arriving.receipt.doc.cipher_length - message.offset)
        if message.offset % limits.CHUNK or len(message.data) != length:
            raise PeerError(Fault.MALFORMED, "a piece of ciphertext that is out of place")
        arriving.pieces[message.offset] = message.data
        cipher = arriving.whole()
        if cipher is None:
            return None
        del self._arriving[place]
        return arriving.receipt, cipher

    def forget(self, place: Place, last: int) -> None:
        """What ends with step `last` is safe in the wallet, its leaves with it."""
        known = self._leaves.pop(place, {})
        if later := {step: leaf for step, leaf in known.items() if step > last}:
            self._leaves[place] = later
