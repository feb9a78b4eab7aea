"""Checking a picture offline. Rule: only what follows from the file and the signature in it is called true."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from gpufair.client.failures import VerificationError
from gpufair.client.pictures import png
from gpufair.protocol import envelope as dsse
from gpufair.protocol import wire
from gpufair.protocol.envelope import Signed
from gpufair.protocol.errors import PeerError
from gpufair.protocol.messages import Envelope, Goods, Receipt

_ADVICE = "ask for the file again where it came from; its buyer can get it anew with: gpufair fetch JOB"


@dataclass(frozen=True, slots=True)
class Verified:
    """A picture whose receipt holds: the signed receipt, and the PNG that it describes."""

    receipt: Signed[Receipt]
    plain: bytes

    @property
    def provider(self) -> str:
        """Who signs that they made it."""
        return self.receipt.issuer


def verify(data: bytes, *, provider: str = "") -> Verified:
    """Check a picture's bytes against the receipt in them, and its signer against `provider` if one is given.

    Raises VerificationError: no PNG, no receipt, a changed picture, a bad signature, another signer.
    """
    try:
        plain, raw = png.extract(data)
        receipt = dsse.authenticate(dsse.read(wire.decode(Envelope, raw), Receipt))
    except PeerError as error:
        raise VerificationError(error.what, hint=_ADVICE) from error
    claim = receipt.doc
    for holds, what in (
        (claim.goods is Goods.PICTURE, "the receipt is not for a picture"),
        (claim.plain_length == len(plain), "the picture has another length than its receipt says: it was changed"),
        (claim.plain_sha256 == hashlib.sha256(plain).digest(), "the picture is not the one of its receipt"),
        (not provider or receipt.issuer == provider, "the receipt is signed by somebody else than you named"),
    ):
        if not holds:
            raise VerificationError(what, hint=_ADVICE)
    return Verified(receipt, plain)


def sealed_with(plain: bytes, receipt: bytes) -> bytes:
    """A delivered picture with its receipt in it, as it is handed to people."""
    return png.insert(plain, receipt)
