"""The job store's first schema."""

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

STATEMENTS = (
    """
    CREATE TABLE leases (
        id BLOB PRIMARY KEY CHECK (length(id) = 32),
        state TEXT NOT NULL CHECK (state IN ('agreed', 'funded', 'open', 'closing', 'settled', 'abandoned', 'expired')),
        client TEXT NOT NULL,
        ledger TEXT NOT NULL,
        envelope BLOB NOT NULL,
        hold_envelope BLOB NOT NULL,
        hold INTEGER NOT NULL CHECK (hold >= 0),
        kept BLOB NOT NULL,
        captured INTEGER NOT NULL CHECK (captured >= 0 AND captured <= hold),
        agreed_ms INTEGER NOT NULL,
        active_ms INTEGER NOT NULL,
        expires_ms INTEGER NOT NULL,
        closing_reason TEXT NOT NULL,
        CHECK (state IN ('agreed', 'abandoned', 'expired') OR (hold > 0 AND length(hold_envelope) > 0))
    ) STRICT
    """,
    "CREATE INDEX leases_by_state ON leases (state)",
    """
    CREATE TABLE attempts (
        id BLOB PRIMARY KEY CHECK (length(id) = 16),
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL CHECK (length(job) = 16),
        document BLOB NOT NULL CHECK (length(document) = 32),
        header BLOB NOT NULL,
        answer BLOB NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('accepted', 'queued', 'running', 'delivered', 'paid', 'rejected', 'failed',
                                             'cancelled', 'reclaimed', 'preempted', 'expired')),
        sealed BLOB NOT NULL,
        upfront INTEGER NOT NULL CHECK (upfront >= 0),
        increment INTEGER NOT NULL CHECK (increment > 0),
        count INTEGER NOT NULL CHECK (count > 0),
        accepted_ms INTEGER NOT NULL,
        deadline_ms INTEGER NOT NULL,
        ended BLOB NOT NULL,
        UNIQUE (lease, job)
    ) STRICT
    """,
    "CREATE INDEX attempts_by_state ON attempts (state)",
    """
    CREATE TABLE deliveries (
        lease BLOB NOT NULL REFERENCES leases (id),
        job BLOB NOT NULL,
        picture INTEGER NOT NULL CHECK (picture >= 0),
        attempt BLOB NOT NULL REFERENCES attempts (id),
        key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
        hashlock BLOB NOT NULL UNIQUE CHECK (length(hashlock) = 32),
        amount INTEGER NOT NULL CHECK (amount > 0),
        revealed INTEGER NOT NULL CHECK (revealed IN (0, 1)),
        -- Large columns come last: SQLite reads a row from its beginning, page by page.
        receipt BLOB NOT NULL,
        leaves BLOB NOT NULL,
        cipher BLOB NOT NULL,
        PRIMARY KEY (lease, job, picture)
    ) STRICT
    """,
    """
    CREATE TABLE requests (
        signer TEXT NOT NULL,
        id BLOB NOT NULL CHECK (length(id) = 16),
        document BLOB NOT NULL CHECK (length(document) = 32),
        answer BLOB NOT NULL,
        forget_ms INTEGER NOT NULL,
        PRIMARY KEY (signer, id)
    ) STRICT
    """,
    """
    CREATE TABLE outbox (
        id BLOB PRIMARY KEY CHECK (length(id) = 32),
        lease BLOB NOT NULL REFERENCES leases (id),
        ledger TEXT NOT NULL,
        envelope BLOB NOT NULL,
        final INTEGER NOT NULL CHECK (final IN (0, 1)),
        created_ms INTEGER NOT NULL,
        answer BLOB NOT NULL
    ) STRICT
    """,
    # A lease closes once: the database itself refuses a second final capture.
    "CREATE UNIQUE INDEX one_final_capture ON outbox (lease) WHERE final = 1",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER NOT NULL CHECK (value >= 0)) STRICT",
)


def upgrade() -> None:
    """Make the tables."""
    for statement in STATEMENTS:
        op.execute(statement)


def downgrade() -> None:
    """A first schema has nothing to go back to."""
    raise RuntimeError("restore a backup instead")
