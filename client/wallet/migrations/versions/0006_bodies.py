"""Bodies may hold pictures: they lie in a table of their own, out of the way of whoever reads jobs."""

from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE bodies (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        plain BLOB NOT NULL,
        sealed BLOB NOT NULL,
        PRIMARY KEY (lease, job)
    ) STRICT
    """,
    "INSERT INTO bodies SELECT lease, id, body, sealed FROM jobs",
    "ALTER TABLE jobs DROP COLUMN sealed",
)


def upgrade() -> None:
    """Move what is sent; what is shown stays with the job."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Move it back."""
    op.execute("ALTER TABLE jobs ADD COLUMN sealed BLOB NOT NULL DEFAULT x''")
    op.execute(
        "UPDATE jobs SET body = plain, sealed = bodies.sealed FROM bodies "
        "WHERE bodies.lease = jobs.lease AND bodies.job = jobs.id"
    )
    op.execute("DROP TABLE bodies")
