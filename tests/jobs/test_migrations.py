"""A job store of an older gpufair is brought up to date with what lies in it, and can go back."""

from __future__ import annotations

import sqlite3
import sys
from contextlib import closing
from pathlib import Path

from alembic.command import downgrade
from alembic.config import Config
from sqlalchemy import create_engine

sys.path.insert(0, str(Path(__file__).parent))

from office_world import PICTURE, World

from gpufair.provider.jobs.store import AttemptRow, BodyRow, LeaseRow

MIGRATIONS = Path(__file__).parents[2] / "provider" / "jobs" / "migrations"


def back_to(path: Path, revision: str) -> None:
    """Take a store back to an older revision."""
    settings = Config()
    settings.set_main_option("script_location", str(MIGRATIONS))
    engine = create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        settings.attributes["connection"] = connection
        downgrade(settings, revision)
    engine.dispose()


def schema(path: Path) -> set[str]:
    with closing(sqlite3.connect(path)) as raw:
        return {sql for (sql,) in raw.execute("SELECT sql FROM sqlite_master WHERE sql IS NOT NULL")}


def test_leases_that_were_made_before_are_kept_with_their_windows(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    world = World(path)
    leases = {world.lease(window=PICTURE * n).id: PICTURE * n for n in (1, 2, 3)}
    world.store.close()
    today = schema(path)
    back_to(path, "0003")
    with closing(sqlite3.connect(path)) as raw:
        assert {"window", "sealing_key"}.isdisjoint(row[1] for row in raw.execute("PRAGMA table_info(leases)"))
    world = World(path)  # it opens the store as the node does
    assert schema(path) == today
    with world.store.read() as rows:
        found = rows.all(LeaseRow)
    assert {row.id: row.window for row in found} == leases
    assert {row.sealing_key for row in found} == {b""}, "the node says which key it was, when it starts"


def test_bodies_move_to_their_own_table_and_back(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    world = World(path)
    lease = world.lease()
    (job, order, body), (other, later, _) = world.job(lease), world.job(lease)
    for one in (order, later):
        world.office.perform(world.office.order(lease.id, one.envelope))
    with world.store.begin() as rows:
        rows.insert(BodyRow(world.attempt(job).id, lease.id, body.sealed))
        rows.change(AttemptRow, {"job": job}, bodied=True)
    world.store.close()
    today = schema(path)
    back_to(path, "0004")
    with closing(sqlite3.connect(path)) as raw:
        assert dict(raw.execute("SELECT job, sealed FROM attempts")) == {job: body.sealed, other: b""}
    world = World(path)
    assert schema(path) == today
    assert (world.attempt(job).bodied, world.attempt(other).bodied) == (True, False)
    with world.store.read() as rows:
        assert [row.sealed for row in rows.all(BodyRow)] == [body.sealed]
