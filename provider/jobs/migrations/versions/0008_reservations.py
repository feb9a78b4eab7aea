"""Workers that clients have held for their leases."""

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE reservations (
        id BLOB PRIMARY KEY CHECK (length(id) = 32),
        lease BLOB NOT NULL REFERENCES leases (id),
        request BLOB NOT NULL CHECK (length(request) = 16),
        amount INTEGER NOT NULL CHECK (amount >= 0),
        from_ms INTEGER NOT NULL,
        until_ms INTEGER NOT NULL CHECK (until_ms >= from_ms),
        asked_ms INTEGER NOT NULL,
        paid INTEGER NOT NULL CHECK (paid IN (0, 1)),
        over INTEGER NOT NULL CHECK (over IN (0, 1)),
        ended BLOB NOT NULL
    ) STRICT
    """,
    "CREATE INDEX reservations_of_lease ON reservations (lease, paid, amount)",
    "CREATE INDEX reservations_going ON reservations (over)",
)


def upgrade() -> None:
    """Make their table."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """Nobody holds anything any more; what was paid for it stays paid."""
    op.execute("DROP TABLE reservations")
