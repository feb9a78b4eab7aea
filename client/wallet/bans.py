"""Whom we don't buy from. Rule: a ban is on disk with what it is for, and only its buyer lifts it."""

from __future__ import annotations

from gpufair.client.wallet.store import BanRow, SequenceRow
from gpufair.protocol import limits
from gpufair.protocol.edge.rows import Rows, RowStore
from gpufair.protocol.errors import Fault, LocalError

_EVIDENCE = "evidence"
"""How the wallet remembers, beside the sequences of sellers, whom evidence need not ban any more."""


def ban(rows: Rows, did: str, why: str, now_ms: int) -> None:
    """Never buy from a provider again; the first reason stays."""
    if rows.get(BanRow, did=did) is None:
        rows.insert(BanRow(did, why[: limits.TEXT_MAX], now_ms))


def convict(rows: Rows, did: str, why: str, now_ms: int) -> bool:
    """Ban by evidence, unless that has been done before: a ban that its buyer lifted stays so. Whether it is new."""
    if is_settled(rows, did):
        return False
    ban(rows, did, why, now_ms)
    rows.save(SequenceRow(did, _EVIDENCE, 1, b""))
    return True


def is_settled(rows: Rows, did: str) -> bool:
    """Whether evidence can tell this buyer nothing more about somebody."""
    is_banned = rows.get(BanRow, did=did) is not None
    return is_banned or rows.get(SequenceRow, did=did, kind=_EVIDENCE) is not None


def banned(store: RowStore) -> dict[str, str]:
    """Everyone who is banned, and why, the oldest ban first."""
    with store.read() as rows:
        return {row.did: row.why for row in rows.all(BanRow, order="since_ms")}


def listed(store: RowStore) -> list[BanRow]:
    """The bans themselves, oldest first."""
    with store.read() as rows:
        return rows.all(BanRow, order="since_ms")


def lift(store: RowStore, wanted: str) -> BanRow:
    """Buy from a provider again: its did, or the end of it; evidence does not ban it again.

    Raises LocalError where that names nobody, or several.
    """
    with store.begin() as rows:
        found = [row for row in rows.all(BanRow) if wanted and (row.did == wanted or row.did.endswith(wanted))]
        if len(found) != 1:
            what = f"{len(found)} bans fit {wanted!r}" if found else f"nobody of that name is banned: {wanted!r}"
            raise LocalError(Fault.UNKNOWN, what, hint="gpufair bans list shows the dids")
        rows.delete(BanRow, did=found[0].did)
        rows.save(SequenceRow(found[0].did, _EVIDENCE, 1, b""))
    return found[0]
