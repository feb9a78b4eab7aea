"""A delivery knows when it was made: who has not paid for one in time gets no more."""

from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.execute("ALTER TABLE deliveries ADD COLUMN made_ms INTEGER NOT NULL DEFAULT 0")


def downgrade() -> None:
    """Drop it."""
    op.execute("ALTER TABLE deliveries DROP COLUMN made_ms")
