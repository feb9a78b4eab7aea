"""Bodies may hold pictures: they lie in a table of their own, out of the way of whoever reads attempts."""

from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE bodies (
        attempt BLOB NOT NULL PRIMARY KEY REFERENCES attempts (id),
        lease BLOB NOT NULL REFERENCES leases (id),
        sealed BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX bodies_of_lease ON bodies (lease)",
    "INSERT INTO bodies SELECT id, lease, sealed FROM attempts WHERE length(sealed) > 0",
    "ALTER TABLE attempts ADD COLUMN bodied INTEGER NOT NULL DEFAULT 0 CHECK (bodied IN (0, 1))",
    "UPDATE attempts SET bodied = 1 WHERE length(sealed) > 0",
    "ALTER TABLE attempts DROP COLUMN sealed",
)


def upgrade() -> None:
    """Move them."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Move them back."""
    op.execute("ALTER TABLE attempts ADD COLUMN sealed BLOB NOT NULL DEFAULT x''")
    op.execute("UPDATE attempts SET sealed = bodies.sealed FROM bodies WHERE bodies.attempt = attempts.id")
    op.execute("ALTER TABLE attempts DROP COLUMN bodied")
    op.execute("DROP TABLE bodies")
