"""Workers that are held for leases of the class reserved."""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE reservations (
            lease BLOB NOT NULL REFERENCES leases (id),
            request BLOB NOT NULL CHECK (length(request) = 16),
            document BLOB NOT NULL CHECK (length(document) = 32),
            lasts_ms INTEGER NOT NULL CHECK (lasts_ms > 0),
            amount INTEGER NOT NULL CHECK (amount >= 0),
            paid INTEGER NOT NULL CHECK (paid IN (0, 1)),
            over INTEGER NOT NULL CHECK (over IN (0, 1)),
            from_ms INTEGER NOT NULL,
            until_ms INTEGER NOT NULL,
            created_ms INTEGER NOT NULL,
            note TEXT NOT NULL,
            "order" BLOB NOT NULL,
            PRIMARY KEY (lease, request)
        ) STRICT
        """
    )


def downgrade() -> None:
    """What was reserved is forgotten; the vouchers that paid for it stay."""
    op.execute("DROP TABLE reservations")
