"""A job knows whether its up-front lines were promised: the sums of the next voucher begin there."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; so far every accepted job's lines were promised."""
    op.execute("ALTER TABLE jobs ADD COLUMN prepaid INTEGER NOT NULL DEFAULT 0 CHECK (prepaid IN (0, 1))")
    op.execute("UPDATE jobs SET prepaid = 1 WHERE length(acceptance) > 0")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE jobs DROP COLUMN prepaid")
