"""Node records and offers: the newest of each identity, and the sequence that nothing may fall behind."""

from alembic import op

revision = "0001"
down_revision = None

# An expired document loses its envelope and stays as a row: its sequence is what an older one is measured by.
STATEMENTS = (
    """
    CREATE TABLE documents (
        kind INTEGER NOT NULL CHECK (kind IN (1, 2)),
        did TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        id BLOB NOT NULL CHECK (length(id) = 32),
        expires_at_ms INTEGER NOT NULL,
        envelope BLOB,
        PRIMARY KEY (kind, did)
    ) STRICT
    """,
    "CREATE INDEX documents_shown ON documents (kind, did, expires_at_ms) WHERE envelope IS NOT NULL",
    "CREATE INDEX documents_due ON documents (expires_at_ms)",
    """
    CREATE TRIGGER sequences_rise BEFORE UPDATE OF sequence ON documents WHEN new.sequence < old.sequence
    BEGIN SELECT RAISE(ABORT, 'a sequence never falls'); END
    """,
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TABLE documents")
