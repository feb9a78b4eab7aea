"""A lease's window is added up by the database, its sealing key is known; what is forgotten is found in an index."""

from alembic import op
from sqlalchemy import text

from gpufair.protocol.envelope import from_bytes
from gpufair.protocol.messages import Bid

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns. Which key an old lease names, the node says at its start: it had one alone."""
    op.execute("ALTER TABLE leases ADD COLUMN window INTEGER NOT NULL DEFAULT 0 CHECK (window >= 0)")
    op.execute("ALTER TABLE leases ADD COLUMN sealing_key BLOB NOT NULL DEFAULT x''")
    connection = op.get_bind()
    for lease, envelope in connection.execute(text("SELECT id, envelope FROM leases")).fetchall():
        window = from_bytes(envelope, Bid).doc.window
        connection.execute(text("UPDATE leases SET window = :window WHERE id = :id"), {"window": window, "id": lease})
    op.execute("DROP INDEX leases_by_state")
    op.execute("CREATE INDEX leases_by_window ON leases (state, window)")
    op.execute("CREATE INDEX outbox_of_lease ON outbox (lease)")
    op.execute("CREATE INDEX requests_by_age ON requests (forget_ms)")


def downgrade() -> None:
    """Drop them."""
    op.execute("DROP INDEX requests_by_age")
    op.execute("DROP INDEX outbox_of_lease")
    op.execute("DROP INDEX leases_by_window")
    op.execute("CREATE INDEX leases_by_state ON leases (state)")
    op.execute("ALTER TABLE leases DROP COLUMN sealing_key")
    op.execute("ALTER TABLE leases DROP COLUMN window")
