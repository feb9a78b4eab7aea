"""Checkpoints that are bought, the leaves that convict a false one, and jobs that go on with others' work."""

from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

STATEMENTS = (
    "ALTER TABLE deliveries ADD COLUMN leaves BLOB NOT NULL DEFAULT X''",
    """
    CREATE VIEW checkpoints AS
    SELECT lease, job, picture, step, receipt, amount, locked, length(key) > 0 AS keyed, length(plain) AS size
    FROM deliveries WHERE step > 0
    """,
    """
    CREATE TABLE sequels (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL CHECK (length(job) = 16),
        before_lease BLOB NOT NULL REFERENCES leases (id),
        before_job BLOB NOT NULL CHECK (length(before_job) = 16),
        first INTEGER NOT NULL CHECK (first >= 0),
        PRIMARY KEY (lease, job)
    ) STRICT
    """,
    "CREATE INDEX sequels_of_job ON sequels (before_lease, before_job)",
)


def upgrade() -> None:
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Checkpoints stay, without their leaves; what went on with what is forgotten."""
    op.execute("DROP TABLE sequels")
    op.execute("DROP VIEW checkpoints")
    op.execute("ALTER TABLE deliveries DROP COLUMN leaves")
