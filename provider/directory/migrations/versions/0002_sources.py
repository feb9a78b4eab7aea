"""Each document with its place, its source and since when its identity is known; evidence may have a place too."""

import hashlib

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

CREATE = """
    CREATE TABLE documents (
        place BLOB NOT NULL PRIMARY KEY CHECK (length(place) = 16),
        kind INTEGER NOT NULL CHECK (kind IN (1, 2, 3)),
        did TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        id BLOB NOT NULL CHECK (length(id) = 32),
        expires_at_ms INTEGER NOT NULL,
        source TEXT NOT NULL,
        heard INTEGER NOT NULL CHECK (heard BETWEEN 0 AND 3),
        since_ms INTEGER NOT NULL,
        envelope BLOB
    ) STRICT
"""
MADE = (
    "CREATE INDEX documents_shown ON documents (kind, did, expires_at_ms) WHERE envelope IS NOT NULL",
    """
    CREATE TRIGGER sequences_rise BEFORE UPDATE OF sequence ON documents WHEN new.sequence < old.sequence
    BEGIN SELECT RAISE(ABORT, 'a sequence never falls'); END
    """,
)
BEFORE = """
    CREATE TABLE documents (
        kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
        did TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        id BLOB NOT NULL CHECK (length(id) = 32),
        expires_at_ms INTEGER NOT NULL,
        envelope BLOB,
        PRIMARY KEY (kind, did)
    ) STRICT
"""
MOVE = """
    INSERT INTO documents
    VALUES (:place, :kind, :did, :sequence, :id, :expires_at_ms, 'before', 3, 0, :envelope)
"""
COPY = "INSERT INTO documents SELECT kind, did, sequence, id, expires_at_ms, envelope FROM moving WHERE kind IN (1, 2)"


def upgrade() -> None:
    _aside()
    op.execute(CREATE)
    for row in op.get_bind().execute(sa.text("SELECT * FROM moving")).mappings().all():
        name = b"gpufair/place/v1\x00" + bytes([row["kind"]]) + row["did"].encode()
        values = {**row, "place": hashlib.sha256(name).digest()[:16]}
        op.get_bind().execute(sa.text(MOVE), values)
    op.execute("DROP TABLE moving")
    for statement in MADE:
        op.execute(statement)


def downgrade() -> None:
    _aside()
    op.execute(BEFORE)
    op.execute(COPY)
    op.execute("DROP TABLE moving")
    op.execute(MADE[0])
    op.execute("CREATE INDEX documents_due ON documents (expires_at_ms)")
    op.execute(MADE[1])


def _aside() -> None:
    op.execute("DROP TRIGGER sequences_rise")
    op.execute("DROP INDEX documents_shown")
    op.execute("DROP INDEX IF EXISTS documents_due")
    op.execute("ALTER TABLE documents RENAME TO moving")
