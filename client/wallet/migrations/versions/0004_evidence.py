"""What a cheat is proved with is kept, and a picture can be looked at without its megabytes."""

from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE evidence (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        what TEXT NOT NULL,
        document BLOB NOT NULL,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        cipher BLOB NOT NULL,
        PRIMARY KEY (lease, job)
    ) STRICT
    """,
    # SQLite tells a blob's length from the head of its row.
    """
    CREATE VIEW pictures AS
    SELECT lease, job, picture, receipt, amount, locked, length(key) > 0 AS keyed, length(png) AS size FROM deliveries
    """,
)


def upgrade() -> None:
    """Make the table and the view."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP VIEW pictures")
    op.execute("DROP TABLE evidence")
