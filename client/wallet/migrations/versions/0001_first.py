"""The wallet's first schema."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE leases (
        id BLOB PRIMARY KEY CHECK (length(id) = 32),
        provider TEXT NOT NULL,
        ledger TEXT NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('proposed', 'agreed', 'funded', 'open', 'closing', 'settled', 'declined',
                                             'expired', 'abandoned')),
        envelope BLOB NOT NULL,
        offer BLOB NOT NULL,
        record BLOB NOT NULL,
        "order" BLOB NOT NULL,
        hold BLOB NOT NULL,
        voucher BLOB NOT NULL,
        cap INTEGER NOT NULL CHECK (cap > 0),
        window INTEGER NOT NULL CHECK (window > 0),
        expires_ms INTEGER NOT NULL,
        hold_expires_ms INTEGER NOT NULL,
        created_ms INTEGER NOT NULL,
        captured INTEGER NOT NULL CHECK (captured >= 0 AND captured <= cap),
        released INTEGER NOT NULL CHECK (released >= 0 AND captured + released <= cap),
        distrust TEXT NOT NULL
    ) STRICT
    """,
    "CREATE INDEX leases_by_state ON leases (state)",
    """
    CREATE TABLE jobs (
        id BLOB NOT NULL CHECK (length(id) = 16),
        lease BLOB NOT NULL REFERENCES leases (id),
        document BLOB NOT NULL CHECK (length(document) = 32),
        state TEXT NOT NULL CHECK (state IN ('draft', 'placed', 'running', 'delivered', 'paid', 'failed', 'cancelled',
                                             'expired')),
        header BLOB NOT NULL,
        body BLOB NOT NULL,
        sealed BLOB NOT NULL,
        acceptance BLOB NOT NULL,
        upfront INTEGER NOT NULL CHECK (upfront >= 0),
        increment INTEGER NOT NULL CHECK (increment > 0),
        count INTEGER NOT NULL CHECK (count > 0),
        created_ms INTEGER NOT NULL,
        ended BLOB NOT NULL,
        note TEXT NOT NULL,
        prompt TEXT NOT NULL,
        PRIMARY KEY (id, lease)
    ) STRICT
    """,
    """
    CREATE TABLE deliveries (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        picture INTEGER NOT NULL CHECK (picture >= 0),
        hashlock BLOB NOT NULL CHECK (length(hashlock) = 32),
        amount INTEGER NOT NULL CHECK (amount > 0),
        locked INTEGER NOT NULL CHECK (locked IN (0, 1)),
        key BLOB NOT NULL,
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        receipt BLOB NOT NULL,
        cipher BLOB NOT NULL,
        png BLOB NOT NULL,
        PRIMARY KEY (lease, job, picture),
        UNIQUE (lease, hashlock)
    ) STRICT
    """,
    "CREATE TABLE peers (address TEXT PRIMARY KEY, did TEXT NOT NULL, added_ms INTEGER NOT NULL) STRICT",
    """
    CREATE TABLE sequences (
        did TEXT NOT NULL,
        kind TEXT NOT NULL,
        sequence INTEGER NOT NULL CHECK (sequence > 0),
        document BLOB NOT NULL,
        PRIMARY KEY (did, kind)
    ) STRICT
    """,
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """A first schema has nothing to go back to."""
    raise RuntimeError("restore a backup instead")
