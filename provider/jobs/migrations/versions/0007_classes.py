"""A lease's class stands beside its bid: who counts the house full looks at it for every job that waits."""

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Leases so far count as on demand: hardly any was not, and it is over within a day."""
    op.execute("ALTER TABLE leases ADD COLUMN interruptible INTEGER NOT NULL DEFAULT 0 CHECK (interruptible IN (0, 1))")


def downgrade() -> None:
    """The bids still say it."""
    op.execute("ALTER TABLE leases DROP COLUMN interruptible")
