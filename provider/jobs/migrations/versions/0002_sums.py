"""What a lease's account adds up is found in an index alone."""

from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the indexes."""
    op.execute("CREATE INDEX attempts_of_lease ON attempts (lease, state, upfront)")
    op.execute("CREATE INDEX deliveries_of_lease ON deliveries (lease, revealed, amount)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX attempts_of_lease")
    op.execute("DROP INDEX deliveries_of_lease")
