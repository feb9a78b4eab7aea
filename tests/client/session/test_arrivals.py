"""Pieces of ciphertext: whatever a seller sends, no more is kept than the picture that was ordered could have."""

from dataclasses import replace

import pytest

from gpufair.client.session.arrivals import Arrivals
from gpufair.protocol import envelope, limits
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Chunk, Delivery, Receipt

JOB, SIZE = bytes(16), 2 * limits.CHUNK + 5


@pytest.fixture
def arrivals(deal):
    """A delivery of three pieces has begun; its receipt is a real one, with another length."""
    d = deal()
    d.order()
    d.pump()
    d.work(d.queue.pop())
    receipt = next(down.receipt for down in d.downs if isinstance(down, Delivery))
    signed = envelope.read(receipt, Receipt)
    found = Arrivals()
    found.begin((JOB, 0), 0, Signed(replace(signed.doc, cipher_length=SIZE), signed.id, signed.envelope))
    return found


def piece(offset, size):
    return Chunk(JOB, 0, offset, bytes([offset % 251]) * size)


def test_pieces_in_any_order_make_the_whole(arrivals):
    assert arrivals.piece(piece(2 * limits.CHUNK, 5)) is None
    assert arrivals.piece(piece(0, limits.CHUNK)) is None
    assert arrivals.piece(piece(0, limits.CHUNK)) is None, "one that comes twice counts once"
    _, cipher = arrivals.piece(piece(limits.CHUNK, limits.CHUNK))
    assert cipher == b"".join(piece(at, size).data for at, size in ((0, limits.CHUNK), (limits.CHUNK, limits.CHUNK),
                                                                  (2 * limits.CHUNK, 5)))  # fmt: skip


@pytest.mark.parametrize(
    ("offset", "size"),
    [(1, limits.CHUNK), (0, 1), (0, limits.CHUNK - 1), (2 * limits.CHUNK, 6), (2 * limits.CHUNK, 4),
     (3 * limits.CHUNK, 1), (limits.CHUNK, limits.CHUNK - 1), (2**60, 1)],
)  # fmt: skip
def test_a_piece_out_of_place_is_refused(arrivals, offset, size):
    """Pieces that overlap would fill the memory and never make a whole."""
    with pytest.raises(PeerError):
        arrivals.piece(piece(offset, size))
