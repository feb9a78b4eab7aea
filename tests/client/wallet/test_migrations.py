"""A wallet of an older gpufair is brought up to date with the bodies in it, and can go back."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from alembic.command import downgrade
from alembic.config import Config
from sqlalchemy import create_engine

from gpufair.client.wallet.batches import BatchLeaseRow, BatchRow, ItemRow, TryRow
from gpufair.client.wallet.deliveries import CheckpointRow, DeliveryRow
from gpufair.client.wallet.sequels import SequelRow
from gpufair.client.wallet.store import BodyRow, JobRow, LeaseRow, open_wallet

MIGRATIONS = Path(__file__).parents[3] / "client" / "wallet" / "migrations"
LEASE = LeaseRow(
    bytes(32), "did:key:z6MkProvider", "did:key:z6MkLedger", "open", b"e", b"o", b"r", b"", b"", b"", 9, 9, 9, 9, 9, 0,
    0, "",
)  # fmt: skip
JOB = JobRow(bytes(16), bytes(32), bytes(32), "placed", b"h", b"plain", b"", 0, 1, 1, 9, b"", "", "a fox", False)


def back(path: Path, revision: str) -> None:
    """Take a wallet back to an older gpufair's."""
    settings, engine = Config(), create_engine(f"sqlite:///{path}")
    settings.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        downgrade(settings, revision)
    engine.dispose()


def test_bodies_move_to_their_own_table_and_back(tmp_path: Path) -> None:
    path = tmp_path / "wallet.db"
    wallet = open_wallet(path)
    with wallet.begin() as rows:
        rows.insert(LEASE)
        rows.insert(JOB)
        rows.insert(BodyRow(LEASE.id, JOB.id, b"plain", b"sealed"))
    wallet.close()
    back(path, "0005")
    with closing(sqlite3.connect(path)) as raw:
        assert raw.execute("SELECT body, sealed FROM jobs").fetchall() == [(b"plain", b"sealed")]
    wallet = open_wallet(path)
    with wallet.read() as rows:
        assert rows.all(JobRow) == [JOB]
        assert rows.all(BodyRow) == [BodyRow(LEASE.id, JOB.id, b"plain", b"sealed")]
    wallet.close()


def test_a_batch_is_forgotten_on_the_way_back_and_its_jobs_are_not(tmp_path: Path) -> None:
    path = tmp_path / "wallet.db"
    wallet = open_wallet(path)
    with wallet.begin() as rows:
        rows.insert(LEASE)
        rows.insert(JOB)
        rows.insert(BatchRow(b"B" * 16, "foxes", 500, "{}", b"", b"", "/tmp/foxes", 9))
        rows.insert(ItemRow(b"B" * 16, 0, "fox-1.png", "{}", b"", b"", "[]"))
        rows.insert(TryRow(LEASE.id, JOB.id, b"B" * 16, 0, False, False))
        rows.insert(BatchLeaseRow(LEASE.id, b"B" * 16, False))
    wallet.close()
    back(path, "0007")
    with closing(sqlite3.connect(path)) as raw:
        tables = {name for (name,) in raw.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert not {name for name in tables if name.startswith("batch")}
    wallet = open_wallet(path)
    with wallet.read() as rows:
        assert rows.all(JobRow) == [JOB]
        assert rows.all(BatchRow) == rows.all(ItemRow) == rows.all(TryRow) == []
    wallet.close()


def test_a_checkpoint_stays_without_its_leaves_on_the_way_back(tmp_path: Path) -> None:
    path = tmp_path / "wallet.db"
    wallet = open_wallet(path)
    came = DeliveryRow(LEASE.id, JOB.id, 0, b"r", b"c", bytes(32), 5, True, b"k", b"state", step=3, leaves=bytes(64))
    with wallet.begin() as rows:
        rows.insert(LEASE)
        rows.insert(JOB)
        rows.insert(came)
        rows.insert(SequelRow(LEASE.id, b"s" * 16, LEASE.id, JOB.id, 0))
    wallet.close()
    back(path, "0008")
    wallet = open_wallet(path)
    with wallet.read() as rows:
        assert rows.all(DeliveryRow) == [replace(came, leaves=b"")]
        assert rows.all(SequelRow) == []
        [seen] = rows.all(CheckpointRow)
        assert (seen.step, seen.size, seen.keyed) == (3, 5, True)
    wallet.close()
