"""Money that counts as spent, and the daily cap on it."""

from __future__ import annotations

from typing import Any

import pytest

from gpufair.client.config import Config
from gpufair.client.failures import FundsError
from gpufair.client.market.plan import check_cap
from gpufair.client.wallet import budget
from gpufair.client.wallet.store import LeaseRow, open_wallet

HOUR = 3_600_000


def lease(number: int, state: str, *, captured: int = 0, released: int = 0, made: int = 0, order: bytes = b"o") -> Any:
    return LeaseRow(
        id=bytes([number]) * 32, provider="p", ledger="l", state=state, envelope=b"e", offer=b"", record=b"",
        order=order, hold=b"", voucher=b"", cap=100, window=10, expires_ms=HOUR, hold_expires_ms=2 * HOUR,
        created_ms=made, captured=captured, released=released, distrust="",
    )  # fmt: skip


def test_what_may_still_be_taken_counts_as_spent() -> None:
    store = open_wallet(None)
    with store.begin() as rows:
        for row, cost in (
            (lease(1, "proposed", order=b""), 0),
            (lease(2, "declined"), 0),
            (lease(3, "abandoned"), 0),
            (lease(4, "agreed", order=b""), 0),
            (lease(5, "agreed"), 100),
            (lease(6, "open", captured=30), 100),
            (lease(7, "closing", captured=30, released=70), 30),
            (lease(8, "settled", captured=20, released=80), 20),
        ):
            rows.insert(row)
            assert budget.at_stake(rows, row, now_ms=1) == cost, row.state
        assert budget.spent_since(rows, 0, 1) == 250
        assert budget.spent_since(rows, 1, 1) == 0
    check_cap(store, Config(daily_cap=260), 10, 1)
    with pytest.raises(FundsError) as caught:
        check_cap(store, Config(daily_cap=260), 11, 1)
    assert (caught.value.wanted, caught.value.limit) == (261, 260)
    check_cap(store, Config(), 10**15, 1)
