"""Two documents that one identity signed and that must not both exist."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        """
        CREATE TABLE pairs (
            did TEXT NOT NULL,
            crime INTEGER NOT NULL CHECK (crime > 0),
            one BLOB NOT NULL,
            other BLOB NOT NULL,
            PRIMARY KEY (did, crime)
        ) STRICT
        """
    )


def downgrade() -> None:
    """The proof is forgotten; the ban that it was for stays."""
    op.execute("DROP TABLE pairs")
