"""Pictures that were bought, for programs. Rule: each carries its signed receipt, in the PNG and beside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpufair.client.pictures.verify import sealed_with
from gpufair.client.wallet import purchases
from gpufair.client.wallet.purchase import Purchase
from gpufair.protocol.edge.rows import RowStore
from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Receipt


@dataclass(frozen=True, slots=True)
class Picture:
    """One picture that was bought. `png` carries the signed receipt; `price` is what this one cost."""

    png: bytes
    job: str
    index: int
    seed: int
    price: int
    provider: str
    receipt: Receipt

    def save(self, path: str | Path) -> Path:
        """Write the PNG, receipt included."""
        target = Path(path)
        target.write_bytes(self.png)
        return target


def pictures_of(store: RowStore, purchase: Purchase) -> tuple[Picture, ...]:
    """Every picture of a purchase that is here, its receipt inside."""
    seed = purchase.body.seed
    return tuple(
        Picture(
            png=sealed_with(purchases.png(store, one), one.receipt),
            job=purchase.job.id.hex(),
            index=one.index,
            seed=(seed + one.index) % 2**64,
            price=one.amount,
            provider=from_bytes(one.receipt, Receipt).issuer,
            receipt=one.claim,
        )
        for one in purchase.opened
    )
