"""Pictures on disk, and money that counts as spent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpufair.client.config import Config
from gpufair.client.failures import FundsError
from gpufair.client.ledgers import seller_runs_it
from gpufair.client.market.plan import check_cap
from gpufair.client.pictures import folder as pictures
from gpufair.client.wallet import budget
from gpufair.client.wallet.store import LeaseRow, open_wallet
from gpufair.protocol.errors import LocalError
from gpufair.protocol.messages import LedgerRef

HOUR = 3_600_000


@pytest.mark.parametrize(
    ("prompt", "name"),
    [
        ("A red fox!", "a-red-fox.png"),
        ("../../etc/passwd", "etc-passwd.png"),
        ("火", "picture.png"),
        ("x" * 500, "x" * 48 + ".png"),
        ("\x1b[2J", "2j.png"),
    ],
)
def test_a_file_is_named_after_its_prompt_and_stays_in_its_folder(tmp_path: Path, prompt: str, name: str) -> None:
    path = pictures.name_for(prompt, tmp_path)
    assert (path.name, path.parent) == (name, tmp_path)
    path.touch()
    assert pictures.name_for(prompt, tmp_path).name == name.replace(".png", "-2.png")


def test_several_pictures_are_numbered() -> None:
    assert pictures.targets(Path("a/fox.png"), 1) == [Path("a/fox.png")]
    assert pictures.targets(Path("fox"), 2) == [Path("fox-1.png"), Path("fox-2.png")]


def test_what_could_not_be_written_is_refused_before_it_is_bought(tmp_path: Path) -> None:
    (tmp_path / "there.png").touch()
    pictures.check_writable([tmp_path / "new.png"], force=False)
    pictures.check_writable([tmp_path / "there.png"], force=True)
    for path in (tmp_path / "there.png", tmp_path / "no" / "folder.png"):
        with pytest.raises(LocalError):
            pictures.check_writable([path], force=False)
    with pytest.raises(LocalError, match="folder"):
        pictures.check_writable([tmp_path], force=True)


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


def test_a_ledger_on_the_sellers_own_node_is_the_sellers_whatever_did_it_uses(a_seller: Any) -> None:
    provider, other = a_seller(1), a_seller(2)
    card, same_node = provider.record(), other.record()
    elsewhere = other.record(tls_certificate=b"another")
    assert seller_runs_it(LedgerRef(provider.desk.did, "a:1"), None, card)
    assert seller_runs_it(LedgerRef(other.desk.did, "a:1"), same_node, card)
    assert not seller_runs_it(LedgerRef(other.desk.did, "a:1"), elsewhere, card)
