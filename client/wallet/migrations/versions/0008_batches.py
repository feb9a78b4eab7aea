"""Batches: many pictures as one piece of business, over many leases."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE batches (
        id BLOB NOT NULL CHECK (length(id) = 16),
        title TEXT NOT NULL,
        budget INTEGER NOT NULL CHECK (budget > 0),
        options TEXT NOT NULL,
        folder TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        image BLOB NOT NULL,
        mask BLOB NOT NULL,
        PRIMARY KEY (id)
    ) STRICT
    """,
    """
    CREATE TABLE batch_items (
        batch BLOB NOT NULL REFERENCES batches (id),
        place INTEGER NOT NULL CHECK (place >= 0),
        name TEXT NOT NULL,
        options TEXT NOT NULL,
        lease BLOB NOT NULL,
        job BLOB NOT NULL,
        notes TEXT NOT NULL,
        PRIMARY KEY (batch, place)
    ) STRICT
    """,
    """
    CREATE TABLE batch_tries (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL CHECK (length(job) = 16),
        batch BLOB NOT NULL,
        place INTEGER NOT NULL,
        off INTEGER NOT NULL CHECK (off IN (0, 1)),
        doubtful INTEGER NOT NULL CHECK (doubtful IN (0, 1)),
        PRIMARY KEY (lease, job),
        FOREIGN KEY (batch, place) REFERENCES batch_items (batch, place)
    ) STRICT
    """,
    "CREATE INDEX tries_of_item ON batch_tries (batch, place)",
    """
    CREATE TABLE batch_leases (
        lease BLOB NOT NULL REFERENCES leases (id),
        batch BLOB NOT NULL REFERENCES batches (id),
        over INTEGER NOT NULL CHECK (over IN (0, 1)),
        PRIMARY KEY (lease)
    ) STRICT
    """,
    "CREATE INDEX leases_of_batch ON batch_leases (batch)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """What was bought stays, job by job; that it belonged together is forgotten."""
    for table in ("batch_leases", "batch_tries", "batch_items", "batches"):
        op.execute(f"DROP TABLE {table}")
