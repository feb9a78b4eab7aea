"""A job's nonce is kept, what its audits came to, and whom we don't buy from any more."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE nonces (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        nonce BLOB NOT NULL CHECK (length(nonce) = 32),
        PRIMARY KEY (lease, job)
    ) STRICT
    """,
    """
    CREATE TABLE audits (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        picture INTEGER NOT NULL,
        verdict TEXT NOT NULL,
        made_ms INTEGER NOT NULL,
        report BLOB NOT NULL,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        file BLOB NOT NULL,
        PRIMARY KEY (lease, job, picture)
    ) STRICT
    """,
    """
    CREATE TABLE bans (
        did TEXT NOT NULL PRIMARY KEY,
        why TEXT NOT NULL,
        since_ms INTEGER NOT NULL
    ) STRICT
    """,
)


def upgrade() -> None:
    """Make the tables. Jobs of before have no nonce: they can't be audited."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    for table in ("bans", "audits", "nonces"):
        op.execute(f"DROP TABLE {table}")
